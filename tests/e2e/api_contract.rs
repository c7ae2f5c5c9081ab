//! The contract of the REST API: the three calls of the first user, what is done once stays done once, and what is written
//! can be read back as Svix's clients expect it.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::{Answer, ApiClient, Deployment, Event, Nuncio, Receiver, SHORT, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};

async fn started(role: &str) -> (Deployment, Nuncio, ApiClient) {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start(role).await.unwrap();
    let api = nuncio.client().await.unwrap();
    (deployment, nuncio, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_calls_of_the_first_user_work_with_a_doubled_slash_and_an_empty_body_on_retries() {
    let (_deployment, _nuncio, api) = started("api").await;
    let created = api
        .call(
            Method::POST,
            "//api/v1/app?get_if_exists=false",
            Some(&json!({ "name": "project" })),
        )
        .await
        .unwrap();
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    let app = created.body["id"].as_str().unwrap();
    let body = json!({ "eventType": "sync.user", "payload": { "type": "sync.user", "userId": "user_1" } });
    let sent = api
        .call(Method::POST, &format!("//api/v1/app/{app}/msg"), Some(&body))
        .await
        .unwrap();
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.body);
    assert!(sent.body["id"].as_str().unwrap().starts_with("msg_"));
    let path = format!("//api/v1/auth/app-portal-access/{app}");
    for body in [Some(json!({})), None] {
        let access = api.call(Method::POST, &path, body.as_ref()).await.unwrap();
        assert_eq!(access.status, StatusCode::OK, "{}", access.body);
        let (url, token) = (
            access.body["url"].as_str().unwrap(),
            access.body["token"].as_str().unwrap(),
        );
        assert!(url.ends_with(&format!("/portal#token={token}")), "{url}");
    }
    for path in ["/api/v1/app/", "/api/v1//app", "//api/v1/app//"] {
        assert_eq!(
            api.call(Method::GET, path, None).await.unwrap().status,
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_delivered_byte_for_byte_as_it_was_written() {
    let (_deployment, _nuncio, api) = started("all").await;
    let receiver = Receiver::start().await.unwrap();
    let app = api.create_app("Bytes").await.unwrap();
    api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let payload =
        "{ \"b\" : 1.0,\n\t\"a\" : [ 1e2, \"\\u00e9\", \"é\" ] , \"big\": 12345678901234567890123 }";
    let body = format!(r#"{{"payload":{payload},"eventType":"raw.bytes"}}"#);
    let path = format!("/api/v1/app/{app}/msg");
    let sent = api.send(Method::POST, &path, body.into_bytes()).await.unwrap();
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.body);
    let raw = json!({ "eventType": "raw.bytes", "payload": {}, "transformationsParams": { "rawPayload": payload } });
    api.post(&path, &raw).await.unwrap();
    for request in receiver.wait_for("/a", 2, SHORT).await {
        assert_eq!(request.body, payload.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_answered_as_it_was_and_another_one_under_its_key_is_refused() {
    let (_deployment, _nuncio, api) = started("all").await;
    let receiver = Receiver::start().await.unwrap();
    let app = api.create_app("Once").await.unwrap();
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let rotate = format!("/api/v1/app/{app}/endpoint/{endpoint}/secret/rotate");
    let cases = [
        (
            "/api/v1/app".to_owned(),
            json!({ "name": "one" }),
            json!({ "name": "two" }),
        ),
        (rotate, json!({}), json!({ "gracePeriodSeconds": 5 })),
        (
            format!("/api/v1/app/{app}/endpoint"),
            json!({ "url": receiver.url("/b") }),
            json!({ "url": receiver.url("/c") }),
        ),
        (
            format!("/api/v1/app/{app}/msg"),
            json!({ "eventType": "a", "payload": { "n": 1 } }),
            json!({ "eventType": "a", "payload": { "n": 2 } }),
        ),
        (
            format!("/api/v1/auth/app-portal-access/{app}"),
            json!({}),
            json!({ "expiry": 3_600 }),
        ),
    ];
    for (n, (path, body, other)) in cases.into_iter().enumerate() {
        let key = format!("key-{n}");
        let headers = [("idempotency-key", key.as_str())];
        let first = api
            .call_with(Method::POST, &path, Some(&body), &headers)
            .await
            .unwrap();
        assert!(first.status.is_success(), "{path}: {}", first.body);
        let again = api
            .call_with(Method::POST, &path, Some(&body), &headers)
            .await
            .unwrap();
        assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
        let without_body = api.call_with(Method::POST, &path, None, &headers).await.unwrap();
        assert_eq!(
            (without_body.status, &without_body.body),
            (first.status, &first.body),
            "{path}: a client's retry may have lost the body"
        );
        let refused = api
            .call_with(Method::POST, &path, Some(&other), &headers)
            .await
            .unwrap();
        assert_eq!(refused.status, StatusCode::CONFLICT, "{path}: {}", refused.body);
        let elsewhere = api
            .call_with(
                Method::POST,
                &path,
                Some(&body),
                &[("idempotency-key", "another")],
            )
            .await
            .unwrap();
        assert_ne!(
            elsewhere.body, first.body,
            "{path}: another key is another request"
        );
    }
    receiver.wait_for("/a", 2, SHORT).await;
    assert_eq!(api.list("/api/v1/app").await.unwrap().len(), 3);
    assert_eq!(
        api.list(&format!("/api/v1/app/{app}/msg")).await.unwrap().len(),
        2
    );
    assert!(receiver.times_by_id("/a").values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_of_the_same_request_at_once_are_one() {
    let (_deployment, _nuncio, api) = started("all").await;
    let receiver = Receiver::start().await.unwrap();
    let app = api.create_app("Race").await.unwrap();
    api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let headers = [("idempotency-key", "race")];
    let (new_app, message) = (
        json!({ "name": "raced" }),
        json!({ "eventType": "a", "payload": { "n": 1 } }),
    );
    let messages = format!("/api/v1/app/{app}/msg");
    let calls = (0..16).map(|n| {
        let (path, body) = if n % 2 == 0 {
            ("/api/v1/app", &new_app)
        } else {
            (messages.as_str(), &message)
        };
        api.call_with(Method::POST, path, Some(body), &headers)
    });
    let replies = futures_util::future::try_join_all(calls).await.unwrap();
    for kind in [0, 1] {
        let ids: std::collections::BTreeSet<_> = replies
            .iter()
            .skip(kind)
            .step_by(2)
            .map(|reply| reply.body["id"].to_string())
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
    receiver.wait_for("/a", 1, SHORT).await;
    assert_eq!(api.list(&messages).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uid_stands_for_an_id_everywhere_and_belongs_to_one() {
    let (_deployment, _nuncio, api) = started("all").await;
    let receiver = Receiver::start().await.unwrap();
    let app = api
        .post("/api/v1/app", &json!({ "name": "A", "uid": "customer.1" }))
        .await
        .unwrap();
    let taken = api
        .call(
            Method::POST,
            "/api/v1/app",
            Some(&json!({ "name": "B", "uid": "customer.1" })),
        )
        .await
        .unwrap();
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let there = api
        .call(
            Method::POST,
            "/api/v1/app?get_if_exists=true",
            Some(&json!({ "name": "B", "uid": "customer.1" })),
        )
        .await
        .unwrap();
    assert_eq!((there.status, &there.body["id"]), (StatusCode::OK, &app["id"]));
    let by_uid = "/api/v1/app/customer.1";
    api.post(
        &format!("{by_uid}/endpoint"),
        &json!({ "url": receiver.url("/a"), "uid": "hook" }),
    )
    .await
    .unwrap();
    let message = json!({ "eventType": "a", "payload": {}, "eventId": "event-1" });
    let sent = api.post(&format!("{by_uid}/msg"), &message).await.unwrap();
    let again = api
        .call(Method::POST, &format!("{by_uid}/msg"), Some(&message))
        .await
        .unwrap();
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
    receiver.wait_for("/a", 1, SHORT).await;
    for path in [
        format!("{by_uid}/endpoint/hook/secret"),
        format!("{by_uid}/msg/event-1"),
        format!("{by_uid}/attempt/endpoint/hook"),
        format!("{by_uid}/attempt/msg/event-1?endpoint_id=hook"),
        format!("{by_uid}/endpoint/hook/msg"),
        format!("{by_uid}/msg/event-1/endpoint"),
        format!("{by_uid}/msg/event-1/routing"),
        format!("{by_uid}/endpoint/hook/stats"),
    ] {
        assert_eq!(
            api.call(Method::GET, &path, None).await.unwrap().status,
            StatusCode::OK,
            "{path}"
        );
    }
    assert_eq!(
        api.read(&format!("{by_uid}/msg/event-1")).await.unwrap()["id"],
        sent["id"]
    );
    let resend = format!("{by_uid}/msg/event-1/endpoint/hook/resend");
    let resent = api.call(Method::POST, &resend, None).await.unwrap();
    assert_eq!((resent.status, resent.body), (StatusCode::ACCEPTED, json!({})));
    receiver.wait_for("/a", 2, SHORT).await;
    api.patch(by_uid, &json!({ "uid": null })).await.unwrap();
    assert_eq!(
        api.call(Method::GET, by_uid, None).await.unwrap().status,
        StatusCode::NOT_FOUND
    );
    api.post("/api/v1/app", &json!({ "name": "C", "uid": "customer.1" }))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_generations_of_field_names_are_taken_and_given() {
    let (_deployment, _nuncio, api) = started("api").await;
    let app = api.create_app("Names").await.unwrap();
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    for (types, rate) in [("eventTypes", "throttleRate"), ("filterTypes", "rateLimit")] {
        let body = json!({ "url": "https://example.com/", types: ["b", "a"], rate: 7 });
        let made = api.post(&endpoints, &body).await.unwrap();
        let path = format!("{endpoints}/{}", made["id"].as_str().unwrap());
        for (field, value) in [
            ("eventTypes", json!(["a", "b"])),
            ("filterTypes", json!(["a", "b"])),
            ("throttleRate", json!(7)),
            ("rateLimit", json!(7)),
            ("version", json!(1)),
            ("disabled", json!(false)),
        ] {
            assert_eq!(made[field], value, "{field}");
        }
        let patched = api.patch(&path, &json!({ types: null, rate: 9 })).await.unwrap();
        assert_eq!(
            (&patched["filterTypes"], &patched["throttleRate"]),
            (&Value::Null, &json!(9))
        );
        let kept = api.patch(&path, &json!({ "description": "x" })).await.unwrap();
        assert_eq!(
            (&kept["rateLimit"], &kept["description"]),
            (&json!(9), &json!("x"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_forward_and_backward_and_an_iterator_is_good_for_its_list_alone() {
    let (_deployment, _nuncio, api) = started("all").await;
    let app = api.create_app("Pages").await.unwrap();
    let other = api.create_app("Other").await.unwrap();
    let messages = format!("/api/v1/app/{app}/msg");
    let mut sent = Vec::new();
    for n in 0..5 {
        sent.push(
            api.create_message(&app, if n % 2 == 0 { "even" } else { "odd" }, &json!({ "n": n }))
                .await
                .unwrap(),
        );
    }
    sent.reverse();
    let ids = |page: &Value| -> Vec<String> {
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = api.read(&format!("{messages}?limit=2")).await.unwrap();
    assert_eq!((ids(&first), &first["done"]), (sent[..2].to_vec(), &json!(false)));
    let iterator = |page: &Value, name: &str| page[name].as_str().unwrap().to_owned();
    let second = api
        .read(&format!(
            "{messages}?limit=2&iterator={}",
            iterator(&first, "iterator")
        ))
        .await
        .unwrap();
    assert_eq!(
        (ids(&second), &second["done"]),
        (sent[2..4].to_vec(), &json!(false))
    );
    let third = api
        .read(&format!(
            "{messages}?limit=2&iterator={}",
            iterator(&second, "iterator")
        ))
        .await
        .unwrap();
    assert_eq!((ids(&third), &third["done"]), (sent[4..].to_vec(), &json!(true)));
    let back = api
        .read(&format!(
            "{messages}?limit=2&iterator={}",
            iterator(&third, "prevIterator")
        ))
        .await
        .unwrap();
    assert_eq!(ids(&back), sent[2..4]);
    // Both ends of every page can be gone on from, for what comes later.
    for (page, name) in [(&third, "iterator"), (&first, "prevIterator")] {
        let beyond = format!("{messages}?limit=2&iterator={}", iterator(page, name));
        let beyond = api.read(&beyond).await.unwrap();
        assert_eq!(
            (ids(&beyond), &beyond["done"]),
            (Vec::new(), &json!(true)),
            "{name}"
        );
    }
    let odd = api.list(&format!("{messages}?event_types=odd")).await.unwrap();
    assert_eq!(odd.len(), 2);

    let good = iterator(&first, "iterator");
    let mut flipped = good.clone().into_bytes();
    flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for path in [
        format!("{messages}?limit=2&iterator={flipped}"),
        format!("{messages}?limit=2&iterator={}", &good[..good.len() - 4]),
        format!("{messages}?limit=2&event_types=odd&iterator={good}"),
        format!("/api/v1/app/{other}/msg?limit=2&iterator={good}"),
        format!("/api/v1/app?iterator={good}"),
        format!("{messages}?iterator=-{good}"),
    ] {
        let reply = api.call(Method::GET, &path, None).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}: {}", reply.body);
        assert_eq!(reply.body["code"], "invalid_iterator");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_over_amqp_is_shown_like_what_came_by_rest() {
    let (deployment, _nuncio, api) = started("all").await;
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/a", [Answer::status(500), Answer::ok()]);
    let app = api.create_app("Both").await.unwrap();
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let body = r#"{"type":"sync.user","userId":"user_1"}"#;
    publisher
        .publish(&Event::new(&app, "sync.user", body).id("event-1"))
        .await
        .unwrap();
    receiver.wait_for("/a", 2, SHORT).await;
    let message = api.read(&format!("/api/v1/app/{app}/msg/event-1")).await.unwrap();
    assert_eq!(
        message["payload"],
        json!({ "type": "sync.user", "userId": "user_1" })
    );
    let id = message["id"].as_str().unwrap();
    let attempts = eventually("both attempts to be recorded", SHORT, || async {
        let attempts = api.attempts_by_message(&app, id).await.unwrap();
        (attempts.len() == 2).then_some(attempts)
    })
    .await;
    let newest = &attempts[0];
    assert_eq!(newest["status"], 0);
    assert_eq!(newest["statusText"], "success");
    assert_eq!(newest["triggerType"], 0);
    assert_eq!(newest["responseStatusCode"], 200);
    assert_eq!(newest["endpointId"], json!(endpoint));
    assert_eq!(newest["url"], json!(receiver.url("/a")));
    assert!(newest["responseDurationMs"].is_u64());
    assert_eq!(
        (&attempts[1]["status"], &attempts[1]["responseStatusCode"]),
        (&json!(2), &json!(500))
    );
    let failed = api
        .list(&format!(
            "/api/v1/app/{app}/attempt/endpoint/{endpoint}?status=2&status_code_class=500"
        ))
        .await
        .unwrap();
    assert_eq!(failed.len(), 1);
}

//! Beyond Svix: pause and resume, backlog, why a message went where it went, what was missed, statistics; and event types
//! whose schema is enforced.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::{Answer, ApiClient, Deployment, Nuncio, Receiver, SHORT, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};

async fn started() -> (Nuncio, ApiClient, Receiver, String) {
    let nuncio = Deployment::shared().await.unwrap().start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let app = api.create_app("Beyond").await.unwrap();
    (nuncio, api, receiver, app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_endpoint_keeps_its_messages_and_gets_them_once_it_is_resumed() {
    let (_nuncio, api, receiver, app) = started().await;
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    api.create_message(&app, "a", &json!({ "n": 0 })).await.unwrap();
    receiver.wait_for("/a", 1, SHORT).await;
    let paused = api
        .call(Method::POST, &format!("{path}/pause"), None)
        .await
        .unwrap();
    assert_eq!(
        (paused.status, &paused.body["paused"]),
        (StatusCode::OK, &json!(true))
    );
    let again = api
        .call(Method::POST, &format!("{path}/pause"), None)
        .await
        .unwrap();
    assert_eq!(again.body, paused.body, "pausing twice is pausing once");
    eventually("the sender to leave the queue", SHORT, || async {
        (api.read(&format!("{path}/backlog")).await.unwrap()["consumed"] == false).then_some(())
    })
    .await;
    let mut waiting = String::new();
    for n in 1..=3 {
        waiting = api.create_message(&app, "a", &json!({ "n": n })).await.unwrap();
    }
    let backlog = eventually("three to wait", SHORT, || async {
        let backlog = api.read(&format!("{path}/backlog")).await.unwrap();
        (backlog["depth"] == 3).then_some(backlog)
    })
    .await;
    assert_eq!(backlog["paused"], true);
    assert_eq!(backlog["drainEstimateSeconds"], Value::Null);
    assert!(
        backlog["oldestAgeSeconds"].as_f64().is_some_and(|age| age >= 0.0),
        "{backlog}"
    );
    let routing = api
        .read(&format!("/api/v1/app/{app}/msg/{waiting}/routing"))
        .await
        .unwrap();
    assert_eq!(routing["endpoints"][0]["decision"], "paused");
    assert_eq!(receiver.count("/a"), 1, "nothing is sent while it is paused");
    api.call(Method::POST, &format!("{path}/resume"), None)
        .await
        .unwrap()
        .success()
        .unwrap();
    receiver.wait_for("/a", 4, SHORT).await;
    let drained = eventually("it to drain", SHORT, || async {
        let backlog = api.read(&format!("{path}/backlog")).await.unwrap();
        (backlog["depth"] == 0 && backlog["ratePerSecond"].as_f64() > Some(0.0)).then_some(backlog)
    })
    .await;
    assert_eq!(drained["drainEstimateSeconds"].as_f64(), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn since_when_an_endpoint_only_fails_is_told_until_it_succeeds() {
    let (_nuncio, api, receiver, app) = started().await;
    receiver.answer("/f", [Answer::status(500)]);
    let endpoint = api.create_endpoint(&app, &receiver.url("/f")).await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/backlog");
    let told = async || api.read(&path).await.unwrap()["failingSince"].clone();
    assert_eq!(told().await, Value::Null, "nothing was sent yet");
    api.create_message(&app, "a", &json!({ "n": 0 })).await.unwrap();
    eventually("the failure to be told", SHORT, || async {
        told().await.is_string().then_some(())
    })
    .await;
    receiver.answer("/f", [Answer::ok()]);
    api.create_message(&app, "a", &json!({ "n": 1 })).await.unwrap();
    eventually("the success to end it", SHORT, || async {
        told().await.is_null().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_why_each_endpoint_did_or_did_not_get_a_message() {
    let (_nuncio, api, receiver, app) = started().await;
    let of = |path: &str, field: &str, value: Value| {
        let mut body = json!({ "url": receiver.url(path), "uid": path.trim_start_matches('/') });
        body[field] = value;
        body
    };
    for body in [
        of("/all", "description", json!("")),
        of("/types", "eventTypes", json!(["other"])),
        of("/channels", "channels", json!(["blue"])),
        of("/disabled", "disabled", json!(true)),
    ] {
        api.create_endpoint_with(&app, &body).await.unwrap();
    }
    let message = api.create_message(&app, "a", &json!({})).await.unwrap();
    receiver.wait_for("/all", 1, SHORT).await;
    api.create_endpoint_with(&app, &of("/later", "description", json!("")))
        .await
        .unwrap();
    let routing = eventually("the record", SHORT, || async {
        let routing = api
            .read(&format!("/api/v1/app/{app}/msg/{message}/routing"))
            .await
            .unwrap();
        routing["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .any(|of| of["statusText"] == "success")
            .then_some(routing)
    })
    .await;
    assert_eq!(
        (&routing["routed"], &routing["matchedNobody"]),
        (&json!(true), &json!(false))
    );
    let mut told: Vec<(String, String, bool)> = routing["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| {
            let text = |name: &str| of[name].as_str().unwrap().to_owned();
            (
                text("endpointUid"),
                text("decision"),
                of["routed"].as_bool().unwrap(),
            )
        })
        .collect();
    told.sort();
    let expected = [
        ("all", "matched", true),
        ("channels", "channel_filtered", false),
        ("disabled", "disabled", false),
        ("later", "not_there", false),
        ("types", "event_type_filtered", false),
    ];
    let expected = expected.map(|(uid, decision, routed)| (uid.to_owned(), decision.to_owned(), routed));
    assert_eq!(told, expected);

    let lonely = api.create_app("Nobody").await.unwrap();
    let message = api.create_message(&lonely, "a", &json!({})).await.unwrap();
    eventually("it to be routed to nobody", SHORT, || async {
        let routing = api
            .read(&format!("/api/v1/app/{lonely}/msg/{message}/routing"))
            .await
            .unwrap();
        (routing["matchedNobody"] == true && routing["endpoints"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_recovered_and_what_was_missed_is_replayed_under_the_same_ids() {
    let (_nuncio, api, receiver, app) = started().await;
    receiver.answer("/a", [Answer::status(500)]);
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    let mut sent = Vec::new();
    for n in 0..3 {
        sent.push(api.create_message(&app, "a", &json!({ "n": n })).await.unwrap());
    }
    eventually("all to fail for good", SHORT, || async {
        (api.read(&format!("{path}/stats")).await.unwrap()["fail"] == 3).then_some(())
    })
    .await;
    let tried = receiver.count("/a");
    receiver.answer("/a", [Answer::ok()]);
    let begun = &api.read(&format!("/api/v1/app/{app}")).await.unwrap()["createdAt"];
    let span = json!({ "since": begun });
    let recovered = api
        .call(Method::POST, &format!("{path}/recover"), Some(&span))
        .await
        .unwrap();
    assert_eq!(recovered.status, StatusCode::ACCEPTED);
    assert_eq!(
        (&recovered.body["status"], &recovered.body["task"]),
        (&json!("running"), &json!("endpoint.recover"))
    );
    receiver.wait_for("/a", tried + 3, SHORT).await;
    eventually("all to be recorded as delivered", SHORT, || async {
        let stats = api.read(&format!("{path}/stats")).await.unwrap();
        (stats["success"] == 3 && stats["fail"] == 0).then_some(())
    })
    .await;
    let late = api.create_endpoint(&app, &receiver.url("/late")).await.unwrap();
    let replay = format!("/api/v1/app/{app}/endpoint/{late}/replay-missing");
    api.post(&replay, &span).await.unwrap();
    let mut ids: Vec<_> = receiver
        .wait_for("/late", 3, SHORT)
        .await
        .iter()
        .map(|request| request.id().to_owned())
        .collect();
    ids.sort();
    sent.sort();
    assert_eq!(ids, sent);
    eventually("they to be recorded", SHORT, || async {
        let attempts = api.attempts_by_endpoint(&app, &late).await.unwrap();
        (attempts.len() == 3 && attempts.iter().all(|attempt| attempt["triggerType"] == 1)).then_some(())
    })
    .await;
    api.post(&replay, &span).await.unwrap();
    let nothing = json!({ "since": begun, "until": begun });
    api.post(&format!("{path}/recover"), &nothing).await.unwrap();
    api.create_message(&app, "a", &json!({ "last": true }))
        .await
        .unwrap();
    receiver.wait_for("/late", 4, SHORT).await;
    assert_eq!(receiver.count("/late"), 4, "what it had is not sent again");
    let stats = api.read(&format!("/api/v1/app/{app}/stats")).await.unwrap();
    assert_eq!(stats["endpoints"].as_array().unwrap().len(), 2);
    assert!(stats["attempts"]["fail"].as_u64() >= Some(3), "{stats}");
    assert!(!stats["hours"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_must_fit_its_schema_where_the_event_type_says_so() {
    let (_nuncio, api, receiver, app) = started().await;
    api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let schema =
        json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "string" } } });
    let event_type = |enforce: bool| json!({ "name": "strict", "description": "", "schemas": { "1": schema }, "enforceSchema": enforce });
    api.post("/api/v1/event-type", &event_type(true)).await.unwrap();
    let messages = format!("/api/v1/app/{app}/msg");
    let wrong = json!({ "eventType": "strict", "payload": { "id": 7 } });
    let refused = api.call(Method::POST, &messages, Some(&wrong)).await.unwrap();
    assert_eq!(
        refused.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        refused.body
    );
    assert_eq!(refused.body["detail"][0]["loc"], json!(["body", "payload"]));
    api.create_message(&app, "strict", &json!({ "id": "x" }))
        .await
        .unwrap();
    api.patch("/api/v1/event-type/strict", &json!({ "enforceSchema": false }))
        .await
        .unwrap();
    assert_eq!(
        api.call(Method::POST, &messages, Some(&wrong))
            .await
            .unwrap()
            .status,
        StatusCode::ACCEPTED
    );
    receiver.wait_for("/a", 2, SHORT).await;
    let bad =
        json!({ "name": "bad", "description": "", "schemas": { "1": { "type": 7 } }, "enforceSchema": true });
    let refused = api
        .call(Method::POST, "/api/v1/event-type", Some(&bad))
        .await
        .unwrap();
    assert_eq!(refused.body["detail"][0]["loc"], json!(["body", "schemas", "1"]));
    let example = json!({ "eventType": "sync.user" });
    let endpoint = api.list(&format!("/api/v1/app/{app}/endpoint")).await.unwrap()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let sent = api
        .post(
            &format!("/api/v1/app/{app}/endpoint/{endpoint}/send-example"),
            &example,
        )
        .await
        .unwrap();
    assert_eq!(sent["payload"]["type"], "sync.user");
    receiver.wait_for("/a", 3, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_can_be_read_and_names_every_route() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let document = api.with_token("").read("/api/v1/openapi.json").await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let page = api.with_token("").call(Method::GET, "/docs", None).await.unwrap();
    assert_eq!(page.status, StatusCode::OK);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let html = page.body.as_str().unwrap();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(html.contains(path.as_str()), "{path}");
    }
}

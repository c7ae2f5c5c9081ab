//! What Svix's own server does behind its fields, and its users have come to expect: patches of one field, pages in both
//! directions, refusals of what is none, examples, spans of time, flags.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::{Answer, ApiClient, Deployment, Nuncio, Receiver, SHORT, eventually};
use http::Method;
use serde_json::{Value, json};

/// Further back than anything reaches.
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

async fn started(role: &str) -> (Deployment, Nuncio, ApiClient) {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start(role).await.unwrap();
    let api = nuncio.client().await.unwrap();
    (deployment, nuncio, api)
}

/// The status of an answer, and the place of the mistake where it names one.
async fn answer(api: &ApiClient, method: Method, path: &str, body: &Value) -> (u16, String) {
    let body = (!body.is_null()).then_some(body);
    let reply = api.call(method, path, body).await.unwrap();
    let place = reply.body["detail"][0]["loc"].as_array().into_iter().flatten();
    let place: Vec<_> = place.map(|part| part.as_str().unwrap()).collect();
    (reply.status.as_u16(), place.join("."))
}

fn ids(page: &Value, id: &str) -> Vec<String> {
    let items = page["data"].as_array().unwrap().iter();
    items.map(|item| item[id].as_str().unwrap().to_owned()).collect()
}

/// Patches one field after the other, each to a value and to null where that is one, and nothing else changes.
async fn patch_alone(api: &ApiClient, path: &str, fields: &[(&str, Value)]) {
    let same = [
        ("rateLimit", "throttleRate"),
        ("throttleRate", "rateLimit"),
        ("eventTypes", "filterTypes"),
        ("filterTypes", "eventTypes"),
    ];
    for (field, value) in fields {
        let before = api.read(path).await.unwrap();
        let after = api.patch(path, &json!({ *field: value })).await.unwrap();
        assert_eq!(after, api.read(path).await.unwrap(), "{field}");
        assert_eq!(after[field], *value);
        let mut expected = before.clone();
        expected[field] = value.clone();
        for (_, other) in same.iter().filter(|(name, _)| name == field) {
            expected[other] = value.clone();
        }
        for moving in ["updatedAt", "disabledReason"] {
            if let Some(moved) = after.get(moving) {
                expected[moving] = moved.clone();
            }
        }
        assert_eq!(after, expected, "{field} alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_one_field_and_a_replacement_takes_away_what_it_leaves_out() {
    let (_deployment, _nuncio, api) = started("api").await;
    let app = api.create_app("first name").await.unwrap();
    let app_path = format!("/api/v1/app/{app}");
    let fields = [
        ("name", json!("second name")),
        ("rateLimit", json!(1)),
        ("rateLimit", Value::Null),
        ("throttleRate", json!(7)),
        ("uid", json!("some-app")),
        ("uid", Value::Null),
        ("metadata", json!({ "foo": "bar", "bizz": "baz" })),
    ];
    patch_alone(&api, &app_path, &fields).await;
    let (status, _) = answer(&api, Method::PUT, &app_path, &json!({ "name": "bare" })).await;
    let bare = api.read(&app_path).await.unwrap();
    assert_eq!(
        (status, &bare["throttleRate"], &bare["metadata"]),
        (200, &Value::Null, &json!({}))
    );

    let endpoint = api.create_endpoint(&app, "http://example.com").await.unwrap();
    let endpoint_path = format!("{app_path}/endpoint/{endpoint}");
    let created = api.read(&endpoint_path).await.unwrap();
    assert_eq!(
        (&created["url"], &created["version"]),
        (&json!("http://example.com/"), &json!(1))
    );
    let fields = [
        ("description", json!("test")),
        ("rateLimit", json!(1)),
        ("rateLimit", Value::Null),
        ("uid", json!("some")),
        ("uid", Value::Null),
        ("url", json!("http://example.org/")),
        ("version", json!(2)),
        ("disabled", json!(true)),
        ("eventTypes", json!(["not.in.the.catalogue"])),
        ("filterTypes", json!(["other"])),
        ("eventTypes", Value::Null),
        ("channels", json!(["test"])),
        ("metadata", json!({ "k": "v" })),
        ("metadata", json!({})),
    ];
    patch_alone(&api, &endpoint_path, &fields).await;
    let replacement = json!({ "url": "http://example.net/" });
    assert_eq!(
        answer(&api, Method::PUT, &endpoint_path, &replacement).await.0,
        200
    );
    let bare = api.read(&endpoint_path).await.unwrap();
    assert_eq!(
        (&bare["channels"], &bare["description"], &bare["disabled"]),
        (&Value::Null, &json!(""), &json!(false))
    );

    let kind = json!({ "name": "a.kind", "description": "d", "schemas": { "1": { "type": "object" } } });
    api.post("/api/v1/event-type", &kind).await.unwrap();
    let fields = [
        ("description", json!("updated")),
        ("schemas", json!({})),
        ("schemas", Value::Null),
        ("archived", json!(true)),
        ("deprecated", json!(true)),
    ];
    patch_alone(&api, "/api/v1/event-type/a.kind", &fields).await;
    for (path, body) in [
        ("/api/v1/app/new-app".to_owned(), json!({ "name": "x" })),
        (
            format!("{app_path}/endpoint/new-endpoint"),
            json!({ "url": "http://example.com/" }),
        ),
        (
            "/api/v1/event-type/new.kind".to_owned(),
            json!({ "description": "x" }),
        ),
    ] {
        for status in [201, 200] {
            assert_eq!(answer(&api, Method::PUT, &path, &body).await.0, status, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_ordered_cut_and_turned_around() {
    let (_deployment, _nuncio, api) = started("api").await;
    let app = api.create_app("Lists").await.unwrap();
    let list = format!("/api/v1/app/{app}/endpoint");
    let (mut apps, mut endpoints) = (vec![app.clone()], Vec::new());
    let mut kinds = vec!["sync.organization".to_owned(), "sync.user".to_owned()];
    for n in 0..9 {
        apps.push(api.create_app(&format!("App {n}")).await.unwrap());
        let url = format!("https://example.com/{n}");
        endpoints.insert(0, api.create_endpoint(&app, &url).await.unwrap());
        let kind = json!({ "name": format!("tests.{n}"), "description": "d" });
        api.post("/api/v1/event-type", &kind).await.unwrap();
        kinds.push(format!("tests.{n}"));
        // The time in an id is no finer than four milliseconds: what is made within them has no order.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for (path, id, all, ascending) in [
        ("/api/v1/app", "id", apps, true),
        (list.as_str(), "id", endpoints, false),
        ("/api/v1/event-type", "name", kinds, true),
    ] {
        let read = async |query: &str| api.read(&format!("{path}?{query}")).await.unwrap();
        assert_eq!(ids(&read("limit=250").await, id), all, "{path}");
        let whole = read(&format!("limit={}", all.len())).await;
        assert_eq!((ids(&whole, id).len(), &whole["done"]), (all.len(), &json!(true)));
        let turned = if ascending { "descending" } else { "ascending" };
        for order in ["", &format!("&order={turned}")] {
            let mut expected = all.clone();
            if !order.is_empty() {
                expected.reverse();
            }
            let first = read(&format!("limit=6{order}")).await;
            assert_eq!(
                (ids(&first, id), &first["done"]),
                (expected[..6].to_vec(), &json!(false))
            );
            let iterator = first["iterator"].as_str().unwrap();
            let rest = read(&format!("limit=50{order}&iterator={iterator}")).await;
            assert_eq!(
                (ids(&rest, id), &rest["done"]),
                (expected[6..].to_vec(), &json!(true))
            );
            let iterator = rest["prevIterator"].as_str().unwrap();
            let back = read(&format!("limit=3{order}&iterator={iterator}")).await;
            assert_eq!(
                (ids(&back, id), &back["done"]),
                (expected[3..6].to_vec(), &json!(false))
            );
            let iterator = back["prevIterator"].as_str().unwrap();
            let begin = read(&format!("limit=3{order}&iterator={iterator}")).await;
            assert_eq!(
                (ids(&begin, id), &begin["done"]),
                (expected[..3].to_vec(), &json!(true))
            );
        }
        for (query, place) in [
            ("limit=6&iterator=BAD-$$$ITERATOR", "query.iterator"),
            ("limit=300", "query.limit"),
            ("limit=0", "query.limit"),
        ] {
            let path = format!("{path}?{query}");
            assert_eq!(
                answer(&api, Method::GET, &path, &Value::Null).await,
                (422, place.to_owned())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_left_out_of_a_list_by_their_endpoints() {
    let (_deployment, _nuncio, api) = started("api").await;
    let [bare, off, on] = ["bare", "off", "on"].map(|name| api.create_app(name));
    let (bare, off, on) = (bare.await.unwrap(), off.await.unwrap(), on.await.unwrap());
    for (app, disabled) in [(&off, true), (&on, true), (&on, false)] {
        let draft = json!({ "url": "https://example.com/", "disabled": disabled });
        api.create_endpoint_with(app, &draft).await.unwrap();
    }
    for (query, expected) in [
        ("", vec![&bare, &off, &on]),
        ("?exclude_apps_with_no_endpoints=true", vec![&off, &on]),
        ("?exclude_apps_with_disabled_endpoints=true", vec![&bare, &on]),
        (
            "?exclude_apps_with_svix_play_endpoints=true",
            vec![&bare, &off, &on],
        ),
    ] {
        eventually(&format!("the list {query:?}"), SHORT, || async {
            let page = api.read(&format!("/api/v1/app{query}")).await.unwrap();
            (ids(&page, "id").iter().collect::<Vec<_>>() == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_place_and_nothing_else_is() {
    let (_deployment, _nuncio, api) = started("api").await;
    let app = api.create_app("Refused").await.unwrap();
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    let endpoint = api.create_endpoint(&app, "https://example.com/").await.unwrap();
    let of_endpoint = |rest: &str| format!("{endpoints}/{endpoint}/{rest}");
    let with = |field: &str, value: Value| json!({ "url": "https://example.com/", field: value });
    let link = format!("/api/v1/auth/app-portal-access/{app}");
    let message = |application: Value| json!({ "eventType": "a", "payload": {}, "application": application });
    let schema = json!({ "name": "bad.schema", "description": "d", "schemas": { "1": { "readOnly": 15 } } });
    for (method, path, body, status, place) in [
        (
            Method::POST,
            endpoints.clone(),
            with("eventTypes", json!([])),
            422,
            "body.eventTypes",
        ),
        (
            Method::POST,
            endpoints.clone(),
            with("channels", json!([])),
            422,
            "body.channels",
        ),
        (
            Method::POST,
            endpoints.clone(),
            with("secret", json!("whsec_C2FVsBQIhrscChlQIM+b5sSYspob")),
            422,
            "body.secret",
        ),
        (
            Method::POST,
            endpoints.clone(),
            with("secret", json!("hwsec_C2FVsBQIhrscChlQIM+b5sSYspob7oDazfgh")),
            422,
            "body.secret",
        ),
        (
            Method::POST,
            of_endpoint("recover"),
            json!({ "since": LONG_AGO }),
            422,
            "body.since",
        ),
        (
            Method::POST,
            of_endpoint("replay-missing"),
            json!({ "since": LONG_AGO }),
            422,
            "body.since",
        ),
        (
            Method::GET,
            of_endpoint(&format!("stats?since={LONG_AGO}")),
            Value::Null,
            400,
            "",
        ),
        (Method::GET, of_endpoint("stats"), Value::Null, 200, ""),
        (
            Method::POST,
            "/api/v1/event-type".into(),
            schema,
            422,
            "body.schemas.1",
        ),
        (
            Method::POST,
            "/api/v1/app/nobody/msg".into(),
            json!({ "eventType": "a", "payload": {} }),
            404,
            "",
        ),
        (
            Method::POST,
            "/api/v1/app/nobody/msg".into(),
            message(json!({ "name": "x" })),
            422,
            "body.application.uid",
        ),
        (
            Method::POST,
            "/api/v1/app/nobody/msg".into(),
            message(json!({ "name": "x", "uid": "other" })),
            422,
            "body.application.uid",
        ),
        (
            Method::POST,
            "/api/v1/app/somebody/msg".into(),
            message(json!({ "name": "Somebody", "uid": "somebody" })),
            202,
            "",
        ),
        (
            Method::POST,
            "/api/v1/app/somebody/msg".into(),
            message(json!({ "name": "ignored", "uid": "somebody" })),
            202,
            "",
        ),
        (
            Method::POST,
            "/api/v1/auth/app-portal-access/nobody".into(),
            json!({ "application": { "name": "x" } }),
            422,
            "body.application.uid",
        ),
        (
            Method::POST,
            "/api/v1/auth/app-portal-access/nobody".into(),
            json!({}),
            404,
            "",
        ),
        (
            Method::POST,
            link.replace("app-portal", "dashboard"),
            Value::Null,
            200,
            "",
        ),
    ] {
        let got = answer(&api, method, &path, &body).await;
        assert_eq!(got, (status, place.to_owned()), "{path} {body}");
    }
    assert_eq!(
        api.read("/api/v1/app/somebody").await.unwrap()["name"],
        "Somebody"
    );
    let headers = of_endpoint("headers");
    for name in [
        "content-length",
        "some:thing",
        "some\0thing",
        "svix-foo",
        "x-svix-foo",
        "x-amzn-foo",
    ] {
        let body = json!({ "headers": { name: "123" } });
        let (status, place) = answer(&api, Method::PUT, &headers, &body).await;
        assert!(
            status == 422 && place.starts_with("body.headers."),
            "{name}: {status} {place}"
        );
    }
    let nonsense = api.with_token("some-nonsense-key");
    let reply = nonsense.call(Method::GET, "/api/v1/app", None).await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), reply.body),
        (
            401,
            json!({ "code": "authentication_failed", "detail": "Invalid token" })
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_rotate_ten_times_and_of_an_ed25519_key_the_public_half_is_shown() {
    const PRIVATE: &str =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
    let (_deployment, _nuncio, api) = started("api").await;
    let app = api.create_app("Secrets").await.unwrap();
    let endpoint = api.create_endpoint(&app, "https://example.com/").await.unwrap();
    let rotate = format!("/api/v1/app/{app}/endpoint/{endpoint}/secret/rotate");
    let first = api.endpoint_secret(&app, &endpoint).await.unwrap();
    let rotated = api.post(&rotate, &json!({ "key": PRIVATE })).await.unwrap();
    assert_eq!(rotated["key"], PUBLIC);
    assert_eq!(api.endpoint_secret(&app, &endpoint).await.unwrap(), PUBLIC);
    api.post(&rotate, &json!({ "key": first })).await.unwrap();
    assert_eq!(api.endpoint_secret(&app, &endpoint).await.unwrap(), first);
    for _ in 2..10 {
        api.post(&rotate, &json!({ "key": null })).await.unwrap();
    }
    let reply = api
        .call(Method::POST, &rotate, Some(&json!({ "key": null })))
        .await
        .unwrap();
    assert_eq!(
        (reply.status.as_u16(), &reply.body["code"]),
        (400, &json!("limit_reached"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_the_event_types_of_its_flags_and_schemas_only_when_asked_for() {
    let (_deployment, _nuncio, api) = started("api").await;
    let app = api.create_app("Flags").await.unwrap();
    for (name, flag) in [("flagged", json!("beta")), ("plain", Value::Null)] {
        let schemas = json!({ "1": { "type": "object" } });
        let kind = json!({ "name": name, "description": "d", "featureFlag": flag, "schemas": schemas });
        api.post("/api/v1/event-type", &kind).await.unwrap();
    }
    let link = format!("/api/v1/auth/app-portal-access/{app}");
    for (flags, seen) in [
        (Value::Null, false),
        (json!([]), false),
        (json!(["other"]), false),
        (json!(["beta", "other"]), true),
    ] {
        let access = api.post(&link, &json!({ "featureFlags": flags })).await.unwrap();
        let customer = api.with_token(access["token"].as_str().unwrap());
        let status = answer(&customer, Method::GET, "/api/v1/event-type/flagged", &Value::Null).await;
        assert_eq!(status.0, if seen { 200 } else { 404 }, "{flags}");
        let listed = ids(&customer.read("/api/v1/event-type").await.unwrap(), "name");
        assert!(listed.contains(&"plain".to_owned()));
        assert_eq!(listed.contains(&"flagged".to_owned()), seen, "{flags}");
    }
    for (query, shown) in [("", false), ("?with_content=true", true)] {
        let page = api.read(&format!("/api/v1/event-type{query}")).await.unwrap();
        let kinds = page["data"].as_array().unwrap();
        assert!(
            kinds.iter().all(|kind| kind["schemas"].is_object() == shown),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_and_messages_are_found_by_what_they_are_and_met() {
    let (_deployment, _nuncio, api) = started("all").await;
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/bad", [Answer::status(500).body("sensitive")]);
    let app = api.create_app("Filters").await.unwrap();
    let good = api.create_endpoint(&app, &receiver.url("/good")).await.unwrap();
    let bad = json!({ "url": receiver.url("/bad"), "uid": "bad" });
    let bad = api.create_endpoint_with(&app, &bad).await.unwrap();
    let nowhere = format!("http://127.0.0.1:{}/", e2e::ports::free_port());
    let nowhere = api.create_endpoint(&app, &nowhere).await.unwrap();
    let messages = format!("/api/v1/app/{app}/msg");
    let news = json!({ "eventType": "balloon.popped", "payload": { "n": 1 }, "channels": ["news"] });
    let news = api.post(&messages, &news).await.unwrap();
    let plain = json!({ "eventType": "event.type", "payload": { "n": 2 } });
    let plain = api
        .post(&format!("{messages}?with_content=false"), &plain)
        .await
        .unwrap();
    assert_eq!(
        (&news["payload"], &plain["payload"]),
        (&json!({ "n": 1 }), &json!({}))
    );
    let count = async |path: &str| {
        let page = api.read(&format!("/api/v1/app/{app}/{path}")).await.unwrap();
        page["data"].as_array().unwrap().len()
    };
    // All four attempts of the ladder at both that fail.
    for endpoint in [&bad, &nowhere] {
        eventually("every attempt", SHORT, || async {
            (count(&format!("attempt/endpoint/{endpoint}")).await == 8).then_some(())
        })
        .await;
    }
    eventually("both deliveries", SHORT, || async {
        (count(&format!("attempt/endpoint/{good}")).await == 2).then_some(())
    })
    .await;
    let news_id = news["id"].as_str().unwrap();
    for (path, expected) in [
        ("msg?channel=news".to_owned(), 1),
        ("msg?event_types[]=event.type".to_owned(), 1),
        (
            "msg?event_types[0]=event.type&event_types[1]=balloon.popped".to_owned(),
            2,
        ),
        (
            format!("attempt/endpoint/{good}?event_types=event.type,balloon.popped"),
            2,
        ),
        (format!("attempt/endpoint/{good}?event_types=balloon.popped"), 1),
        (format!("attempt/endpoint/{good}?channel=news"), 1),
        (format!("attempt/endpoint/{good}?channel=foo"), 0),
        (format!("attempt/endpoint/{good}?status=0"), 2),
        (format!("attempt/endpoint/{good}?status=2"), 0),
        ("attempt/endpoint/bad?status=2".to_owned(), 8),
        ("attempt/endpoint/bad?status_code_class=500".to_owned(), 8),
        ("attempt/endpoint/bad?status_code_class=200".to_owned(), 0),
        (format!("attempt/endpoint/{nowhere}?status_code_class=0"), 8),
        (format!("attempt/msg/{news_id}?endpoint_id=bad"), 4),
        (format!("attempt/msg/{news_id}?after={LONG_AGO}"), 9),
        (format!("attempt/msg/{news_id}?before={LONG_AGO}"), 0),
        (format!("endpoint/{good}/msg"), 2),
        (format!("endpoint/{good}/msg?status=0"), 2),
        ("endpoint/bad/msg?status=2".to_owned(), 2),
        ("endpoint/bad/msg?channel=news&status=2".to_owned(), 1),
        ("endpoint/bad/msg?status=3".to_owned(), 0),
        (format!("msg/{news_id}/endpoint"), 3),
        (format!("msg/{news_id}/endpoint?limit=2"), 2),
    ] {
        assert_eq!(count(&path).await, expected, "{path}");
    }
    let destinations = api.read(&format!("{messages}/{news_id}/endpoint")).await.unwrap();
    assert_eq!(ids(&destinations, "id"), [good, bad, nowhere.clone()]);
    let attempts = api.attempts_by_endpoint(&app, &nowhere).await.unwrap();
    assert!(attempts.iter().all(|attempt| attempt["responseStatusCode"] == 0));

    let attempts = api.attempts_by_endpoint(&app, "bad").await.unwrap();
    assert_eq!(attempts[0]["response"], "sensitive");
    let (message, attempt) = (&attempts[0]["msgId"], &attempts[0]["id"]);
    let path = format!(
        "{messages}/{}/attempt/{}",
        message.as_str().unwrap(),
        attempt.as_str().unwrap()
    );
    api.delete(&format!("{path}/content")).await.unwrap();
    assert_eq!(api.read(&path).await.unwrap()["response"], "EXPUNGED");

    let example = format!("/api/v1/app/{app}/endpoint/bad/send-example");
    receiver.answer("/bad", [Answer::ok()]);
    let ping = api
        .post(&example, &json!({ "eventType": "svix.ping" }))
        .await
        .unwrap();
    assert_eq!(ping["payload"], json!({ "success": true }));
    eventually("the example", SHORT, || async {
        let got = receiver.wait_for("/bad", 9, SHORT).await;
        got.iter()
            .any(|request| request.body == br#"{"success":true}"#[..])
            .then_some(())
    })
    .await;
}

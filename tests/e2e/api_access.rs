//! Who may do what: admins everything, a customer's token what its app and its capabilities allow, nobody else anything.
//! Every route of the OpenAPI document is tried with ids of others.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{ApiClient, Deployment, Receiver, SHORT};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Bodies that are accepted, by the end of the path.
fn body(method: &str, path: &str) -> Option<Value> {
    let time = "2100-01-01T00:00:00Z";
    Some(match (method, path.rsplit('/').next()?) {
        ("get" | "delete", _) => return None,
        (_, "app" | "{app_id}") if !path.contains("/auth/") => json!({ "name": "x" }),
        (_, "endpoint" | "{endpoint_id}") => json!({ "url": "https://example.com/" }),
        (_, "headers") => json!({ "headers": {} }),
        (_, "msg") => json!({ "eventType": "a", "payload": {} }),
        (_, "active") => json!({ "eventType": "a" }),
        (_, "recover" | "replay-missing") => json!({ "since": time }),
        (_, "send-example") => json!({ "eventType": "sync.user" }),
        (_, "event-type" | "{event_type_name}") => json!({ "name": "a.type", "description": "" }),
        _ => json!({}),
    })
}

/// Every operation: method and path.
async fn operations(api: &ApiClient) -> Vec<(String, String)> {
    let document = api.read("/api/v1/openapi.json").await.unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for verb in VERBS.into_iter().filter(|verb| item.get(*verb).is_some()) {
            found.push((verb.to_owned(), path.clone()));
        }
    }
    assert!(found.len() > 40, "{found:?}");
    found
}

fn filled(path: &str, ids: &BTreeMap<&str, &str>) -> String {
    ids.iter().fold(path.to_owned(), |path, (name, id)| {
        path.replace(&format!("{{{name}}}"), id)
    })
}

async fn call(api: &ApiClient, verb: &str, path: &str, template: &str) -> (StatusCode, Value) {
    let method: Method = verb.to_uppercase().parse().unwrap();
    let reply = api
        .call(method, path, body(verb, template).as_ref())
        .await
        .unwrap();
    (reply.status, reply.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_shows_or_changes_what_belongs_to_another_app() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let mine = api.create_app("Mine").await.unwrap();
    let theirs = api.create_app("Theirs").await.unwrap();
    let their_endpoint = api
        .create_endpoint(&theirs, &receiver.url("/theirs"))
        .await
        .unwrap();
    let my_endpoint = api.create_endpoint(&mine, &receiver.url("/mine")).await.unwrap();
    let their_message = api.create_message(&theirs, "a", &json!({})).await.unwrap();
    let my_message = api.create_message(&mine, "a", &json!({})).await.unwrap();
    receiver.wait_for("/theirs", 1, SHORT).await;
    receiver.wait_for("/mine", 1, SHORT).await;
    let attempt = |app: String, message: String| {
        let api = api.clone();
        async move {
            e2e::eventually("its attempt", SHORT, || async {
                let attempts = api.attempts_by_message(&app, &message).await.unwrap();
                attempts
                    .first()
                    .map(|attempt| attempt["id"].as_str().unwrap().to_owned())
            })
            .await
        }
    };
    let their_attempt = attempt(theirs.clone(), their_message.clone()).await;
    let my_attempt = attempt(mine.clone(), my_message.clone()).await;
    let customer = api.with_token(deployment.token(&["--app", &mine]).await.unwrap());
    let own = BTreeMap::from([
        ("app_id", mine.as_str()),
        ("endpoint_id", &my_endpoint),
        ("msg_id", &my_message),
        ("attempt_id", &my_attempt),
        ("event_type_name", "sync.user"),
    ]);
    let foreign = BTreeMap::from([
        ("app_id", theirs.as_str()),
        ("endpoint_id", &their_endpoint),
        ("msg_id", &their_message),
        ("attempt_id", &their_attempt),
    ]);
    let before = snapshot(&api, &theirs).await;
    for (verb, template) in operations(&api).await {
        let named: Vec<_> = foreign
            .keys()
            .copied()
            .filter(|name| template.contains(&format!("{{{name}}}")))
            .collect();
        for foreign_name in named {
            let mut ids = own.clone();
            ids.insert(foreign_name, foreign[foreign_name]);
            let path = filled(&template, &ids);
            let (status, body) = call(&customer, &verb, &path, &template).await;
            assert!(
                matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN),
                "a customer, {verb} {path}: {status} {body}"
            );
            if foreign_name != "app_id" {
                let (status, body) = call(&api, &verb, &path, &template).await;
                assert_eq!(status, StatusCode::NOT_FOUND, "an admin, {verb} {path}: {body}");
            }
        }
    }
    assert_eq!(
        snapshot(&api, &theirs).await,
        before,
        "nothing of theirs was changed"
    );
}

/// All that can be seen of an app.
async fn snapshot(api: &ApiClient, app: &str) -> Vec<Value> {
    let mut seen = vec![api.read(&format!("/api/v1/app/{app}")).await.unwrap()];
    for list in ["endpoint", "msg"] {
        seen.extend(api.list(&format!("/api/v1/app/{app}/{list}")).await.unwrap());
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_but_health_wants_a_token_that_is_valid_here_and_now() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let elsewhere = Deployment::shared().await.unwrap();
    let soon = deployment.token(&["--expires", "1s"]).await.unwrap();
    let valid = deployment.token(&[]).await.unwrap();
    let parts: Vec<_> = valid.split('.').collect();
    let unsigned = {
        use base64::Engine;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        format!("{header}.{}.", parts[1])
    };
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let tokens = [
        "".to_owned(),
        "nonsense".to_owned(),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(43)),
        unsigned,
        soon,
        elsewhere.token(&[]).await.unwrap(),
    ];
    for token in &tokens {
        let reply = api
            .with_token(token.clone())
            .call(Method::GET, "/api/v1/app", None)
            .await
            .unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{token}: {}", reply.body);
        assert_eq!(reply.body["code"], "authentication_failed");
        assert!(reply.headers.contains_key("www-authenticate"));
    }
    let nobody = api.with_token("nonsense");
    for (verb, template) in operations(&api).await {
        let (status, body) = call(&nobody, &verb, &template, &template).await;
        if template.starts_with("/api/v1/health") {
            assert_eq!(status, StatusCode::NO_CONTENT, "{template}");
        } else {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{verb} {template}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_may_do_what_the_capabilities_say_and_nothing_of_the_operators() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let app = api.create_app("Rights").await.unwrap();
    let base = format!("/api/v1/app/{app}");
    let endpoint = api.create_endpoint(&app, "https://example.com/").await.unwrap();
    let secret = format!("{base}/endpoint/{endpoint}/secret");
    let rotate = format!("{secret}/rotate");
    let resume = format!("{base}/endpoint/{endpoint}/resume");
    let recover = format!("{base}/endpoint/{endpoint}/recover");
    let span = json!({ "since": api.read(&base).await.unwrap()["createdAt"] });
    let link = |draft: Value| {
        let (api, app) = (api.clone(), app.clone());
        async move {
            let access = api
                .post(&format!("/api/v1/auth/app-portal-access/{app}"), &draft)
                .await
                .unwrap();
            api.with_token(access["token"].as_str().unwrap())
        }
    };
    let everything = link(json!({})).await;
    let looking = link(json!({ "readOnly": true })).await;
    let seeing = link(json!({ "capabilities": ["ViewBase", "ViewEndpointSecret"] })).await;
    let sending = link(json!({ "capabilities": ["CreateAttempts"] })).await;
    let (yes, no) = (true, false);
    for (who, customer, [base_ok, secret_ok, rotate_ok, manage_ok, send_ok]) in [
        ("everything", &everything, [yes, yes, yes, yes, yes]),
        ("looking", &looking, [yes, no, no, no, no]),
        ("seeing", &seeing, [yes, yes, no, no, no]),
        ("sending", &sending, [yes, no, no, no, yes]),
    ] {
        for (what, method, path, body, allowed) in [
            ("look", Method::GET, &base, None, base_ok),
            ("see a secret", Method::GET, &secret, None, secret_ok),
            ("rotate", Method::POST, &rotate, Some(json!({})), rotate_ok),
            ("manage", Method::POST, &resume, None, manage_ok),
            ("send again", Method::POST, &recover, Some(span.clone()), send_ok),
            (
                "send",
                Method::POST,
                &format!("{base}/msg"),
                Some(json!({ "eventType": "a", "payload": {} })),
                no,
            ),
            ("list apps", Method::GET, &"/api/v1/app".to_owned(), None, no),
            ("rename", Method::PATCH, &base, Some(json!({ "name": "x" })), no),
            ("delete", Method::DELETE, &base, None, no),
            (
                "add a type",
                Method::POST,
                &"/api/v1/event-type".to_owned(),
                Some(json!({ "name": "a", "description": "" })),
                no,
            ),
            (
                "see types",
                Method::GET,
                &"/api/v1/event-type".to_owned(),
                None,
                yes,
            ),
        ] {
            let reply = customer.call(method, path, body.as_ref()).await.unwrap();
            if allowed {
                assert!(
                    reply.status.is_success(),
                    "{who} may {what}: {} {}",
                    reply.status,
                    reply.body
                );
            } else {
                assert_eq!(
                    reply.status,
                    StatusCode::FORBIDDEN,
                    "{who} may not {what}: {}",
                    reply.body
                );
            }
        }
    }
    for draft in [json!({ "expiry": 3_599 }), json!({ "expiry": 604_801 })] {
        let path = format!("/api/v1/auth/app-portal-access/{app}");
        let reply = api.call(Method::POST, &path, Some(&draft)).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(reply.body["detail"][0]["loc"], json!(["body", "expiry"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_one_token_and_expiring_ends_those_of_a_session_or_all() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let app = api.create_app("Sessions").await.unwrap();
    let path = format!("/api/v1/app/{app}");
    let link = |session: Option<&str>| {
        let (api, app) = (api.clone(), app.clone());
        let draft = json!({ "sessionId": session });
        async move {
            let access = api
                .post(&format!("/api/v1/auth/app-portal-access/{app}"), &draft)
                .await
                .unwrap();
            api.with_token(access["token"].as_str().unwrap())
        }
    };
    let status = |customer: ApiClient| {
        let path = path.clone();
        async move {
            customer
                .call(Method::GET, &path, None)
                .await
                .unwrap()
                .status
                .as_u16()
        }
    };
    let (one, two, blue) = (link(None).await, link(None).await, link(Some("blue")).await);
    let gone = one.call(Method::POST, "/api/v1/auth/logout", None).await.unwrap();
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(
        (
            status(one).await,
            status(two.clone()).await,
            status(blue.clone()).await
        ),
        (401, 200, 200)
    );
    let expire = format!("/api/v1/auth/app/{app}/expire-all");
    api.call(Method::POST, &expire, Some(&json!({ "sessionIds": ["blue"] })))
        .await
        .unwrap()
        .success()
        .unwrap();
    assert_eq!((status(two.clone()).await, status(blue).await), (200, 401));
    let later = json!({ "expiry": 3_600 });
    api.call(Method::POST, &expire, Some(&later))
        .await
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(status(two.clone()).await, 200, "not yet");
    api.call(Method::POST, &expire, None)
        .await
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(status(two).await, 401);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(status(link(None).await).await, 200, "those made later are good");
    let admin = api.call(Method::POST, "/api/v1/auth/logout", None).await.unwrap();
    assert_eq!(admin.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_tokens_is_stopped_and_who_has_one_is_not() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let guess = api.with_token("guess");
    let guesses = (0..1_000).map(|_| guess.call(Method::GET, "/api/v1/app", None));
    let replies = futures_util::future::try_join_all(guesses).await.unwrap();
    let stopped: Vec<_> = replies
        .iter()
        .filter(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS)
        .collect();
    assert!(stopped.len() > 500, "{} of 1000", stopped.len());
    let wait: u64 = stopped[0].headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(wait >= 1 && stopped[0].body["code"] == "rate_limited");
    assert_eq!(
        api.call(Method::GET, "/api/v1/app", None).await.unwrap().status,
        StatusCode::OK
    );
    let app = api.create_app("Busy").await.unwrap();
    let customer = api.with_token(deployment.token(&["--app", &app]).await.unwrap());
    let path = format!("/api/v1/app/{app}");
    let calls = (0..1_000).map(|_| customer.call(Method::GET, &path, None));
    let replies = futures_util::future::try_join_all(calls).await.unwrap();
    assert!(
        replies
            .iter()
            .any(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS)
    );
    assert_eq!(
        api.call(Method::GET, &path, None).await.unwrap().status,
        StatusCode::OK
    );
}

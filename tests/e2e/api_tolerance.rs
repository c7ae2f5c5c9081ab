//! What programs written for a Svix server get away with there, and so do here: bounds computed a moment ago, null for
//! nothing, pages of other origins.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::time::Duration;

use e2e::{Answer, ApiClient, Deployment, LONG, Nuncio, Receiver, eventually};
use http::{Method, StatusCode};
use nuncio_runtime::Clock;
use serde_json::{Value, json};

const DAY: i64 = 24 * 3_600 * 1_000;

async fn started() -> (Deployment, Nuncio, ApiClient) {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    (deployment, nuncio, api)
}

fn before_now(millis: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(Clock::system().now() - millis);
    at.unwrap().to_string()
}

async fn status(api: &ApiClient, method: Method, path: &str, body: &Value) -> StatusCode {
    let body = (!body.is_null()).then_some(body);
    api.call(method, path, body).await.unwrap().status
}

#[tokio::test]
async fn a_message_that_is_refused_makes_no_app() {
    let (_deployment, _nuncio, api) = started().await;
    let ghost = json!({ "name": "Ghost", "uid": "ghost" });
    for (event_type, payload) in [("b c", json!({})), ("a.b", json!([]))] {
        let message = json!({ "eventType": event_type, "payload": payload, "application": ghost });
        let refused = status(&api, Method::POST, "/api/v1/app/ghost/msg", &message).await;
        assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY, "{message}");
        let app = status(&api, Method::GET, "/api/v1/app/ghost", &Value::Null).await;
        assert_eq!(app, StatusCode::NOT_FOUND);
    }
    let message = json!({ "eventType": "a.b", "payload": {}, "application": ghost });
    let accepted = status(&api, Method::POST, "/api/v1/app/ghost/msg", &message).await;
    assert_eq!(accepted, StatusCode::ACCEPTED);
    assert!(api.read("/api/v1/app/ghost").await.is_ok());
}

#[tokio::test]
async fn a_span_that_was_computed_a_moment_ago_is_within_its_bound() {
    let (_deployment, _nuncio, api) = started().await;
    let app = api.create_app("Acme").await.unwrap();
    let endpoint = api.create_endpoint(&app, "https://example.com/").await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    const MINUTE: i64 = 60 * 1_000;
    for (late, recover, stats) in [
        (1_000, StatusCode::ACCEPTED, StatusCode::OK),
        (
            10 * MINUTE,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let since = json!({ "since": before_now(14 * DAY + late) });
        for verb in ["recover", "replay-missing"] {
            let answered = status(&api, Method::POST, &format!("{path}/{verb}"), &since).await;
            assert_eq!(answered, recover, "{verb} {since}");
        }
        let since = before_now(28 * DAY + late);
        let answered = status(
            &api,
            Method::GET,
            &format!("{path}/stats?since={since}"),
            &Value::Null,
        )
        .await;
        assert_eq!(answered, stats, "stats since {since}");
    }
}

#[tokio::test]
async fn null_metadata_is_none() {
    let (_deployment, _nuncio, api) = started().await;
    let app = api
        .post("/api/v1/app", &json!({ "name": "Acme", "metadata": null }))
        .await
        .unwrap();
    assert_eq!(app["metadata"], json!({}));
    let path = format!("/api/v1/app/{}", app["id"].as_str().unwrap());
    let endpoint = json!({ "url": "https://example.com/", "metadata": { "a": "b" } });
    let endpoint = api.post(&format!("{path}/endpoint"), &endpoint).await.unwrap();
    let endpoint = format!("{path}/endpoint/{}", endpoint["id"].as_str().unwrap());
    for path in [&path, &endpoint] {
        let set = api
            .patch(path, &json!({ "metadata": { "a": "b" } }))
            .await
            .unwrap();
        assert_eq!(set["metadata"], json!({ "a": "b" }));
        let cleared = api.patch(path, &json!({ "metadata": null })).await.unwrap();
        assert_eq!(cleared["metadata"], json!({}));
    }
}

#[tokio::test]
async fn after_a_time_begins_with_what_is_of_that_time() {
    let (_deployment, _nuncio, api) = started().await;
    let app = api.create_app("Acme").await.unwrap();
    let path = format!("/api/v1/app/{app}/msg");
    let message = json!({ "eventType": "a.b", "payload": {} });
    let made = api.post(&path, &message).await.unwrap();
    let at = made["timestamp"].as_str().unwrap();
    let found = api.list(&format!("{path}?after={at}")).await.unwrap();
    assert_eq!(found.len(), 1, "after {at}");
    let spelled = at.replace('T', "%20").replace('Z', "%20UTC");
    let found = api.list(&format!("{path}?before={spelled}")).await.unwrap();
    assert!(found.is_empty(), "before {spelled}");
}

#[tokio::test]
async fn an_idempotency_key_may_have_spaces() {
    let (_deployment, _nuncio, api) = started().await;
    let headers = [("idempotency-key", "order 123 of today")];
    let body = json!({ "name": "Acme" });
    let mut answers = Vec::new();
    for _ in 0..2 {
        let reply = api
            .call_with(Method::POST, "/api/v1/app", Some(&body), &headers)
            .await;
        answers.push(reply.unwrap().body);
    }
    assert!(answers[0]["id"].is_string(), "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn pages_of_any_origin_may_call_the_api_and_see_no_other_page() {
    let (_deployment, nuncio, api) = started().await;
    let http = reqwest::Client::new();
    let origin = |request: reqwest::RequestBuilder| request.header("origin", "https://app.example");
    let url = |path: &str| format!("{}{path}", nuncio.api_url());
    let preflight = origin(http.request(Method::OPTIONS, url("/api/v1/app")))
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success(), "{}", preflight.status());
    let told = preflight.headers();
    assert_eq!(told["access-control-allow-origin"], "*");
    assert_eq!(told["access-control-allow-headers"], "authorization,content-type");
    assert!(!told.contains_key("access-control-allow-credentials"));
    let answer = origin(http.get(url("/api/v1/app"))).send().await.unwrap();
    assert_eq!(
        answer.status(),
        StatusCode::UNAUTHORIZED,
        "who may do what is told by the token"
    );
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let page = origin(http.get(url("/console/sign-in"))).send().await.unwrap();
    assert!(!page.headers().contains_key("access-control-allow-origin"));
    assert!(api.read("/api/v1/app").await.is_ok());
}

#[tokio::test]
async fn what_svix_refuses_is_refused_and_what_it_takes_is_taken() {
    let (_deployment, _nuncio, api) = started().await;
    let app = api.create_app("Acme").await.unwrap();
    let endpoint = api.create_endpoint(&app, "https://example.com/").await.unwrap();
    let messages = format!("/api/v1/app/{app}/msg");
    let message = |more: Value| {
        let mut message = json!({ "eventType": "a.b", "payload": {} });
        message
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        message
    };
    for (method, path, body, expected) in [
        (
            Method::POST,
            messages.as_str(),
            message(json!({ "tags": ["a"] })),
            StatusCode::ACCEPTED,
        ),
        (
            Method::POST,
            &messages,
            message(json!({ "tags": "a" })),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            Method::POST,
            &messages,
            message(json!({ "tags": [1] })),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            Method::PUT,
            "/api/v1/event-type/bad%20name",
            json!({ "description": "d" }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        assert_eq!(status(&api, method, path, &body).await, expected, "{path} {body}");
    }
    let made = api.post(&messages, &message(json!({}))).await.unwrap();
    for absent in ["tags", "deliverAt", "eventId", "channels"] {
        assert_eq!(made.get(absent), Some(&Value::Null), "{absent}");
    }
    for path in [
        format!("/api/v1/app/{app}/attempt/endpoint/{endpoint}?status=4"),
        format!("/api/v1/app/{app}/endpoint/{endpoint}/msg?status=4"),
    ] {
        let canceled = api.read(&path).await.unwrap();
        assert_eq!(
            (&canceled["data"], &canceled["done"]),
            (&json!([]), &json!(true)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_example_that_was_asked_for_is_sent() {
    let (_deployment, _nuncio, api) = started().await;
    let app = api.create_app("Acme").await.unwrap();
    let endpoint = api.create_endpoint(&app, "https://example.com/").await.unwrap();
    let kind = json!({
        "name": "with.examples", "description": "d",
        "schemas": { "1": { "type": "object", "examples": [{ "n": 0 }, { "n": 1 }] } },
    });
    api.post("/api/v1/event-type", &kind).await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/send-example");
    for (index, n) in [(Value::Null, 0), (json!(0), 0), (json!(1), 1)] {
        let asked = json!({ "eventType": "with.examples", "exampleIndex": index });
        let sent = api.post(&path, &asked).await.unwrap();
        assert_eq!(sent["payload"], json!({ "n": n }), "{asked}");
    }
}

#[tokio::test]
async fn attempts_are_listed_by_their_timestamps_however_long_they_took() {
    const MESSAGES: usize = 12;
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let app = api.create_app("Acme").await.unwrap();
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    // An endpoint that is known to answer has several deliveries under way, and later ones end first.
    receiver.answer_with("/a", |nth, _| {
        let slow = if nth > MESSAGES && nth % 3 == 0 { 300 } else { 0 };
        Answer::ok().after(Duration::from_millis(slow))
    });
    for round in 0..2 {
        for n in 0..MESSAGES {
            api.create_message(&app, "a.b", &json!({ "n": n })).await.unwrap();
        }
        receiver.wait_for("/a", MESSAGES * (round + 1), LONG).await;
    }
    let list = format!("/api/v1/app/{app}/attempt/endpoint/{endpoint}?limit=50");
    let attempts = eventually("all attempts are listed", LONG, async || {
        let page = api.read(&list).await.ok()?;
        let attempts = page["data"].as_array()?.clone();
        (attempts.len() == 2 * MESSAGES).then_some(attempts)
    })
    .await;
    let began = |attempt: &Value| attempt["timestamp"].as_str().unwrap().to_owned();
    let times: Vec<_> = attempts.iter().map(began).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first: {times:?}");
    let since = api.read(&format!("{list}&after={}", times[5])).await.unwrap();
    let since = since["data"].as_array().unwrap();
    let count = times.iter().filter(|time| **time >= times[5]).count();
    assert_eq!(since[..], attempts[..count]);
}

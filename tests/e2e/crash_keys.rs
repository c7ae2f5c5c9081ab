//! Requests under idempotency keys whose API dies before it has answered: the same request again is answered as if
//! nothing had happened, and what it makes is there once.

use e2e::{Event, LONG, Reply, eventually};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::crash_points::{Stage, dies};
use crate::delivery_stage::{QUIET, stays};

/// A request that makes something.
struct Case {
    name: &'static str,
    path: String,
    body: Value,
    status: StatusCode,
}

impl Case {
    fn new(name: &'static str, path: String, body: Value, status: StatusCode) -> Self {
        Self {
            name,
            path,
            body,
            status,
        }
    }

    async fn ask(&self, client: &e2e::ApiClient, key: &str) -> anyhow::Result<Reply> {
        let headers = [("idempotency-key", key)];
        client
            .call_with(Method::POST, &self.path, Some(&self.body), &headers)
            .await
    }

    /// Asks an API that dies at `place`, then another one.
    async fn survives(&self, stage: &Stage, place: &str) -> Value {
        let key = format!("{place} {}", self.name).replace(' ', "-");
        let api = stage.doomed("api", place, 1).await;
        let cut = self.ask(&stage.client_of(&api), &key).await;
        assert!(cut.is_err(), "{key}: {cut:?}");
        dies(api, place).await;
        let again = self.ask(&stage.client, &key).await.expect("an answer");
        assert_eq!(again.status, self.status, "{key}: {}", again.body);
        let once_more = self.ask(&stage.client, &key).await.expect("an answer");
        assert_eq!((once_more.status, &once_more.body), (again.status, &again.body));
        let headers = [("idempotency-key", key.as_str())];
        let bare = stage
            .client
            .call_with(Method::POST, &self.path, None, &headers)
            .await
            .expect("an answer");
        assert_eq!(
            bare.body, again.body,
            "{key}: a retry that has lost its body is the same"
        );
        again.body
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().expect("a text").to_owned()
}

async fn count(stage: &Stage, path: &str, field: &str, value: &str) -> usize {
    let all = stage.client.list(path).await.expect("a list");
    all.iter().filter(|item| item[field] == value).count()
}

async fn everything_is_made_once(place: &str) {
    let stage = Stage::open().await;
    let (_router, _sender) = (stage.start("router").await, stage.start("sender").await);
    let client = &stage.client;
    let app = format!("/api/v1/app/{}", stage.app);
    let one = client
        .create_endpoint(&stage.app, &stage.url("/one"))
        .await
        .expect("an endpoint");
    let before = client.endpoint_secret(&stage.app, &one).await.expect("a secret");
    let body = json!({ "eventType": "sent.once", "payload": { "round": 0, "n": 1 } });
    let sent = client
        .post(&format!("{app}/msg"), &body)
        .await
        .expect("a message");
    let sent = text(&sent, "id");
    attempts(&stage, &one, &sent, 1).await;
    let cases = [
        Case::new(
            "app",
            "/api/v1/app".to_owned(),
            json!({ "name": "made once" }),
            StatusCode::CREATED,
        ),
        Case::new(
            "endpoint",
            format!("{app}/endpoint"),
            json!({ "url": stage.url("/new"), "description": "made once", "uid": "once" }),
            StatusCode::CREATED,
        ),
        Case::new(
            "event type",
            "/api/v1/event-type".to_owned(),
            json!({ "name": "made.once", "description": "" }),
            StatusCode::CREATED,
        ),
        Case::new(
            "rotation",
            format!("{app}/endpoint/{one}/secret/rotate"),
            json!({}),
            StatusCode::OK,
        ),
        Case::new(
            "example",
            format!("{app}/endpoint/{one}/send-example"),
            json!({ "eventType": "example.once" }),
            StatusCode::OK,
        ),
        Case::new(
            "resend",
            format!("{app}/msg/{sent}/endpoint/{one}/resend"),
            json!({}),
            StatusCode::ACCEPTED,
        ),
        Case::new(
            "portal link",
            format!("/api/v1/auth/app-portal-access/{}", stage.app),
            json!({}),
            StatusCode::OK,
        ),
    ];
    let answers = join_all(cases.iter().map(|case| case.survives(&stage, place))).await;

    let [made, endpoint, _, rotated, example, _, _] = answers.try_into().expect("as many as cases");
    assert_eq!(
        count(&stage, "/api/v1/app", "name", "made once").await,
        1,
        "{place}"
    );
    assert!(
        client
            .read(&format!("/api/v1/app/{}", text(&made, "id")))
            .await
            .is_ok()
    );
    let endpoints = format!("{app}/endpoint");
    assert_eq!(
        count(&stage, &endpoints, "description", "made once").await,
        1,
        "{place}"
    );
    let secret = client.endpoint_secret(&stage.app, &text(&endpoint, "id")).await;
    assert!(secret.expect("its secret").starts_with("whsec_"));
    let now = client.endpoint_secret(&stage.app, &one).await.expect("a secret");
    assert_eq!(
        now,
        text(&rotated, "key"),
        "{place}: the secret that was told signs"
    );
    assert_ne!(now, before);
    let messages = format!("{app}/msg");
    assert_eq!(
        count(&stage, &messages, "eventType", "example.once").await,
        1,
        "{place}"
    );
    let message = format!("{messages}/{}", text(&example, "id"));
    assert!(client.read(&message).await.is_ok(), "{place}");
    attempts(&stage, &one, &sent, 2).await;
}

/// Waits until a message was sent to an endpoint so often, and looks whether it stays so.
async fn attempts(stage: &Stage, endpoint: &str, message: &str, expected: usize) {
    let made = async || {
        let all = stage.client.attempts_by_endpoint(&stage.app, endpoint).await;
        let all = all.expect("a list of attempts");
        all.iter().filter(|attempt| attempt["msgId"] == message).count()
    };
    eventually(&format!("{expected} attempts at {message}"), LONG, async || {
        (made().await >= expected).then_some(())
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(made().await, expected, "attempts at {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_before_its_answer_was_kept_is_made_once() {
    everything_is_made_once("api::request-done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_kept_but_not_sent_is_given_again() {
    everything_is_made_once("api::request-kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_half_made_is_made_under_the_id_that_it_was_to_have() {
    let stage = Stage::open().await;
    let path = format!("/api/v1/app/{}/endpoint", stage.app);
    for place in ["api::lane-declared", "api::endpoint-kept"] {
        let body = json!({ "url": stage.url("/new"), "description": place });
        let case = Case::new("half", path.clone(), body, StatusCode::CREATED);
        case.survives(&stage, place).await;
        assert_eq!(count(&stage, &path, "description", place).await, 1, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_rotated_is_not_rotated_again_by_the_same_request() {
    let stage = Stage::open().await;
    let one = stage
        .client
        .create_endpoint(&stage.app, &stage.url("/one"))
        .await
        .expect("an endpoint");
    let path = format!("/api/v1/app/{}/endpoint/{one}/secret/rotate", stage.app);
    let place = "api::secret-rotated";
    let api = stage.doomed("api", place, 1).await;
    let rotation = Case::new("rotation", path, json!({}), StatusCode::OK);
    assert!(rotation.ask(&stage.client_of(&api), "key").await.is_err());
    dies(api, place).await;
    let secret = || stage.client.endpoint_secret(&stage.app, &one);
    let rotated = secret().await.expect("a secret");
    let again = rotation.ask(&stage.client, "key").await.expect("an answer");
    assert_eq!(again.body["key"], rotated, "{}", again.body);
    assert_eq!(secret().await.expect("a secret"), rotated);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_under_one_key_make_one_thing_and_get_one_answer() {
    let stage = Stage::open().await;
    let path = format!("/api/v1/app/{}/endpoint", stage.app);
    let body = json!({ "url": stage.url("/new"), "description": "together" });
    let case = Case::new("together", path.clone(), body, StatusCode::CREATED);
    let other = stage.start("api").await;
    let other = stage.client_of(&other);
    let asked = (0..8).map(|nth| case.ask(if nth % 2 == 0 { &stage.client } else { &other }, "together"));
    let answers = join_all(asked).await;
    let first = answers[0].as_ref().expect("an answer").body.clone();
    for answer in answers {
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.body), (StatusCode::CREATED, first.clone()));
    }
    assert_eq!(count(&stage, &path, "description", "together").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_process_is_gone_goes_on_in_another_one() {
    const EVENTS: usize = 250;
    let stage = Stage::open().await;
    let (_router, _sender) = (stage.start("router").await, stage.start("sender").await);
    let events =
        (0..EVENTS).map(|n| Event::new(&stage.app, "load", json!({ "round": 1, "n": n }).to_string()));
    let confirmed = stage.publisher.publish_all(events).await;
    assert_eq!(confirmed.expect("confirms"), EVENTS);
    let messages = format!("/api/v1/app/{}/msg", stage.app);
    eventually("all are routed", LONG, async || {
        let all = stage.client.list(&messages).await.expect("a list");
        (all.len() == EVENTS).then_some(())
    })
    .await;
    let late = "/late";
    stage.watch(late);
    let endpoint = stage.client.create_endpoint(&stage.app, &stage.url(late)).await;
    let endpoint = endpoint.expect("an endpoint");
    let path = format!("/api/v1/app/{}/endpoint/{endpoint}/replay-missing", stage.app);
    let app = stage.client.read(&format!("/api/v1/app/{}", stage.app)).await;
    let app = app.expect("the app");
    // After the second hundred, before it is noted how far it has come.
    let place = "api::replayed-some";
    let api = stage.doomed("api", place, 2).await;
    let asked = stage
        .client_of(&api)
        .post(&path, &json!({ "since": app["createdAt"] }))
        .await
        .expect("an answer");
    assert_eq!(asked["status"], "running", "{asked}");
    dies(api, place).await;
    eventually("all are sent", LONG, async || {
        (stage.ledger.at(late).0 == EVENTS).then_some(())
    })
    .await;
    stays("nothing else arrives, and nothing twice", QUIET, || {
        stage.ledger.at(late) == (EVENTS, EVENTS)
    })
    .await;
}

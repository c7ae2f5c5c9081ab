//! An API that dies between its two stores, or before it has answered: what it was asked for happened or did not, and
//! whoever asks again is told the truth.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{ApiClient, LONG, Nuncio, SHORT, eventually, redis::command};
use http::{Method, StatusCode};
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use serde_json::{Value, json};

use crate::crash_points::{LANES, Stage, dies};

/// Messages of one round.
const MESSAGES: usize = 10;

/// An API that will die at `place`, and its client.
async fn doomed(stage: &Stage, place: &str, visit: usize) -> (Nuncio, ApiClient) {
    let api = stage.doomed("api", place, visit).await;
    let client = stage.client_of(&api);
    (api, client)
}

fn message(round: usize, n: usize) -> Value {
    json!({ "eventType": "load", "payload": { "round": round, "n": n } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_asked_for_again_under_its_key_after_a_crash_is_one_message() {
    let stage = Stage::open().await;
    let (_router, _sender) = (stage.start("router").await, stage.start("sender").await);
    let path = format!("/api/v1/app/{}/msg", stage.app);
    let places = [
        "api::message-recorded",
        "publisher::sent",
        "publisher::confirmed",
        "api::message-published",
        "api::message-accepted",
    ];
    let mut accepted = BTreeMap::new();
    for (round, place) in places.iter().enumerate() {
        let (api, client) = doomed(&stage, place, MESSAGES / 2).await;
        let mut crashed = false;
        for n in 0..MESSAGES {
            let (key, body) = (format!("{round}-{n}"), message(round, n));
            let headers = [("idempotency-key", key.as_str())];
            let first = match crashed {
                false => client.call_with(Method::POST, &path, Some(&body), &headers).await,
                true => {
                    stage
                        .client
                        .call_with(Method::POST, &path, Some(&body), &headers)
                        .await
                }
            };
            crashed |= first.is_err();
            let reply = match first {
                Ok(reply) => reply,
                // Cut off: another process is asked for the same.
                Err(_) => stage
                    .client
                    .call_with(Method::POST, &path, Some(&body), &headers)
                    .await
                    .expect("an answer"),
            };
            let body = reply.success().expect("accepted");
            let id = body["id"].as_str().expect("an id").to_owned();
            accepted.insert(id, (round, n));
        }
        assert!(crashed, "{place} was not reached");
        dies(api, place).await;
    }
    assert_eq!(accepted.len(), places.len() * MESSAGES, "each message has one id");
    eventually("every accepted message arrived everywhere", LONG, || {
        let arrived = stage.ledger.distinct() == accepted.len() * LANES;
        std::future::ready(arrived.then_some(()))
    })
    .await;
    for ((path, body), arrivals) in stage.ledger.copies() {
        let body: Value = serde_json::from_str(&body).expect("JSON");
        for arrival in &arrivals {
            let known = accepted
                .get(&arrival.id)
                .map(|(round, n)| json!({ "round": round, "n": n }));
            assert_eq!(known.as_ref(), Some(&body), "{path}: an id that nobody was told");
        }
        // Endpoints 10 and 11 refuse some at first.
        assert!(
            arrivals.len() == 1 || ["/lane/10", "/lane/11"].contains(&path.as_str()),
            "{path} {body} came {} times",
            arrivals.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_created_and_deleted_whole_or_not_at_all() {
    let stage = Stage::open().await;
    let path = format!("/api/v1/app/{}/endpoint", stage.app);
    let mut half_made = String::new();
    for (place, kept) in [("api::lane-declared", false), ("api::endpoint-kept", true)] {
        let uid = place.replace(':', "-");
        let draft = json!({ "url": stage.url("/new"), "uid": uid });
        let (api, client) = doomed(&stage, place, 1).await;
        let cut = client.call(Method::POST, &path, Some(&draft)).await;
        assert!(cut.is_err(), "{place}: {cut:?}");
        dies(api, place).await;
        let mut left = in_doubt(&stage).await.into_iter();
        let doubt = left.next_back().expect("it is noted before it is made");
        let (app, endpoint) = doubt.split_once(':').expect("app and endpoint");
        assert_eq!(app, stage.app);
        if !kept {
            half_made = endpoint.to_owned();
            assert!(lane_exists(&stage, endpoint).await, "the crash left a queue");
        }
        let again = stage
            .client
            .call(Method::POST, &path, Some(&draft))
            .await
            .expect("an answer");
        let status = if kept {
            StatusCode::CONFLICT
        } else {
            StatusCode::CREATED
        };
        assert_eq!(again.status, status, "{place}: {}", again.body);
        let found = stage
            .client
            .call(Method::GET, &format!("{path}/{uid}"), None)
            .await
            .expect("an answer");
        let endpoint = found.success().expect("it is there")["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let secret = stage
            .client
            .endpoint_secret(&stage.app, &endpoint)
            .await
            .expect("its secret");
        assert!(secret.starts_with("whsec_"));
        assert!(
            lane_exists(&stage, &endpoint).await,
            "{place}: its queue is there"
        );
    }

    let uid = "api--endpoint-kept";
    let found = stage
        .client
        .call(Method::GET, &format!("{path}/{uid}"), None)
        .await
        .expect("an answer");
    let endpoint = found.body["id"].as_str().expect("an id").to_owned();
    let (api, client) = doomed(&stage, "api::endpoint-gone", 1).await;
    let one = format!("{path}/{endpoint}");
    assert!(client.call(Method::DELETE, &one, None).await.is_err());
    dies(api, "api::endpoint-gone").await;
    assert!(lane_exists(&stage, &endpoint).await, "the crash left its queue");
    let again = stage
        .client
        .call(Method::DELETE, &one, None)
        .await
        .expect("an answer");
    assert_eq!(again.status, StatusCode::NOT_FOUND, "it is gone");
    let left = [half_made, endpoint];
    for endpoint in &left {
        eventually("its queue is gone, too", LONG, async || {
            (!lane_exists(&stage, endpoint).await).then_some(())
        })
        .await;
    }
    eventually("nothing is in doubt any more", LONG, async || {
        in_doubt(&stage).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_deletion_was_cut_off_is_deleted_to_its_end() {
    let stage = Stage::open().await;
    let app = stage.client.create_app("doomed").await.expect("an app");
    let mut endpoints = Vec::new();
    for n in 0..3 {
        let url = stage.url(&format!("/doomed/{n}"));
        let endpoint = stage.client.create_endpoint(&app, &url).await;
        endpoints.push(endpoint.expect("an endpoint"));
    }
    let (api, client) = doomed(&stage, "api::app-gone", 1).await;
    let one = format!("/api/v1/app/{app}");
    assert!(client.call(Method::DELETE, &one, None).await.is_err());
    dies(api, "api::app-gone").await;
    for endpoint in &endpoints {
        assert!(lane_exists(&stage, endpoint).await, "the crash left its queues");
    }
    let again = stage.client.call(Method::DELETE, &one, None).await;
    assert_eq!(again.expect("an answer").status, StatusCode::NOT_FOUND);
    for endpoint in &endpoints {
        eventually("its queues are gone, too", LONG, async || {
            (!lane_exists(&stage, endpoint).await).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated_or_not() {
    let stage = Stage::open().await;
    let path = format!("/api/v1/app/{}/endpoint", stage.app);
    let endpoint = stage
        .client
        .create_endpoint(&stage.app, &stage.url("/new"))
        .await
        .expect("an endpoint");
    let before = stage
        .client
        .endpoint_secret(&stage.app, &endpoint)
        .await
        .expect("a secret");
    let (api, client) = doomed(&stage, "api::secret-rotated", 1).await;
    let rotate = format!("{path}/{endpoint}/secret/rotate");
    assert!(
        client
            .call(Method::POST, &rotate, Some(&json!({})))
            .await
            .is_err()
    );
    dies(api, "api::secret-rotated").await;
    let after = stage
        .client
        .endpoint_secret(&stage.app, &endpoint)
        .await
        .expect("a secret");
    assert_ne!(before, after, "it was rotated, and the new one can be read");

    assert!(stage.api.is_ready().await, "the API beside it noticed nothing");
}

/// What was being made or deleted when its process died.
async fn in_doubt(stage: &Stage) -> BTreeSet<String> {
    let key = format!("{}:in-doubt", stage.deployment.namespace());
    let found = command(stage.deployment.setting("NUNCIO_REDIS_URL"), &["HKEYS", &key]).await;
    redis::from_redis_value(found.expect("an answer")).expect("texts")
}

async fn lane_exists(stage: &Stage, endpoint: &str) -> bool {
    let name = format!("{}.endpoint.{endpoint}", stage.deployment.namespace());
    // A queue that is missing ends the channel.
    let publisher = stage.deployment.publisher().await.expect("a publisher");
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let asked = publisher
        .channel()
        .queue_declare(name.into(), passive, FieldTable::default());
    tokio::time::timeout(SHORT, asked)
        .await
        .expect("an answer")
        .is_ok()
}

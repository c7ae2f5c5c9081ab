//! Queues and exchanges that somebody deletes while Nuncio runs: they are put back, and what was in them or found no way
//! comes from the record.

use std::time::Duration;

use e2e::{Answer, LONG, Publisher, eventually};
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use serde_json::{Value, json};

use crate::{
    crash_broker::publish_until_confirmed,
    delivery_stage::{QUIET, Stage, stays},
    scale_ledger::{Ledger, body, lane_path},
};

/// More than one publish of the fan-out reaches.
const LANES: usize = 12;

/// The stage with endpoints that note what arrives and answer after `delay`; their ids.
async fn watched(stage: &Stage, ledger: &Ledger, delay: Duration) -> Vec<String> {
    let mut endpoints = Vec::new();
    for lane in 0..LANES {
        ledger.watch(&stage.receiver, &lane_path(lane), delay);
        endpoints.push(stage.endpoint(&lane_path(lane)).await);
    }
    endpoints
}

fn everywhere(events: std::ops::Range<usize>) -> impl Iterator<Item = (String, String)> {
    events.flat_map(|n| (0..LANES).map(move |lane| (lane_path(lane), body(n))))
}

/// The payload of the `n`th event that the API is given.
fn by_api(n: usize) -> Value {
    json!({ "by": "api", "n": n })
}

fn event(stage: &Stage, n: usize) -> e2e::Event {
    e2e::Event::new(&stage.app, "load", body(n)).id(&format!("load-{n}"))
}

async fn delete_queue(publisher: &Publisher, stage: &Stage, name: &str) -> u32 {
    let queue = format!("{}.{name}", stage.deployment.namespace());
    let deleted = publisher
        .channel()
        .queue_delete(queue.into(), QueueDeleteOptions::default());
    deleted.await.expect("it is there")
}

async fn delete_exchange(publisher: &Publisher, stage: &Stage, name: &str) {
    let exchange = format!("{}.{name}", stage.deployment.namespace());
    let deleted = publisher
        .channel()
        .exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
    deleted.await.expect("it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_are_deleted_under_load_lose_none_of_their_deliveries() {
    const EVENTS: usize = 200;
    let stage = Stage::set(&[("NUNCIO_ENDPOINT_CONCURRENCY", "4")]).await;
    let ledger = Ledger::default();
    let endpoints = watched(&stage, &ledger, Duration::from_millis(20)).await;
    let outsider = stage.deployment.publisher().await.unwrap();
    let publishing = async {
        for n in 0..EVENTS {
            stage.publisher.publish(&event(&stage, n)).await.unwrap();
        }
    };
    let deleting = async {
        // The first one of a lot, which the broker would tell about, and some of which it says nothing.
        let mut lost = 0;
        for lane in [0, 3, 11] {
            ledger.wait_for(100 * (lane + 1)).await;
            lost += delete_queue(&outsider, &stage, &format!("endpoint.{}", endpoints[lane])).await;
        }
        lost
    };
    let ((), lost) = tokio::join!(publishing, deleting);
    let twice = ledger.settle(everywhere(0..EVENTS)).await;
    eprintln!("{lost} were in the lanes; {} came twice", twice.len());
    assert!(
        twice.len() <= 3 * 2 * 4,
        "{} came twice; no more than was under way may",
        twice.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_deleted_while_nobody_takes_from_it_is_filled_again_once() {
    const EVENTS: usize = 50;
    let stage = Stage::set(&[]).await;
    let ledger = Ledger::default();
    let endpoints = watched(&stage, &ledger, Duration::ZERO).await;
    let path = format!("/api/v1/app/{}/endpoint/{}", stage.app, endpoints[5]);
    stage
        .api
        .call(Method::POST, &format!("{path}/pause"), None)
        .await
        .unwrap();
    for n in 0..EVENTS {
        stage.publisher.publish(&event(&stage, n)).await.unwrap();
    }
    // Everybody else has theirs.
    ledger.wait_for(EVENTS * (LANES - 1)).await;
    let outsider = stage.deployment.publisher().await.unwrap();
    let lost = eventually("all wait in the lane", LONG, || async {
        (outsider.depth(&format!("endpoint.{}", endpoints[5])).await.ok()? == EVENTS as u32).then_some(())
    });
    lost.await;
    delete_queue(&outsider, &stage, &format!("endpoint.{}", endpoints[5])).await;
    // Some more that find no queue, in a lot of which the broker says nothing.
    for n in EVENTS..2 * EVENTS {
        stage.publisher.publish(&event(&stage, n)).await.unwrap();
    }
    ledger.wait_for(2 * EVENTS * (LANES - 1)).await;
    stage
        .api
        .call(Method::POST, &format!("{path}/resume"), None)
        .await
        .unwrap();
    let twice = ledger.settle(everywhere(0..2 * EVENTS)).await;
    assert!(
        twice.is_empty(),
        "nothing was under way, and yet came twice: {twice:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_that_is_deleted_loses_nothing_that_waited_on_it_and_nothing_is_early() {
    const EVENTS: usize = 5;
    let rung = Duration::from_secs(4);
    let stage = Stage::set(&[
        ("NUNCIO_RETRY_FIRST", "4s"),
        ("NUNCIO_RETRY_CEILING", "4s"),
        ("NUNCIO_RETRY_JITTER", "0"),
    ])
    .await;
    let ledger = Ledger::default();
    ledger.watch_with(&stage.receiver, "/a", |nth| {
        if nth == 1 {
            Answer::status(503)
        } else {
            Answer::ok()
        }
    });
    let endpoint = stage.endpoint("/a").await;
    for n in 0..EVENTS {
        stage.publisher.publish(&event(&stage, n)).await.unwrap();
    }
    eventually("all attempts are recorded", LONG, || async {
        let made = stage.api.attempts_by_endpoint(&stage.app, &endpoint).await.ok()?;
        (made.len() == EVENTS).then_some(())
    })
    .await;
    let outsider = stage.deployment.publisher().await.unwrap();
    delete_queue(&outsider, &stage, "retry.4000").await;
    let all = || async { (ledger.total() >= 2 * EVENTS).then_some(()) };
    eventually("each is tried a second time", LONG, all).await;
    let copies = ledger
        .settle((0..EVENTS).map(|n| ("/a".to_owned(), body(n))))
        .await;
    assert_eq!(copies.len(), EVENTS);
    for attempts in copies {
        assert_eq!(attempts.len(), 2, "one retry each: {attempts:?}");
        assert!(attempts[1].at - attempts[0].at >= rung, "early: {attempts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_that_are_deleted_under_load_are_put_back_and_nothing_is_lost() {
    const EVENTS: usize = 200;
    let stage = Stage::set(&[]).await;
    let ledger = Ledger::default();
    watched(&stage, &ledger, Duration::ZERO).await;
    let outsider = stage.deployment.publisher().await.unwrap();
    let publishing_by_api = async {
        let create = |n: usize| {
            let (api, app) = (&stage.api, &stage.app);
            async move {
                let message =
                    json!({ "eventType": "load", "eventId": format!("load-{n}"), "payload": by_api(n) });
                let path = format!("/api/v1/app/{app}/msg");
                // A try that failed may have been taken nevertheless: the next one then meets its own event id.
                eventually("the API has taken it", LONG, || async {
                    let reply = api.call(Method::POST, &path, Some(&message)).await.ok()?;
                    (reply.status.is_success() || reply.status == StatusCode::CONFLICT).then_some(())
                })
                .await;
            }
        };
        stream::iter(0..EVENTS).for_each_concurrent(4, create).await;
    };
    let by_application = async {
        // One after the other: of several at once, lapin may tell the wrong one that it was returned.
        for n in EVENTS..2 * EVENTS {
            publish_until_confirmed(&stage.deployment, vec![event(&stage, n)]).await;
        }
    };
    let deleting = async {
        for (nth, exchange) in ["deliveries", "events", "unroutable"].into_iter().enumerate() {
            ledger.wait_for(500 * (nth + 1)).await;
            delete_exchange(&outsider, &stage, exchange).await;
        }
    };
    tokio::join!(publishing_by_api, by_application, deleting);
    let of_api =
        (0..EVENTS).flat_map(|n| (0..LANES).map(move |lane| (lane_path(lane), by_api(n).to_string())));
    let twice = ledger.settle(everywhere(EVENTS..2 * EVENTS).chain(of_api)).await;
    eprintln!("{} came twice", twice.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_deleted_while_nothing_happens_is_put_back_for_those_who_may_not() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let outsider = stage.deployment.publisher().await.unwrap();
    delete_exchange(&outsider, &stage, "events").await;
    publish_until_confirmed(&stage.deployment, vec![event(&stage, 0)]).await;
    stage.receiver.wait_for("/a", 1, LONG).await;
    stays("it is delivered once", QUIET, || stage.receiver.count("/a") == 1).await;
}

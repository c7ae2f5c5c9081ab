//! The ladder: never early, never more than the budget, and no rung blocked by what nobody wants any more.

use std::{collections::HashMap, time::Duration};

use e2e::{Answer, Event, LONG, Received, eventually};

use crate::{
    delivery_stage::{QUIET, Stage, assert_retries, stays, user},
    scale_load::counted,
};

/// Delays in which a busy machine can change many endpoints while deliveries to them wait.
pub(crate) const SLOW_LADDER: [(&str, &str); 5] = [
    ("NUNCIO_RETRY_FIRST", "10s"),
    ("NUNCIO_RETRY_FACTOR", "1"),
    ("NUNCIO_RETRY_CEILING", "10s"),
    ("NUNCIO_RETRY_JITTER", "0"),
    ("NUNCIO_RETRY_ATTEMPTS", "3"),
];

fn millis(delays: &[u64]) -> Vec<Duration> {
    delays.iter().copied().map(Duration::from_millis).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_is_early_on_any_rung() {
    let settings = [
        ("NUNCIO_RETRY_FIRST", "150ms"),
        ("NUNCIO_RETRY_FACTOR", "3"),
        ("NUNCIO_RETRY_CEILING", "1s"),
        ("NUNCIO_RETRY_ATTEMPTS", "6"),
    ];
    let stage = Stage::set(&settings).await;
    let delays = millis(&[150, 450, 1_000, 1_000, 1_000]);
    let paths = ["/a", "/b", "/c", "/d", "/e"];
    for path in paths {
        let seen = std::sync::Mutex::new(HashMap::<String, usize>::new());
        stage.receiver.answer_with(path, move |_, request| {
            let mut seen = seen.lock().expect("no plan panics");
            let times = seen.entry(request.id().to_owned()).or_default();
            *times += 1;
            if *times <= 5 {
                Answer::status(500)
            } else {
                Answer::ok()
            }
        });
        stage.endpoint(path).await;
    }
    let events = (0..5).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    stage
        .receiver
        .wait_until("six attempts of each", LONG, || stage.receiver.total() >= 150)
        .await;
    stays("the sixth was a success", QUIET, || stage.receiver.total() == 150).await;
    for path in paths {
        let mut by_id = HashMap::<String, Vec<Received>>::new();
        for request in stage.receiver.requests(path) {
            by_id.entry(request.id().to_owned()).or_default().push(request);
        }
        assert_eq!(by_id.len(), 5);
        for requests in by_id.into_values() {
            assert_eq!(requests.len(), 6, "five failures and a success");
            assert_retries(&requests, &delays);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_is_the_end_and_is_told() {
    let stage = Stage::set(&[("NUNCIO_RETRY_ATTEMPTS", "3")]).await;
    let mut operations = stage.operations().await;
    stage.receiver.answer("/a", [Answer::status(500).body("always")]);
    let endpoint = stage.endpoint("/a").await;
    stage.publish_user(1).await;
    let requests = stage.receiver.wait_for("/a", 3, LONG).await;
    assert_retries(&requests, &millis(&[200, 400]));

    let told = operations.first("message.attempt.exhausted", LONG).await;
    let data = &told["data"];
    assert_eq!(data["appId"], stage.app.as_str());
    assert_eq!(data["endpointId"], endpoint.as_str());
    assert_eq!(data["msgId"], requests[0].id());
    assert_eq!(data["lastAttempt"]["responseStatusCode"], 500);

    stays("no more than the budget", QUIET, || {
        stage.receiver.count("/a") == 3
    })
    .await;
    assert_eq!(
        operations.of_type("message.attempt.exhausted").await.len(),
        1,
        "it is told once"
    );
    let attempts = stage
        .api
        .attempts_by_message(&stage.app, requests[0].id())
        .await
        .unwrap();
    let failed = attempts.iter().filter(|attempt| attempt["status"] == 2).count();
    assert_eq!((attempts.len(), failed), (3, 3), "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_keeps_failing_and_then_recovers_is_told_both_times() {
    let settings = [
        ("NUNCIO_RETRY_ATTEMPTS", "6"),
        ("NUNCIO_RETRY_FACTOR", "1"),
        ("NUNCIO_RETRY_JITTER", "0"),
    ];
    let stage = Stage::set(&settings).await;
    let mut operations = stage.operations().await;
    let failure = Answer::status(502);
    stage.receiver.answer(
        "/a",
        [
            failure.clone(),
            failure.clone(),
            failure.clone(),
            failure,
            Answer::ok(),
        ],
    );
    stage
        .receiver
        .answer("/sometimes", [Answer::status(500), Answer::ok()]);
    let endpoint = stage.endpoint("/a").await;
    stage.endpoint("/sometimes").await;
    stage.publish_user(1).await;
    let failing = operations.first("message.attempt.failing", LONG).await;
    assert_eq!(failing["data"]["endpointId"], endpoint.as_str());
    let recovered = operations.first("message.attempt.recovered", LONG).await;
    assert_eq!(recovered["data"]["endpointId"], endpoint.as_str());
    assert_eq!(recovered["data"]["lastAttempt"]["responseStatusCode"], 200);
    stays("a success is the end", QUIET, || stage.receiver.count("/a") == 5).await;
    for kind in ["message.attempt.failing", "message.attempt.recovered"] {
        assert_eq!(
            operations.of_type(kind).await.len(),
            1,
            "{kind} is told once, of one endpoint"
        );
    }
    assert!(operations.of_type("message.attempt.exhausted").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_410_is_disabled_for_good_and_it_is_told() {
    let stage = Stage::set(&[]).await;
    let mut operations = stage.operations().await;
    stage.receiver.answer("/gone", [Answer::status(410)]);
    let gone = stage.endpoint("/gone").await;
    stage.endpoint("/there").await;
    stage.publish_user(1).await;
    let told = operations.first("endpoint.disabled", LONG).await;
    assert_eq!(told["data"]["appId"], stage.app.as_str());
    assert_eq!(told["data"]["endpointId"], gone.as_str());

    let path = format!("/api/v1/app/{}/endpoint/{gone}", stage.app);
    let read = stage.api.read(&path).await.unwrap();
    assert_eq!(read["disabled"], true);
    stage.publish_user(2).await;
    stage.receiver.wait_for("/there", 2, LONG).await;
    stays("nothing more goes there", QUIET, || {
        stage.receiver.count("/gone") == 1
    })
    .await;
    let attempts = stage.api.attempts_by_endpoint(&stage.app, &gone).await.unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (&attempts[0]["status"], &attempts[0]["responseStatusCode"]),
        (&2.into(), &410.into())
    );
    assert_eq!(
        operations.of_type("endpoint.disabled").await.len(),
        1,
        "it is told once"
    );
}

/// Endpoints that are deleted, and deliveries of each that wait on the ladder then: more than a rung hands on at a time
/// before it is told what became of them, so that all would stick if these did.
const DELETED: usize = 20;
const WAITING_EACH: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_deleted_endpoints_end_on_the_ladder_and_block_nobody() {
    let stage = Stage::set(&SLOW_LADDER).await;
    let mut deleted = Vec::new();
    for n in 0..DELETED {
        stage
            .receiver
            .answer(&format!("/deleted/{n}"), [Answer::status(500)]);
        deleted.push(stage.endpoint(&format!("/deleted/{n}")).await);
    }
    let neighbour = stage.api.create_app("Neighbour").await.unwrap();
    stage.receiver.answer_with("/neighbour", |nth, _| match nth {
        0..5 => Answer::status(500),
        _ => Answer::ok(),
    });
    let url = stage.receiver.url("/neighbour");
    stage.api.create_endpoint(&neighbour, &url).await.unwrap();

    let events = (0..WAITING_EACH).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    let orphans = DELETED * WAITING_EACH;
    stage
        .receiver
        .wait_until("a first attempt of each", LONG, || {
            stage.receiver.total() >= orphans
        })
        .await;
    let deletions = deleted.iter().map(|endpoint| {
        let path = format!("/api/v1/app/{}/endpoint/{endpoint}", stage.app);
        let api = &stage.api;
        async move { api.delete(&path).await }
    });
    futures_util::future::try_join_all(deletions).await.unwrap();
    assert_eq!(stage.receiver.total(), orphans, "all of them still wait");
    let events = (0..5).map(|n| Event::new(&neighbour, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();

    let ended = eventually("all of them end as deleted", LONG, || async {
        let ended = counted(&stage.nuncio, "nuncio_router_deleted_total").await;
        (ended >= orphans as f64).then_some(ended)
    });
    assert_eq!(ended.await, orphans as f64);
    // On the same rung, behind them.
    stage.receiver.wait_for("/neighbour", 10, LONG).await;
    assert_eq!(stage.receiver.times_by_id("/neighbour").len(), 5);
    assert_eq!(stage.publisher.depth("unroutable").await.unwrap(), 0);
    let total = orphans + 10;
    stays("deleted endpoints get nothing", QUIET, || {
        stage.receiver.total() == total
    })
    .await;
}

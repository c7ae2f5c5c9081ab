//! The ladder: never early, never more than the budget, and no rung blocked by what nobody wants any more.

use std::{collections::HashMap, time::Duration};

use e2e::{Answer, Event, LONG, Received, SHORT, eventually};

use crate::delivery_stage::{QUIET, Stage, assert_retries, stays, user};

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

/// More than a rung hands on at a time before it is told what became of them: if these were to stick, all would.
const ORPHANS: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_deleted_endpoint_end_on_the_ladder_and_block_nobody() {
    let settings = [
        ("NUNCIO_RETRY_FIRST", "3s"),
        ("NUNCIO_RETRY_FACTOR", "1"),
        ("NUNCIO_RETRY_CEILING", "3s"),
        ("NUNCIO_RETRY_JITTER", "0"),
        ("NUNCIO_RETRY_ATTEMPTS", "6"),
    ];
    let stage = Stage::set(&settings).await;
    stage.receiver.answer("/doomed", [Answer::status(500)]);
    let doomed = stage.endpoint("/doomed").await;
    let events = (0..ORPHANS).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    // The breaker lets the last of them come slowly; what has not been tried yet waits in the endpoint's own queue.
    stage.receiver.wait_for("/doomed", ORPHANS / 2, LONG).await;

    let neighbour = stage.api.create_app("Neighbour").await.unwrap();
    stage.receiver.answer_with("/neighbour", |nth, _| {
        if nth < 20 {
            Answer::status(500)
        } else {
            Answer::ok()
        }
    });
    stage
        .api
        .create_endpoint(&neighbour, &stage.receiver.url("/neighbour"))
        .await
        .unwrap();
    stage
        .api
        .delete(&format!("/api/v1/app/{}/endpoint/{doomed}", stage.app))
        .await
        .unwrap();
    let before = stage.receiver.count("/doomed");
    let events = (0..10).map(|n| Event::new(&neighbour, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();

    stage.receiver.wait_for("/neighbour", 30, LONG).await;
    assert_eq!(stage.receiver.times_by_id("/neighbour").len(), 10);
    let ended = eventually("deliveries end as deleted", LONG, || async {
        let metrics = stage.nuncio.metrics().await.ok()?;
        let ended = metrics
            .lines()
            .find_map(|line| line.strip_prefix("nuncio_router_deleted_total "))?;
        ended.trim().parse::<f64>().ok().filter(|ended| *ended > 32.0)
    });
    ended.await;
    eventually("nothing is left over", SHORT, || async {
        (stage.publisher.depth("unroutable").await.unwrap() == 0).then_some(())
    })
    .await;
    // What was in flight when the endpoint was deleted may have arrived, and nothing after it.
    let after = stage.receiver.count("/doomed");
    assert!(
        after - before <= 16,
        "{before} requests before the endpoint was deleted, {after} after"
    );
    stays("a deleted endpoint gets nothing", Duration::from_secs(5), || {
        stage.receiver.count("/doomed") == after
    })
    .await;
}

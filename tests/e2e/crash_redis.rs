//! A Redis that forgets, or is away: deliveries go on, within the budget that travels with them, and the API refuses what it
//! could not keep.

use std::time::Duration;

use e2e::{Answer, ApiClient, Deployment, Event, FaultProxy, LONG, Mode, Redis, api::Reply, eventually};
use http::{Method, StatusCode};
use serde_json::json;

use crate::delivery_stage::{Stage, assert_retries, stays, user};

/// On the shared broker with a Redis of the test's own.
async fn stage_on(redis: &Redis, settings: &[(&str, &str)]) -> Stage {
    let shared = Deployment::shared()
        .await
        .expect("a deployment")
        .with("NUNCIO_REDIS_URL", redis.url());
    let deployment = settings
        .iter()
        .fold(shared, |deployment, (key, value)| deployment.with(key, value));
    Stage::on(deployment).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_emptied_in_the_middle_of_a_retry_changes_neither_the_delivery_nor_its_budget() {
    let redis = Redis::start().await.unwrap();
    let settings = [
        ("NUNCIO_RETRY_FIRST", "1s"),
        ("NUNCIO_RETRY_FACTOR", "1.5"),
        ("NUNCIO_RETRY_CEILING", "3s"),
    ];
    let stage = stage_on(&redis, &settings).await;
    let delays = [1_000, 1_500, 2_250].map(Duration::from_millis);
    stage.receiver.answer(
        "/recovers",
        [Answer::status(500), Answer::status(500), Answer::ok()],
    );
    stage.receiver.answer("/never", [Answer::status(500)]);
    let endpoint = stage.endpoint("/recovers").await;
    stage.endpoint("/never").await;
    let secret = stage.secret(&endpoint).await;
    stage.publish_user(1).await;
    stage.receiver.wait_for("/recovers", 1, LONG).await;
    stage.receiver.wait_for("/never", 1, LONG).await;
    redis.command(&["FLUSHALL"]).await.unwrap();

    let recovered = stage.receiver.wait_for("/recovers", 3, LONG).await;
    let spent = stage.receiver.wait_for("/never", 4, LONG).await;
    stays("both have ended", Duration::from_secs(6), || {
        stage.receiver.total() == 7
    })
    .await;
    assert_retries(&recovered, &delays);
    assert_retries(&spent, &delays);
    assert!(recovered.iter().all(|request| request.is_signed_by(&secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_and_retries_go_on_while_redis_is_away_and_are_recorded_when_it_is_back() {
    let mut redis = Redis::start().await.unwrap();
    let stage = stage_on(&redis, &[]).await;
    stage.receiver.answer_with("/a", |nth, _| {
        if nth % 2 == 0 {
            Answer::status(500)
        } else {
            Answer::ok()
        }
    });
    let endpoint = stage.endpoint("/a").await;
    stage.publish_user(0).await;
    stage.receiver.wait_for("/a", 2, LONG).await;

    // In order, so that what was written is on disk.
    redis.stop().await.unwrap();
    let events = (1..=5).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    stage.receiver.wait_for("/a", 12, LONG).await;
    assert_eq!(stage.receiver.times_by_id("/a").len(), 6);
    redis.restart().await.unwrap();
    eventually("every attempt is recorded in the end", LONG, || async {
        let attempts = stage.api.attempts_by_endpoint(&stage.app, &endpoint).await.ok()?;
        (attempts.len() == 12).then_some(())
    })
    .await;
    stage.publish_user(6).await;
    stage.receiver.wait_for("/a", 14, LONG).await;
}

/// Publishes while Redis is in trouble, and waits until all of it was delivered.
async fn deliver_five(stage: &Stage, round: usize) {
    let events = (0..5).map(|n| Event::new(&stage.app, "sync.user", user(round * 5 + n)));
    stage
        .publisher
        .publish_all(events)
        .await
        .expect("the broker confirms");
    eventually("all were delivered in spite of Redis", LONG, || {
        let delivered = stage.receiver.times_by_id("/a").len() >= (round + 1) * 5;
        std::future::ready(delivered.then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_slow_full_read_only_frozen_or_without_scripts_holds_no_delivery_back() {
    let redis = Redis::start().await.unwrap();
    let (proxy, url) = FaultProxy::before(redis.url()).await.unwrap();
    let deployment = Deployment::shared().await.unwrap().with("NUNCIO_REDIS_URL", &url);
    let stage = Stage::on(deployment).await;
    let endpoint = stage.endpoint("/a").await;
    deliver_five(&stage, 0).await;

    proxy.set(Mode::Delay(Duration::from_millis(500)));
    deliver_five(&stage, 1).await;
    proxy.set(Mode::Pass);

    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    deliver_five(&stage, 2).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();

    // A replica of nobody: every write is refused with READONLY.
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    deliver_five(&stage, 3).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();

    redis.freeze().unwrap();
    eventually("readiness tells that Redis is away", LONG, || async {
        (!stage.nuncio.is_ready().await).then_some(())
    })
    .await;
    deliver_five(&stage, 4).await;
    redis.thaw().unwrap();
    eventually("readiness tells that Redis is back", LONG, || async {
        stage.nuncio.is_ready().await.then_some(())
    })
    .await;

    let flushing = async {
        loop {
            redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = flushing => {}
        () = deliver_five(&stage, 5) => {}
    }

    eventually("every attempt is recorded in the end", LONG, || async {
        let attempts = stage.api.attempts_by_endpoint(&stage.app, &endpoint).await.ok()?;
        let messages: std::collections::BTreeSet<_> = attempts
            .iter()
            .map(|attempt| attempt["msgId"].to_string())
            .collect();
        (messages.len() >= 30).then_some(())
    })
    .await;
}

/// Headers of a request.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// Asks once for an app of this name.
async fn ask(api: &ApiClient, name: &str, headers: Headers<'_>) -> Reply {
    let draft = json!({ "name": name });
    let answered = api.call_with(Method::POST, "/api/v1/app", Some(&draft), headers);
    answered.await.expect("an answer")
}

async fn is_refused(api: &ApiClient, name: &str, headers: Headers<'_>) {
    let refused = ask(api, name, headers).await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{name}: {}",
        refused.body
    );
    assert_eq!(refused.body["code"], "unavailable", "{name}");
}

/// Asks for the same until it is done, and looks how often it was.
async fn is_kept_once(api: &ApiClient, name: &str, headers: Headers<'_>) {
    eventually("the same request is answered", LONG, || async {
        let reply = ask(api, name, headers).await;
        if reply.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        assert_eq!(reply.status, StatusCode::CREATED, "{name}: {}", reply.body);
        Some(())
    })
    .await;
    let listed = api.list("/api/v1/app").await.expect("a list");
    let made = listed.iter().filter(|app| app["name"] == name).count();
    assert_eq!(made, 1, "{name}: {listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_read_only_or_frozen_redis_cannot_keep_is_refused_and_made_once_when_it_can() {
    let redis = Redis::start().await.unwrap();
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_REDIS_URL", redis.url());
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();

    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    is_refused(&api, "Full", &[]).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    is_kept_once(&api, "Full", &[]).await;

    redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    is_refused(&api, "Read-only", &[]).await;
    redis.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    is_kept_once(&api, "Read-only", &[]).await;

    // What a frozen server was sent it does when it thaws: only the key tells that it is the same request again.
    let key = [("idempotency-key", "frozen")];
    redis.freeze().unwrap();
    is_refused(&api, "Frozen", &key).await;
    redis.thaw().unwrap();
    is_kept_once(&api, "Frozen", &key).await;
}

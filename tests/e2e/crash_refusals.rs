//! A RabbitMQ that refuses: queues that somebody declared otherwise, permissions that are gone, consumers that it finds too
//! slow, a disk that is full. Whatever it is has a name in the log or in readiness, everything else goes on, and it mends by itself once the
//! reason is gone.

use std::time::Duration;

use e2e::{Answer, Broker, Deployment, Event, LONG, Nuncio, Publisher, Redis, eventually};
use http::{Method, StatusCode};
use lapin::{
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::json;

use crate::delivery_stage::{QUIET, Stage, stays, user};

/// Replaces a queue of the namespace by one that somebody else would declare.
async fn usurp(publisher: &Publisher, queue: &str) {
    delete(publisher, queue).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(3));
    let channel = publisher.channel();
    let declared = channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), arguments);
    declared.await.expect("it was just deleted");
}

async fn delete(publisher: &Publisher, queue: &str) {
    let options = QueueDeleteOptions::default();
    let deleted = publisher.channel().queue_delete(queue.into(), options);
    deleted.await.expect("it is there");
}

/// Waits until the process says that it is not ready, with these words.
async fn says(nuncio: &Nuncio, words: &str) {
    eventually(&format!("not ready: {words}"), LONG, || async {
        let (status, body) = nuncio.fetch("/readyz").await.ok()?;
        (status == 503 && body.contains(words)).then_some(())
    })
    .await;
}

async fn ready_again(nuncio: &Nuncio) {
    eventually("ready again", LONG, || async {
        nuncio.is_ready().await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_somebody_declared_otherwise_is_named_and_costs_no_delivery() {
    const EVENTS: usize = 5;
    let stage = Stage::set(&[]).await;
    let usurped = stage.endpoint("/usurped").await;
    stage.endpoint("/other").await;
    let outsider = stage.deployment.publisher().await.unwrap();
    let lane = format!("{}.endpoint.{usurped}", stage.deployment.namespace());
    usurp(&outsider, &lane).await;
    for n in 0..EVENTS {
        stage.publish_user(n).await;
    }
    stage.receiver.wait_for("/other", EVENTS, LONG).await;
    eventually("the log names the lane and what is different", LONG, || async {
        let log = stage.nuncio.log().ok()?;
        let mut lines = log.lines().filter(|line| line.contains(&lane));
        lines.any(|line| line.contains("x-max-length")).then_some(())
    })
    .await;
    delete(&outsider, &lane).await;
    stage.receiver.wait_for("/usurped", EVENTS, LONG).await;
    stays("each once", QUIET, || stage.receiver.count("/usurped") == EVENTS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_queue_that_somebody_declared_otherwise_is_no_readiness() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let outsider = stage.deployment.publisher().await.unwrap();
    let ingest = format!("{}.ingest", stage.deployment.namespace());
    usurp(&outsider, &ingest).await;
    says(
        &stage.nuncio,
        &format!("{ingest} exists, but not as Nuncio declares it"),
    )
    .await;
    delete(&outsider, &ingest).await;
    ready_again(&stage.nuncio).await;
    stage.publish_user(1).await;
    stage.receiver.wait_for("/a", 1, LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_gone_is_named_and_nothing_is_lost_until_it_is_back() {
    let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    broker.ctl(&["add_user", "nuncio", "secret"]).await.unwrap();
    let permit = async |write: &str| {
        let permissions = ["set_permissions", "-p", "/", "nuncio", ".*", write, ".*"];
        broker.ctl(&permissions).await.unwrap();
    };
    permit(".*").await;
    let url = broker.url().replace("guest:guest", "nuncio:secret");
    let stage = Stage::on(Deployment::at(&url, redis.url()).await.unwrap()).await;
    stage.endpoint("/a").await;
    stage.publish_user(0).await;
    stage.receiver.wait_for("/a", 1, LONG).await;

    permit("^$").await;
    // RabbitMQ remembers for each channel what it was allowed.
    broker
        .ctl(&["close_all_connections", "permissions changed"])
        .await
        .unwrap();
    says(&stage.nuncio, "refused for user 'nuncio'").await;
    says(&stage.nuncio, "it takes `write` on the queue").await;
    let application = Publisher::connect(broker.url(), stage.deployment.namespace())
        .await
        .unwrap();
    application
        .publish(&Event::new(&stage.app, "sync.user", user(1)).id("while-refused"))
        .await
        .unwrap();
    permit(".*").await;
    ready_again(&stage.nuncio).await;
    stage.receiver.wait_for("/a", 2, LONG).await;
    stays("each once", QUIET, || stage.receiver.count("/a") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_rabbitmq_finds_too_slow_comes_back_and_repeats_nothing() {
    let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    // What an operator would write into a configuration file, for channels that are opened from now on.
    let impatient = "application:set_env(rabbit, consumer_timeout, 2000), \
                     application:set_env(rabbit, channel_tick_interval, 500).";
    broker.ctl(&["eval", impatient]).await.unwrap();
    let stage = Stage::on(Deployment::on(&broker, &redis).await.unwrap()).await;
    let endpoint = stage.endpoint("/slow").await;
    stage
        .receiver
        .answer("/slow", [Answer::ok().after(Duration::from_secs(6))]);
    for n in 0..3 {
        stage.publish_user(n).await;
    }
    eventually("three deliveries are on record", LONG, || async {
        let made = stage.api.attempts_by_endpoint(&stage.app, &endpoint).await.ok()?;
        (made.len() == 3).then_some(())
    })
    .await;
    stays("each was requested once", Duration::from_secs(8), || {
        stage.receiver.count("/slow") == 3
    })
    .await;
    let publisher = stage.deployment.publisher().await.unwrap();
    eventually("and is acknowledged", LONG, || async {
        (publisher.depth(&format!("endpoint.{endpoint}")).await.ok()? == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_full_disk_keeps_out_is_refused_and_delivered_once_when_asked_again() {
    let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let stage = Stage::on(Deployment::on(&broker, &redis).await.unwrap()).await;
    stage.endpoint("/a").await;
    let path = format!("/api/v1/app/{}/msg", stage.app);
    let ask = async |n: usize| {
        let payload = json!({ "type": "sync.user", "userId": format!("user_{n}") });
        let body = json!({ "eventType": "sync.user", "payload": payload });
        let key = format!("message-{n}");
        let headers = [("idempotency-key", key.as_str())];
        let answered = stage.api.call_with(Method::POST, &path, Some(&body), &headers);
        answered.await.unwrap()
    };
    assert_eq!(ask(0).await.status, StatusCode::ACCEPTED);
    stage.receiver.wait_for("/a", 1, LONG).await;

    broker.ctl(&["set_disk_free_limit", "9999GB"]).await.unwrap();
    let refused = ask(1).await;
    assert_eq!(
        refused.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        refused.body
    );
    assert_eq!(refused.body["code"], "unavailable");
    says(&stage.nuncio, "blocked by RabbitMQ").await;
    assert_eq!(stage.receiver.count("/a"), 1);

    broker.ctl(&["set_disk_free_limit", "1MB"]).await.unwrap();
    ready_again(&stage.nuncio).await;
    for n in [1, 2] {
        let accepted = ask(n).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
    }
    stage.receiver.wait_for("/a", 3, LONG).await;
    stays("each once", QUIET, || stage.receiver.count("/a") == 3).await;
    assert_eq!(stage.receiver.times_by_id("/a").len(), 3);
}

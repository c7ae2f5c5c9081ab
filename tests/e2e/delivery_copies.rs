//! Several copies of one delivery, as crashes and lost queues leave them behind: the budget is that of one.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::time::Duration;

use e2e::{Answer, LONG};
use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};

use crate::delivery_stage::{QUIET, Stage, stays};

/// Puts `copies` of the first attempt of `message` into the lane of `endpoint`, as a router does.
async fn put(stage: &Stage, endpoint: &str, message: &str, copies: usize) {
    let exchange = format!("{}.deliveries", stage.deployment.namespace());
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(message.into())
        .with_app_id(stage.app.as_str().into())
        .with_type("sync.user".into())
        .with_timestamp(1_700_000_000);
    for _ in 0..copies {
        let published = stage.publisher.channel().basic_publish(
            exchange.as_str().into(),
            endpoint.into(),
            BasicPublishOptions::default(),
            br#"{"type":"sync.user","userId":"user_1"}"#,
            properties.clone(),
        );
        published.await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_come_together_make_each_attempt_once() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    stage
        .receiver
        .answer("/a", [Answer::status(500).after(Duration::from_millis(200))]);
    put(&stage, &endpoint, "msg_2ccccccccccccccccccccccccccc", 3).await;
    stage.receiver.wait_for("/a", 4, LONG).await;
    stays("the four attempts of the budget", QUIET, || {
        stage.receiver.count("/a") == 4
    })
    .await;
    let attempts = stage
        .api
        .attempts_by_endpoint(&stage.app, &endpoint)
        .await
        .unwrap();
    assert_eq!(attempts.len(), 4, "{attempts:?}");
    let lane = format!("{}.endpoint.{endpoint}", stage.deployment.namespace());
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let left = stage
        .publisher
        .channel()
        .queue_declare(lane.into(), passive, FieldTable::default());
    assert_eq!(
        left.await.unwrap().message_count(),
        0,
        "the copies are acknowledged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_several_senders_make_at_once_climb_the_ladder_once() {
    let stage = Stage::set(&[]).await;
    let _second_sender = stage.deployment.start("sender").await.unwrap();
    let endpoint = stage.endpoint("/a").await;
    stage
        .receiver
        .answer("/a", [Answer::status(500).after(Duration::from_millis(200))]);
    for n in 0..5 {
        put(
            &stage,
            &endpoint,
            &format!("msg_2dddddddddddddddddddddddddd{n}"),
            2,
        )
        .await;
    }
    stage.receiver.wait_for("/a", 5 * 4, LONG).await;
    // The first attempt may be made by both at once; which of them is recorded goes on alone.
    stays("at most one request more for each", QUIET, || {
        stage.receiver.count("/a") <= 5 * (4 + 1)
    })
    .await;
    let attempts = stage
        .api
        .attempts_by_endpoint(&stage.app, &endpoint)
        .await
        .unwrap();
    assert_eq!(attempts.len(), 5 * 4, "each attempt is recorded once");
}

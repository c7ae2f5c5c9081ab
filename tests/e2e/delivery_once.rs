//! The idempotency key: one message id is one delivery.

use e2e::{Event, LONG};

use crate::delivery_stage::{QUIET, Stage, stays, user};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_id_with_the_same_body_is_delivered_once() {
    let stage = Stage::set(&[]).await;
    let _second_router = stage.deployment.start("router").await.unwrap();
    stage.endpoint("/a").await;
    let event = Event::new(&stage.app, "sync.user", user(1)).id("order-1");
    // Many at once, so that they meet in one batch and in two routers; then some more when it was delivered long ago.
    stage
        .publisher
        .publish_all(vec![event.clone(); 40])
        .await
        .unwrap();
    stage.receiver.wait_for("/a", 1, LONG).await;
    for _ in 0..5 {
        stage.publisher.publish(&event).await.unwrap();
    }
    stage
        .publisher
        .publish(&Event::new(&stage.app, "sync.user", user(2)).id("order-2"))
        .await
        .unwrap();
    stage.receiver.wait_for("/a", 2, LONG).await;
    stays("two ids are two deliveries", QUIET, || {
        stage.receiver.count("/a") == 2
    })
    .await;
    assert_eq!(stage.publisher.depth("set-aside").await.unwrap(), 0);
    let bodies: Vec<_> = stage
        .receiver
        .requests("/a")
        .iter()
        .map(|request| request.text().to_owned())
        .collect();
    assert_eq!(bodies, [user(1), user(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_id_belongs_to_its_app() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let other = stage.api.create_app("Other").await.unwrap();
    stage
        .api
        .create_endpoint(&other, &stage.receiver.url("/b"))
        .await
        .unwrap();
    for app in [&stage.app, &other] {
        stage
            .publisher
            .publish(&Event::new(app, "sync.user", user(1)).id("order-1"))
            .await
            .unwrap();
    }
    let at_a = stage.receiver.wait_for("/a", 1, LONG).await.remove(0);
    let at_b = stage.receiver.wait_for("/b", 1, LONG).await.remove(0);
    assert_ne!(at_a.id(), at_b.id(), "two messages, in two apps");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_an_id_are_messages_of_their_own() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let event = Event::new(&stage.app, "sync.user", user(1));
    stage.publisher.publish_all(vec![event; 10]).await.unwrap();
    stage.receiver.wait_for("/a", 10, LONG).await;
    stays("ten events are ten deliveries", QUIET, || {
        stage.receiver.count("/a") == 10
    })
    .await;
    assert_eq!(stage.receiver.times_by_id("/a").len(), 10);
}

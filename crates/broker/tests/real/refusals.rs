//! What RabbitMQ refuses closes a channel, and a connection has only so many: refusals without end are got over.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use nuncio_broker::{BrokerState, PublishError, Route};
use tokio::time::timeout;

use crate::{PATIENCE, Rig, config, id, next, outsider, shared_url};

/// A little more than the channels of one connection.
const REFUSALS: usize = 2_200;
/// Channels of a connection in tests that use all of them up. Enough for what goes on beside.
const CHANNELS_MAX: usize = 40;

/// The address of the shared node, for connections with few channels.
async fn narrow_url() -> String {
    format!("{}?channel_max={CHANNELS_MAX}", shared_url().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_a_missing_queue_can_be_asked_without_end() {
    let rig = Rig::shared().await;
    let asked = futures_util::stream::iter(0..REFUSALS)
        .map(|_| rig.broker.depth("nobody-declared-this"))
        .buffer_unordered(32)
        .map(|depth| assert!(depth.unwrap().is_none()))
        .count();
    assert_eq!(asked.await, REFUSALS);
    let states = rig.broker.state();
    assert!(states.borrow().is_ready() && !states.has_changed().unwrap());
    let lane = rig.lane(1).await;
    assert_eq!(
        rig.depth(&rig.broker.names().endpoint_queue(&lane)).await,
        Some(0)
    );
    rig.deliver(&lane, "after").await;
    let mut consumer = rig.consume(&lane, 10);
    let received = next(&mut consumer).await;
    assert_eq!(id(&received), "after");
    received.acker.ack();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_whose_channels_were_all_refused_gets_another_connection() {
    let rig = Rig::start(config(&narrow_url().await)).await;
    let lane = rig.lane(1).await;
    for _ in 0..CHANNELS_MAX + 5 {
        let refused = rig
            .publish(&Route::to("nobody-declared-this", "k"), "refused")
            .await;
        assert!(
            matches!(refused, Err(PublishError::NoExchange { .. })),
            "{refused:?}"
        );
    }
    rig.deliver(&lane, "after").await;
    assert_eq!(id(&next(&mut rig.consume(&lane, 10)).await), "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_whose_channels_were_all_refused_get_another_connection() {
    let rig = Rig::start(config(&narrow_url().await)).await;
    let lane = rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&lane);
    let (_connection, channel) = outsider(&shared_url().await).await;
    let exclusive = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let alone = channel
        .basic_consume(
            queue.as_str().into(),
            "alone".into(),
            exclusive,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let mut states = rig.broker.state();
    // Each on a channel of its own, which is closed.
    let prefetches = 1..=u16::try_from(CHANNELS_MAX + 5).unwrap();
    let mut consumers: Vec<_> = prefetches.map(|prefetch| rig.consume(&lane, prefetch)).collect();
    timeout(PATIENCE, states.wait_for(|state| !state.is_ready()))
        .await
        .expect("the connection is replaced")
        .unwrap();
    channel
        .basic_cancel(alone.tag(), lapin::options::BasicCancelOptions::default())
        .await
        .unwrap();
    consumers.truncate(1);
    timeout(PATIENCE, states.wait_for(BrokerState::is_ready))
        .await
        .unwrap()
        .unwrap();
    rig.deliver(&lane, "after").await;
    let received = timeout(PATIENCE + Duration::from_secs(30), consumers[0].recv()).await;
    assert_eq!(id(&received.unwrap().unwrap()), "after");
}

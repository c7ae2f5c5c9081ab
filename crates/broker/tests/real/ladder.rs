//! The retry ladder: messages wait, return under their key, never early, and survive the broker.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use nuncio_broker::Route;
use nuncio_domain::EndpointId;
use tokio::time::{Instant, timeout};

use crate::{PATIENCE, Rig, config, endpoint, id, next};

const WAIT: Duration = Duration::from_secs(3);

async fn climb(rig: &Rig, lane: &EndpointId, ids: impl Iterator<Item = String>) {
    let rung = rig.broker.names().rung(WAIT);
    let climbing = ids.map(|id| {
        let (rung, lane) = (&rung, lane);
        async move { rig.publish(&Route::to(rung, lane.as_str()), &id).await.unwrap() }
    });
    join_all(climbing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_a_rung_returns_to_its_lane_and_never_early() {
    let rig = Rig::shared().await;
    let lanes = [rig.lane(1).await, rig.lane(2).await];
    rig.broker.declare_rung(WAIT).await.unwrap();
    let begun = Instant::now();
    for lane in &lanes {
        climb(&rig, lane, (0..50).map(|number| format!("{lane}/{number}"))).await;
    }
    for lane in &lanes {
        let mut consumer = rig.consume(lane, 100);
        let mut seen = HashSet::new();
        while seen.len() < 50 {
            let received = next(&mut consumer).await;
            assert!(begun.elapsed() >= WAIT, "early: {:?}", begun.elapsed());
            assert_eq!(received.routing_key, lane.as_str());
            assert!(id(&received).starts_with(lane.as_str()), "in another's lane");
            seen.insert(id(&received));
            received.acker.ack();
        }
    }
    assert!(
        begun.elapsed() < WAIT + Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_is_not_held_up_by_deliveries_whose_lane_is_gone() {
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    rig.broker.declare_rung(WAIT).await.unwrap();
    // More than the 32 that a rung has under way at once.
    climb(
        &rig,
        &endpoint(404),
        (0..100).map(|number| format!("orphan-{number}")),
    )
    .await;
    climb(&rig, &lane, (0..200).map(|number| format!("live-{number}"))).await;
    let mut consumer = rig.consume(&lane, 200);
    let mut seen = HashSet::new();
    while seen.len() < 200 {
        let received = next(&mut consumer).await;
        seen.insert(id(&received));
        received.acker.ack();
    }
    rig.wait_depth(rig.broker.names().unroutable(), 100).await;
    let orphans = rig
        .broker
        .take(rig.broker.names().unroutable(), 100)
        .await
        .unwrap();
    assert!(orphans.iter().all(|orphan| orphan.routing_key == "ep_404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_ladder_is_lost_when_the_broker_is_killed() {
    let mut node = e2e::Broker::start().await.unwrap();
    let mut config = config(node.url());
    config.rungs = vec![WAIT];
    let rig = Rig::start(config).await;
    let lane = rig.lane(1).await;
    // A younger quorum queue may come back without a leader.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    climb(&rig, &lane, (0..1_000).map(|number| number.to_string())).await;
    let mut consumer = rig.consume(&lane, 100);
    // Once while all wait, once while they return.
    node.kill().await.unwrap();
    node.restart().await.unwrap();
    let mut seen = HashSet::new();
    let first = next(&mut consumer).await;
    assert!(begun.elapsed() >= WAIT);
    seen.insert(id(&first));
    first.acker.ack();
    node.kill().await.unwrap();
    node.restart().await.unwrap();
    while seen.len() < 1_000 {
        let received = timeout(PATIENCE, consumer.recv()).await;
        let received = received
            .unwrap_or_else(|_| panic!("{} of 1,000 returned", seen.len()))
            .unwrap();
        seen.insert(id(&received));
        received.acker.ack();
    }
}

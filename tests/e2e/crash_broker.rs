//! A broker that dies: what it confirmed is delivered, and what waits on the ladder comes back, late but not early.

use std::time::Duration;

use e2e::{Answer, Broker, Deployment, Event, LONG, Publisher, Receiver, Redis, eventually};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    scale_ledger::{Ledger, VERY_LONG, body, event, lane_path, turn},
    scale_load::Load,
};

/// RabbitMQ 3.10 may bring back without a leader a quorum queue that was a second old when its node was killed.
const QUORUM_QUEUES_SETTLE: Duration = Duration::from_secs(2);

/// After this, a confirm that was waiting when its connection broke is given up.
const CONFIRM: Duration = Duration::from_secs(10);

/// Publishes until each is confirmed, over as many connections as that takes, and never again what was confirmed.
pub(crate) async fn publish_until_confirmed(deployment: &Deployment, mut events: Vec<Event>) {
    let mut publisher: Option<Publisher> = None;
    while !events.is_empty() {
        let connected = match publisher.take() {
            Some(connected) => connected,
            None => match timeout(CONFIRM, deployment.publisher()).await {
                Ok(Ok(connected)) => connected,
                _ => {
                    sleep(Duration::from_millis(200)).await;
                    continue;
                }
            },
        };
        let unconfirmed: Vec<Event> = stream::iter(events)
            .map(|event| async {
                let confirmed = timeout(CONFIRM, connected.publish(&event)).await;
                (!matches!(confirmed, Ok(Ok(())))).then_some(event)
            })
            .buffered(100)
            .filter_map(std::future::ready)
            .collect()
            .await;
        events = unconfirmed;
        if events.is_empty() {
            publisher = Some(connected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_and_restarted_under_load_loses_nothing_that_it_confirmed() {
    let _turn = turn().await;
    let (mut broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let deployment = Deployment::on(&broker, &redis).await.unwrap();
    let load = Load::prepare(deployment.clone(), 4, Duration::from_millis(2)).await;
    let (_routers, _senders) = (load.start("router", 1).await, load.start("sender", 2).await);
    sleep(QUORUM_QUEUES_SETTLE).await;

    let app = load.app.clone();
    let publishing = async {
        for lot in 0..40 {
            let events = (lot * 100..(lot + 1) * 100).map(|n| event(&app, n, 4)).collect();
            publish_until_confirmed(&deployment, events).await;
        }
    };
    let crashing = async {
        load.ledger.wait_for(1_000).await;
        broker.kill().await.unwrap();
        let delivered = load.ledger.distinct();
        broker.restart().await.unwrap();
        delivered
    };
    let ((), delivered) = tokio::join!(publishing, crashing);
    assert!(delivered < 4_000, "the broker was killed in the middle");
    let twice = load.ledger.settle(load.expected(4_000)).await;
    eprintln!("killed after {delivered} deliveries; {} came twice", twice.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_while_routers_work_off_a_backlog_loses_nothing_of_it() {
    let _turn = turn().await;
    let (mut broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let deployment = Deployment::on(&broker, &redis).await.unwrap();
    let load = Load::prepare(deployment.clone(), 4, Duration::ZERO).await;
    load.publish(0, 5_000).await;
    sleep(QUORUM_QUEUES_SETTLE).await;
    let (_routers, _senders) = (load.start("router", 2).await, load.start("sender", 1).await);
    load.ledger.wait_for(200).await;
    broker.kill().await.unwrap();
    let delivered = load.ledger.distinct();
    broker.restart().await.unwrap();
    let twice = load.ledger.settle(load.expected(5_000)).await;
    eprintln!("killed after {delivered} deliveries; {} came twice", twice.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_wait_on_the_ladder_survive_a_broker_that_is_killed() {
    const WAITING: usize = 200;
    let _turn = turn().await;
    let (mut broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let rung = Duration::from_secs(12);
    let deployment = Deployment::on(&broker, &redis)
        .await
        .unwrap()
        .with("NUNCIO_RETRY_FIRST", "12s")
        .with("NUNCIO_RETRY_CEILING", "12s");
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let ledger = Ledger::default();
    let app = api.create_app("Patient").await.unwrap();
    // Several endpoints, as the breaker would let one of them fail at a trickle only.
    for lane in 0..20 {
        let path = lane_path(lane);
        let endpoint =
            json!({ "url": receiver.url(&path), "eventTypes": [crate::scale_ledger::lane_type(lane)] });
        ledger.watch_with(&receiver, &path, |nth| {
            if nth == 1 {
                Answer::status(503)
            } else {
                Answer::ok()
            }
        });
        api.create_endpoint_with(&app, &endpoint).await.unwrap();
    }
    sleep(QUORUM_QUEUES_SETTLE).await;
    publish_until_confirmed(&deployment, (0..WAITING).map(|n| event(&app, n, 20)).collect()).await;
    ledger.wait_for(WAITING).await;
    // Recorded and on the ladder, all of them: an endpoint's attempts are recorded just before they go there.
    eventually("every lane is empty", LONG, || async {
        let publisher = deployment.publisher().await.unwrap();
        (publisher.depth("ingest").await.unwrap() == 0).then_some(())
    })
    .await;

    broker.kill().await.unwrap();
    broker.restart().await.unwrap();
    let all_twice = || async { (ledger.total() >= 2 * WAITING).then_some(()) };
    eventually("each is tried a second time", VERY_LONG, all_twice).await;
    let copies = ledger
        .settle((0..WAITING).map(|n| (lane_path(n % 20), body(n))))
        .await;
    assert_eq!(copies.len(), WAITING, "each was tried a second time");
    for attempts in copies {
        let gap = attempts[1].at - attempts[0].at;
        // A delivery that was still in flight may be repeated, not one that waits.
        assert!(
            gap >= rung || attempts.len() > 2,
            "early: {gap:?} after the first attempt"
        );
    }
}

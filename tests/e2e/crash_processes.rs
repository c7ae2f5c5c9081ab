//! Routers and senders that die in the middle: nothing is lost, and only what they held can come twice.

use std::time::Duration;

use e2e::{Deployment, Nuncio};
use tokio::time::Instant;

use crate::{
    scale_ledger::{Arrival, turn},
    scale_load::Load,
};

/// Requests under way per endpoint and sender.
const CONCURRENCY: usize = 8;
/// A sender holds twice as many deliveries of an endpoint: those, and the ones that it records.
const HELD_PER_LANE: usize = 2 * CONCURRENCY;
/// Events that a router holds.
const HELD_BY_ROUTER: usize = 800;

/// Kills with SIGKILL, and returns the moment before it.
fn kill(nuncio: &mut Nuncio) -> Instant {
    let moment = Instant::now();
    nuncio.kill().expect("a process that runs can be killed");
    moment
}

fn assert_only_what_was_held(twice: &[Vec<Arrival>], killed: Instant, held: usize) {
    assert!(
        twice.len() <= held,
        "{} deliveries came twice; at most {held} were held",
        twice.len()
    );
    for copies in twice {
        assert_eq!(copies.len(), 2, "what was in flight is repeated once: {copies:?}");
        let grace = Duration::from_secs(1);
        assert!(
            copies[0].at <= killed + grace,
            "both copies came after the kill: {copies:?}"
        );
        assert!(
            copies[1].at >= killed,
            "both copies came before the kill: {copies:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_killed_among_ten_thousand_messages_loses_nothing_and_repeats_only_what_was_in_flight() {
    let _turn = turn().await;
    let concurrency = CONCURRENCY.to_string();
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_ENDPOINT_CONCURRENCY", &concurrency);
    let load = Load::prepare(deployment, 6, Duration::from_millis(10)).await;
    let _router = load.start("router", 1).await;
    let mut senders = load.start("sender", 2).await;
    let killing = async {
        load.ledger.wait_for(3_000).await;
        let killed = kill(&mut senders[0]);
        (killed, load.ledger.distinct())
    };
    let ((), (killed, delivered)) = tokio::join!(load.publish(0, 10_000), killing);
    assert!(delivered < 10_000, "the sender was killed in the middle");

    let twice = load.ledger.settle(load.expected(10_000)).await;
    eprintln!("killed after {delivered} deliveries; {} came twice", twice.len());
    assert_only_what_was_held(&twice, killed, 6 * HELD_PER_LANE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_killed_among_ten_thousand_messages_loses_nothing_and_repeats_only_what_it_held() {
    let _turn = turn().await;
    let load = Load::prepare(Deployment::shared().await.unwrap(), 6, Duration::ZERO).await;
    let _sender = load.start("sender", 1).await;
    // The events are there before the routers, so that these are in the middle of them when one dies.
    load.publish(0, 10_000).await;
    let mut routers = load.start("router", 2).await;
    load.ledger.wait_for(200).await;
    kill(&mut routers[0]);
    let delivered = load.ledger.distinct();
    assert!(delivered < 10_000, "the router was killed in the middle");

    let twice = load.ledger.settle(load.expected(10_000)).await;
    eprintln!("killed after {delivered} deliveries; {} came twice", twice.len());
    // What was fanned out and not yet acknowledged is fanned out again: its copies may arrive long after the kill.
    assert!(
        twice.len() <= HELD_BY_ROUTER,
        "{} came twice; at most {HELD_BY_ROUTER} were held",
        twice.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_sender_and_the_only_router_killed_again_and_again_lose_nothing() {
    let _turn = turn().await;
    let load = Load::prepare(Deployment::shared().await.unwrap(), 3, Duration::from_millis(5)).await;
    let (mut router, mut sender) = (load.start("router", 1).await, load.start("sender", 1).await);
    for round in 0..4 {
        load.publish(round * 500, (round + 1) * 500).await;
        load.ledger.wait_for(round * 500 + 100).await;
        kill(&mut router[0]);
        kill(&mut sender[0]);
        (router, sender) = (load.start("router", 1).await, load.start("sender", 1).await);
    }
    load.ledger.settle(load.expected(2_000)).await;
}

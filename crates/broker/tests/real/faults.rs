//! What goes wrong between Nuncio and RabbitMQ, and that it is got over.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use e2e::{FaultProxy, Mode};
use nuncio_broker::{LinkState, PublishError, Route};
use nuncio_domain::EndpointId;
use nuncio_wire::headers;
use tokio::time::{Instant, sleep, timeout};

use crate::{PATIENCE, Rig, config, id, message, next};

/// Publishes one message after another, many at a time, while `fault` happens; then takes all that was confirmed, and
/// looks whether what comes again says so. Returns how many came more than once.
async fn nothing_confirmed_is_lost(rig: &Rig, lane: &EndpointId, fault: impl Future<Output = ()>) -> usize {
    const AT_ONCE: u32 = 50;
    let stop = tokio_util::sync::CancellationToken::new();
    let number = AtomicU32::new(0);
    let publishing = futures_util::future::join_all((0..AT_ONCE).map(|_| async {
        let mut confirmed = Vec::new();
        while !stop.is_cancelled() {
            let id = format!("m{}", number.fetch_add(1, Ordering::Relaxed));
            rig.deliver(lane, &id).await;
            confirmed.push(id);
            sleep(Duration::from_millis(2)).await;
        }
        confirmed
    }));
    let faulting = async {
        sleep(Duration::from_millis(500)).await;
        fault.await;
        sleep(Duration::from_millis(500)).await;
        stop.cancel();
    };
    let (confirmed, ()) = tokio::join!(publishing, faulting);
    let mut missing: HashSet<String> = confirmed.into_iter().flatten().collect();
    assert!(missing.len() > 100, "only {} published", missing.len());
    let all = missing.len();
    let mut seen = HashSet::new();
    let mut again = 0;
    let mut consumer = rig.consume(lane, 200);
    while !missing.is_empty() {
        let received = timeout(PATIENCE, consumer.recv()).await;
        let received = received
            .unwrap_or_else(|_| panic!("{} of {all} are lost", missing.len()))
            .unwrap();
        missing.remove(&id(&received));
        if !seen.insert(id(&received)) {
            again += 1;
            let says_so = received.properties.headers.contains_key(headers::AGAIN);
            assert!(says_so || received.redelivered, "{} came twice", id(&received));
        }
        received.acker.ack();
    }
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_costs_no_confirmed_message_and_readiness_tells() {
    let mut node = e2e::Broker::start().await.unwrap();
    let rig = Rig::start(config(node.url())).await;
    let lane = rig.lane(1).await;
    let apart = rig.lane(2).await;
    let mut consumer = rig.consume(&apart, 10);
    rig.deliver(&apart, "held").await;
    let held = next(&mut consumer).await;
    sleep(Duration::from_secs(2)).await;
    let mut states = rig.broker.state();
    nothing_confirmed_is_lost(&rig, &lane, async {
        node.kill().await.unwrap();
        timeout(PATIENCE, states.wait_for(|state| !state.is_ready()))
            .await
            .unwrap()
            .unwrap();
        node.restart().await.unwrap();
        timeout(PATIENCE, states.wait_for(nuncio_broker::BrokerState::is_ready))
            .await
            .unwrap()
            .unwrap();
    })
    .await;
    // It belongs to a channel that is gone: it must not be taken for the same number on another.
    held.acker.ack();
    let mut ids = HashSet::new();
    while !ids.contains("held") {
        let received = next(&mut consumer).await;
        ids.insert(id(&received));
        received.acker.ack();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_restart_of_the_broker_is_got_over_too() {
    let mut node = e2e::Broker::start().await.unwrap();
    let rig = Rig::start(config(node.url())).await;
    let lane = rig.lane(1).await;
    sleep(Duration::from_secs(2)).await;
    nothing_confirmed_is_lost(&rig, &lane, async {
        node.stop().await.unwrap();
        node.restart().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_connections_are_replaced_within_seconds() {
    let (proxy, url) = FaultProxy::before(&crate::shared_url().await).await.unwrap();
    let rig = Rig::start(config(&url)).await;
    let lane = rig.lane(1).await;
    nothing_confirmed_is_lost(&rig, &lane, async {
        for _ in 0..5 {
            proxy.reset_all();
            sleep(Duration::from_millis(700)).await;
        }
        proxy.half_close_all();
        sleep(Duration::from_millis(700)).await;
        proxy.cut_after(10_000);
    })
    .await;
    rig.broker.wait_ready(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_fell_silent_is_found_by_heartbeat() {
    let (proxy, url) = FaultProxy::before(&crate::shared_url().await).await.unwrap();
    let rig = Rig::start(config(&url)).await;
    let lane = rig.lane(1).await;
    let mut consumer = rig.consume(&lane, 10);
    rig.deliver(&lane, "1").await;
    next(&mut consumer).await.acker.ack();
    proxy.set(Mode::Blackhole);
    let silent = Instant::now();
    let mut states = rig.broker.state();
    let lost = states.wait_for(|state| {
        let lost = |link: &LinkState| matches!(link, LinkState::Connecting { .. });
        lost(&state.publishing) && lost(&state.consuming)
    });
    timeout(Duration::from_secs(10), lost)
        .await
        .expect("found within 10 s")
        .unwrap();
    assert!(silent.elapsed() >= Duration::from_secs(2));
    let deadline = Instant::now() + Duration::from_secs(1);
    let route = Route::to(rig.broker.names().deliveries(), lane.as_str());
    let published = rig
        .broker
        .publisher()
        .publish(&route, message("2"), deadline)
        .await;
    assert!(
        matches!(published, Err(PublishError::Unconfirmed { .. })),
        "{published:?}"
    );
    proxy.set(Mode::Pass);
    rig.broker.wait_ready(PATIENCE).await.unwrap();
    rig.deliver(&lane, "3").await;
    while id(&next(&mut consumer).await) != "3" {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_left_and_found_again() {
    let node = e2e::Broker::start().await.unwrap();
    let rig = Rig::start(config(node.url())).await;
    let lane = rig.lane(1).await;
    let mut states = rig.broker.state();
    let again = nothing_confirmed_is_lost(&rig, &lane, async {
        node.freeze().unwrap();
        timeout(
            Duration::from_secs(15),
            states.wait_for(|state| !state.is_ready()),
        )
        .await
        .expect("found by heartbeat")
        .unwrap();
        // A try to connect while it is frozen gets no answer, and ends.
        sleep(Duration::from_secs(12)).await;
        node.thaw().unwrap();
        rig.broker.wait_ready(PATIENCE).await.unwrap();
    })
    .await;
    assert!(
        again > 0,
        "what was written before it froze was read when it went on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_publishers_are_blocked_consumers_go_on_and_nothing_is_published_twice() {
    let node = e2e::Broker::start().await.unwrap();
    let rig = Rig::start(config(node.url())).await;
    let lane = rig.lane(1).await;
    for number in 0..20 {
        rig.deliver(&lane, &format!("before-{number}")).await;
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.0001"])
        .await
        .unwrap();
    let waiting = futures_util::future::join_all((0..20).map(|number| {
        let (rig, lane) = (&rig, &lane);
        async move { rig.deliver(lane, &format!("during-{number}")).await }
    }));
    let meanwhile = async {
        let mut states = rig.broker.state();
        let blocked = states.wait_for(|state| matches!(state.publishing, LinkState::Blocked { .. }));
        let state = timeout(Duration::from_secs(20), blocked)
            .await
            .expect("blocked")
            .unwrap()
            .clone();
        assert!(!state.is_ready());
        assert_eq!(state.consuming, LinkState::Connected);
        let mut consumer = rig.consume(&lane, 20);
        for _ in 0..20 {
            let received = next(&mut consumer).await;
            assert!(id(&received).starts_with("before"));
            received.acker.ack();
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        let route = Route::to(rig.broker.names().deliveries(), lane.as_str());
        let refused = rig
            .broker
            .publisher()
            .publish(&route, message("late"), deadline)
            .await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("blocked"), "{error}");
        // Longer than a confirm may take while all is well.
        sleep(Duration::from_secs(5)).await;
        node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
        consumer
    };
    let (_, mut consumer) = tokio::join!(waiting, meanwhile);
    let mut seen = HashSet::new();
    while seen.len() < 20 {
        let received = next(&mut consumer).await;
        assert!(seen.insert(id(&received)), "{} came twice", id(&received));
        received.acker.ack();
    }
    let more = timeout(Duration::from_secs(1), consumer.recv()).await;
    assert!(
        more.is_err(),
        "what its caller gave up on before it was written is not written later"
    );
}

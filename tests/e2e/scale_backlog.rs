//! A publisher faster than the senders: what waits, waits in RabbitMQ.
//!
//! Owns the proof that a backlog costs no process memory, that nobody else waits behind it, and that it drains whole.

use std::time::Duration;

use e2e::{Deployment, LONG, Nuncio, Receiver, eventually};

use crate::scale_ledger::{Ledger, deliveries, event, lane_path, turn};

/// How many events wait for one endpoint; `NUNCIO_TEST_BACKLOG=1000000` is the long form.
fn backlog_size() -> usize {
    let named = std::env::var("NUNCIO_TEST_BACKLOG").ok();
    named.map_or(20_000, |text| text.parse().expect("a number of events"))
}

/// How long it may take, on a machine that is busy with other tests.
fn long_enough(events: usize) -> Duration {
    LONG * 2 + Duration::from_millis(5) * u32::try_from(events).unwrap_or(u32::MAX)
}

/// What no process may exceed, whatever waits.
const RESIDENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

fn assert_small(role: &str, process: &Nuncio) {
    let bytes = process.resident_bytes().expect("it runs");
    assert!(bytes < RESIDENT_BYTES_MAX, "the {role} has {} MiB", bytes >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_nobodys_memory_and_nobody_elses_wait() {
    let backlog = backlog_size();
    let _turn = turn().await;
    let deployment = Deployment::shared().await.expect("a deployment");
    let api = deployment.start("api").await.expect("the API");
    let client = api.client().await.expect("a client");
    let publisher = deployment.publisher().await.expect("a publisher");
    let receiver = Receiver::start().await.expect("a receiver");
    let (flooded, other) = (Ledger::default(), Ledger::default());
    flooded.watch(&receiver, &lane_path(0), Duration::ZERO);
    other.watch(&receiver, "/other", Duration::ZERO);
    let app = client.create_app("Flooded").await.expect("an app");
    let neighbour = client.create_app("Neighbour").await.expect("an app");
    for (app, path) in [(&app, lane_path(0)), (&neighbour, "/other".to_owned())] {
        client
            .create_endpoint(app, &receiver.url(&path))
            .await
            .expect("an endpoint");
    }

    let router = deployment.start("router").await.expect("a router");
    let events = (0..backlog).map(|n| event(&app, n, 1));
    assert_eq!(publisher.publish_all(events).await.expect("confirms"), backlog);
    assert_small("router", &router);
    let sender = deployment.start("sender").await.expect("a sender");
    publisher
        .publish(&event(&neighbour, 0, 1))
        .await
        .expect("a confirm");
    other.wait_for(1).await;
    let drained = flooded.distinct();
    assert!(
        drained < backlog,
        "the neighbour's event arrived behind all of the backlog"
    );
    eprintln!("the neighbour's event arrived when {drained} of {backlog} had");
    eventually("the backlog drains", long_enough(backlog), || {
        assert_small("router", &router);
        assert_small("sender", &sender);
        std::future::ready((flooded.distinct() == backlog).then_some(()))
    })
    .await;
    assert_small("api", &api);
    let twice = flooded.settle(deliveries(backlog, 1)).await;
    assert!(
        twice.is_empty(),
        "{} deliveries came twice without a fault",
        twice.len()
    );
    assert_eq!(other.total(), 1, "the neighbour got its one event once");
}

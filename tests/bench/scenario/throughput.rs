//! How much, how fast.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::{
    load::{Pace, Stream},
    measure::{Bench, Until},
    procfs,
    report::Row,
    stage::Stage,
};

/// Publishes waiting for their confirm, for what is published as fast as it goes.
const WINDOW: usize = 2_000;
const RATE_SECONDS: f64 = 8.0;

/// `events` to `apps` in turn, each with so many endpoints; drained as often as there are rounds.
pub(super) async fn drained(
    bench: &mut Bench,
    name: &str,
    apps: usize,
    endpoints: usize,
    payload_bytes: usize,
    events: u64,
) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, apps, endpoints).await?;
    let row = drain_rounds(bench, &stage, name, endpoints, payload_bytes, events).await?;
    stage.close().await?;
    Ok(vec![row])
}

/// A hundred apps whose endpoints are all at one host.
pub(super) async fn one_host(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses.one_host(), 100, 1).await?;
    let row = drain_rounds(bench, &stage, "100 apps × 1, one host", 1, 200, 15_000).await?;
    stage.close().await?;
    Ok(vec![row])
}

async fn drain_rounds(
    bench: &mut Bench,
    stage: &Stage,
    name: &str,
    endpoints: usize,
    payload_bytes: usize,
    events: u64,
) -> Result<Row> {
    let total = bench.scaled(events);
    let mut runs = Vec::new();
    for _ in 0..bench.rounds {
        let stream = Stream {
            targets: stage.routing_keys(),
            pace: Pace::Max,
            total,
            seconds_max: 60.0,
            payload_bytes,
            window: WINDOW,
        };
        runs.push(bench.drain(stage, vec![stream], total * endpoints as u64).await?);
    }
    Ok(Row::new(name, runs))
}

/// Latency at fixed rates, to one endpoint.
pub(super) async fn rates(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, 1, 1).await?;
    let mut rows = Vec::new();
    for (name, rate, rest) in [
        ("AMQP at 100/s", 100.0, false),
        ("AMQP at 1,000/s", 1_000.0, false),
        ("REST at 100/s", 100.0, true),
    ] {
        let (via, targets) = if rest {
            (stage.rest(), stage.app_ids())
        } else {
            (stage.amqp(), stage.routing_keys())
        };
        let stream = Stream {
            targets,
            pace: Pace::Rate(rate),
            total: bench.scaled((rate * RATE_SECONDS) as u64),
            seconds_max: 60.0,
            payload_bytes: 200,
            window: WINDOW,
        };
        let (run, _) = bench
            .live(&stage, via, vec![stream], Until::Deliveries(1))
            .await?;
        rows.push(Row::new(name, vec![run]));
    }
    stage.close().await?;
    Ok(rows)
}

/// Many apps with one endpoint each: throughput, and what an idle lane costs.
pub(super) async fn endpoints(bench: &mut Bench, name: &str, count: usize) -> Result<Vec<Row>> {
    let mut stage = bench.servers.open(&bench.addresses, 1, 1).await?;
    let (sender, broker) = (stage.sender.pid(), bench.servers.broker.pid()?);
    let before = (procfs::resident_bytes(sender), procfs::resident_bytes(broker));
    let start = Instant::now();
    let more = stage.create(&bench.addresses, 1, count - 1, 1).await?;
    let set_up = start.elapsed();
    stage.apps.extend(more);
    // Whatever creating them left to be collected is no lane's.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = (procfs::resident_bytes(sender), procfs::resident_bytes(broker));
    let per_lane =
        |before: u64, after: u64| after.saturating_sub(before) as f64 / 1_024.0 / (count - 1) as f64;

    let mut row = drain_rounds(bench, &stage, name, 1, 200, 15_000).await?;
    let start = restart_with_waiting(bench, &mut stage).await?;
    let figures = [
        (
            "creating an app with an endpoint, ms",
            set_up.as_secs_f64() * 1e3 / (count - 1) as f64,
        ),
        ("idle endpoint in the sender, KiB", per_lane(before.0, after.0)),
        ("idle endpoint in the broker, KiB", per_lane(before.1, after.1)),
        (
            "sender started until every lane was served, s",
            start.as_secs_f64(),
        ),
    ];
    for run in &mut row.runs {
        run.figures
            .extend(figures.map(|(name, value)| (name.to_owned(), value)));
    }
    stage.close().await?;
    Ok(vec![row])
}

/// One event waits in every lane while no sender is there: how long until a new one has delivered them all?
async fn restart_with_waiting(bench: &mut Bench, stage: &mut Stage) -> Result<Duration> {
    stage.sender.terminate(Duration::from_secs(60)).await?;
    bench.take_arrived().await?;
    let lanes = stage.apps.len() as u64;
    let stream = Stream {
        targets: stage.routing_keys(),
        pace: Pace::Max,
        total: lanes,
        seconds_max: 60.0,
        payload_bytes: 200,
        window: WINDOW,
    };
    bench.publish(stage.amqp(), vec![stream]).await?;
    let start = Instant::now();
    stage.sender = stage.deployment.start("sender").await?;
    bench.wait_for(lanes, stage).await?;
    let took = start.elapsed();
    bench.take_arrived().await?;
    Ok(took)
}

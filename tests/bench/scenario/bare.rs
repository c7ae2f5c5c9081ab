//! The yardstick.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    bare::{ClientKind, Plan, Request},
    child::Child,
    load::{Pace, Stream, Via},
    measure::{Bench, Sample},
    report::{Row, Run, YARDSTICK},
};

const DELIVERIES: u64 = 25_000;
/// Requests in flight per lane, like a sender's by default.
const IN_FLIGHT: u16 = 16;
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn yardstick(bench: &mut Bench) -> Result<Vec<Row>> {
    let run = measure(bench, ClientKind::Reqwest, 50).await?;
    Ok(vec![Row::new(YARDSTICK, vec![run])])
}

pub(super) async fn variants(bench: &mut Bench) -> Result<Vec<Row>> {
    let one = measure(bench, ClientKind::Reqwest, 1).await?;
    let hyper = measure(bench, ClientKind::Hyper, 50).await?;
    Ok(vec![
        Row::new("bare loop, reqwest, 1 lane", vec![one]),
        Row::new("bare loop, hyper, 50 lanes", vec![hyper]),
    ])
}

/// Like a drain: the lanes are filled first. The loop's own process counts as the sender.
async fn measure(bench: &mut Bench, client: ClientKind, lanes: usize) -> Result<Run> {
    let queues = bench.servers.bare_queues(lanes).await?;
    let total = bench.scaled(DELIVERIES);
    let url = bench.servers.broker.url().to_owned();
    let via = Via::Amqp {
        url: url.clone(),
        exchange: String::new(),
    };
    let stream = Stream {
        targets: queues.clone(),
        pace: Pace::Max,
        total,
        seconds_max: 60.0,
        payload_bytes: 200,
        window: 2_000,
    };
    bench.publish(via, vec![stream]).await?;
    bench.take_arrived().await?;
    let mut bare = Child::start("bare").await?;
    let plan = Plan {
        url,
        queues,
        prefetch: IN_FLIGHT,
        targets: (0..lanes).map(|lane| bench.addresses.lane(lane)).collect(),
        client,
        total,
    };
    bare.ask::<()>(&Request::Prepare(plan), PATIENCE).await?;
    let pids = [
        ("broker", bench.servers.broker.pid()?),
        ("sender", bare.pid()),
        ("receiver", bench.receiver.pid()),
    ];
    let pids = pids.into_iter().collect();
    let before = Sample::take(&pids)?;
    bare.ask::<()>(&Request::Run, PATIENCE).await?;
    let after = Sample::take(&pids)?;
    sleep(Duration::from_millis(100)).await;
    bench.take_arrived().await?;
    Ok(Run::new(&before, &after, total))
}

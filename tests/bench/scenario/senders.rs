//! Several senders: what each adds, what is missed when one is killed, and whether they hold a rate together.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::Nuncio;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    clock,
    load::{Pace, Stream},
    measure::{Bench, Until},
    report::Row,
    stage::Stage,
};

/// Requests under way in a sender here: with a receiver that takes its time, that is what limits one.
const UNDER_WAY: u32 = 32;
const ANSWERS_AFTER: Duration = Duration::from_millis(50);
/// Many, so that each sender owns about as many as every other.
const LANES: usize = 200;
const SENDERS_MAX: usize = 4;
const EVENTS_EACH: u64 = 4_000;

/// What three can take.
const RATE: f64 = 1_000.0;
const RATE_SECONDS: f64 = 12.0;
const KILLED_AFTER: Duration = Duration::from_secs(4);
/// Arrivals are counted in steps of this many nanoseconds.
const STEP: u64 = 500_000_000;

const THROTTLE_RATE: u32 = 50;
const THROTTLED_SECONDS: u64 = 10;

/// How long senders take to know each other and to share the lanes.
const ACQUAINTANCE: Duration = Duration::from_secs(6);

/// Throughput of one to four senders at a receiver that takes 50 ms; then one of four is killed.
pub(super) async fn horizontal(bench: &mut Bench) -> Result<Vec<Row>> {
    let deployment = bench
        .servers
        .with("NUNCIO_SENDER_CONCURRENCY", &UNDER_WAY.to_string());
    let stage = bench
        .servers
        .open_on(deployment, &bench.addresses, LANES, 1)
        .await?;
    bench.hang(LANES as u64, ANSWERS_AFTER).await?;
    let mut more: Vec<Nuncio> = Vec::new();
    let mut rows = Vec::new();
    for senders in 1..=SENDERS_MAX {
        if senders > 1 {
            more.push(stage.deployment.start("sender").await?);
            sleep(ACQUAINTANCE).await;
        }
        let total = bench.scaled(EVENTS_EACH * senders as u64);
        let stream = every_lane(&stage, Pace::Max, total);
        let mut run = bench.drain(&stage, vec![stream], total).await?;
        let ideal = senders as f64 * f64::from(UNDER_WAY) / ANSWERS_AFTER.as_secs_f64();
        let share = total as f64 / run.seconds / ideal;
        run.figures
            .insert("share of what its requests under way allow".to_owned(), share);
        rows.push(Row::new(format!("{senders} senders, 50 ms each"), vec![run]));
    }
    rows.push(one_is_killed(bench, &stage, more).await?);
    bench.hang(0, Duration::ZERO).await?;
    stage.close().await?;
    Ok(rows)
}

async fn one_is_killed(bench: &mut Bench, stage: &Stage, mut more: Vec<Nuncio>) -> Result<Row> {
    let total = bench.scaled((RATE * RATE_SECONDS) as u64);
    let stream = every_lane(stage, Pace::Rate(RATE), total);
    let mut victim = more.pop().context("there are several senders")?;
    let kill_after = KILLED_AFTER.mul_f64(bench.scale);
    let killed = async {
        sleep(kill_after).await;
        let at = clock::now_ns();
        victim.kill().map(|_| at)
    };
    let live = bench.live(stage, stage.amqp(), vec![stream], Until::Deliveries(1));
    let (live, killed) = tokio::join!(live, killed);
    let ((mut run, events), killed) = (live?, killed?);
    let last_sent = events
        .sent
        .values()
        .map(|(sent, _)| *sent)
        .max()
        .unwrap_or(killed);
    let steps = (last_sent.saturating_sub(killed) / STEP) as usize;
    let mut arrivals = vec![0_u64; steps];
    for [_, _, at] in events.arrived.iter().filter(|[_, _, at]| *at >= killed) {
        if let Some(count) = arrivals.get_mut(((at - killed) / STEP) as usize) {
            *count += 1;
        }
    }
    let due = RATE * STEP as f64 / 1e9;
    let shares: Vec<f64> = arrivals.iter().map(|count| *count as f64 / due).collect();
    let slow = shares.iter().filter(|share| **share < 0.9).count();
    run.figures.extend([
        (
            "share of the rate in the slowest half second".to_owned(),
            shares.into_iter().fold(f64::INFINITY, f64::min),
        ),
        (
            "below nine tenths of the rate after the kill, s".to_owned(),
            slow as f64 * STEP as f64 / 1e9,
        ),
    ]);
    Ok(Row::new("one of 4 senders killed at 1,000/s", vec![run]))
}

/// An endpoint, then an app of four, that may be sent 50 messages a second, between three senders.
pub(super) async fn throttled(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, 2, 4).await?;
    let more = (
        stage.deployment.start("sender").await?,
        stage.deployment.start("sender").await?,
    );
    sleep(ACQUAINTANCE).await;
    let (by_endpoint, by_app) = (&stage.apps[0].id, &stage.apps[1].id);
    let endpoints = stage
        .client
        .list(&format!("/api/v1/app/{by_endpoint}/endpoint"))
        .await?;
    let rate = json!({ "throttleRate": THROTTLE_RATE });
    for endpoint in &endpoints {
        let id = endpoint["id"].as_str().context("an endpoint has an id")?;
        let path = format!("/api/v1/app/{by_endpoint}/endpoint/{id}");
        stage.client.patch(&path, &rate).await?;
    }
    stage
        .client
        .patch(&format!("/api/v1/app/{by_app}"), &rate)
        .await?;
    sleep(Duration::from_secs(1)).await;
    let mut rows = Vec::new();
    let span = bench.scaled(THROTTLED_SECONDS);
    for (name, app, events) in [
        ("endpoints of 50/s", 0, span * u64::from(THROTTLE_RATE)),
        ("app of 50/s, 4 endpoints", 1, span * u64::from(THROTTLE_RATE) / 4),
    ] {
        let stream = Stream {
            targets: vec![stage.routing_keys()[app].clone()],
            ..every_lane(&stage, Pace::Max, events)
        };
        let mut run = bench.drain(&stage, vec![stream], events * 4).await?;
        let limit = f64::from(THROTTLE_RATE) * if app == 0 { 4.0 } else { 1.0 };
        run.figures.insert(
            "share of the rate that it may".to_owned(),
            (events * 4) as f64 / run.seconds / limit,
        );
        rows.push(Row::new(format!("throttled: {name}"), vec![run]));
    }
    drop(more);
    stage.close().await?;
    Ok(rows)
}

fn every_lane(stage: &Stage, pace: Pace, total: u64) -> Stream {
    Stream {
        targets: stage.routing_keys(),
        pace,
        total,
        seconds_max: 120.0,
        payload_bytes: 200,
        window: 2_000,
    }
}

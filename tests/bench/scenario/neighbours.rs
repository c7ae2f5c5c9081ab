//! Whether one endpoint's trouble, or one app's success, is its neighbours'.

use std::time::Duration;

use anyhow::Result;

use crate::{
    load::{Pace, Stream},
    measure::{Bench, Until},
    report::Row,
    stage::Stage,
};

const HEALTHY_RATE: f64 = 200.0;
const HANGING_SECONDS: f64 = 20.0;
const HANG: Duration = Duration::from_secs(20);
const QUIET_APPS: usize = 100;
const QUIET_SECONDS: f64 = 8.0;
const WINDOW: usize = 2_000;

/// 200 events a second to 100 endpoints in turn, of which some hang; the latency is that of the others.
pub(super) async fn hanging(bench: &mut Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for hanging in [0, 10, 20, 50] {
        let stage = bench.servers.open(&bench.addresses, 100, 1).await?;
        bench.hang(hanging, HANG).await?;
        let total = bench.scaled((HEALTHY_RATE * HANGING_SECONDS) as u64);
        let stream = quiet(&stage, 0..100, HEALTHY_RATE, total);
        let until = Until::Later(Duration::from_secs(1));
        let (mut run, events) = bench.live(&stage, stage.amqp(), vec![stream], until).await?;
        run.latency = events.latency(|_, lane| lane >= hanging);
        let arrived = events
            .arrived
            .iter()
            .filter(|[_, lane, _]| *lane >= hanging)
            .count();
        let due = events
            .sent
            .keys()
            .filter(|number| **number % 100 >= hanging)
            .count();
        run.figures.insert(
            "healthy deliveries missing".to_owned(),
            due as f64 - arrived as f64,
        );
        rows.push(Row::new(format!("healthy beside {hanging} hanging"), vec![run]));
        bench.hang(0, Duration::ZERO).await?;
        stage.close().await?;
    }
    Ok(rows)
}

/// A hundred quiet apps alone, and beside one whose publisher keeps a thousand events on the way all the time.
pub(super) async fn hot(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, QUIET_APPS + 1, 1).await?;
    let quiet_total = bench.scaled((100.0 * QUIET_SECONDS) as u64);
    let quiet_stream = || quiet(&stage, 0..QUIET_APPS, 100.0, quiet_total);
    let until = Until::Deliveries(1);
    let (alone, _) = bench
        .live(&stage, stage.amqp(), vec![quiet_stream()], until)
        .await?;
    let pace = Pace::OnTheWay {
        most: 1_000,
        watch: bench.addresses.watch,
    };
    let streams = vec![quiet_stream(), busy(&stage, pace, QUIET_SECONDS * bench.scale)];
    let (mut beside, events) = bench
        .live(&stage, stage.amqp(), streams, Until::Deliveries(1))
        .await?;
    beside.latency = events.latency(|_, lane| lane < QUIET_APPS as u64);
    stage.close().await?;
    Ok(vec![
        Row::new("quiet alone", vec![alone]),
        Row::new("quiet beside hot", vec![beside]),
    ])
}

/// The same beside one whose publisher sends as fast as the broker confirms, whether it is delivered or not.
pub(super) async fn flood(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, QUIET_APPS + 1, 1).await?;
    let quiet_stream = quiet(&stage, 0..QUIET_APPS, 100.0, bench.scaled(400));
    let streams = vec![quiet_stream, busy(&stage, Pace::Max, 3.0 * bench.scale)];
    let (mut run, events) = bench
        .live(&stage, stage.amqp(), streams, Until::Deliveries(1))
        .await?;
    run.latency = events.latency(|_, lane| lane < QUIET_APPS as u64);
    stage.close().await?;
    Ok(vec![Row::new("quiet beside flood", vec![run])])
}

fn quiet(stage: &Stage, apps: std::ops::Range<usize>, rate: f64, total: u64) -> Stream {
    Stream {
        targets: stage.routing_keys()[apps].to_vec(),
        pace: Pace::Rate(rate),
        total,
        seconds_max: 120.0,
        payload_bytes: 200,
        window: WINDOW,
    }
}

/// The last app's.
fn busy(stage: &Stage, pace: Pace, seconds_max: f64) -> Stream {
    Stream {
        targets: stage.routing_keys().split_off(QUIET_APPS),
        pace,
        total: 10_000_000,
        seconds_max,
        payload_bytes: 200,
        window: 500,
    }
}

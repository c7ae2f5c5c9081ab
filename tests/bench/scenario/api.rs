//! The REST API: events in, and lists that stay flat.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::ApiClient;
use tokio::time::{Instant, sleep};

use crate::{
    load::{Pace, Stream},
    measure::{Bench, Sample, Until},
    procfs,
    report::{Row, Run},
    stage::Stage,
    stats::Quantiles,
};

/// Requests in flight.
const CLIENTS: usize = 64;
const POSTS: u64 = 8_000;
const CALLS: usize = 200;
const LISTED_APPS: usize = 10_000;
const LISTED_ENDPOINTS: usize = 10;
/// At rest, all processes together use less of a processor each second, for so many seconds.
const REST_CPU_A_SECOND: Duration = Duration::from_millis(150);
const REST_SECONDS: usize = 5;
const REST_PATIENCE: Duration = Duration::from_secs(600);

/// `POST …/msg` by clients that each wait for their answer, through to one endpoint.
pub(super) async fn post(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, 1, 1).await?;
    let mut runs = Vec::new();
    for _ in 0..bench.rounds {
        let stream = Stream {
            targets: stage.app_ids(),
            pace: Pace::Max,
            total: bench.scaled(POSTS),
            seconds_max: 60.0,
            payload_bytes: 200,
            window: CLIENTS,
        };
        let (mut run, events) = bench
            .live(&stage, stage.rest(), vec![stream], Until::Deliveries(1))
            .await?;
        let answered = events.sent.values().map(|(_, confirmed)| *confirmed).max();
        let first = events.sent.values().map(|(sent, _)| *sent).min();
        let (first, answered) = first.zip(answered).context("nothing was sent")?;
        let latency = run.latency.context("nothing arrived")?;
        run.figures.extend([
            (
                "POST msg, requests/s".to_owned(),
                events.sent.len() as f64 * 1e9 / (answered - first) as f64,
            ),
            ("POST msg, p50 ms".to_owned(), latency.to_confirm.p50),
            ("POST msg, p99 ms".to_owned(), latency.to_confirm.p99),
        ]);
        runs.push(run);
    }
    stage.close().await?;
    Ok(vec![Row::new("REST → 1 endpoint", runs)])
}

/// A page of a list, one app, one creation: with ten apps, and with ten thousand.
pub(super) async fn listing(bench: &mut Bench) -> Result<Vec<Row>> {
    let mut stage = bench.servers.open(&bench.addresses, 10, LISTED_ENDPOINTS).await?;
    let few = calls(bench, &stage, "API with 10 apps").await?;
    let first = stage.apps.len();
    let more = bench.scaled(LISTED_APPS as u64) as usize;
    let created = stage
        .create(&bench.addresses, first, more, LISTED_ENDPOINTS)
        .await?;
    stage.apps.extend(created);
    let mut many = calls(
        bench,
        &stage,
        &format!("API with {more} apps × {LISTED_ENDPOINTS}"),
    )
    .await?;
    compare(&few, &mut many);
    // Their lanes go with the broker: deleting them one by one would take longer than all of this.
    Ok(vec![few, many])
}

/// Notes with each round how many times as long a call takes as the middle of the rounds of `before`.
fn compare(before: &Row, row: &mut Row) {
    let before = before.figures();
    for run in &mut row.runs {
        let ratios = before.iter().filter_map(|(name, was)| {
            let call = name.strip_suffix(", p50 ms")?;
            Some((
                format!("{call}, × as long as with few"),
                run.figures.get(*name)? / was,
            ))
        });
        let ratios: Vec<_> = ratios.collect();
        run.figures.extend(ratios);
    }
}

/// Measured once everything is at rest: what follows from the creation of many endpoints, such as senders that take
/// them up, is no part of it.
async fn calls(bench: &Bench, stage: &Stage, name: &str) -> Result<Row> {
    let pids = stage.pids(&bench.servers)?;
    at_rest(&pids).await?;
    let mut runs = Vec::new();
    for _ in 0..bench.rounds {
        let before = Sample::take(&pids)?;
        let figures = one_round(bench, stage).await?;
        let after = Sample::take(&pids)?;
        let mut run = Run::new(&before, &after, (CALLS * 5) as u64);
        run.figures.extend(figures);
        runs.push(run);
    }
    Ok(Row::new(name, runs))
}

/// Waits until the processes have done little for some seconds.
async fn at_rest(pids: &BTreeMap<&'static str, u32>) -> Result<()> {
    let cpu = || -> Duration { pids.values().map(|pid| procfs::cpu(*pid)).sum() };
    let deadline = Instant::now() + REST_PATIENCE;
    let mut quiet = 0;
    while quiet < REST_SECONDS {
        ensure!(Instant::now() < deadline, "no rest within {REST_PATIENCE:?}");
        let before = cpu();
        sleep(Duration::from_secs(1)).await;
        let rests = cpu().saturating_sub(before) < REST_CPU_A_SECOND;
        quiet = if rests { quiet + 1 } else { 0 };
    }
    Ok(())
}

async fn one_round(bench: &Bench, stage: &Stage) -> Result<Vec<(String, f64)>> {
    let client = &stage.client;
    let middle = &stage.apps[stage.apps.len() / 2].id;
    let mut figures = Vec::new();
    for (what, path) in [
        ("a page of ten apps", "/api/v1/app?limit=10".to_owned()),
        ("one app", format!("/api/v1/app/{middle}")),
        (
            "an app's endpoints",
            format!("/api/v1/app/{middle}/endpoint?limit=50"),
        ),
    ] {
        figures.extend(timed(what, async |_| client.read(&path).await.map(drop)).await?);
    }
    let create = async |_| client.create_app("one more").await.map(drop);
    figures.extend(timed("creating an app", create).await?);
    let url = bench.addresses.lane(0);
    let create = async |nth| one_more(client, stage, &url, nth).await;
    figures.extend(timed("creating an endpoint", create).await?);
    Ok(figures)
}

/// Spread over the last apps, as each may have but a hundred.
async fn one_more(client: &ApiClient, stage: &Stage, url: &str, nth: usize) -> Result<()> {
    let app = &stage.apps[stage.apps.len() - 1 - nth % 10];
    client.create_endpoint(&app.id, url).await.map(drop)
}

async fn timed(what: &str, call: impl AsyncFn(usize) -> Result<()>) -> Result<[(String, f64); 2]> {
    let mut nanos = Vec::new();
    for nth in 0..CALLS {
        let start = Instant::now();
        call(nth).await?;
        nanos.push(u64::try_from(start.elapsed().as_nanos())?);
    }
    let found = Quantiles::of(nanos).context("there were calls")?;
    Ok([
        (format!("{what}, p50 ms"), found.p50),
        (format!("{what}, p99 ms"), found.p99),
    ])
}

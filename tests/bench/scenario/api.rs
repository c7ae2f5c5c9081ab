//! The REST API: events in, and lists that stay flat.

use anyhow::{Context, Result};
use e2e::ApiClient;
use tokio::time::Instant;

use crate::{
    load::{Pace, Stream},
    measure::{Bench, Sample, Until},
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
    let few = calls(bench, &mut stage, "API with 10 apps").await?;
    let first = stage.apps.len();
    let more = bench.scaled(LISTED_APPS as u64) as usize;
    let created = stage
        .create(&bench.addresses, first, more, LISTED_ENDPOINTS)
        .await?;
    stage.apps.extend(created);
    let many = calls(
        bench,
        &mut stage,
        &format!("API with {more} apps × {LISTED_ENDPOINTS}"),
    )
    .await?;
    // Their lanes go with the broker: deleting them one by one would take longer than all of this.
    Ok(vec![few, many])
}

async fn calls(bench: &Bench, stage: &mut Stage, name: &str) -> Result<Row> {
    let pids = stage.pids(&bench.servers)?;
    let before = Sample::take(&pids)?;
    let client = stage.client.clone();
    let middle = stage.apps[stage.apps.len() / 2].id.clone();
    let mut figures = Vec::new();
    for (what, path) in [
        ("a page of apps", "/api/v1/app?limit=50".to_owned()),
        ("one app", format!("/api/v1/app/{middle}")),
        (
            "an app's endpoints",
            format!("/api/v1/app/{middle}/endpoint?limit=50"),
        ),
    ] {
        figures.extend(timed(what, async |_| client.read(&path).await.map(drop)).await?);
    }
    figures.extend(
        timed("creating an app", async |_| {
            client.create_app("one more").await.map(drop)
        })
        .await?,
    );
    let url = bench.addresses.lane(0);
    figures.extend(
        timed("creating an endpoint", async |nth| {
            one_more(&client, stage, &url, nth).await
        })
        .await?,
    );
    let after = Sample::take(&pids)?;
    let mut run = Run::new(&before, &after, (CALLS * 5) as u64);
    run.figures.extend(figures);
    Ok(Row::new(name, vec![run]))
}

/// Spread over the first apps, as each may have but a hundred.
async fn one_more(client: &ApiClient, stage: &Stage, url: &str, nth: usize) -> Result<()> {
    let app = &stage.apps[nth % 10];
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

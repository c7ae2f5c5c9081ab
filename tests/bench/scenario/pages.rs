//! The pages of the portal and the console: how long the server takes for each with a long history, and how much comes
//! over the wire when a browser sees it for the first time.

use anyhow::{Context, Result, ensure};
use reqwest::header::{ACCEPT_ENCODING, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    load::{Pace, Stream},
    measure::{Bench, Sample},
    report::{Row, Run},
    stage::Stage,
    stats::Quantiles,
};

const ENDPOINTS: usize = 100;
/// One endpoint is paused: each event leaves 99 attempts and a message that waits.
const EVENTS: u64 = 1_011;
/// How often each page is asked for.
const CALLS: usize = 50;
const WINDOW: usize = 500;

/// Every page with a hundred endpoints and a hundred thousand attempts.
pub(super) async fn pages(bench: &mut Bench) -> Result<Vec<Row>> {
    let stage = bench.servers.open(&bench.addresses, 1, ENDPOINTS).await?;
    let app = &stage.apps[0].id;
    let endpoints = stage.client.list(&format!("/api/v1/app/{app}/endpoint")).await?;
    let id = |nth: usize| endpoints[nth]["id"].as_str().context("an endpoint has an id");
    let (active, paused) = (id(1)?, id(0)?);
    let pause = format!("/api/v1/app/{app}/endpoint/{paused}/pause");
    stage.client.post(&pause, &json!({})).await?;

    let total = bench.scaled(EVENTS);
    let deliveries = total * (ENDPOINTS as u64 - 1);
    let stream = Stream {
        targets: stage.routing_keys(),
        pace: Pace::Max,
        total,
        seconds_max: 120.0,
        payload_bytes: 200,
        window: WINDOW,
    };
    bench.drain(&stage, vec![stream], deliveries).await?;
    let list = format!("/api/v1/app/{app}/attempt/endpoint/{active}?limit=1");
    let newest = stage.client.read(&list).await?;
    let message = newest["data"][0]["msgId"].as_str().context("an attempt")?;

    let pids = stage.pids(&bench.servers)?;
    let before = Sample::take(&pids)?;
    let mut figures = Vec::new();
    for (place, name, path) in [
        (Place::Portal, "endpoints", "/portal/endpoints".to_owned()),
        (
            Place::Portal,
            "endpoints, last page",
            "/portal/endpoints?page=4".to_owned(),
        ),
        (Place::Portal, "endpoint", format!("/portal/endpoints/{active}")),
        (
            Place::Portal,
            "endpoint, 7 days",
            format!("/portal/endpoints/{active}?span=7d"),
        ),
        (
            Place::Portal,
            "endpoint, failed only",
            format!("/portal/endpoints/{active}?status=failed"),
        ),
        (
            Place::Portal,
            "paused endpoint",
            format!("/portal/endpoints/{paused}"),
        ),
        (
            Place::Portal,
            "endpoint, live part",
            format!("/portal/endpoints/{active}/live"),
        ),
        (
            Place::Portal,
            "settings",
            format!("/portal/endpoints/{active}/settings"),
        ),
        (Place::Portal, "edit", format!("/portal/endpoints/{active}/edit")),
        (
            Place::Portal,
            "verify",
            format!("/portal/endpoints/{active}/verify"),
        ),
        (Place::Portal, "messages", "/portal/messages".to_owned()),
        (Place::Portal, "message", format!("/portal/messages/{message}")),
        (Place::Portal, "event types", "/portal/event-types".to_owned()),
        (Place::Console, "projects", "/console/projects".to_owned()),
        (Place::Console, "project", format!("/console/projects/{app}")),
        (Place::Console, "health", "/console/health".to_owned()),
        (Place::Console, "set aside", "/console/set-aside".to_owned()),
    ] {
        // A session each: one alone may not ask that often.
        let visitor = match place {
            Place::Portal => Visitor::of_portal(&stage, app).await?,
            Place::Console => Visitor::of_console(&stage).await?,
        };
        figures.extend(visitor.measure(name, &path).await?);
    }
    let after = Sample::take(&pids)?;
    let mut run = Run::new(&before, &after, deliveries);
    run.figures.extend(figures);
    stage.close().await?;
    let name = format!("pages, {ENDPOINTS} endpoints, {deliveries} attempts");
    Ok(vec![Row::new(&name, vec![run])])
}

#[derive(Clone, Copy)]
enum Place {
    Portal,
    Console,
}

/// A browser with a session.
struct Visitor {
    http: Client,
    base: String,
    cookie: String,
}

impl Visitor {
    async fn of_portal(stage: &Stage, app: &str) -> Result<Self> {
        let path = format!("/api/v1/auth/app-portal-access/{app}");
        let link = stage.client.post(&path, &json!({})).await?;
        let body = json!({ "token": link["token"] }).to_string();
        Self::enter(stage, "/portal/session", "application/json", body).await
    }

    async fn of_console(stage: &Stage) -> Result<Self> {
        let body = format!("token={}", stage.token);
        Self::enter(
            stage,
            "/console/sign-in",
            "application/x-www-form-urlencoded",
            body,
        )
        .await
    }

    async fn enter(stage: &Stage, path: &str, kind: &str, body: String) -> Result<Self> {
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let base = stage.api.api_url();
        let request = http.post(format!("{base}{path}")).header(ORIGIN, &base);
        let answer = request.header("content-type", kind).body(body).send().await?;
        let cookie = answer.headers().get(SET_COOKIE).context("no session began")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { http, base, cookie })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        let request = self.http.get(format!("{}{path}", self.base));
        request.header(COOKIE, &self.cookie)
    }

    /// As a browser asks: compressed. The client that asks leaves the body as it came.
    async fn ask(&self, path: &str) -> Result<Response> {
        let answer = self.get(path).header(ACCEPT_ENCODING, "gzip").send().await?;
        let to = answer.headers().get(LOCATION);
        ensure!(answer.status().is_success(), "{path}: {} {to:?}", answer.status());
        Ok(answer)
    }

    /// What comes over the wire for a page and the files that it loads.
    async fn weight(&self, path: &str) -> Result<usize> {
        let page = self.get(path).send().await?.text().await?;
        let files: Vec<_> = page
            .split(['"', '\''])
            .filter(|text| text.starts_with("/assets/"))
            .collect();
        // Only a part that is put into a page comes without them.
        ensure!(
            !files.is_empty() || path.ends_with("/live"),
            "{path}: no style, no script"
        );
        let mut bytes = 0;
        for file in files.into_iter().chain([path]) {
            let answer = self.ask(file).await?;
            let head: usize = answer
                .headers()
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + 4)
                .sum();
            bytes += head + answer.bytes().await?.len();
        }
        Ok(bytes)
    }

    async fn measure(&self, name: &str, path: &str) -> Result<[(String, f64); 3]> {
        let weight = self.weight(path).await?;
        let mut nanos = Vec::new();
        for _ in 0..CALLS {
            let start = Instant::now();
            self.ask(path).await?.bytes().await?;
            nanos.push(u64::try_from(start.elapsed().as_nanos())?);
        }
        let found = Quantiles::of(nanos).context("there were calls")?;
        Ok([
            (format!("{name}, p50 ms"), found.p50),
            (format!("{name}, p99 ms"), found.p99),
            (format!("{name}, kB on first load"), weight as f64 / 1_000.0),
        ])
    }
}

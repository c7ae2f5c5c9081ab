//! Apps and endpoints for the time of a benchmark.
//!
//! Owns what was created. Guarantees that [`Targets::delete`] deletes exactly that, and nothing that was there before.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use nuncio_domain::UnixMillis;
use nuncio_runtime::{Clock, Config, Dice};
use nuncio_web::token::{Scope, Tokens};
use serde_json::{Value, json};

use crate::output;

/// Requests to the API on their way at the same time.
const CONCURRENCY: usize = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the token for this benchmark is valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The REST API with an admin's token.
pub(super) struct Api {
    pub(super) http: reqwest::Client,
    pub(super) base: String,
    pub(super) token: String,
}

impl Api {
    pub(super) fn connect(config: &Config, base: Option<&str>, token: Option<&str>) -> anyhow::Result<Self> {
        let base = base.map_or_else(|| format!("http://{}", config.listen), str::to_owned);
        let token = match token {
            Some(token) => token.to_owned(),
            None => mint(config)?,
        };
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .context("failed to set up the HTTP client")?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token,
        })
    }

    async fn create(&self, path: &str, body: Value) -> anyhow::Result<String> {
        let response = self
            .http
            .post(format!("{}/api/v1{path}", self.base))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = answer(response, &format!("POST {path}")).await?;
        answer["id"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("POST {path} answered without an id"))
    }

    async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let request = self
            .http
            .delete(format!("{}/api/v1{path}", self.base))
            .bearer_auth(&self.token);
        answer(request, &format!("DELETE {path}")).await.map(drop)
    }
}

async fn answer(request: reqwest::RequestBuilder, what: &str) -> anyhow::Result<Value> {
    let response = request.send().await.with_context(|| what.to_owned())?;
    let status = response.status();
    let body = response.bytes().await.with_context(|| what.to_owned())?;
    ensure!(
        status.is_success(),
        "{what}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn mint(config: &Config) -> anyhow::Result<String> {
    ensure!(
        !config.token_secrets.is_empty(),
        "without --token, NUNCIO_MAIN_SECRET or NUNCIO_TOKEN_SECRET must be set as it is for the API"
    );
    let tokens = Tokens::new(&config.token_secrets, &config.namespace)?;
    let now = UnixMillis(Clock::system().now());
    Ok(Dice::system().with(|rng| tokens.mint(&Scope::Admin, now, TOKEN_LIFETIME, rng)))
}

/// What events are published to.
#[derive(Default)]
pub(super) struct Targets {
    apps: Vec<String>,
    /// Paths of what was created, apps before their endpoints.
    created: Vec<String>,
}

impl Targets {
    pub(super) fn apps(&self) -> &[String] {
        &self.apps
    }

    /// Creates `apps` × `endpoints`, or the endpoints in the app that is named. What was created before a failure is
    /// remembered.
    pub(super) async fn create(
        &mut self,
        api: &Api,
        existing: Option<&str>,
        apps: u32,
        endpoints: u32,
        receiver: &str,
    ) -> anyhow::Result<()> {
        if let Some(app) = existing {
            self.apps.push(app.to_owned());
        } else {
            let body = || json!({ "name": "nuncio bench" });
            let mut creating = stream::iter(0..apps)
                .map(|_| api.create("/app", body()))
                .buffered(CONCURRENCY);
            while let Some(app) = creating.try_next().await? {
                self.created.push(format!("/app/{app}"));
                self.apps.push(app);
            }
        }
        let lanes: Vec<(String, u64)> = self
            .apps
            .iter()
            .flat_map(|app| (0..endpoints).map(move |_| app.clone()))
            .zip(0..)
            .collect();
        let mut creating = stream::iter(lanes)
            .map(async |(app, lane)| {
                let body = json!({ "url": format!("{receiver}/{lane}"), "description": "nuncio bench" });
                let endpoint = api.create(&format!("/app/{app}/endpoint"), body).await?;
                anyhow::Ok(format!("/app/{app}/endpoint/{endpoint}"))
            })
            .buffer_unordered(CONCURRENCY);
        while let Some(path) = creating.try_next().await? {
            // An app takes its endpoints with it.
            if existing.is_some() {
                self.created.push(path);
            }
        }
        Ok(())
    }

    /// Deletes what was created, all that can be.
    pub(super) async fn delete(self, api: &Api) -> anyhow::Result<()> {
        let total = self.created.len();
        let failures: Vec<anyhow::Error> = stream::iter(self.created)
            .map(async |path| api.delete(&path).await)
            .buffer_unordered(CONCURRENCY)
            .filter_map(async |deleted| deleted.err())
            .collect()
            .await;
        for failure in failures.iter().take(3) {
            output::complain(&format!("{failure:#}"));
        }
        ensure!(
            failures.is_empty(),
            "{} of {total} apps or endpoints were not deleted",
            failures.len()
        );
        Ok(())
    }
}

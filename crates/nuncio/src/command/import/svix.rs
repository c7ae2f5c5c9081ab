//! The client of a server that speaks Svix's API.
//!
//! Owns requests, pages and patience: what says to come back later, or fails for a moment, is asked again, no earlier
//! than it says. Guarantees that the token shows in no error and goes to no other host. Refuses to write anything there.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use nuncio_domain::UnixMillis;
use nuncio_egress::retry_after;
use nuncio_runtime::Clock;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use super::model::Page;
use crate::output;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is made at most.
const TRIES_MAX: u32 = 8;
/// The first wait between two of them, doubled each time.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait that a server may ask for.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Items of a page: the most that the API gives.
const PAGE_SIZE: usize = 250;
/// Bytes of an answer that are shown.
const SHOWN_BYTES: usize = 300;

pub(super) struct Svix {
    http: Client,
    base: String,
    /// Whether anything was answered yet: what was never reached is not waited for.
    reached: AtomicBool,
}

/// The pages of a list.
pub(super) struct Pages<T> {
    path: String,
    iterator: Option<String>,
    done: bool,
    items: PhantomData<T>,
}

/// A text as one part of a path.
pub(super) fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Svix {
    pub(super) fn at(url: &Url, token: &str) -> anyhow::Result<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            bail!("--from is the address of an HTTP server, such as https://api.eu.svix.com");
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).context("the token is none")?;
        bearer.set_sensitive(true);
        let http = Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .redirect(redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("Nuncio/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("failed to set up the HTTP client")?;
        // Whether or not the address has the path of the API already.
        let base = url.as_str().trim_end_matches('/').trim_end_matches("/api/v1");
        Ok(Self {
            http,
            base: format!("{base}/api/v1"),
            reached: AtomicBool::new(false),
        })
    }

    /// The pages of a list, whose path may have a query.
    pub(super) fn pages<T>(&self, path: &str) -> Pages<T> {
        let and = if path.contains('?') { '&' } else { '?' };
        Pages {
            path: format!("{path}{and}limit={PAGE_SIZE}"),
            iterator: None,
            done: false,
            items: PhantomData,
        }
    }

    /// What is at a path; nothing when nothing is.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let url = format!("{}/{path}", self.base);
        let response = self.patiently(&url).await?;
        let status = response.status();
        // What a server of another version does not know at all is not there either.
        if matches!(
            status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        ) {
            return Ok(None);
        }
        let body = response
            .text()
            .await
            .with_context(|| format!("failed to read what {url} answered"))?;
        match status {
            StatusCode::OK => serde_json::from_str(&body)
                .map(Some)
                .with_context(|| format!("{url} answered something else than Svix's API would")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                bail!("{url} does not accept the token ({status}): it must be one for the whole environment")
            }
            _ => bail!("{url} answered {status}: {}", shown(&body)),
        }
    }

    async fn patiently(&self, url: &str) -> anyhow::Result<Response> {
        let mut wait = WAIT_FIRST;
        for _ in 1..TRIES_MAX {
            let sent = self.http.get(url).send().await;
            self.reached.fetch_or(sent.is_ok(), Ordering::Relaxed);
            let problem = match sent {
                Ok(response) if !passes(response.status()) => return Ok(response),
                Ok(response) => {
                    wait = wait.max(asked_wait(&response));
                    response.status().to_string()
                }
                Err(error) if !self.reached.load(Ordering::Relaxed) => {
                    return Err(error).with_context(|| format!("{url} cannot be reached"));
                }
                Err(error) => nuncio_runtime::lifecycle::chain(&error),
            };
            output::note(&format!("{problem}: {url} is asked again in {wait:?}"));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        let last = self.http.get(url).send().await;
        last.with_context(|| format!("{url} does not answer"))
    }
}

impl<T: DeserializeOwned> Pages<T> {
    /// The next page, if there is one.
    pub(super) async fn next(&mut self, svix: &Svix) -> anyhow::Result<Option<Vec<T>>> {
        if self.done {
            return Ok(None);
        }
        let path = match &self.iterator {
            Some(iterator) => format!("{}&iterator={}", self.path, segment(iterator)),
            None => self.path.clone(),
        };
        let page: Page<T> = svix.read(&path).await?.with_context(|| {
            format!(
                "there is no {}/{path}: is this the address of the API?",
                svix.base
            )
        })?;
        self.done = page.done || page.iterator.is_none() || page.iterator == self.iterator;
        self.iterator = page.iterator;
        Ok(Some(page.data))
    }
}

/// Whether an answer is one that passes by itself.
fn passes(status: StatusCode) -> bool {
    let for_now = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
    );
    for_now || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

fn asked_wait(response: &Response) -> Duration {
    let header = response.headers().get(RETRY_AFTER).map(HeaderValue::as_bytes);
    let now = UnixMillis(Clock::system().now());
    retry_after(response.status().as_u16(), header, now)
        .unwrap_or_default()
        .min(WAIT_MAX)
}

fn shown(body: &str) -> String {
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    body.chars().take(SHOWN_BYTES).map(clean).collect()
}

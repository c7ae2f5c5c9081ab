//! The REST API, the webhook portal and the operator's console.
//!
//! Owns everything that people and programs reach over HTTP: the rules of use (what may be created, changed, sent again),
//! their requests and responses, tokens and the OpenAPI document.
//! Guarantees that every error is JSON, that what belongs to one app is never shown to another, and that an endpoint's
//! queue exists before anything can be routed to it.
//! Refuses to know AMQP and Redis: it reaches them through `producer` and `store` only.

mod api;
mod console;
mod json;
pub mod look;
mod page;
mod portal;
mod server;
pub mod token;
pub mod usecase;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nuncio_egress::UrlRules;
use nuncio_producer::Producer;
use nuncio_runtime::{Clock, Dice, Lifecycle};
use nuncio_store::{Directory, Store};
use nuncio_traces::Tracer;
use secrecy::SecretString;

pub use api::throttle::Rates;
pub use api::{document, throttle};
pub use page::{PageSettings, SignaturePrefix};
pub use server::{ServeError, serve};

/// What the web role needs to be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace: tokens are good in one alone.
    pub namespace: String,
    /// The main secret, then the earlier ones that are still accepted; never empty.
    pub main_secrets: Vec<SecretString>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// What portal links start with.
    pub public_url: String,
    /// What an endpoint's URL must keep to.
    pub urls: UrlRules,
    /// Bytes of the biggest payload.
    pub payload_bytes_max: usize,
    /// How long messages and attempts are kept.
    pub retention: Duration,
    /// How many requests are worked on at once; four times as many may wait, more are refused.
    pub requests_at_once: usize,
    /// How many requests a second a token may make.
    pub rates: Rates,
    /// What the portal and the console are told.
    pub pages: PageSettings,
}

/// What the web role is made of.
pub struct WebParts {
    /// The record.
    pub store: Store,
    /// All apps and endpoints in memory.
    pub directory: Directory,
    /// The way to the broker.
    pub producer: Producer,
    /// What time it is.
    pub clock: Clock,
    /// Randomness.
    pub dice: Dice,
    /// What records spans of publishing.
    pub tracer: Tracer,
    /// The process's life.
    pub lifecycle: Lifecycle,
    /// What it was told.
    pub settings: Settings,
}

/// Why there is no web role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API needs at least one main secret")]
pub struct NoMainSecret;

/// Everything that the web role answers, without a listener, and what it does.
fn router(parts: &WebParts) -> Result<(axum::Router, Arc<usecase::UseCases>), NoMainSecret> {
    let api = Arc::new(api::Api::new(parts)?);
    let pages = page::router(&api, parts)?;
    let router = api::router(&api, pages, parts.settings.payload_bytes_max);
    Ok((router, Arc::clone(&api.use_cases)))
}

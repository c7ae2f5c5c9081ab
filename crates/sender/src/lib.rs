//! Delivers what waits in the endpoints' queues by signed HTTP requests.
//!
//! Owns the lanes of the endpoints that are assigned to this sender, the attempt, and what follows from it: the record,
//! the retry on the ladder, the disabled endpoint, the operational event.
//! Guarantees that a delivery is acknowledged only after its success was recorded or its retry was confirmed, that an
//! attempt already recorded is not made again, and that one endpoint's trouble keeps to its own lane.
//! Refuses to know routing and the API. Any number of senders share the work.

mod backlog;
mod deliver;
mod kept;
mod lane;
mod lanes;
mod membership;
mod pace;
mod permits;
mod prepared;
mod settle;
mod starts;
mod streak;
mod tell;
mod trace;
mod under_way;

use std::sync::Arc;
use std::time::Duration;

use nuncio_broker::{Broker, BrokerError, Publisher};
use nuncio_domain::{RetryPolicy, SenderId};
use nuncio_egress::{HttpClient, UrlRules};
use nuncio_runtime::{Clock, Dice, Lifecycle};
use nuncio_store::{Directory, Recorder, StateReader, Store};
use nuncio_traces::Tracer;

/// Which families of headers carry id, timestamp and signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureHeaders {
    /// `webhook-*`, as Standard Webhooks has them.
    Webhook,
    /// `svix-*`.
    Svix,
    /// Both.
    Both,
}

/// What the configuration says to senders.
#[derive(Debug, Clone)]
pub struct SenderSettings {
    /// The retry schedule.
    pub policy: RetryPolicy,
    /// How long one attempt may take, the response's body included.
    pub request_timeout: Duration,
    /// Requests under way per endpoint, at most.
    pub endpoint_concurrency: u32,
    /// Requests under way in all, at most.
    pub sender_concurrency: u32,
    /// How long an endpoint may only fail before it is disabled.
    pub disable_after: Duration,
    /// Which signature headers to send.
    pub signature_headers: SignatureHeaders,
    /// Which URLs may be posted to.
    pub url_rules: UrlRules,
}

/// What a sender works with.
#[derive(Clone)]
pub struct SenderParts {
    /// The connections to RabbitMQ.
    pub broker: Broker,
    /// The connections to Redis.
    pub store: Store,
    /// Apps, endpoints and their secrets in memory.
    pub directory: Directory,
    /// Where attempts are recorded.
    pub recorder: Recorder,
    /// Where states of deliveries are looked up.
    pub states: StateReader,
    /// The guarded HTTP client.
    pub http: HttpClient,
    /// What time it is.
    pub clock: Clock,
    /// Where ids and jitter come from.
    pub dice: Dice,
    /// What records spans of attempts.
    pub tracer: Tracer,
    /// What every task belongs to.
    pub life: Lifecycle,
    /// A name that no other process has.
    pub id: SenderId,
    /// The configuration.
    pub settings: SenderSettings,
}

/// The parts as the tasks share them.
struct Shared {
    parts: SenderParts,
    publisher: Publisher,
    permits: permits::Permits,
    starts: starts::Starts,
    paces: pace::Paces,
}

/// Runs a sender until its life is told to stop: what is under way is finished, the rest returned to its queues.
///
/// # Errors
/// When the topology exists with other arguments, which only a person can mend.
pub async fn run(parts: SenderParts) -> Result<(), BrokerError> {
    if !parts.broker.establish_topology(&parts.life.soft).await? {
        return Ok(());
    }
    let members = membership::join(&parts).await;
    let shared = Arc::new(Shared {
        publisher: parts.broker.publisher(),
        permits: permits::Permits::new(parts.settings.sender_concurrency),
        starts: starts::Starts::default(),
        paces: pace::Paces::default(),
        parts,
    });
    lanes::run(shared, members).await;
    Ok(())
}

//! Fans each event out to the queues of the endpoints that want it.
//!
//! Owns the way from `<ns>.ingest` to `<ns>.deliveries`, what is set aside on it, and what came back unroutable.
//! Guarantees that an event is acknowledged only after its whole fan-out was confirmed, that one message id is fanned
//! out once within the retention, and that what cannot be read is set aside with the reason.
//! Refuses to know HTTP, secrets and endpoints' health. Any number of routers share the work.

mod batch;
mod fanout;
mod finish;
mod ingest;
mod journal;
mod overflow;
mod read_ahead;
mod set_aside;
mod sweep;
mod trace;
mod turns;
mod unroutable;

use std::sync::Arc;
use std::time::Duration;

use nuncio_broker::{Broker, BrokerError, Publisher};
use nuncio_domain::{CoalesceFields, RetryPolicy};
use nuncio_runtime::{Clock, Dice, Lifecycle};
use nuncio_store::{Directory, Recorder, Store};
use nuncio_traces::Tracer;

/// How long a publish may take, resends included, before its event goes back to the queue.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(30);

/// What a router works with.
#[derive(Clone)]
pub struct RouterParts {
    /// The connections to RabbitMQ.
    pub broker: Broker,
    /// The connections to Redis.
    pub store: Store,
    /// Apps and endpoints in memory.
    pub directory: Directory,
    /// Where states of deliveries are recorded.
    pub recorder: Recorder,
    /// What time it is.
    pub clock: Clock,
    /// Where ids come from.
    pub dice: Dice,
    /// What records spans of routing.
    pub tracer: Tracer,
    /// What every task belongs to.
    pub life: Lifecycle,
    /// A name that no other process has.
    pub name: String,
    /// The retry schedule, whose rungs the sweep uses.
    pub policy: RetryPolicy,
    /// Which event types are coalesced, and by which field.
    pub coalesce: CoalesceFields,
    /// Bytes of a payload, at most.
    pub payload_bytes_max: usize,
}

/// The parts as the tasks share them.
struct Shared {
    parts: RouterParts,
    publisher: Publisher,
}

/// Runs a router until its life is told to stop; what it holds is then finished or returned to the queue.
///
/// # Errors
/// When the topology exists with other arguments, which only a person can mend.
pub async fn run(parts: RouterParts) -> Result<(), BrokerError> {
    if !parts.broker.establish_topology(&parts.life.soft).await? {
        return Ok(());
    }
    let shared = Arc::new(Shared {
        publisher: parts.broker.publisher(),
        parts,
    });
    let unroutable = tokio_util::task::AbortOnDropHandle::new(
        shared
            .parts
            .life
            .tracker
            .spawn(unroutable::run(Arc::clone(&shared))),
    );
    let _sweep = tokio_util::task::AbortOnDropHandle::new(
        shared.parts.life.tracker.spawn(sweep::run(Arc::clone(&shared))),
    );
    let _journal = tokio_util::task::AbortOnDropHandle::new(
        shared.parts.life.tracker.spawn(journal::run(Arc::clone(&shared))),
    );
    ingest::run(Arc::clone(&shared)).await;
    if let Err(error) = unroutable.await {
        tracing::error!(%error, "the task that follows unroutable deliveries ended early");
    }
    Ok(())
}

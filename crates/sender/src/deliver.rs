//! One attempt: reads the envelope, looks whether it was made already, signs, posts.
//!
//! Owns everything up to the outcome; what follows from it is `settle`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_broker::Received;
use nuncio_domain::coalesce::{may_coalesce, supersedes};
use nuncio_domain::{
    AttemptNumber, CoalesceKey, DeliveryId, DeliveryState, DeliveryStatus, Outcome, UnixMillis,
};
use nuncio_egress::{Attempted, Post};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{DirectoryStatus, StoreError};
use nuncio_wire::{DeliveryEnvelope, EnvelopeError, HeaderValue, TraceContext, headers};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::prepared::Prepared;
use crate::starts::Start;
use crate::under_way::{Hold, UnderWay};
use crate::{Shared, trace};

/// How long a delivery waits before it goes back when Redis is needed and away.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the record is asked about what may be a copy when Redis does not answer. A hiccup is not an outage; where it is
/// known that Redis is away, nobody waits.
const LOOK_PATIENCE: Duration = Duration::from_secs(3);
/// Between two of these looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How a delivery that was taken from the queue ended its time in the lane.
pub(crate) struct Ended {
    /// What was taken from the queue.
    pub(crate) received: Received,
    /// The endpoint as it was when the request was made.
    pub(crate) prepared: Arc<Prepared>,
    /// What is to be settled.
    pub(crate) what: What,
    /// Keeps other copies waiting until it is.
    pub(crate) hold: Option<Hold>,
}

/// What there is to settle.
pub(crate) enum What {
    /// An attempt was made.
    Attempted {
        /// The envelope.
        envelope: DeliveryEnvelope,
        /// When the request began.
        started_at: UnixMillis,
        /// What it met.
        attempted: Attempted,
    },
    /// This attempt, or a later one, was recorded before: a copy that the broker delivered again.
    MadeBefore {
        /// The envelope.
        envelope: DeliveryEnvelope,
        /// What the record says.
        state: DeliveryState,
    },
    /// The endpoint was disabled while the delivery waited.
    Disabled(DeliveryEnvelope),
    /// It waited, and a later event about the same thing takes its place.
    Superseded(DeliveryEnvelope),
    /// Whether the endpoint is still disabled cannot be told now, or its app's turn did not come.
    Undecided,
    /// Not a delivery.
    Unreadable(EnvelopeError),
}

impl Ended {
    /// What the attempt met, if one was made.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        match &self.what {
            What::Attempted { attempted, .. } => Some(&attempted.outcome),
            _ => None,
        }
    }
}

/// What a lane says of the turn that it gives to a delivery.
pub(crate) struct Turn<'a> {
    /// Whether the endpoint is known to answer.
    pub(crate) proven: bool,
    /// How many senders there are.
    pub(crate) senders: u32,
    /// The endpoint, as it changes.
    pub(crate) endpoint: &'a watch::Receiver<Arc<Prepared>>,
    /// What else the lane has under way.
    pub(crate) under_way: &'a UnderWay,
    /// Whether the lane is to stop.
    pub(crate) stop: &'a CancellationToken,
}

/// Makes the attempt that `received` asks for, if it is to be made.
pub(crate) async fn deliver(shared: &Shared, received: Received, turn: Turn<'_>) -> Ended {
    nuncio_failpoints::hit!("sender::received");
    let prepared = Arc::clone(&turn.endpoint.borrow());
    let envelope = match DeliveryEnvelope::read(&received.properties) {
        Ok(envelope) => envelope,
        Err(error) => {
            return Ended {
                received,
                prepared,
                what: What::Unreadable(error),
                hold: None,
            };
        }
    };
    let hold = turn.under_way.enter(&envelope.message_id, envelope.series).await;
    let may_be_copy = received.redelivered || hold.another;
    let (prepared, what) = attempt(
        shared,
        prepared,
        envelope,
        received.body.clone(),
        may_be_copy,
        &turn,
    )
    .await;
    Ended {
        received,
        prepared,
        what,
        hold: Some(hold),
    }
}

/// The attempt, or why it is not made; with the endpoint as it was then.
async fn attempt(
    shared: &Shared,
    prepared: Arc<Prepared>,
    mut envelope: DeliveryEnvelope,
    body: Bytes,
    may_be_copy: bool,
    turn: &Turn<'_>,
) -> (Arc<Prepared>, What) {
    let prepared = match current(shared, &prepared, &envelope).await {
        Ok(current) => current,
        Err(unusable) => return (prepared, unusable.what(envelope)),
    };
    if let Some(state) = made_before(shared, &prepared, &envelope, may_be_copy).await {
        return (prepared, What::MadeBefore { envelope, state });
    }
    if superseded(shared, &prepared, &envelope).await {
        return (prepared, What::Superseded(envelope));
    }
    if !has_turn(shared, &prepared, turn).await {
        return (prepared, What::Undecided);
    }
    let permit = shared.permits.acquire(turn.proven).await;
    let (start, prepared) = match start(shared, &envelope, turn).await {
        Ok(started) => started,
        Err((latest, unusable)) => return (latest, unusable.what(envelope)),
    };
    metrics::gauge!("nuncio_sender_requests_under_way").increment(1);
    let started_at = UnixMillis(shared.parts.clock.now());
    nuncio_failpoints::hit!("sender::posting");
    let span = trace::begin(&shared.parts.tracer, &envelope, &prepared);
    let context = span.as_ref().map_or(&envelope.trace, |span| span.context());
    let request = post(shared, &prepared, &envelope, context, body, started_at);
    let attempted = start.make(request).await;
    nuncio_failpoints::hit!("sender::posted");
    if let Some(span) = span {
        trace::end(span, &mut envelope, &attempted.outcome);
    }
    trace::log(&envelope, &prepared, &attempted);
    metrics::gauge!("nuncio_sender_requests_under_way").decrement(1);
    drop(permit);
    let what = What::Attempted {
        envelope,
        started_at,
        attempted,
    };
    (prepared, what)
}

/// Waits for the turn to begin a request; with the endpoint as it is then. It may have been changed while the delivery
/// waited: what is sent goes where it is to go now, signed as it is now. No turn is held while the record is asked.
async fn start<'a>(
    shared: &'a Shared,
    envelope: &DeliveryEnvelope,
    turn: &Turn<'_>,
) -> Result<(Start<'a>, Arc<Prepared>), (Arc<Prepared>, Unusable)> {
    loop {
        let latest = Arc::clone(&turn.endpoint.borrow());
        let prepared = match current(shared, &latest, envelope).await {
            Ok(current) => current,
            Err(unusable) => return Err((latest, unusable)),
        };
        let start = shared.starts.turn().await;
        if Arc::ptr_eq(&latest, &turn.endpoint.borrow()) {
            return Ok((start, prepared));
        }
    }
}

/// Waits until the app may be sent another message; false when that takes too long or the lane is to stop.
async fn has_turn(shared: &Shared, prepared: &Prepared, turn: &Turn<'_>) -> bool {
    let parts = &shared.parts;
    let app = &prepared.entry.endpoint.app_id;
    let known = parts.directory.app(app.as_str());
    let Some(rate) = known
        .and_then(|entry| entry.app.throttle_rate)
        .filter(|rate| *rate > 0)
    else {
        return true;
    };
    tokio::select! {
        started = shared.paces.start(&parts.store, app, rate, turn.senders) => started,
        () = turn.stop.cancelled() => false,
    }
}

/// Why an endpoint is not delivered to.
enum Unusable {
    /// It is disabled.
    Disabled,
    /// Whether it still is cannot be told now.
    Unknown,
}

impl Unusable {
    /// What there is to settle then.
    fn what(self, envelope: DeliveryEnvelope) -> What {
        match self {
            Self::Disabled => What::Disabled(envelope),
            Self::Unknown => What::Undecided,
        }
    }
}

/// The endpoint as it is to be delivered to.
async fn current(
    shared: &Shared,
    prepared: &Arc<Prepared>,
    envelope: &DeliveryEnvelope,
) -> Result<Arc<Prepared>, Unusable> {
    if !prepared.entry.endpoint.is_disabled() {
        return Ok(Arc::clone(prepared));
    }
    match enabled_again(shared, prepared).await {
        Ok(enabled) => enabled.ok_or(Unusable::Disabled),
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                trace = trace::shown(envelope),
                message_id = %envelope.message_id,
                endpoint = %prepared.entry.endpoint.id,
                "a delivery is returned: cannot tell whether its endpoint is still disabled"
            );
            tokio::time::sleep(PAUSE).await;
            Err(Unusable::Unknown)
        }
    }
}

/// A disabled endpoint as it is now, if it is disabled no longer: that may be old news, which the router was ahead of when
/// it sent the delivery, so that the record is asked.
async fn enabled_again(shared: &Shared, prepared: &Prepared) -> Result<Option<Arc<Prepared>>, StoreError> {
    let endpoint = &prepared.entry.endpoint;
    let parts = &shared.parts;
    let recorded = parts
        .store
        .endpoint(&endpoint.app_id, endpoint.id.as_str())
        .await?;
    if recorded.is_none_or(|recorded| recorded.is_disabled()) {
        return Ok(None);
    }
    parts.directory.refresh(&endpoint.app_id).await?;
    let entry = parts.directory.endpoint(&endpoint.id);
    let enabled = entry.filter(|entry| !entry.endpoint.is_disabled());
    Ok(enabled.map(|entry| Arc::new(Prepared::new(entry, &parts.settings))))
}

/// The recorded state, when it says that this attempt was made. Only copies can have been: redeliveries, what waited for
/// another copy or came soon after it, retries, which the ladder may deliver twice, and what was queued again. Redis being
/// away means that nothing is known, and the attempt is made.
async fn made_before(
    shared: &Shared,
    prepared: &Prepared,
    envelope: &DeliveryEnvelope,
    may_be_copy: bool,
) -> Option<DeliveryState> {
    let again = envelope.unknown.contains_key(headers::AGAIN);
    if !may_be_copy && !again && envelope.attempt == AttemptNumber::FIRST {
        return None;
    }
    let state = recorded(shared, prepared, envelope).await?;
    let superseded = state.status == DeliveryStatus::Superseded && state.series == envelope.series;
    (superseded || state.has_recorded(envelope.series, envelope.attempt)).then_some(state)
}

/// How the delivery stands in the record; nothing when the record does not know it, or cannot be asked.
pub(crate) async fn recorded(
    shared: &Shared,
    prepared: &Prepared,
    envelope: &DeliveryEnvelope,
) -> Option<DeliveryState> {
    let delivery = DeliveryId {
        message: envelope.message_id.clone(),
        endpoint: prepared.entry.endpoint.id.clone(),
    };
    let parts = &shared.parts;
    let begun = Instant::now();
    loop {
        let asked = parts.states.state(envelope.app_id.clone(), delivery.clone());
        match asked.await {
            Ok(state) => return state,
            Err(_)
                if begun.elapsed() < LOOK_PATIENCE
                    && *parts.directory.status().borrow() == DirectoryStatus::Following =>
            {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), %delivery, "whether this is a copy is not known");
                return None;
            }
        }
    }
}

/// Whether a later event takes the place of this delivery. Redis being away means that nothing is known, and the attempt
/// is made.
async fn superseded(shared: &Shared, prepared: &Prepared, envelope: &DeliveryEnvelope) -> bool {
    let about = match envelope.unknown.get(headers::COALESCE) {
        Some(HeaderValue::Text(about)) => CoalesceKey::parse(about),
        _ => None,
    };
    let Some(about) = about else { return false };
    let now = UnixMillis(shared.parts.clock.now());
    let overdue = now.since(envelope.due.unwrap_or(envelope.created_at));
    if !may_coalesce(envelope.series, envelope.attempt, overdue) {
        return false;
    }
    let endpoint = &prepared.entry.endpoint.id;
    let latest = shared
        .parts
        .store
        .latest(&envelope.app_id, endpoint, &about)
        .await;
    matches!(latest, Ok(Some(latest)) if supersedes(&latest, &envelope.message_id))
}

async fn post(
    shared: &Shared,
    prepared: &Prepared,
    envelope: &DeliveryEnvelope,
    trace: &TraceContext,
    body: Bytes,
    now: UnixMillis,
) -> Attempted {
    let request = match prepared.request(envelope, trace, &body, now) {
        Ok(request) => request,
        Err(outcome) => {
            return Attempted {
                outcome,
                response: None,
                duration: Duration::ZERO,
            };
        }
    };
    let timeout = shared.parts.settings.request_timeout;
    shared
        .parts
        .http
        .post(Post {
            url: request.url,
            headers: request.headers,
            body,
            timeout,
            now,
        })
        .await
}

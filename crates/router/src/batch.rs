//! One batch of events: read, claim, fan out; `finish` marks and acknowledges it.
//!
//! Owns the order of these steps, which is what makes a crash between any two of them harmless: a claim is written
//! before anything is published, an event is acknowledged after everything was confirmed, and what is delivered twice
//! by the broker is recognised by its claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use nuncio_broker::{PublishError, Received};
use nuncio_domain::{CoalesceKey, EndpointId, Message, MessageId, Routing, UnixMillis, route as routing_of};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{AppEntry, Claim, Claimed, DirectoryStatus, StoreError};
use nuncio_traces::Span;
use nuncio_wire::{DeliveryEnvelope, IncomingEvent, SetAsideReason, TraceContext, Unreadable, headers};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::Shared;
use crate::fanout::{self, Fan};
use crate::finish::FannedOut;
use crate::set_aside::set_aside;
use crate::trace::{self, Routed};

/// How far a publisher's time may be off before the router's own is taken.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How often a claim is repeated because the app changed meanwhile.
const CLAIM_ROUNDS_MAX: usize = 5;
/// How long an event waits before it goes back when Redis is needed and away.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a claim is repeated when Redis does not answer. A hiccup is not an outage, and what goes on unclaimed cannot
/// be recognised when it comes again. Where it is known that Redis is away, nobody waits.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// The same for what the broker delivered before: it may have been fanned out, under an id that only the record knows.
const CLAIM_PATIENCE_REDELIVERED: Duration = Duration::from_secs(15);
/// Between two of these claims.
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of the digest of what an event is about.
const ABOUT_BYTES: usize = 12;

static CLAIMS: AtomicU64 = AtomicU64::new(0);

/// An event on its way through the router.
struct Work {
    received: Received,
    app: Arc<AppEntry>,
    message: Message,
    body_hash: [u8; 16],
    routes: Vec<(EndpointId, Routing)>,
    token: String,
    payload_retention: Option<Duration>,
    /// The trace that its deliveries belong to.
    trace: TraceContext,
    /// The span of its way through here, if that is recorded.
    span: Option<Span>,
    /// What it is about, if its type is coalesced.
    coalesce: Option<CoalesceKey>,
    /// Whether the record knows of it; it does not when Redis is away.
    claimed: bool,
    /// Whether it may have been fanned out before, so that senders are to look before they post.
    again: bool,
}

/// Routes a batch; returns what was fanned out, to be marked and acknowledged. The rest was set aside or returned.
pub(crate) async fn route(shared: &Shared, events: Vec<Received>) -> Vec<FannedOut> {
    metrics::histogram!("nuncio_router_batch_events").record(events.len() as f64);
    nuncio_failpoints::hit!("router::received");
    let works = join_all(events.into_iter().map(|event| read(shared, event))).await;
    let works = works.into_iter().flatten().collect();
    let fresh = claim(shared, works).await;
    nuncio_failpoints::hit!("router::claimed");
    let routed = fan_out(shared, fresh).await;
    nuncio_failpoints::hit!("router::fanned-out");
    let unclaimed: Vec<Claim> = routed.iter().filter(|work| !work.claimed).map(claim_of).collect();
    if !unclaimed.is_empty() {
        shared.parts.recorder.record_routed(unclaimed).await;
    }
    let fanned_out = routed.into_iter().map(|work| FannedOut {
        claimed: work.claimed.then_some((work.message.app_id, work.message.id)),
        acker: work.received.acker,
    });
    fanned_out.collect()
}

/// Reads one event and finds its app; what cannot be delivered is set aside here.
async fn read(shared: &Shared, received: Received) -> Option<Work> {
    let parts = &shared.parts;
    let read = IncomingEvent::read(
        &received.routing_key,
        &received.properties,
        &received.body,
        parts.payload_bytes_max,
    );
    let event = match read {
        Ok(event) => event,
        Err(unreadable) => {
            set_aside(shared, received, &unreadable).await;
            return None;
        }
    };
    let app = match parts.directory.app(&event.app) {
        Some(app) => Ok(Some(app)),
        None => parts.directory.app_fresh(&event.app).await,
    };
    match app {
        Ok(Some(app)) => Some(work(shared, received, event, app)),
        Ok(None) => {
            let detail = format!("no app has the id or uid {:?}", event.app);
            set_aside(
                shared,
                received,
                &Unreadable {
                    reason: SetAsideReason::UnknownApp,
                    detail,
                },
            )
            .await;
            None
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                app = event.app,
                "cannot tell whether the app exists"
            );
            tokio::time::sleep(PAUSE).await;
            received.acker.requeue();
            None
        }
    }
}

fn work(shared: &Shared, received: Received, event: IncomingEvent, app: Arc<AppEntry>) -> Work {
    let parts = &shared.parts;
    let now = UnixMillis(parts.clock.now());
    let stated = event
        .published_at
        .filter(|at| at.since(now) <= CLOCK_SKEW_MAX && now.since(*at) <= CLOCK_SKEW_MAX);
    let created_at = stated.unwrap_or(now);
    let id = match (event.message_id, &event.event_id) {
        (Some(id), _) => id,
        (None, Some(event_id)) => MessageId::derived(&app.app.id, event_id),
        (None, None) => parts
            .dice
            .with(|mut rng| MessageId::generate(created_at, &mut rng)),
    };
    let message = Message {
        id,
        app_id: app.app.id.clone(),
        event_id: event.event_id,
        event_type: event.event_type,
        channels: event.channels,
        created_at,
    };
    let span = trace::begin(&parts.tracer, parts.broker.names().ingest(), &event.trace);
    Work {
        body_hash: body_hash(&message, &received.body),
        routes: routes(&app, &message),
        token: format!("{}-{:x}", parts.name, CLAIMS.fetch_add(1, Ordering::Relaxed)),
        payload_retention: event
            .payload_retention_days
            .map(|days| Duration::from_secs(u64::from(days) * 24 * 3_600)),
        trace: span.as_ref().map_or(event.trace, |span| span.context().clone()),
        span,
        coalesce: parts
            .coalesce
            .of(&message.event_type)
            .and_then(|field| about(&message, field, &received.body)),
        claimed: false,
        again: received.redelivered,
        received,
        app,
        message,
    }
}

/// What two events of one id must have in common not to be in conflict: type and payload.
fn body_hash(message: &Message, body: &Bytes) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(message.event_type.as_str())
        .chain_update([0])
        .chain_update(body)
        .finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

/// What an event is about: a digest of its type and of the text or number in the payload's `field`; nothing where there is
/// none, and the event then stands for itself alone.
fn about(message: &Message, field: &str, body: &Bytes) -> Option<CoalesceKey> {
    let value = nuncio_wire::payload::scalar(body, field)?;
    let digest = Sha256::new()
        .chain_update(message.event_type.as_str())
        .chain_update([0])
        .chain_update(value)
        .finalize();
    let text: String = digest[..ABOUT_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    CoalesceKey::parse(&text)
}

fn routes(app: &AppEntry, message: &Message) -> Vec<(EndpointId, Routing)> {
    app.endpoints
        .iter()
        .map(|entry| &entry.endpoint)
        .map(|endpoint| {
            (
                endpoint.id.clone(),
                routing_of(endpoint, &message.event_type, &message.channels),
            )
        })
        .collect()
}

fn claim_of(work: &Work) -> Claim {
    Claim {
        message: work.message.clone(),
        payload: work.received.body.clone(),
        payload_retention: work.payload_retention,
        body_hash: work.body_hash,
        routes: work.routes.clone(),
        coalesce: work.coalesce.clone(),
        app_version: work.app.version,
        token: work.token.clone(),
        redelivered: work.received.redelivered,
        anonymous: work.message.event_id.is_none() && work.received.properties.message_id.is_none(),
    }
}

/// Claims the messages, and answers those to fan out. When Redis is away, events go on from memory, unclaimed, and are
/// recorded later.
async fn claim(shared: &Shared, mut open: Vec<Work>) -> Vec<Work> {
    let mut fresh = Vec::with_capacity(open.len());
    let begun = Instant::now();
    let mut rounds = 0;
    while !open.is_empty() && rounds < CLAIM_ROUNDS_MAX {
        let claims: Vec<Claim> = open.iter().map(claim_of).collect();
        match shared.parts.store.claim(&claims).await {
            Ok(claimed) => {
                rounds += 1;
                open = sort(shared, open, claimed, &mut fresh).await;
            }
            Err(error @ StoreError::Unavailable { .. }) => {
                let waits = |work: &Work| begun.elapsed() < patience(shared, work);
                let (waiting, mut unclaimed): (Vec<Work>, Vec<Work>) = open.into_iter().partition(waits);
                metrics::counter!("nuncio_router_unclaimed_total").increment(unclaimed.len() as u64);
                tracing::debug!(
                    error = chain(&error),
                    events = unclaimed.len(),
                    "events go on unclaimed"
                );
                fresh.append(&mut unclaimed);
                open = waiting;
                if !open.is_empty() {
                    tokio::time::sleep(CLAIM_PAUSE).await;
                }
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    events = open.len(),
                    "events cannot be claimed and are returned"
                );
                tokio::time::sleep(PAUSE).await;
                open.into_iter().for_each(|work| work.received.acker.requeue());
                break;
            }
        }
    }
    fresh
}

/// How long the claim of an event is repeated when Redis does not answer.
fn patience(shared: &Shared, work: &Work) -> Duration {
    if work.received.redelivered {
        CLAIM_PATIENCE_REDELIVERED
    } else if *shared.parts.directory.status().borrow() == DirectoryStatus::Following {
        CLAIM_PATIENCE
    } else {
        Duration::ZERO
    }
}

/// Deals with each answer; returns those whose app changed, routed anew.
async fn sort(shared: &Shared, works: Vec<Work>, claimed: Vec<Claimed>, fresh: &mut Vec<Work>) -> Vec<Work> {
    let mut stale = Vec::new();
    for (mut work, claimed) in works.into_iter().zip(claimed) {
        match claimed {
            Claimed::New => {
                work.claimed = true;
                fresh.push(work);
            }
            Claimed::Again(id) => {
                work.message.id = id;
                work.claimed = true;
                work.again = true;
                fresh.push(work);
            }
            Claimed::Duplicate => {
                metrics::counter!("nuncio_router_duplicates_total").increment(1);
                trace::end(work.span, &work.message, &Routed::Before);
                work.received.acker.ack();
            }
            Claimed::Conflict => {
                let detail = "an event with this message_id but another type or body came before".to_owned();
                let unreadable = Unreadable {
                    reason: SetAsideReason::Conflict,
                    detail,
                };
                trace::end(work.span, &work.message, &Routed::Aside);
                set_aside(shared, work.received, &unreadable).await;
            }
            Claimed::Stale { .. } => stale.extend(rerouted(shared, work).await),
        }
    }
    stale
}

/// Routes a work anew after its app changed; nothing when the app is gone or cannot be read.
async fn rerouted(shared: &Shared, mut work: Work) -> Option<Work> {
    match shared.parts.directory.refresh(&work.app.app.id).await {
        Ok(Some(app)) => {
            work.routes = routes(&app, &work.message);
            work.app = app;
            Some(work)
        }
        Ok(None) => {
            let detail = format!("the app {} was deleted", work.app.app.id);
            trace::end(work.span, &work.message, &Routed::Aside);
            set_aside(
                shared,
                work.received,
                &Unreadable {
                    reason: SetAsideReason::UnknownApp,
                    detail,
                },
            )
            .await;
            None
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), app = %work.app.app.id, "a changed app cannot be read");
            tokio::time::sleep(PAUSE).await;
            work.received.acker.requeue();
            None
        }
    }
}

/// Publishes the messages to all their endpoints; what could not be confirmed is returned to the queue.
async fn fan_out(shared: &Shared, works: Vec<Work>) -> Vec<Work> {
    let fans: Vec<Fan> = works.iter().map(fan_of).collect();
    let outcomes = fanout::publish(shared, &fans).await;
    let each = works.into_iter().zip(&fans).zip(outcomes);
    each.filter_map(|((work, fan), outcome)| conclude(work, fan, outcome))
        .collect()
}

fn fan_of(work: &Work) -> Fan {
    let message = &work.message;
    let envelope = DeliveryEnvelope::first(
        message.app_id.clone(),
        message.id.clone(),
        message.event_type.clone(),
        message.created_at,
        work.trace.clone(),
    );
    let mut properties = envelope.write();
    if let Some(event_id) = &message.event_id {
        properties.put_text(headers::EVENT_ID, event_id.clone());
    }
    if work.again {
        properties.put_int(headers::AGAIN, 1);
    }
    if let Some(about) = &work.coalesce {
        properties.put_text(headers::COALESCE, about.as_str());
    }
    let routed = work.routes.iter().filter(|(_, routing)| routing.is_routed());
    Fan {
        endpoints: routed.map(|(endpoint, _)| endpoint.clone()).collect(),
        properties,
        body: work.received.body.clone(),
    }
}

/// What follows from what became of its publishes: the work goes on, or its event is returned.
fn conclude(mut work: Work, fan: &Fan, outcome: Result<(), PublishError>) -> Option<Work> {
    let span = work.span.take();
    let message = &work.message;
    match outcome {
        Ok(()) => {
            metrics::counter!("nuncio_router_events_total").increment(1);
            metrics::counter!("nuncio_router_deliveries_total").increment(fan.endpoints.len() as u64);
            tracing::debug!(
                trace = work.trace.trace().map(tracing::field::display),
                message_id = %message.id,
                app = %message.app_id,
                endpoints = fan.endpoints.len(),
                "routed"
            );
            trace::end(span, message, &Routed::To(fan.endpoints.len()));
            Some(work)
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                trace = work.trace.trace().map(tracing::field::display),
                message_id = %message.id,
                app = %message.app_id,
                "an event is returned: its fan-out failed"
            );
            trace::end(span, message, &Routed::Returned);
            work.received.acker.requeue();
            None
        }
    }
}

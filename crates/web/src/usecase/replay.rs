//! Sending again: one message, those that failed, those that an endpoint missed.
//!
//! Guarantees that what is sent again is the same message under the same id, in a run of attempts of its own, and that a
//! long replay goes on after it was asked for, giving way to what is new: it fills a lane a little at a time. Refuses to send what is no longer kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_domain::{
    App, AttemptNumber, DeliveryStatus, Endpoint, EndpointId, Message, MessageId, Series, Trigger,
    UnixMillis, route,
};
use nuncio_producer::{DeliveryEnvelope, TraceContext};
use nuncio_store::{Deliveries, DeliveryRecord, MessageFilter, Order, PageRequest, Start, StoredMessage};

use tokio::time::Instant;

use super::occasion::Occasion;
use super::refusal::{Noun, Outcome, Refusal};
use super::{UseCases, broker, store};

/// Messages that are looked at together.
const BATCH: usize = 100;

/// Deliveries that may wait in a lane when a replay adds to it: what is new then waits behind few that are sent again.
const AHEAD_MAX: u32 = 100;
/// How often a replay looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a lane that does not move, paused or failing, keeps a replay from adding another batch.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which messages to send again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Those whose delivery to the endpoint failed for good.
    Failed,
    /// Those that the endpoint was never sent but wants as it is now.
    Missing,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub since: UnixMillis,
    /// Its end; now when nothing is said.
    pub until: Option<UnixMillis>,
}

impl UseCases {
    /// Sends one message to one endpoint again.
    ///
    /// # Errors
    /// When the message never went to the endpoint, is no longer kept, or the endpoint is disabled.
    pub async fn resend(&self, app: &App, message: &str, endpoint: &str, occasion: &Occasion) -> Outcome<()> {
        let stored = self.message(app, message).await?;
        let endpoint = self.endpoint(app, endpoint).await?;
        let went_there = stored
            .deliveries
            .iter()
            .any(|(id, record)| *id == endpoint.id && record.state().is_some());
        if !went_there {
            return Err(Refusal::NotFound(Noun::Delivery));
        }
        refuse_disabled(&endpoint)?;
        let payload = self.payload(app, &stored.message.id).await?;
        // Asked for again it is the same run of attempts, which is not made twice.
        self.deliver(&stored.message, &endpoint.id, payload, occasion.at)
            .await
    }

    /// Begins to send messages to an endpoint again, and answers with a name for the task.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is disabled.
    pub async fn replay(
        self: &Arc<Self>,
        app: &App,
        endpoint: &str,
        which: Replay,
        span: Span,
        occasion: &Occasion,
    ) -> Outcome<String> {
        let endpoint = self.endpoint(app, endpoint).await?;
        let now = occasion.at;
        refuse_disabled(&endpoint)?;
        let id = occasion.dice.with(|mut rng| MessageId::generate(now, &mut rng));
        let task = format!("qtask_{}", id.as_str().trim_start_matches(MessageId::PREFIX));
        let (use_cases, app, name) = (Arc::clone(self), app.clone(), task.clone());
        self.tracker.spawn(async move {
            match use_cases.run_replay(&app, &endpoint, which, span, now).await {
                Ok(sent) => tracing::info!(task = name, endpoint = %endpoint.id, sent, "replay done"),
                Err(refusal) => tracing::error!(
                    task = name,
                    endpoint = %endpoint.id,
                    error = nuncio_runtime::lifecycle::chain(&refusal),
                    "replay ended early"
                ),
            }
        });
        Ok(task)
    }

    async fn run_replay(
        &self,
        app: &App,
        endpoint: &Endpoint,
        which: Replay,
        span: Span,
        now: UnixMillis,
    ) -> Outcome<usize> {
        // The store's bounds are exclusive, a caller's are not.
        let filter = MessageFilter {
            after: Some(UnixMillis(span.since.0.saturating_sub(1))),
            before: Some(UnixMillis(span.until.unwrap_or(now).0.saturating_add(1))),
            deliveries: Deliveries::Of(endpoint.id.clone()),
            ..MessageFilter::default()
        };
        let mut request = PageRequest {
            limit: BATCH,
            start: Start::Beginning,
            order: Order::OldestFirst,
        };
        let mut sent = 0;
        loop {
            let page = store(self.store.list_messages(&app.id, &filter, &request).await)?;
            let chosen: Vec<_> = page
                .items
                .into_iter()
                .filter(|stored| chooses(which, stored, endpoint))
                .map(|stored| stored.message)
                .collect();
            if !chosen.is_empty() {
                self.give_way(&endpoint.id).await;
            }
            sent += self.deliver_again(app, endpoint, chosen, now).await?;
            match page.next {
                Some(next) => request.start = Start::After(next),
                None => return Ok(sent),
            }
        }
    }

    /// Waits until little waits in the endpoint's lane. A depth that cannot be told now holds nothing up.
    async fn give_way(&self, endpoint: &EndpointId) {
        let full = async || {
            let depth = self.operator.backlog(endpoint).await;
            matches!(depth, Ok(Some(depth)) if depth.messages > AHEAD_MAX)
        };
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && full().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn deliver_again(
        &self,
        app: &App,
        endpoint: &Endpoint,
        messages: Vec<Message>,
        now: UnixMillis,
    ) -> Outcome<usize> {
        let ids: Vec<_> = messages.iter().map(|message| message.id.clone()).collect();
        let payloads = store(self.store.payloads(&app.id, &ids).await)?;
        let deliveries: Vec<_> = messages
            .iter()
            .zip(payloads)
            .filter_map(|(message, payload)| {
                Some((endpoint.id.clone(), envelope(message, now), Bytes::from(payload?)))
            })
            .collect();
        let count = deliveries.len();
        for delivered in self.operator.deliver_all(deliveries).await {
            broker(delivered)?;
        }
        Ok(count)
    }

    pub(crate) async fn payload(&self, app: &App, message: &MessageId) -> Outcome<Vec<u8>> {
        store(self.store.payload(&app.id, message).await)?.ok_or(Refusal::Conflict {
            code: "payload_expired",
            detail: "the message's payload was deleted or is no longer kept".to_owned(),
        })
    }

    /// Puts a message into an endpoint's lane, in a run of attempts that begins now.
    pub(crate) async fn deliver(
        &self,
        message: &Message,
        endpoint: &EndpointId,
        payload: Vec<u8>,
        now: UnixMillis,
    ) -> Outcome<()> {
        let envelope = envelope(message, now);
        broker(self.operator.deliver(endpoint, &envelope, payload.into()).await)
    }
}

pub(crate) fn refuse_disabled(endpoint: &Endpoint) -> Outcome<()> {
    if endpoint.is_disabled() {
        return Err(Refusal::Conflict {
            code: "endpoint_disabled",
            detail: "the endpoint is disabled: enable it first".to_owned(),
        });
    }
    Ok(())
}

fn envelope(message: &Message, now: UnixMillis) -> DeliveryEnvelope {
    DeliveryEnvelope {
        attempt: AttemptNumber::FIRST,
        trigger: Trigger::Manual,
        series: Series(now.0),
        ..DeliveryEnvelope::first(
            message.app_id.clone(),
            message.id.clone(),
            message.event_type.clone(),
            message.created_at,
            TraceContext::default(),
        )
    }
}

fn chooses(which: Replay, stored: &StoredMessage, endpoint: &Endpoint) -> bool {
    let record = stored.deliveries.iter().find(|(id, _)| *id == endpoint.id);
    let record = record.map(|(_, record)| record);
    match which {
        Replay::Failed => record.and_then(DeliveryRecord::state).is_some_and(|state| {
            matches!(state.status, DeliveryStatus::Exhausted | DeliveryStatus::Disabled)
        }),
        Replay::Missing => {
            let missed = match record {
                None => stored.routed,
                Some(record) => record.state().is_none(),
            };
            let message = &stored.message;
            missed && route(endpoint, &message.event_type, &message.channels).is_routed()
        }
    }
}

//! Queueing again what one loss has cost.
//!
//! Owns the walk over the unfinished deliveries and the envelope of the attempt that comes next. Guarantees that no budget
//! is given back, and that a copy stands behind its original, if that was not lost: there the record tells on it.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use nuncio_broker::{Outgoing, Route};
use nuncio_domain::{
    AppId, AttemptNumber, DeliveryId, DeliveryState, DeliveryStatus, EndpointId, Loss, Series, Trigger,
    UnixMillis,
};
use nuncio_store::{StoredMessage, UnfinishedFrom};
use nuncio_wire::{DeliveryEnvelope, HeaderValue, TraceContext, headers};
use tokio::time::Instant;

use super::{HOLD, SweepError};
use crate::{PUBLISH_PATIENCE, Shared};

/// Deliveries read from the record at once.
const PAGE: usize = 500;
/// Deliveries queued at once.
const AT_ONCE: usize = 64;
/// How long is waited for messages that a router is fanning out at this moment, so that their originals come first.
const FAN_OUT: Duration = Duration::from_secs(3);
/// By how much what waits on the ladder is later than it was: its original may be on another rung, and comes first then.
const BEHIND: Duration = Duration::from_secs(2);

/// One sweep.
pub(super) struct Sweep<'a> {
    shared: &'a Shared,
    loss: &'a Loss,
    queued: usize,
}

/// What became of a delivery that was looked at.
enum Looked {
    Queued,
    LetAlone,
    /// Its message is being fanned out.
    InFanOut(DeliveryId),
}

impl<'a> Sweep<'a> {
    /// The sweep that makes up for `loss`.
    pub(super) fn of(shared: &'a Shared, loss: &'a Loss) -> Self {
        Self {
            shared,
            loss,
            queued: 0,
        }
    }

    /// Queues again every delivery that may have been lost.
    pub(super) async fn run(mut self) -> Result<(), SweepError> {
        let directory = &self.shared.parts.directory;
        self.open_lanes().await?;
        let apps = match self.loss {
            Loss::Lane(endpoint) => {
                let known = directory.endpoint(endpoint);
                known
                    .map(|entry| entry.endpoint.app_id.clone())
                    .into_iter()
                    .collect()
            }
            _ => directory.app_ids(),
        };
        let mut in_fan_out = Vec::new();
        for app in apps {
            let before = self.queued;
            for delivery in self.app(&app).await? {
                in_fan_out.push((app.clone(), delivery));
            }
            if self.queued > before {
                tracing::info!(%app, queued = self.queued - before, "unfinished deliveries are queued again");
            }
        }
        if !in_fan_out.is_empty() {
            tokio::time::sleep(FAN_OUT).await;
            for (app, delivery) in in_fan_out {
                self.page(&app, vec![delivery], true).await?;
            }
        }
        metrics::counter!("nuncio_router_swept_total").increment(self.queued as u64);
        tracing::warn!(loss = %self.loss, queued = self.queued, "unfinished deliveries were queued again");
        Ok(())
    }

    /// The lanes that were lost or not reached are there again, before anything is read from the record: what is routed
    /// from then on finds its way, and what was routed before is read.
    async fn open_lanes(&self) -> Result<(), SweepError> {
        let parts = &self.shared.parts;
        let lost = match self.loss {
            Loss::Lane(endpoint) => parts
                .directory
                .endpoint(endpoint)
                .map(|entry| entry.endpoint.id.clone())
                .into_iter()
                .collect(),
            Loss::Everything | Loss::Bindings => parts.directory.endpoint_ids(),
            Loss::Rungs => Vec::new(),
        };
        let declare = |endpoint: EndpointId| async move { parts.broker.declare_endpoint(&endpoint).await };
        stream::iter(lost)
            .map(declare)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(())
    }

    /// Queues what one app has lost; answers what is being fanned out.
    async fn app(&mut self, app: &AppId) -> Result<Vec<DeliveryId>, SweepError> {
        let parts = &self.shared.parts;
        let mut in_fan_out = Vec::new();
        let mut from = UnfinishedFrom::default();
        loop {
            if !parts.store.take_sweep(&parts.name, HOLD).await? {
                return Err(SweepError::Elsewhere);
            }
            let page = parts.store.unfinished_from(app, &mut from, PAGE).await?;
            if page.is_empty() {
                return Ok(in_fan_out);
            }
            let deliveries = page.into_iter().map(|unfinished| unfinished.delivery);
            let deliveries = match self.loss {
                Loss::Lane(endpoint) => deliveries.filter(|one| one.endpoint == *endpoint).collect(),
                _ => deliveries.collect(),
            };
            // Where all is lost, nobody is fanning anything out to where it was.
            let even_in_fan_out = *self.loss == Loss::Everything;
            in_fan_out.extend(self.page(app, deliveries, even_in_fan_out).await?);
        }
    }

    /// Queues one page of an app's deliveries; answers those that are being fanned out, unless these are queued as well.
    async fn page(
        &mut self,
        app: &AppId,
        deliveries: Vec<DeliveryId>,
        even_in_fan_out: bool,
    ) -> Result<Vec<DeliveryId>, SweepError> {
        let parts = &self.shared.parts;
        let asked: Vec<_> = deliveries
            .iter()
            .map(|delivery| (app.clone(), delivery.clone()))
            .collect();
        let states = parts.store.delivery_states(&asked).await?;
        let mut in_fan_out = Vec::new();
        let mut queued = 0;
        {
            let mut done = stream::iter(deliveries.into_iter().zip(states))
                .map(|(delivery, state)| self.queue_again(app, delivery, state, even_in_fan_out))
                .buffer_unordered(AT_ONCE);
            while let Some(result) = done.next().await {
                match result? {
                    Looked::Queued => queued += 1,
                    Looked::LetAlone => {}
                    Looked::InFanOut(delivery) => in_fan_out.push(delivery),
                }
            }
        }
        self.queued += queued;
        Ok(in_fan_out)
    }

    /// Queues one delivery again, if it is still to be made, can be, and may have been lost.
    async fn queue_again(
        &self,
        app: &AppId,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        even_in_fan_out: bool,
    ) -> Result<Looked, SweepError> {
        let parts = &self.shared.parts;
        let Some(state) = state.filter(|state| !state.status.is_final()) else {
            parts
                .store
                .drop_unfinished(app, std::slice::from_ref(&delivery))
                .await?;
            return Ok(Looked::LetAlone);
        };
        if parts.directory.endpoint(&delivery.endpoint).is_none() {
            let ended = DeliveryState {
                status: DeliveryStatus::Deleted,
                ..state
            };
            parts.recorder.record_state(app.clone(), delivery, ended).await;
            return Ok(Looked::LetAlone);
        }
        let now = UnixMillis(parts.clock.now());
        if !self.loss.may_have_cost(&delivery.endpoint, state.status, now) {
            return Ok(Looked::LetAlone);
        }
        let (message, payload) = tokio::try_join!(
            parts.store.message(app, delivery.message.as_str()),
            parts.store.payload(app, &delivery.message)
        )?;
        let (Some(message), Some(payload)) = (message, payload) else {
            tracing::warn!(%delivery, "an unfinished delivery cannot be queued again: its payload is no longer kept");
            parts
                .store
                .drop_unfinished(app, std::slice::from_ref(&delivery))
                .await?;
            return Ok(Looked::LetAlone);
        };
        if !message.routed && !even_in_fan_out {
            return Ok(Looked::InFanOut(delivery));
        }
        let envelope = envelope(&message, state, now);
        let outgoing = Outgoing::persistent(envelope.write(), payload);
        self.publish(&delivery.endpoint, envelope.due, now, outgoing)
            .await?;
        Ok(Looked::Queued)
    }

    /// Into the lane, or onto the ladder while its time has not come.
    async fn publish(
        &self,
        endpoint: &EndpointId,
        due: Option<UnixMillis>,
        now: UnixMillis,
        outgoing: Outgoing,
    ) -> Result<(), SweepError> {
        let parts = &self.shared.parts;
        let wait = due.map(|due| due.since(now)).filter(|wait| !wait.is_zero());
        let exchange = match wait {
            None => parts.broker.names().deliveries().to_owned(),
            Some(wait) => {
                let behind = if *self.loss == Loss::Rungs {
                    BEHIND
                } else {
                    Duration::ZERO
                };
                let rung = parts.policy.rung_for(wait + behind);
                parts.broker.declare_rung(rung).await?;
                parts.broker.names().rung(rung)
            }
        };
        let route = Route::to(&exchange, endpoint.as_str());
        let deadline = Instant::now() + PUBLISH_PATIENCE;
        self.shared.publisher.publish(&route, outgoing, deadline).await?;
        Ok(())
    }
}

/// The envelope of the attempt that comes next.
fn envelope(stored: &StoredMessage, state: DeliveryState, now: UnixMillis) -> DeliveryEnvelope {
    let message = &stored.message;
    let mut envelope = DeliveryEnvelope::first(
        message.app_id.clone(),
        message.id.clone(),
        message.event_type.clone(),
        message.created_at,
        TraceContext::default(),
    );
    envelope.series = state.series;
    envelope.attempt = state.attempt.map_or(AttemptNumber::FIRST, AttemptNumber::next);
    envelope.first_attempt_at = state.attempt.map(|_| message.created_at);
    if state.series != Series(0) {
        envelope.trigger = Trigger::Manual;
    }
    if let DeliveryStatus::Retrying { due } = state.status {
        envelope.due = Some(due.max(now));
    }
    envelope
        .unknown
        .insert(headers::AGAIN.to_owned(), HeaderValue::Int(1));
    if let Some(event_id) = &message.event_id {
        envelope
            .unknown
            .insert(headers::EVENT_ID.to_owned(), HeaderValue::Text(event_id.clone()));
    }
    envelope
}

#[cfg(test)]
mod tests {
    use nuncio_domain::Message;

    use super::*;

    fn stored() -> StoredMessage {
        StoredMessage {
            message: Message {
                id: "msg_1".parse().unwrap(),
                app_id: "app_1".parse().unwrap(),
                event_id: Some("order-1".into()),
                event_type: "sync.user".parse().unwrap(),
                channels: Vec::new(),
                created_at: UnixMillis(1_000),
            },
            routed: true,
            expunged: false,
            deliveries: Vec::new(),
        }
    }

    fn state(status: DeliveryStatus, attempt: u16, series: i64) -> DeliveryState {
        DeliveryState {
            status,
            series: Series(series),
            attempt: AttemptNumber::nth(attempt),
        }
    }

    #[test]
    fn the_attempt_that_comes_next_is_queued_and_no_budget_is_given_back() {
        let now = UnixMillis(10_000);
        let first = envelope(&stored(), state(DeliveryStatus::Pending, 0, 0), now);
        assert_eq!(
            (first.attempt.number(), first.due, first.trigger),
            (1, None, Trigger::Scheduled)
        );
        let waiting = state(
            DeliveryStatus::Retrying {
                due: UnixMillis(50_000),
            },
            3,
            0,
        );
        let third = envelope(&stored(), waiting, now);
        assert_eq!((third.attempt.number(), third.due), (4, Some(UnixMillis(50_000))));
        let overdue = state(
            DeliveryStatus::Retrying {
                due: UnixMillis(5_000),
            },
            3,
            77,
        );
        let again = envelope(&stored(), overdue, now);
        assert_eq!(
            (again.attempt.number(), again.due, again.trigger),
            (4, Some(now), Trigger::Manual)
        );
        assert_eq!(again.series, Series(77));
    }

    #[test]
    fn what_is_queued_again_says_so_and_keeps_its_event_id() {
        let envelope = envelope(&stored(), state(DeliveryStatus::Pending, 0, 0), UnixMillis(1));
        let read = DeliveryEnvelope::read(&envelope.write()).unwrap();
        assert!(read.unknown.contains_key(headers::AGAIN));
        assert_eq!(
            read.unknown.get(headers::EVENT_ID),
            Some(&HeaderValue::Text("order-1".into()))
        );
    }
}

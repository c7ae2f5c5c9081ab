//! What follows from an attempt: the record, then the retry on the ladder, then the acknowledgement, in this order.
//!
//! Owns the order. A crash after the record finds it again and makes no second attempt; a crash after the ladder's
//! confirm leaves a copy that the record recognises. The decision itself is the domain's [`decide()`].

use nuncio_broker::{Outgoing, Received, Route};
use nuncio_domain::{
    Attempt, AttemptId, AttemptNumber, DeliveryId, DeliveryState, DeliveryStatus, DisabledReason, Jitter,
    UnixMillis, Verdict, decide,
};
use nuncio_egress::Attempted;
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{Record, Recorded};
use nuncio_wire::{DeliveryChange, DeliveryEnvelope, EnvelopeError, headers};
use tokio::time::Instant;

use crate::deliver::{Ended, What, recorded};
use crate::kept::kept;
use crate::prepared::Prepared;
use crate::streak::Streak;
use crate::tell::{tell_delivery, tell_disabled};
use crate::{Shared, trace};

/// How long a publish may take, resends included, before the delivery goes back to its queue.
const PUBLISH_PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
/// The attempt whose failure is told as `message.attempt.failing`.
const FAILING_ATTEMPT: u16 = 4;

/// Settles what a delivery that was taken from the queue ended with.
pub(crate) async fn settle(shared: &Shared, ended: Ended, streak: &Streak) {
    let Ended {
        received,
        prepared,
        what,
        hold: _hold,
    } = ended;
    match what {
        What::Attempted {
            envelope,
            started_at,
            attempted,
        } => {
            let work = Work {
                shared,
                prepared: &prepared,
                envelope,
                started_at,
                streak,
            };
            work.follow(received, attempted).await;
        }
        What::MadeBefore { envelope, state } => {
            made_before(shared, &prepared, received, &envelope, state).await;
        }
        What::Disabled(envelope) => {
            end(shared, &prepared, received, envelope, DeliveryStatus::Disabled).await;
        }
        What::Superseded(envelope) => {
            metrics::counter!("nuncio_sender_superseded_total").increment(1);
            end(shared, &prepared, received, envelope, DeliveryStatus::Superseded).await;
        }
        What::Undecided => received.acker.requeue(),
        What::Unreadable(error) => set_aside(shared, received, &error).await,
    }
}

/// Records that a delivery ended without another attempt.
async fn end(
    shared: &Shared,
    prepared: &Prepared,
    received: Received,
    envelope: DeliveryEnvelope,
    status: DeliveryStatus,
) {
    let state = DeliveryState {
        status,
        series: envelope.series,
        attempt: AttemptNumber::nth(envelope.attempt.number() - 1),
    };
    metrics::counter!("nuncio_sender_deliveries_total", "status" => label(status)).increment(1);
    let delivery = delivery(prepared, &envelope);
    let recorder = &shared.parts.recorder;
    recorder.record_state(envelope.app_id, delivery, state).await;
    received.acker.ack();
}

fn delivery(prepared: &Prepared, envelope: &DeliveryEnvelope) -> DeliveryId {
    DeliveryId {
        message: envelope.message_id.clone(),
        endpoint: prepared.entry.endpoint.id.clone(),
    }
}

/// An attempt that was made, with all that is needed to follow it up.
struct Work<'a> {
    shared: &'a Shared,
    prepared: &'a Prepared,
    envelope: DeliveryEnvelope,
    started_at: UnixMillis,
    streak: &'a Streak,
}

impl Work<'_> {
    async fn follow(self, received: Received, attempted: Attempted) {
        let parts = &self.shared.parts;
        let ended_at = self.started_at.plus(attempted.duration);
        count(&self.envelope, &attempted, self.started_at, ended_at);
        let verdict = self.verdict(&attempted, ended_at);
        let attempt = self.attempt(attempted, verdict, ended_at);
        let status = match verdict {
            Verdict::Delivered => DeliveryStatus::Delivered,
            Verdict::RetryIn(delay) => DeliveryStatus::Retrying {
                due: ended_at.plus(delay),
            },
            Verdict::DisableEndpoint => DeliveryStatus::Disabled,
            Verdict::Exhausted => DeliveryStatus::Exhausted,
        };
        metrics::counter!("nuncio_sender_deliveries_total", "status" => label(status)).increment(1);
        let state = DeliveryState {
            status,
            series: self.envelope.series,
            attempt: Some(self.envelope.attempt),
        };
        let told = change(verdict, attempt.number).map(|change| (change, attempt.clone()));
        let record = Record {
            app_id: self.envelope.app_id.clone(),
            published_at: self.envelope.created_at,
            health: self.streak.note(&attempt),
            attempt,
            state,
        };
        let what = parts.recorder.record(record).await;
        nuncio_failpoints::hit!("sender::recorded");
        if what == Recorded::MadeBefore {
            match recorded(self.shared, self.prepared, &self.envelope).await {
                // It was this one, and its record was written twice.
                Some(found) if found == state => {}
                // Another copy made the same attempt and was recorded first. What follows from it follows once, or every
                // copy would climb the ladder for itself.
                Some(found) => {
                    return made_before(self.shared, self.prepared, received, &self.envelope, found).await;
                }
                // It comes again, and is looked up then.
                None => return received.acker.requeue(),
            }
        }
        match verdict {
            Verdict::Delivered => {}
            Verdict::RetryIn(delay) => {
                let next = self.next(ended_at, delay);
                if let Err(error) = retry(self.shared, self.prepared, &received, &next, delay).await {
                    trace::warn_returned(&error, &self.envelope, self.prepared);
                    return received.acker.requeue();
                }
                nuncio_failpoints::hit!("sender::on-ladder");
                self.disable_if_failing_too_long(ended_at).await;
            }
            Verdict::DisableEndpoint => self.disable(DisabledReason::Gone, None).await,
            Verdict::Exhausted => {
                trace::log_exhausted(&self.envelope, self.prepared);
                self.disable_if_failing_too_long(ended_at).await;
            }
        }
        if let Some((change, attempt)) = told {
            tell_delivery(self.shared, change, &self.envelope, &attempt).await;
        }
        nuncio_failpoints::hit!("sender::settled");
        received.acker.ack();
        nuncio_failpoints::hit!("sender::acked");
    }

    fn verdict(&self, attempted: &Attempted, ended_at: UnixMillis) -> Verdict {
        let parts = &self.shared.parts;
        let jitter = Jitter::from_random(parts.dice.u32());
        match decide(
            &parts.settings.policy,
            self.envelope.attempt,
            &attempted.outcome,
            jitter,
        ) {
            Verdict::RetryIn(delay) if self.deadline().is_some_and(|end| ended_at.plus(delay) > end) => {
                Verdict::Exhausted
            }
            Verdict::RetryIn(delay) => Verdict::RetryIn(parts.settings.policy.rung_for(delay)),
            verdict => verdict,
        }
    }

    fn deadline(&self) -> Option<UnixMillis> {
        self.envelope.deadline
    }

    /// The envelope of the next attempt: the budget travels in it.
    fn next(&self, ended_at: UnixMillis, delay: std::time::Duration) -> DeliveryEnvelope {
        let first_attempt_at = self.envelope.first_attempt_at.unwrap_or(self.started_at);
        DeliveryEnvelope {
            attempt: self.envelope.attempt.next(),
            first_attempt_at: Some(first_attempt_at),
            deadline: self
                .envelope
                .deadline
                .or_else(|| Some(first_attempt_at.plus(self.shared.parts.settings.policy.budget()))),
            due: Some(ended_at.plus(delay)),
            ..self.envelope.clone()
        }
    }

    fn attempt(&self, attempted: Attempted, verdict: Verdict, ended_at: UnixMillis) -> Attempt {
        let endpoint = &self.prepared.entry.endpoint;
        let (body, headers) = attempted
            .response
            .map(|response| (response.body, kept(&response.headers)))
            .unwrap_or_default();
        Attempt {
            id: self
                .shared
                .parts
                .dice
                .with(|mut rng| AttemptId::generate(self.started_at, &mut rng)),
            message_id: self.envelope.message_id.clone(),
            endpoint_id: endpoint.id.clone(),
            event_type: self.envelope.event_type.clone(),
            url: endpoint.url.clone(),
            number: self.envelope.attempt,
            trigger: self.envelope.trigger,
            outcome: attempted.outcome,
            started_at: self.started_at,
            duration: attempted.duration,
            next_due: match verdict {
                Verdict::RetryIn(delay) => Some(ended_at.plus(delay)),
                _ => None,
            },
            response_body: String::from_utf8_lossy(&body).into_owned(),
            response_headers: headers,
        }
    }

    async fn disable_if_failing_too_long(&self, now: UnixMillis) {
        let parts = &self.shared.parts;
        let endpoint = &self.prepared.entry.endpoint;
        if let Some(since) = self
            .streak
            .too_long(&parts.store, endpoint, parts.settings.disable_after, now)
            .await
        {
            self.disable(DisabledReason::Failing, Some(since)).await;
        }
    }

    async fn disable(&self, reason: DisabledReason, since: Option<UnixMillis>) {
        let endpoint = &self.prepared.entry.endpoint;
        let now = UnixMillis(self.shared.parts.clock.now());
        match self
            .shared
            .parts
            .store
            .disable_endpoint(&endpoint.app_id, &endpoint.id, reason, now)
            .await
        {
            Ok(true) => {
                tracing::warn!(endpoint = %endpoint.id, app = %endpoint.app_id, %reason, "an endpoint was disabled");
                tell_disabled(self.shared, endpoint, reason, since).await;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = chain(&error), endpoint = %endpoint.id, %reason, "an endpoint could not be disabled");
            }
        }
    }
}

fn change(verdict: Verdict, attempt: AttemptNumber) -> Option<DeliveryChange> {
    match verdict {
        Verdict::Exhausted => Some(DeliveryChange::Exhausted),
        Verdict::RetryIn(_) if attempt.number() == FAILING_ATTEMPT => Some(DeliveryChange::Failing),
        Verdict::Delivered if attempt.number() > FAILING_ATTEMPT => Some(DeliveryChange::Recovered),
        _ => None,
    }
}

/// Puts the next attempt on the ladder.
async fn retry(
    shared: &Shared,
    prepared: &Prepared,
    received: &Received,
    next: &DeliveryEnvelope,
    delay: std::time::Duration,
) -> Result<(), String> {
    let broker = &shared.parts.broker;
    broker.declare_rung(delay).await.map_err(|error| chain(&error))?;
    let exchange = broker.names().rung(delay);
    let route = Route::to(&exchange, prepared.entry.endpoint.id.as_str());
    let message = Outgoing::persistent(next.write(), received.body.clone());
    let deadline = Instant::now() + PUBLISH_PATIENCE;
    shared
        .publisher
        .publish(&route, message, deadline)
        .await
        .map_err(|error| chain(&error))
}

/// A copy of an attempt that was recorded: if its retry may have been lost in a crash, it is put on the ladder again.
async fn made_before(
    shared: &Shared,
    prepared: &Prepared,
    received: Received,
    envelope: &DeliveryEnvelope,
    state: DeliveryState,
) {
    metrics::counter!("nuncio_sender_copies_total").increment(1);
    let same = state.series == envelope.series && state.attempt == Some(envelope.attempt);
    if let (DeliveryStatus::Retrying { due }, true, true) = (state.status, same, received.redelivered) {
        let now = UnixMillis(shared.parts.clock.now());
        let policy = &shared.parts.settings.policy;
        let delay = policy.rung_for(due.since(now).max(std::time::Duration::from_millis(1)));
        let first_attempt_at = envelope.first_attempt_at.unwrap_or(now);
        let next = DeliveryEnvelope {
            attempt: envelope.attempt.next(),
            first_attempt_at: Some(first_attempt_at),
            deadline: envelope
                .deadline
                .or_else(|| Some(first_attempt_at.plus(policy.budget()))),
            due: Some(now.plus(delay)),
            ..envelope.clone()
        };
        if let Err(error) = retry(shared, prepared, &received, &next, delay).await {
            trace::warn_returned(&error, envelope, prepared);
            return received.acker.requeue();
        }
    }
    received.acker.ack();
}

/// Something in an endpoint's queue that Nuncio did not put there.
async fn set_aside(shared: &Shared, received: Received, error: &EnvelopeError) {
    let mut properties = received.copied();
    properties.put_text(headers::REASON, nuncio_wire::SetAsideReason::BadHeaders.as_str());
    properties.put_text(headers::DETAIL, error.to_string());
    properties.put_int(headers::SET_ASIDE_AT, shared.parts.clock.now());
    let message = Outgoing::persistent(properties, received.body.clone());
    let route = Route::queue(shared.parts.broker.names().set_aside());
    match shared
        .publisher
        .publish(&route, message, Instant::now() + PUBLISH_PATIENCE)
        .await
    {
        Ok(()) => {
            metrics::counter!("nuncio_sender_set_aside_total").increment(1);
            tracing::warn!(%error, "a message that is not a delivery was set aside");
            received.acker.ack();
        }
        Err(publish) => {
            tracing::error!(
                error = chain(&publish),
                "a message that is not a delivery could not be set aside"
            );
            received.acker.requeue();
        }
    }
}

/// A status as a label: what an attempt, or the decision against one, made of a delivery.
fn label(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::Pending => "pending",
        DeliveryStatus::Delivered => "delivered",
        DeliveryStatus::Retrying { .. } => "retrying",
        DeliveryStatus::Exhausted => "exhausted",
        DeliveryStatus::Disabled => "disabled",
        DeliveryStatus::Deleted => "deleted",
        DeliveryStatus::Superseded => "superseded",
    }
}

fn count(envelope: &DeliveryEnvelope, attempted: &Attempted, started_at: UnixMillis, ended_at: UnixMillis) {
    let outcome = attempted.outcome.label();
    metrics::counter!("nuncio_sender_attempts_total", "outcome" => outcome).increment(1);
    metrics::histogram!("nuncio_sender_attempt_duration_seconds").record(attempted.duration.as_secs_f64());
    if attempted
        .outcome
        .status()
        .is_some_and(|status| (200..300).contains(&status))
    {
        let waited = ended_at.since(envelope.due.unwrap_or(envelope.created_at));
        metrics::histogram!("nuncio_sender_delivery_latency_seconds").record(waited.as_secs_f64());
        let whole = ended_at.since(envelope.created_at);
        metrics::histogram!("nuncio_sender_event_latency_seconds").record(whole.as_secs_f64());
    }
    if let Some(due) = envelope.due {
        metrics::histogram!("nuncio_sender_retry_lateness_seconds")
            .record(started_at.since(due).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_fourth_failure_and_the_end_are_told_and_so_is_a_late_success() {
        let nth = |n| AttemptNumber::nth(n).unwrap();
        let retry = Verdict::RetryIn(Duration::from_secs(5));
        let cases = [
            (retry, 3, None),
            (retry, 4, Some(DeliveryChange::Failing)),
            (retry, 5, None),
            (Verdict::Delivered, 4, None),
            (Verdict::Delivered, 5, Some(DeliveryChange::Recovered)),
            (Verdict::Exhausted, 11, Some(DeliveryChange::Exhausted)),
            (Verdict::DisableEndpoint, 1, None),
        ];
        for (verdict, attempt, expected) in cases {
            assert_eq!(
                change(verdict, nth(attempt)),
                expected,
                "{verdict:?} after {attempt}"
            );
        }
    }
}

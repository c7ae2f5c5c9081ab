//! The sweep: what RabbitMQ held and lost is queued again from the record.
//!
//! Owns the watch over the broker's data: a queue marks it, and the record knows the mark. A broker that comes back
//! without that queue came back empty; one router then queues every unfinished delivery again, each once, and sets a
//! new mark. Copies of what was not lost after all are recognised by the sender, which asks the record first.
//! Refuses to guess from depths or times: a lane that is merely long loses nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use nuncio_broker::{BrokerError, LinkState, Outgoing, Route};
use nuncio_domain::{
    AppId, AttemptNumber, DeliveryId, DeliveryState, DeliveryStatus, EndpointId, Series, Trigger, UnixMillis,
};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{StoreError, StoredMessage, UnfinishedFrom};
use nuncio_wire::{DeliveryEnvelope, HeaderValue, TraceContext, headers};
use tokio::time::Instant;

use crate::{PUBLISH_PATIENCE, Shared};

/// Deliveries read from the record at once.
const PAGE: usize = 500;
/// Deliveries queued at once.
const AT_ONCE: usize = 64;
/// How long a router that sweeps keeps the task without saying so again.
const HOLD: Duration = Duration::from_secs(60);
/// Between two tries while either store is away, or while another router sweeps.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a sweep did not come to its end.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the record could not be asked")]
    Store(#[from] StoreError),
    #[error("the broker could not be asked")]
    Broker(#[from] BrokerError),
    #[error("a delivery could not be queued again")]
    Publish(#[from] nuncio_broker::PublishError),
    #[error("another router sweeps")]
    Elsewhere,
}

/// Looks after every new connection whether the broker still has its data, until told to stop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let soft = shared.parts.life.soft.clone();
    let watch = async {
        let mut states = shared.parts.broker.state();
        loop {
            if states
                .wait_for(|state| state.consuming == LinkState::Connected)
                .await
                .is_err()
            {
                return;
            }
            while let Err(error) = check(&shared).await {
                tracing::warn!(
                    error = chain(&error),
                    "whether the broker kept its data is not known yet"
                );
                tokio::time::sleep(PAUSE).await;
            }
            if states
                .wait_for(|state| state.consuming != LinkState::Connected)
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = soft.cancelled() => {}
    }
}

/// Compares the mark of the record with the broker; sweeps when the broker has lost it.
async fn check(shared: &Shared) -> Result<(), SweepError> {
    let parts = &shared.parts;
    let known = parts.store.broker_mark().await?;
    if let Some(mark) = &known {
        if parts
            .broker
            .depth(&parts.broker.names().mark(mark))
            .await?
            .is_some()
        {
            return Ok(());
        }
        if !parts.store.take_sweep(&parts.name, HOLD).await? {
            return Err(SweepError::Elsewhere);
        }
        tracing::error!("RabbitMQ has lost its data: unfinished deliveries are queued again from the record");
        metrics::counter!("nuncio_router_broker_losses_total").increment(1);
        sweep(shared).await?;
    }
    let mark = parts
        .dice
        .with(|mut rng| nuncio_domain::MessageId::generate(UnixMillis(parts.clock.now()), &mut rng));
    let mark = mark.as_str().trim_start_matches("msg_");
    parts.broker.declare_mark(mark).await?;
    // False when another router was first, whose mark is as good.
    parts.store.replace_broker_mark(known.as_deref(), mark).await?;
    Ok(())
}

/// Queues every unfinished delivery again.
async fn sweep(shared: &Shared) -> Result<(), SweepError> {
    let mut lanes = HashSet::new();
    let mut queued = 0_usize;
    for app in shared.parts.directory.app_ids() {
        let mut from = UnfinishedFrom::default();
        loop {
            if !shared.parts.store.take_sweep(&shared.parts.name, HOLD).await? {
                return Err(SweepError::Elsewhere);
            }
            let (page, next) = shared.parts.store.unfinished_from(&app, from, PAGE).await?;
            if page.is_empty() {
                break;
            }
            from = next;
            let deliveries: Vec<DeliveryId> =
                page.into_iter().map(|unfinished| unfinished.delivery).collect();
            for delivery in &deliveries {
                if lanes.insert(delivery.endpoint.clone())
                    && shared.parts.directory.endpoint(&delivery.endpoint).is_some()
                {
                    shared.parts.broker.declare_endpoint(&delivery.endpoint).await?;
                }
            }
            queued += sweep_page(shared, &app, deliveries).await?;
            tracing::info!(%app, queued, "unfinished deliveries are queued again");
        }
    }
    metrics::counter!("nuncio_router_swept_total").increment(queued as u64);
    tracing::warn!(queued, "unfinished deliveries were queued again");
    Ok(())
}

/// Queues one page of an app's deliveries; answers how many were.
async fn sweep_page(shared: &Shared, app: &AppId, deliveries: Vec<DeliveryId>) -> Result<usize, SweepError> {
    let asked: Vec<_> = deliveries
        .iter()
        .map(|delivery| (app.clone(), delivery.clone()))
        .collect();
    let states = shared.parts.store.delivery_states(&asked).await?;
    let mut queued = 0;
    let mut done = stream::iter(deliveries.into_iter().zip(states))
        .map(|(delivery, state)| queue_again(shared, app, delivery, state))
        .buffer_unordered(AT_ONCE);
    while let Some(result) = done.next().await {
        queued += usize::from(result?);
    }
    Ok(queued)
}

/// Queues one delivery again, if it is still to be made and can be; answers whether it was.
async fn queue_again(
    shared: &Shared,
    app: &AppId,
    delivery: DeliveryId,
    state: Option<DeliveryState>,
) -> Result<bool, SweepError> {
    let parts = &shared.parts;
    let Some(state) = state.filter(|state| !state.status.is_final()) else {
        parts
            .store
            .drop_unfinished(app, std::slice::from_ref(&delivery))
            .await?;
        return Ok(false);
    };
    if parts.directory.endpoint(&delivery.endpoint).is_none() {
        let ended = DeliveryState {
            status: DeliveryStatus::Deleted,
            ..state
        };
        parts.recorder.record_state(app.clone(), delivery, ended).await;
        return Ok(false);
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
        return Ok(false);
    };
    let now = UnixMillis(parts.clock.now());
    let envelope = envelope(&message, state, now);
    let outgoing = Outgoing::persistent(envelope.write(), payload);
    publish(shared, &delivery.endpoint, envelope.due, now, outgoing).await?;
    Ok(true)
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

/// Into the lane, or onto the ladder while its time has not come.
async fn publish(
    shared: &Shared,
    endpoint: &EndpointId,
    due: Option<UnixMillis>,
    now: UnixMillis,
    outgoing: Outgoing,
) -> Result<(), SweepError> {
    let parts = &shared.parts;
    let wait = due.map(|due| due.since(now)).filter(|wait| !wait.is_zero());
    let exchange = match wait {
        None => parts.broker.names().deliveries().to_owned(),
        Some(wait) => {
            let rung = parts.policy.rung_for(wait);
            parts.broker.declare_rung(rung).await?;
            parts.broker.names().rung(rung)
        }
    };
    let route = Route::to(&exchange, endpoint.as_str());
    shared
        .publisher
        .publish(&route, outgoing, Instant::now() + PUBLISH_PATIENCE)
        .await?;
    Ok(())
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

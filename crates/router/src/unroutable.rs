//! What found no queue: deliveries of endpoints that are gone, and those whose queue is merely missing.
//!
//! Owns the end of `<ns>.unroutable`. Guarantees that a delivery whose endpoint exists gets its queue back and goes on,
//! and that one whose endpoint is gone ends as `deleted`, visibly.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nuncio_broker::{ConsumeOptions, OnMissing, Outgoing, Queue, Received, Route};
use nuncio_domain::{DeliveryId, DeliveryState, DeliveryStatus, EndpointId};
use nuncio_wire::{DeliveryEnvelope, SetAsideReason, Unreadable};

use crate::set_aside::set_aside;
use crate::{PUBLISH_PATIENCE, Shared};

/// Deliveries handled at once.
const PREFETCH: u16 = 64;
/// How long one waits before it goes back when Redis cannot say whether its endpoint exists.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows unroutable deliveries until told to stop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let options = ConsumeOptions {
        prefetch: PREFETCH,
        on_missing: OnMissing::Declare,
    };
    let mut consumer = shared.parts.broker.consume(Queue::Unroutable, options);
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = shared.parts.life.soft.cancelled() => break,
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            received = consumer.recv() => match received {
                Some(received) => under_way.push(follow(&shared, received)),
                None => break,
            },
        }
    }
    consumer.cancel().await;
    tokio::select! {
        () = async { while under_way.next().await.is_some() {} } => {}
        () = shared.parts.life.hard.cancelled() => {}
    }
}

async fn follow(shared: &Shared, received: Received) {
    let endpoint = EndpointId::parse(&received.routing_key);
    let envelope = DeliveryEnvelope::read(&received.properties);
    let (endpoint, envelope) = match (endpoint, envelope) {
        (Ok(endpoint), Ok(envelope)) => (endpoint, envelope),
        (Err(error), _) => return foreign(shared, received, error.to_string()).await,
        (_, Err(error)) => return foreign(shared, received, error.to_string()).await,
    };
    // The queue is gone, so that what is remembered of the endpoint may be old: a queue that is brought back for one that
    // was deleted would hold its deliveries for good.
    let directory = &shared.parts.directory;
    match directory.refresh(&envelope.app_id).await {
        Ok(_) if directory.endpoint(&endpoint).is_some() => send_again(shared, received, &endpoint).await,
        Ok(_) => end(shared, received, endpoint, &envelope).await,
        Err(error) => {
            let error = nuncio_runtime::lifecycle::chain(&error);
            tracing::warn!(error, %endpoint, "cannot tell whether the endpoint of an unroutable delivery exists");
            tokio::time::sleep(PAUSE).await;
            received.acker.requeue();
        }
    }
}

/// Something that Nuncio did not publish.
async fn foreign(shared: &Shared, received: Received, detail: String) {
    set_aside(
        shared,
        received,
        &Unreadable {
            reason: SetAsideReason::BadHeaders,
            detail,
        },
    )
    .await;
}

async fn send_again(shared: &Shared, received: Received, endpoint: &EndpointId) {
    if let Err(error) = shared.parts.broker.restore_endpoint(endpoint).await {
        let error = nuncio_runtime::lifecycle::chain(&error);
        tracing::error!(error, %endpoint, "the queue of an endpoint is missing and cannot be declared");
        tokio::time::sleep(PAUSE).await;
        return received.acker.requeue();
    }
    tracing::warn!(
        %endpoint,
        trace = crate::trace::shown(&received.properties),
        message_id = received.properties.message_id,
        "the queue of an endpoint was missing"
    );
    let names = shared.parts.broker.names();
    let route = Route::to(names.deliveries(), endpoint.as_str());
    let message = Outgoing::persistent(received.properties.clone(), received.body.clone());
    match shared
        .publisher
        .publish(&route, message, tokio::time::Instant::now() + PUBLISH_PATIENCE)
        .await
    {
        Ok(()) => {
            nuncio_failpoints::hit!("router::sent-again");
            received.acker.ack();
        }
        Err(error) => {
            tracing::error!(error = nuncio_runtime::lifecycle::chain(&error), %endpoint, "a delivery is returned");
            received.acker.requeue();
        }
    }
}

async fn end(shared: &Shared, received: Received, endpoint: EndpointId, envelope: &DeliveryEnvelope) {
    let delivery = DeliveryId {
        message: envelope.message_id.clone(),
        endpoint,
    };
    tracing::info!(
        trace = crate::trace::shown(&received.properties),
        %delivery,
        message_id = %delivery.message,
        endpoint = %delivery.endpoint,
        "its endpoint was deleted: a delivery ends"
    );
    let state = DeliveryState {
        status: DeliveryStatus::Deleted,
        series: envelope.series,
        attempt: envelope.first_attempt_at.map(|_| envelope.attempt),
    };
    shared
        .parts
        .recorder
        .record_state(envelope.app_id.clone(), delivery, state)
        .await;
    metrics::counter!("nuncio_router_deleted_total").increment(1);
    received.acker.ack();
}

//! What the API does to queues.
//!
//! Owns lanes, direct deliveries, operational events, and the events that were set aside. Guarantees that an event
//! leaves the set-aside queue only after it was published again or discarded on purpose.
//! Refuses to decide when any of this is due.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use nuncio_broker::{Acker, Broker, BrokerError, BrokerState, Outgoing, QueueDepth, Received, Route};
use nuncio_domain::{EndpointId, UnixMillis};
use nuncio_wire::headers::{
    BODY_SHA256, DETAIL, ORIGINAL_EXCHANGE, ORIGINAL_ROUTING_KEY, REASON, SET_ASIDE_AT,
};
use nuncio_wire::{DeliveryEnvelope, HeaderValue, Properties};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::PublishError;

/// Deliveries of one batch on their way at the same time.
const PIPELINED: usize = 1_024;
/// Headers that say why and whence an event was set aside, and are left behind when it is published again.
const SET_ASIDE_HEADERS: [&str; 6] = [
    REASON,
    DETAIL,
    ORIGINAL_EXCHANGE,
    ORIGINAL_ROUTING_KEY,
    SET_ASIDE_AT,
    BODY_SHA256,
];

/// Operates the queues of one namespace. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    broker: Broker,
    confirm_within: Duration,
}

/// An event that was set aside, taken from its queue. Dropped, it returns there.
#[derive(Debug)]
pub struct SetAside {
    /// The reason, as in the header `nuncio-reason`.
    pub reason: String,
    /// What exactly was wrong.
    pub detail: Option<String>,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// When it was set aside.
    pub at: Option<UnixMillis>,
    /// Its AMQP message id.
    pub message_id: Option<String>,
    /// Its body; empty when it was too large to be kept.
    pub body: Bytes,
    /// Digest of a body that was too large to be kept.
    pub body_sha256: Option<String>,
    properties: Properties,
    acker: Acker,
}

impl SetAside {
    fn from_received(received: Received) -> Self {
        let Received {
            body,
            properties,
            exchange,
            routing_key,
            acker,
            ..
        } = received;
        let text = |name: &str| properties.text(name).map(str::to_owned);
        Self {
            // What a queue's delivery limit dead-letters here has no reason of Nuncio's.
            reason: text(REASON)
                .or_else(|| text("x-first-death-reason"))
                .unwrap_or_else(|| "unknown".to_owned()),
            detail: text(DETAIL),
            exchange: text(ORIGINAL_EXCHANGE).unwrap_or(exchange),
            routing_key: text(ORIGINAL_ROUTING_KEY).unwrap_or(routing_key),
            at: properties.int(SET_ASIDE_AT).map(UnixMillis),
            message_id: properties.message_id.clone(),
            body_sha256: text(BODY_SHA256),
            body,
            properties,
            acker,
        }
    }

    /// Forgets it for good.
    pub fn discard(self) {
        self.acker.ack();
    }
}

impl Operator {
    /// On a connection of a process that may declare and consume.
    #[must_use]
    pub fn on(broker: Broker, confirm_within: Duration) -> Self {
        Self {
            broker,
            confirm_within,
        }
    }

    /// What the connections are at, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.broker.state()
    }

    /// Declares the lane of `endpoint`: before anything can be routed there.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn declare_endpoint(&self, endpoint: &EndpointId) -> Result<(), BrokerError> {
        self.broker.declare_endpoint(endpoint).await
    }

    /// Deletes the lane of `endpoint` with what waits in it. It may be gone already.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn delete_endpoint(&self, endpoint: &EndpointId) -> Result<(), BrokerError> {
        self.broker.delete_endpoint(endpoint).await
    }

    /// What waits in the lane of `endpoint`; nothing when it has none.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn backlog(&self, endpoint: &EndpointId) -> Result<Option<QueueDepth>, BrokerError> {
        self.broker
            .depth(&self.broker.names().endpoint_queue(endpoint))
            .await
    }

    /// Events that wait for a router, those in the overflow queue among them; nothing when the ingest queue does not exist.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn ingest_depth(&self) -> Result<Option<QueueDepth>, BrokerError> {
        let names = self.broker.names();
        let Some(ingest) = self.broker.depth(names.ingest()).await? else {
            return Ok(None);
        };
        let overflow = self.broker.depth(names.overflow()).await?;
        Ok(Some(QueueDepth {
            messages: ingest
                .messages
                .saturating_add(overflow.map_or(0, |depth| depth.messages)),
            ..ingest
        }))
    }

    /// Events that were set aside; nothing when the queue does not exist.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn set_aside_depth(&self) -> Result<Option<QueueDepth>, BrokerError> {
        self.broker.depth(self.broker.names().set_aside()).await
    }

    /// Deliveries that found no lane; nothing when the queue does not exist.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn unroutable_depth(&self) -> Result<Option<QueueDepth>, BrokerError> {
        self.broker.depth(self.broker.names().unroutable()).await
    }

    /// What waits on each of the rungs with these delays. What is on its way back to its lane shows as nothing.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn ladder_depths(
        &self,
        rungs: &[Duration],
    ) -> Result<Vec<(Duration, Option<QueueDepth>)>, BrokerError> {
        let mut depths = Vec::with_capacity(rungs.len());
        for rung in rungs {
            let depth = self.broker.depth(&self.broker.names().rung(*rung)).await?;
            depths.push((*rung, depth));
        }
        Ok(depths)
    }

    /// Puts a delivery into the lane of `endpoint`, past the router: to resend, recover or replay.
    ///
    /// # Errors
    /// When it was not confirmed in time.
    pub async fn deliver(
        &self,
        endpoint: &EndpointId,
        envelope: &DeliveryEnvelope,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let route = Route {
            mandatory: false,
            ..Route::to(self.broker.names().deliveries(), endpoint.as_str())
        };
        let message = Outgoing::persistent(envelope.write(), payload);
        self.publish(&route, message).await
    }

    /// As [`deliver`](Self::deliver), many at a time; what became of each, in their order.
    pub async fn deliver_all(
        &self,
        deliveries: impl IntoIterator<Item = (EndpointId, DeliveryEnvelope, Bytes)>,
    ) -> Vec<Result<(), PublishError>> {
        stream::iter(deliveries)
            .map(|(endpoint, envelope, payload)| async move {
                self.deliver(&endpoint, &envelope, payload).await
            })
            .buffered(PIPELINED)
            .collect()
            .await
    }

    /// Publishes an operational event, such as `endpoint.created`. That nobody listens is no error.
    ///
    /// # Errors
    /// When it was not confirmed in time.
    pub async fn announce(&self, kind: &str, body: Bytes) -> Result<(), PublishError> {
        let route = Route {
            mandatory: false,
            ..Route::to(self.broker.names().operations(), kind)
        };
        let properties = Properties {
            kind: Some(kind.to_owned()),
            content_type: Some("application/json".to_owned()),
            ..Properties::default()
        };
        self.publish(&route, Outgoing::persistent(properties, body)).await
    }

    /// Takes up to `max` of the events that were set aside, the oldest first. Those that are neither replayed nor
    /// discarded return when they are dropped: so this also looks at them.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses.
    pub async fn set_aside(&self, max: usize) -> Result<Vec<SetAside>, BrokerError> {
        let taken = self.broker.take(self.broker.names().set_aside(), max).await?;
        Ok(taken.into_iter().map(SetAside::from_received).collect())
    }

    /// Publishes an event that was set aside again as it first was, and then forgets the one set aside.
    ///
    /// # Errors
    /// When its body was not kept, or it was not confirmed in time: then it stays set aside.
    pub async fn replay(&self, event: SetAside) -> Result<(), PublishError> {
        self.publish_again(&event).await?;
        event.acker.ack();
        Ok(())
    }

    /// Publishes an event that was set aside as it first was; it stays set aside.
    pub(crate) async fn publish_again(&self, event: &SetAside) -> Result<(), PublishError> {
        if event.body_sha256.is_some() && event.body.is_empty() {
            return Err(PublishError::Invalid {
                reason: nuncio_wire::SetAsideReason::TooLarge,
                detail: "its body was too large to be kept".to_owned(),
            });
        }
        let mut properties = event.properties.clone();
        properties.headers.retain(|name, value| {
            *value != HeaderValue::Other
                && !SET_ASIDE_HEADERS.contains(&name.as_str())
                && !name.starts_with("x-")
        });
        let route = Route::to(&event.exchange, &event.routing_key);
        self.publish(&route, Outgoing::persistent(properties, event.body.clone()))
            .await
    }

    async fn publish(&self, route: &Route<'_>, message: Outgoing) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.confirm_within;
        let publisher = self.broker.publisher();
        publisher.publish(route, message, deadline).await?;
        Ok(())
    }
}

//! What goes out and what comes in.
//!
//! Owns the shapes of messages at the border of this crate. Refuses to know what they mean.

use bytes::Bytes;
use nuncio_domain::EndpointId;
use nuncio_wire::{Properties, headers};

use crate::acker::Acker;

/// Where a message is published to.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The exchange; empty for the default exchange, which routes to the queue named by the key.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// Further routing keys, which receivers do not see. Best in lots of about ten: every copy stores the list.
    pub bcc: &'a [EndpointId],
    /// Whether it is an error when no queue takes the message.
    pub mandatory: bool,
}

impl<'a> Route<'a> {
    /// To `exchange` under `routing_key`; an error when no queue takes it.
    #[must_use]
    pub fn to(exchange: &'a str, routing_key: &'a str) -> Self {
        Self {
            exchange,
            routing_key,
            bcc: &[],
            mandatory: true,
        }
    }

    /// To the queue named `queue`, through the default exchange; an error when there is none.
    #[must_use]
    pub fn queue(queue: &'a str) -> Self {
        Self::to("", queue)
    }
}

/// A message to publish.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its properties and headers.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
    /// Whether it survives a restart of the broker.
    pub persistent: bool,
}

impl Outgoing {
    /// A message that survives a restart of the broker.
    #[must_use]
    pub fn persistent(properties: Properties, body: impl Into<Bytes>) -> Self {
        Self {
            properties,
            body: body.into(),
            persistent: true,
        }
    }
}

/// A message taken from a queue. Dropping its acker returns it to the queue.
#[derive(Debug)]
pub struct Received {
    /// Its body.
    pub body: Bytes,
    /// Its properties and headers, with those that the broker added on the way.
    pub properties: Properties,
    /// The exchange it was last published or dead-lettered to.
    pub exchange: String,
    /// The routing key. Of a copy made by `BCC` it is the publisher's, not this queue's.
    pub routing_key: String,
    /// Whether it may have been received before.
    pub redelivered: bool,
    /// What acknowledges it.
    pub acker: Acker,
}

impl Received {
    /// The properties of a copy for another queue: those of the original, and whence it came, in
    /// [`headers::ORIGINAL_EXCHANGE`] and [`headers::ORIGINAL_ROUTING_KEY`].
    #[must_use]
    pub fn copied(&self) -> Properties {
        let mut properties = self.properties.clone();
        properties.put_text(headers::ORIGINAL_EXCHANGE, self.exchange.clone());
        properties.put_text(headers::ORIGINAL_ROUTING_KEY, self.routing_key.clone());
        properties
    }
}

//! The event: what an application publishes.
//!
//! Owns the parts of an event before it is accepted. Refuses to know how it travels.

use crate::{Channel, EventTypeName};

/// What an application publishes: becomes a [`Message`](crate::Message) when it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The app's id or uid, as the application wrote it.
    pub app: String,
    /// Its type.
    pub event_type: EventTypeName,
    /// The JSON text, delivered byte for byte.
    pub payload: Vec<u8>,
    /// The idempotency key, up to 256 bytes: within the retention a second event with it is not delivered again.
    pub event_id: Option<String>,
    /// Channels that endpoints may filter on.
    pub channels: Vec<Channel>,
}

//! The message: an event that was accepted.
//!
//! Owns what is known of a message but its payload, which is kept apart because it is large and may be expunged.

use crate::{AppId, Channel, EventTypeName, MessageId, UnixMillis};

/// An event that was accepted and has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id; receivers see it as `webhook-id`.
    pub id: MessageId,
    /// The app it belongs to.
    pub app_id: AppId,
    /// The caller's own id for it (the AMQP `message_id`, or `eventId` by REST).
    pub event_id: Option<String>,
    /// Its type.
    pub event_type: EventTypeName,
    /// Its channels.
    pub channels: Vec<Channel>,
    /// When it was published.
    pub created_at: UnixMillis,
}

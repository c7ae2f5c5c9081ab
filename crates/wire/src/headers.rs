//! AMQP properties and headers without AMQP: what `broker` converts and everyone else reads.
//!
//! Owns the neutral forms and the names of Nuncio's own headers. Refuses to know lapin and its types.

use std::collections::BTreeMap;

/// The version of the delivery envelope: readers accept any, and read what they know.
pub const VERSION: &str = "nuncio-v";
/// The how-manieth attempt of its run a delivery is, from 1.
pub const ATTEMPT: &str = "nuncio-attempt";
/// What set a delivery off: `scheduled` or `manual`.
pub const TRIGGER: &str = "nuncio-trigger";
/// The run of attempts that a delivery is in: 0, or the milliseconds at which it was asked for.
pub const SERIES: &str = "nuncio-series";
/// When the first attempt of the run began, in milliseconds.
pub const FIRST_ATTEMPT: &str = "nuncio-first-attempt";
/// After when no further attempt is made, in milliseconds.
pub const DEADLINE: &str = "nuncio-deadline";
/// When the message was accepted, in milliseconds.
pub const CREATED: &str = "nuncio-created";
/// When this attempt is due, in milliseconds.
pub const DUE: &str = "nuncio-due";
/// Present on a delivery that may have been queued before, so that the record is asked before it is sent.
pub const AGAIN: &str = "nuncio-again";
/// What an event of a coalesced type is about, as a digest.
pub const COALESCE: &str = "nuncio-coalesce";
/// The caller's own id of the event.
pub const EVENT_ID: &str = "nuncio-event-id";
/// The channels of an event: a list of texts, or one text with commas.
pub const CHANNELS: &str = "nuncio-channels";
/// The event type, where it is longer than the 255 bytes that the property `type` holds.
pub const EVENT_TYPE: &str = "nuncio-event-type";
/// Days to keep the payload, when fewer than the retention.
pub const PAYLOAD_RETENTION_DAYS: &str = "nuncio-payload-retention-days";
/// The span of the attempt before, in 16 hexadecimal digits, so that the next can be linked to it.
pub const ATTEMPT_SPAN: &str = "nuncio-attempt-span";
/// Why an event was set aside.
pub const REASON: &str = "nuncio-reason";
/// What exactly was wrong with an event that was set aside.
pub const DETAIL: &str = "nuncio-detail";
/// The exchange that an event was published to before it was set aside, or moved out of the way of others.
pub const ORIGINAL_EXCHANGE: &str = "nuncio-original-exchange";
/// The routing key that an event was published with before that.
pub const ORIGINAL_ROUTING_KEY: &str = "nuncio-original-routing-key";
/// When an event was set aside, in milliseconds.
pub const SET_ASIDE_AT: &str = "nuncio-set-aside-at";
/// SHA-256 of a body that was too large to be set aside with the event.
pub const BODY_SHA256: &str = "nuncio-body-sha256";
/// W3C trace context, <https://www.w3.org/TR/trace-context/>.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendor part.
pub const TRACESTATE: &str = "tracestate";

/// One AMQP field value, as far as Nuncio reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// A short or long string that is UTF-8.
    Text(String),
    /// Any integer, and timestamps in seconds.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// An array.
    List(Vec<HeaderValue>),
    /// Anything else (tables, floats, bytes): noticed, not kept.
    Other,
}

/// AMQP headers by name.
pub type Headers = BTreeMap<String, HeaderValue>;

/// The AMQP basic properties that Nuncio reads and writes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// `message-id`.
    pub message_id: Option<String>,
    /// `type`.
    pub kind: Option<String>,
    /// `app-id`.
    pub app_id: Option<String>,
    /// `timestamp`, in seconds since the epoch.
    pub timestamp: Option<u64>,
    /// `content-type`.
    pub content_type: Option<String>,
    /// `headers`.
    pub headers: Headers,
}

impl Properties {
    /// The text of header `name`; nothing when it is absent or not a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.headers.get(name) {
            Some(HeaderValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The integer of header `name`; nothing when it is absent or not an integer.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.headers.get(name) {
            Some(HeaderValue::Int(number)) => Some(*number),
            _ => None,
        }
    }

    /// Sets header `name` to a text.
    pub fn put_text(&mut self, name: &str, text: impl Into<String>) {
        self.headers
            .insert(name.to_owned(), HeaderValue::Text(text.into()));
    }

    /// Sets header `name` to an integer.
    pub fn put_int(&mut self, name: &str, number: i64) {
        self.headers.insert(name.to_owned(), HeaderValue::Int(number));
    }
}

//! Versioned envelopes between the domain and what lies in RabbitMQ and Redis.
//!
//! Owns the spelling of every header, property and record field, and the reading of foreign events.
//! Guarantees that old readers accept what newer writers add, that unknown fields survive a round trip, and that
//! unreadable input is named, never guessed at.
//! Refuses to know connections: `broker` turns [`Properties`] into AMQP and back, `store` keeps the records.

pub mod backup;
pub mod delivery;
pub mod event;
pub mod headers;
pub mod journal;
pub mod next;
pub mod operation;
pub mod payload;
pub mod record;
pub mod trace;

pub use delivery::{DeliveryEnvelope, EnvelopeError};
pub use event::{IncomingEvent, SetAsideReason, Unreadable};
pub use headers::{HeaderValue, Headers, Properties};
pub use operation::{DeliveryChange, EndpointChange, Operation};
pub use trace::{SpanId, TraceContext, TraceId, TraceParent};

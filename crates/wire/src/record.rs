//! What is kept in Redis, as text: apps, endpoints, event types, messages, deliveries and attempts.
//!
//! Owns the spelling of every record. Guarantees that what a newer version wrote can be read by an older one, and that
//! fields it does not know survive when it writes the record back: configuration records carry them in `extra`, message
//! fields and attempts ignore them. Attempts and message fields have short names, because there are millions of them;
//! configuration has readable ones.
//! Refuses to know keys, connections and secrets: that is the store.

mod attempt;
mod config;
mod delivery;
mod message;

pub use attempt::{AttemptRecord, url_key};
pub use config::{AppRecord, EndpointRecord};
pub use delivery::{AttemptPosition, DeliveryRecord, encode_routing, encode_state};
pub use message::{MessageRecord, field};

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The text is not JSON of the expected shape.
    #[error("expected the JSON of {noun}")]
    Json {
        /// What it should have been.
        noun: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A field does not hold what it should.
    #[error("the field `{field}` of {noun} holds something else than expected")]
    Field {
        /// What the record is of.
        noun: &'static str,
        /// The field.
        field: &'static str,
    },
}

impl RecordError {
    fn json(noun: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |source| Self::Json { noun, source }
    }

    fn field(noun: &'static str, field: &'static str) -> Self {
        Self::Field { noun, field }
    }
}

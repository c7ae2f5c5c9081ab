//! The delivery: one message for one endpoint.
//!
//! Owns the delivery's id and the states it goes through. Refuses to know who keeps them.

use std::fmt;

use crate::{AttemptNumber, EndpointId, MessageId, UnixMillis};

/// One message for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    /// The message.
    pub message: MessageId,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.message, self.endpoint)
    }
}

/// Which run of attempts a delivery is in: 0 is the one that routing began, later ones were asked for (resend, recover,
/// replay) and carry the milliseconds at which they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Series(pub i64);

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// Waits in its endpoint's queue for the first attempt.
    Pending,
    /// The last attempt failed; the next is due then.
    Retrying {
        /// When the next attempt is due.
        due: UnixMillis,
    },
    /// A 2xx came.
    Delivered,
    /// The retry budget is spent.
    Exhausted,
    /// The endpoint answered 410 Gone, or was disabled while the delivery waited.
    Disabled,
    /// The endpoint was deleted while the delivery waited.
    Deleted,
    /// A later event of the same key took its place.
    Superseded,
}

impl DeliveryStatus {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Retrying { .. })
    }
}

/// What the record says of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryState {
    /// How it stands.
    pub status: DeliveryStatus,
    /// The run of attempts it is in.
    pub series: Series,
    /// The last attempt recorded in that run; none before the first.
    pub attempt: Option<AttemptNumber>,
}

impl DeliveryState {
    /// Where routing begins.
    pub const PENDING: Self = Self {
        status: DeliveryStatus::Pending,
        series: Series(0),
        attempt: None,
    };

    /// Whether the attempt `number` of the run `series` was recorded already, so that it must not be made again.
    #[must_use]
    pub fn has_recorded(&self, series: Series, number: AttemptNumber) -> bool {
        self.series > series || (self.series == series && self.attempt.is_some_and(|last| last >= number))
    }
}

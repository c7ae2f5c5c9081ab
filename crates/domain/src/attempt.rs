//! The attempt: one HTTP request of a delivery.
//!
//! Owns the record of an attempt. Refuses to decide what follows from it: that is [`decide`](crate::decide()).

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::{AttemptId, EndpointId, EventTypeName, MessageId, Outcome, UnixMillis};

/// The how-manieth attempt of a run: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptNumber(NonZeroU16);

impl AttemptNumber {
    /// The first attempt.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The `n`-th attempt; nothing for zero.
    #[must_use]
    pub fn nth(n: u16) -> Option<Self> {
        NonZeroU16::new(n).map(Self)
    }

    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number, from 1.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for AttemptNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What set an attempt off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Trigger {
    /// The event, or the retry schedule that began with it.
    #[default]
    Scheduled,
    /// A person or a program asked for it: resend, recover, replay, example.
    Manual,
}

/// How an attempt ended, as lists filter on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptStatus {
    /// A 2xx came.
    Succeeded,
    /// Anything else.
    Failed,
}

/// One HTTP request of a delivery, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// The message it carried.
    pub message_id: MessageId,
    /// The endpoint it went to.
    pub endpoint_id: EndpointId,
    /// The message's type.
    pub event_type: EventTypeName,
    /// The URL it went to, as it was then.
    pub url: String,
    /// The how-manieth of its run.
    pub number: AttemptNumber,
    /// What set it off.
    pub trigger: Trigger,
    /// What it met.
    pub outcome: Outcome,
    /// When the request began.
    pub started_at: UnixMillis,
    /// How long the request took, the body included.
    pub duration: Duration,
    /// When the next attempt of the run is due, if there is to be one.
    pub next_due: Option<UnixMillis>,
    /// The response body, cut at 16 KiB, as UTF-8 with replacement characters.
    pub response_body: String,
    /// What the response's headers said about it, as they came: a bounded choice, none that holds a secret.
    pub response_headers: Vec<(String, String)>,
}

impl Attempt {
    /// How it ended.
    #[must_use]
    pub fn status(&self) -> AttemptStatus {
        match self.outcome {
            Outcome::Accepted(_) => AttemptStatus::Succeeded,
            _ => AttemptStatus::Failed,
        }
    }
}

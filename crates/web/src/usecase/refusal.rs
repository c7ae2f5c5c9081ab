//! Why something was not done, in terms that every face of the product can show.
//!
//! Owns the kinds of refusal and the complaints about single fields. Guarantees that no refusal repeats a payload or a
//! secret. Refuses to know HTTP statuses: the API and the portal choose how to say it.

use std::fmt;
use std::time::Duration;

/// One field of what was asked for that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The field, outermost name first, as the caller wrote it.
    pub field: Vec<String>,
    /// What is wrong with it and what would be right.
    pub message: String,
    /// A short name for the kind of mistake, for machines.
    pub kind: &'static str,
}

/// Bytes of a message: a caller need not get back all that was sent.
const MESSAGE_BYTES_MAX: usize = 300;

/// The message, cut where it is longer than anyone reads.
pub(crate) fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX)
            .rev()
            .find(|at| message.is_char_boundary(*at))
            .unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

/// What a thing that was not found is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// An app.
    App,
    /// An endpoint.
    Endpoint,
    /// A message.
    Message,
    /// An attempt.
    Attempt,
    /// An event type.
    EventType,
    /// A delivery: the message never went to that endpoint.
    Delivery,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "application",
            Self::Endpoint => "endpoint",
            Self::Message => "message",
            Self::Attempt => "attempt",
            Self::EventType => "event type",
            Self::Delivery => "delivery of this message to this endpoint",
        })
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is not there, or it belongs to someone else: the two look alike.
    #[error("there is no such {0}")]
    NotFound(Noun),
    /// It collides with what is there.
    #[error("{detail}")]
    Conflict {
        /// A short name for machines.
        code: &'static str,
        /// What collides with what.
        detail: String,
    },
    /// Fields that cannot be accepted, all of them.
    #[error("{} fields cannot be accepted", .0.len())]
    Invalid(Vec<Complaint>),
    /// It cannot be done as things are.
    #[error("{detail}")]
    Impossible {
        /// A short name for machines.
        code: &'static str,
        /// Why not.
        detail: String,
    },
    /// The payload or the request is too large.
    #[error("{what} has more than {bytes_max} bytes")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// The most bytes it may have.
        bytes_max: usize,
    },
    /// No token, or one that does not count.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The token does not allow it.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Too many requests.
    #[error("too many requests: try again in {} s", .retry_after.as_secs().max(1))]
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The thing was changed by someone else in between.
    #[error("it was changed in the meantime")]
    Changed,
    /// RabbitMQ or Redis is not there: nothing was done, or it can safely be asked for again.
    #[error("{what} is not available")]
    Unavailable {
        /// Which of them.
        what: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A mistake of ours.
    #[error("{what}")]
    Broken {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a use case answers.
pub type Outcome<T> = Result<T, Refusal>;

/// Gathers complaints, so that a caller hears all of them at once.
#[derive(Debug, Default)]
pub struct Complaints {
    prefix: Vec<String>,
    list: Vec<Complaint>,
}

impl Complaints {
    /// No complaints yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more complaint about `field`.
    pub fn add(&mut self, field: &str, kind: &'static str, message: impl fmt::Display) {
        self.add_at(&[field], kind, message);
    }

    /// One more complaint about a field inside others.
    pub fn add_at(&mut self, field: &[&str], kind: &'static str, message: impl fmt::Display) {
        let path = self
            .prefix
            .iter()
            .cloned()
            .chain(field.iter().map(|&part| part.to_owned()));
        self.list.push(Complaint {
            field: path.collect(),
            message: shortened(message.to_string()),
            kind,
        });
    }

    /// Keeps the value, or complains about `field` and keeps nothing.
    pub fn keep<T, E: fmt::Display>(
        &mut self,
        field: &str,
        kind: &'static str,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|error| self.add(field, kind, error)).ok()
    }

    /// Runs `check` with complaints that are about fields inside `field`.
    pub fn within<T>(&mut self, field: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        self.prefix.push(field.to_owned());
        let checked = check(self);
        self.prefix.pop();
        checked
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `value`, unless there are complaints.
    ///
    /// # Errors
    /// All complaints.
    pub fn or<T>(self, value: Option<T>) -> Outcome<T> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            _ => Err(Refusal::Invalid(self.list)),
        }
    }
}

//! What can go wrong between Nuncio and RabbitMQ.
//!
//! Owns the errors and the reading of RabbitMQ's refusals. Refuses to retry: that is the publisher's and the links'.

use std::time::Duration;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

/// What RabbitMQ or the connection to it answered.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct AmqpError(#[from] pub(crate) lapin::Error);

/// Why an operation on the broker failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// An address cannot be read.
    #[error("address number {position} of RabbitMQ cannot be read: {problem}")]
    Address {
        /// Which of the addresses, from 1.
        position: usize,
        /// What is wrong with it, without repeating it.
        problem: String,
    },
    /// There is no connection.
    #[error("not connected to RabbitMQ: {problem}")]
    NotConnected {
        /// What the last try ended with.
        problem: String,
    },
    /// An exchange or queue exists with other properties than Nuncio's.
    #[error(
        "{object} exists, but not as Nuncio declares it ({difference}): \
         once it is emptied and deleted, it is declared as it must be"
    )]
    Mismatch {
        /// The exchange or queue.
        object: String,
        /// What RabbitMQ found different.
        difference: String,
    },
    /// An exchange or queue does not exist.
    #[error("{object} does not exist")]
    Missing {
        /// The exchange or queue.
        object: String,
    },
    /// The user may not do that.
    #[error("RabbitMQ does not permit {attempt}: {reason}")]
    Refused {
        /// What was attempted.
        attempt: String,
        /// What RabbitMQ said.
        reason: String,
    },
    /// RabbitMQ did not answer in time.
    #[error("{attempt} got no answer from RabbitMQ within {waited:?}")]
    TimedOut {
        /// What was attempted.
        attempt: String,
        /// For how long.
        waited: Duration,
    },
    /// Anything else.
    #[error("{attempt} failed")]
    Failed {
        /// What was attempted.
        attempt: String,
        /// What RabbitMQ or the connection answered.
        #[source]
        source: AmqpError,
    },
    /// The process is stopping.
    #[error("the connection to RabbitMQ is shut down")]
    Stopped,
}

/// Why a message is not known to be published.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// No queue is bound that would take it.
    #[error("exchange {exchange} has no queue for the routing key {routing_key}")]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The exchange does not exist.
    #[error("exchange {exchange} does not exist")]
    NoExchange {
        /// The exchange.
        exchange: String,
    },
    /// The user may not publish there.
    #[error("RabbitMQ does not permit publishing to {exchange}: {reason}")]
    Refused {
        /// The exchange.
        exchange: String,
        /// What RabbitMQ said.
        reason: String,
    },
    /// The message cannot be written as AMQP.
    #[error("{field} is {bytes} bytes long; AMQP allows {bytes_max}")]
    TooLong {
        /// What of it.
        field: String,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// It was not confirmed before the deadline. It may have arrived.
    #[error("no confirm from RabbitMQ before the deadline: {problem}")]
    Unconfirmed {
        /// What was in the way last.
        problem: String,
    },
    /// The process is stopping. The message may have arrived.
    #[error("the connection to RabbitMQ is shut down")]
    Stopped,
}

/// What RabbitMQ closed a channel with, as far as Nuncio tells cases apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound(String),
    Precondition(String),
    Access(String),
    /// Not a refusal of what was asked: the channel or connection is gone, and the same may be asked again.
    Gone,
}

pub(crate) fn refusal(error: &lapin::Error) -> Refusal {
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return Refusal::Gone;
    };
    let text = error.get_message().as_str().to_owned();
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Refusal::NotFound(text),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Refusal::Precondition(text),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Refusal::Access(text),
        _ => Refusal::Gone,
    }
}

/// The permission that an attempt takes, which not every RabbitMQ names.
fn permission(attempt: &str) -> Option<&'static str> {
    let takes = [
        ("binding", "`write` on the queue and `read` on the exchange"),
        (
            "declaring a lane",
            "`configure` and `write` on the queue and `read` on the exchange",
        ),
        (
            "declaring the exchange of events",
            "`configure` and `read` on the exchange and `write` on the queue",
        ),
        ("declaring", "`configure` on it"),
        ("deleting", "`configure` on it"),
        ("consuming", "`read` on it"),
        ("taking", "`read` on it"),
    ];
    let found = takes.into_iter().find(|(start, _)| attempt.starts_with(start));
    found.map(|(_, permission)| permission)
}

impl BrokerError {
    /// What `error`, met when attempting `attempt` on `object`, means.
    pub(crate) fn from_amqp(attempt: impl Into<String>, object: &str, error: lapin::Error) -> Self {
        match refusal(&error) {
            Refusal::NotFound(_) => Self::Missing {
                object: object.to_owned(),
            },
            Refusal::Precondition(text) => Self::Mismatch {
                object: object.to_owned(),
                difference: text,
            },
            Refusal::Access(reason) => {
                let attempt = attempt.into();
                let reason = match permission(&attempt) {
                    Some(permission) => format!("{reason}; it takes {permission}"),
                    None => reason,
                };
                Self::Refused { attempt, reason }
            }
            Refusal::Gone => Self::Failed {
                attempt: attempt.into(),
                source: AmqpError(error),
            },
        }
    }

    /// Whether trying again may help, because the connection was at fault and not the question.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::NotConnected { .. } | Self::TimedOut { .. } | Self::Failed { .. }
        )
    }
}

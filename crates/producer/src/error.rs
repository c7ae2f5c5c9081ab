//! What can keep an event from being published, with what to do about it.
//!
//! Owns the errors that applications meet. Refuses to show RabbitMQ's own where a person could not act on them.

use nuncio_broker::BrokerError;
use nuncio_wire::SetAsideReason;

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address cannot be read.
    #[error("the address of RabbitMQ cannot be used")]
    Address(#[source] BrokerError),
    /// There is no connection in time. Nothing goes on trying.
    #[error("RabbitMQ could not be reached in time")]
    Unreachable(#[source] BrokerError),
}

/// Why an event is not known to be published.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The event is not one that Nuncio would deliver. It was not sent.
    #[error("the event cannot be published ({reason}): {detail}")]
    Invalid {
        /// The reason for which the router would have set it aside.
        reason: SetAsideReason,
        /// What exactly is wrong.
        detail: String,
    },
    /// The exchange does not exist.
    #[error(
        "exchange {exchange} does not exist: start a Nuncio router in this namespace once, or check the namespace \
         and the virtual host"
    )]
    NoExchange {
        /// The exchange.
        exchange: String,
    },
    /// The exchange exists, but no queue takes the event.
    #[error(
        "exchange {exchange} has no queue that would take the event, so it was not accepted: start a Nuncio router \
         in this namespace, which binds one"
    )]
    NoQueue {
        /// The exchange.
        exchange: String,
    },
    /// The user may not publish this.
    #[error("RabbitMQ does not permit publishing to {exchange}: grant the user `write` on it ({reason})")]
    Refused {
        /// The exchange.
        exchange: String,
        /// What RabbitMQ said.
        reason: String,
    },
    /// It was not confirmed in time. It may have arrived: publish it again under the same id.
    #[error("RabbitMQ did not confirm the event in time: {problem}")]
    Unconfirmed {
        /// What was in the way last.
        problem: String,
    },
    /// The producer was closed. The event may have arrived.
    #[error("the producer is closed")]
    Closed,
}

impl From<nuncio_broker::PublishError> for PublishError {
    fn from(error: nuncio_broker::PublishError) -> Self {
        use nuncio_broker::PublishError as Broker;
        match error {
            Broker::Unroutable { exchange, .. } => Self::NoQueue { exchange },
            Broker::NoExchange { exchange } => Self::NoExchange { exchange },
            Broker::Refused { exchange, reason } => Self::Refused { exchange, reason },
            Broker::TooLong { .. } => Self::Invalid {
                reason: SetAsideReason::BadHeaders,
                detail: error.to_string(),
            },
            Broker::Unconfirmed { problem } => Self::Unconfirmed { problem },
            Broker::Stopped => Self::Closed,
        }
    }
}

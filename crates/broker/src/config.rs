//! What a broker connection is told at start.
//!
//! Owns the values, their bounds and their defaults. Refuses to know where they were read from.

use std::fmt;
use std::time::Duration;

/// The heartbeat asked for unless configured otherwise: a peer that fell silent is found after twice this.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a publish may stay unconfirmed before it is published again.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Publishes on their way without a confirm, at most.
const WINDOW: usize = 4_096;

/// What the queues of endpoints are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndpointQueueType {
    /// Durable classic queues: cheap, on one node; up to some 50,000 a node.
    #[default]
    Classic,
    /// Quorum queues: replicated; up to some 5,000 a node.
    Quorum,
}

/// How to reach RabbitMQ and what to keep there.
#[derive(Clone)]
pub struct BrokerConfig {
    /// `amqp://` or `amqps://` addresses, tried in turn.
    pub urls: Vec<String>,
    /// What every exchange's and queue's name starts with.
    pub namespace: String,
    /// What the queues of endpoints are declared as.
    pub endpoint_queue_type: EndpointQueueType,
    /// The delays of the retry ladder's rungs that are declared with the topology.
    pub rungs: Vec<Duration>,
    /// How the connections are called in RabbitMQ's own listings, for example `router@host`.
    pub connection_name: String,
    /// The heartbeat: a peer that fell silent is found after twice this. At least a second.
    pub heartbeat: Duration,
    /// How long a publish may stay unconfirmed before it is published again under the same message id.
    pub confirm_timeout: Duration,
    /// Publishes on their way without a confirm, at most.
    pub window: usize,
    /// Whether exchanges and queues are declared, after every reconnect. Those who may only publish may not declare.
    pub declare: bool,
}

impl BrokerConfig {
    /// A configuration with the usual heartbeat, deadlines and window, no rungs, that declares.
    #[must_use]
    pub fn new(urls: Vec<String>, namespace: impl Into<String>, connection_name: impl Into<String>) -> Self {
        Self {
            urls,
            namespace: namespace.into(),
            endpoint_queue_type: EndpointQueueType::default(),
            rungs: Vec::new(),
            connection_name: connection_name.into(),
            heartbeat: HEARTBEAT,
            confirm_timeout: CONFIRM_TIMEOUT,
            window: WINDOW,
            declare: true,
        }
    }
}

impl fmt::Debug for BrokerConfig {
    /// Leaves the addresses out: they hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerConfig")
            .field("urls", &format_args!("{} of them", self.urls.len()))
            .field("namespace", &self.namespace)
            .field("endpoint_queue_type", &self.endpoint_queue_type)
            .field("rungs", &self.rungs)
            .field("connection_name", &self.connection_name)
            .field("heartbeat", &self.heartbeat)
            .field("confirm_timeout", &self.confirm_timeout)
            .field("window", &self.window)
            .field("declare", &self.declare)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_a_configuration_shows_no_password() {
        let config = BrokerConfig::new(vec!["amqp://u:hunter2@h/".into()], "nuncio", "test");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

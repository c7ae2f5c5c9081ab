//! What the connections are at.
//!
//! Owns the states that readiness is read from. Refuses to judge whether they are good enough: callers do.

/// What one connection is at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Nothing has needed this connection yet.
    #[default]
    Idle,
    /// Not connected; it is being tried again and again.
    Connecting {
        /// What the last try, or the last connection, ended with.
        last_error: Option<String>,
    },
    /// Connected, and usable.
    Connected,
    /// Connected, but the broker takes no publishes, because it runs out of memory or disk.
    Blocked {
        /// What the broker said.
        reason: String,
    },
}

/// What both connections are at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerState {
    /// The connection that publishes.
    pub publishing: LinkState,
    /// The connection that consumes and declares.
    pub consuming: LinkState,
    /// What of the topology is not as it must be, and that only a person can mend.
    pub topology: Option<String>,
}

impl BrokerState {
    /// What stands in the way of work, in a sentence; nothing if all is well.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let of = |role: &str, state: &LinkState| match state {
            LinkState::Idle | LinkState::Connected => None,
            LinkState::Connecting { last_error: None } => Some(format!("{role}: connecting to RabbitMQ")),
            LinkState::Connecting {
                last_error: Some(error),
            } => Some(format!("{role}: no connection to RabbitMQ: {error}")),
            LinkState::Blocked { reason } => Some(format!("{role}: blocked by RabbitMQ: {reason}")),
        };
        of("publishing", &self.publishing)
            .or_else(|| of("consuming", &self.consuming))
            .or_else(|| self.topology.clone())
    }

    /// Whether every connection in use is usable.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.problem().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_publisher_is_not_ready_and_says_why() {
        let state = BrokerState {
            publishing: LinkState::Blocked {
                reason: "low on memory".into(),
            },
            consuming: LinkState::Connected,
            topology: None,
        };
        assert!(!state.is_ready());
        assert_eq!(
            state.problem().as_deref(),
            Some("publishing: blocked by RabbitMQ: low on memory")
        );
    }

    #[test]
    fn an_unused_connection_does_not_stand_in_the_way() {
        let state = BrokerState {
            publishing: LinkState::Connected,
            consuming: LinkState::Idle,
            topology: None,
        };
        assert!(state.is_ready());
    }

    #[test]
    fn a_topology_that_only_a_person_can_mend_is_told() {
        let state = BrokerState {
            publishing: LinkState::Connected,
            consuming: LinkState::Connected,
            topology: Some("nuncio.ingest is another one".into()),
        };
        assert_eq!(state.problem().as_deref(), Some("nuncio.ingest is another one"));
    }
}

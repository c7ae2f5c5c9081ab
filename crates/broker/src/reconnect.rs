//! How long to wait before the next try to connect.
//!
//! Owns the only use of the `backoff` crate. Guarantees jitter, so that replicas do not return as one, and that trying
//! never ends. Refuses to know what is tried.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

const FIRST: Duration = Duration::from_millis(100);
const CEILING: Duration = Duration::from_secs(5);

/// The delays between tries: growing, capped, spread by half either way.
#[derive(Debug)]
pub(crate) struct Reconnect(ExponentialBackoff);

impl Reconnect {
    pub(crate) fn new() -> Self {
        Self(ExponentialBackoff {
            current_interval: FIRST,
            initial_interval: FIRST,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_interval: CEILING,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }

    /// The delay before the next try.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(CEILING)
    }

    /// After a connection that held.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_ceiling_and_never_end() {
        let mut reconnect = Reconnect::new();
        assert!(reconnect.next_delay() <= FIRST * 3 / 2 + Duration::from_millis(1));
        let later: Vec<_> = (0..100).map(|_| reconnect.next_delay()).collect();
        assert!(
            later
                .iter()
                .all(|delay| *delay <= CEILING * 3 / 2 + Duration::from_millis(1))
        );
        assert!(
            later
                .iter()
                .skip(10)
                .all(|delay| *delay >= CEILING / 2 - Duration::from_millis(1))
        );
        reconnect.reset();
        assert!(reconnect.next_delay() <= FIRST * 3 / 2 + Duration::from_millis(1));
    }

    #[test]
    fn replicas_that_lost_the_broker_together_do_not_come_back_together() {
        let mut reconnect = Reconnect::new();
        let delays: std::collections::HashSet<_> = (0..30).map(|_| reconnect.next_delay()).skip(10).collect();
        assert!(delays.len() > 1, "{delays:?}");
    }
}

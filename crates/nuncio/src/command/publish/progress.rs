//! How far publishing has come.
//!
//! Owns the counts and their wording. Refuses to know the clock: elapsed time comes in as an argument.

use std::time::Duration;

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Handed to RabbitMQ.
    pub(super) published: u64,
    /// Confirmed by RabbitMQ.
    pub(super) confirmed: u64,
    /// Not confirmed in time, or refused.
    pub(super) unconfirmed: u64,
    /// Lines that are no events.
    pub(super) unreadable: u64,
}

impl Progress {
    /// Whether everything that was read is confirmed.
    pub(super) fn is_complete(&self) -> bool {
        self.unconfirmed == 0 && self.unreadable == 0 && self.published == self.confirmed
    }

    /// One line: published, confirmed, rate, and what went wrong if anything did.
    pub(super) fn line(&self, elapsed: Duration) -> String {
        let rate = self.confirmed as f64 / elapsed.as_secs_f64().max(0.001);
        let mut line = format!(
            "published {}, confirmed {}, {rate:.0} a second",
            self.published, self.confirmed
        );
        for (count, what) in [
            (self.unconfirmed, "NOT CONFIRMED"),
            (self.unreadable, "unreadable"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_counts_and_rate() {
        let progress = Progress {
            published: 300,
            confirmed: 250,
            ..Progress::default()
        };
        assert_eq!(
            progress.line(Duration::from_secs(5)),
            "published 300, confirmed 250, 50 a second"
        );
        assert!(!progress.is_complete());
    }

    #[test]
    fn what_went_wrong_is_told_and_counts() {
        let progress = Progress {
            published: 3,
            confirmed: 2,
            unconfirmed: 1,
            unreadable: 4,
        };
        assert_eq!(
            progress.line(Duration::from_secs(1)),
            "published 3, confirmed 2, 2 a second, 1 NOT CONFIRMED, 4 unreadable"
        );
        let unreadable = Progress {
            unreadable: 1,
            ..Progress::default()
        };
        assert!(!unreadable.is_complete());
        assert!(Progress::default().is_complete());
    }
}

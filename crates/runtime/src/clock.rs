//! The clock: what time it is, as an argument.
//!
//! Owns the only call of the system's wall clock. Guarantees that code given a [`Clock`] can be tested at any hour.
//! Refuses to know durations that pass while waiting: those are tokio's, which tests can pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time in whole milliseconds since 1970-01-01T00:00:00Z; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    System,
    Settable(Arc<AtomicI64>),
}

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Milliseconds since the Unix epoch; negative before it.
    #[must_use]
    pub fn now(&self) -> i64 {
        match &self.0 {
            Source::System => system_millis(),
            Source::Settable(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Nanoseconds since the Unix epoch, as finely as the clock tells them; 0 before it.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        let since = match &self.0 {
            Source::System => system().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Settable(_) => Duration::from_millis(u64::try_from(self.now()).unwrap_or_default()),
        };
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the wall clock is read"
)]
fn system() -> SystemTime {
    SystemTime::now()
}

fn system_millis() -> i64 {
    match system().duration_since(UNIX_EPOCH) {
        Ok(after) => whole_millis(after),
        Err(before) => -whole_millis(before.duration()),
    }
}

fn whole_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that stands still until it is told otherwise.
#[derive(Debug, Clone)]
pub struct SettableClock(Arc<AtomicI64>);

impl SettableClock {
    /// A clock that stands at `now`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(now: i64) -> Self {
        Self(Arc::new(AtomicI64::new(now)))
    }

    /// The face that code under test reads; follows this clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Source::Settable(Arc::clone(&self.0)))
    }

    /// Moves the clock to `now`.
    pub fn set(&self, now: i64) {
        self.0.store(now, Ordering::SeqCst);
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(whole_millis(by), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settable_clock_moves_only_when_told() {
        let hand = SettableClock::at(1_000);
        let clock = hand.clock();
        assert_eq!(clock.now(), 1_000);
        hand.advance(Duration::from_secs(2));
        assert_eq!(clock.clone().now(), 3_000);
        hand.set(5);
        assert_eq!((clock.now(), clock.nanos()), (5, 5_000_000));
    }

    #[test]
    fn the_system_clock_is_in_this_century_and_does_not_stand_still_for_ever() {
        let clock = Clock::system();
        let start = clock.now();
        assert!((1_700_000_000_000..4_100_000_000_000).contains(&start), "{start}");
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.now() > start);
    }
}

//! What waits in the lanes of this sender, as metrics: the fullest few, never one series for each endpoint.
//!
//! Owns which lanes are asked about and how often. A lane that has nothing under way has nothing waiting, so that only
//! busy ones cost a question. Refuses to know which endpoint a rank stands for: the console and the API tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use nuncio_domain::{EndpointId, UnixMillis};
use nuncio_runtime::lifecycle::chain;

use crate::Shared;

/// How often the lanes are looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(15);
/// Lanes that are asked about in one round: those whose deliveries have waited longest.
const ASKED_MAX: usize = 64;
/// Lanes that are shown.
const RANKS: usize = 10;

/// What a lane lets others see of it.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    under_way: AtomicU32,
    tripped: AtomicBool,
    due: AtomicI64,
}

impl Sight {
    /// How many attempts are under way, and whether the breaker is open.
    pub(crate) fn note(&self, under_way: u32, tripped: bool) {
        self.under_way.store(under_way, Ordering::Relaxed);
        match (self.tripped.swap(tripped, Ordering::Relaxed), tripped) {
            (false, true) => metrics::gauge!("nuncio_sender_breakers_open").increment(1),
            (true, false) => metrics::gauge!("nuncio_sender_breakers_open").decrement(1),
            _ => {}
        }
    }

    /// When the delivery that was attempted last was due: those behind it are younger.
    pub(crate) fn note_due(&self, due: UnixMillis) {
        self.due.store(due.0, Ordering::Relaxed);
    }

    /// Whether something may be waiting.
    fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0 || self.tripped.load(Ordering::Relaxed)
    }
}

impl Drop for Sight {
    /// A lane that ends while its breaker is open counts no longer.
    fn drop(&mut self) {
        self.note(0, false);
    }
}

/// Asks the broker how full the busy lanes are, and shows the fullest.
pub(crate) async fn show(shared: Arc<Shared>, lanes: Vec<(EndpointId, Arc<Sight>)>) {
    let now = UnixMillis(shared.parts.clock.now());
    let due = |sight: &Sight| UnixMillis(sight.due.load(Ordering::Relaxed));
    let mut busy: Vec<_> = lanes.into_iter().filter(|(_, sight)| sight.is_busy()).collect();
    busy.sort_by_key(|(_, sight)| due(sight).0);
    let mut waiting = Vec::new();
    for (endpoint, sight) in busy.into_iter().take(ASKED_MAX) {
        let broker = &shared.parts.broker;
        match broker.depth(&broker.names().endpoint_queue(&endpoint)).await {
            Ok(depth) => {
                let messages = depth.map_or(0, |depth| depth.messages);
                let due = due(&sight);
                let age = if due.0 == 0 {
                    Duration::ZERO
                } else {
                    now.since(due)
                };
                waiting.push((messages, age));
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "cannot tell how full the lanes are");
                return;
            }
        }
    }
    for (rank, (messages, age)) in ranked(waiting).into_iter().enumerate() {
        let rank = (rank + 1).to_string();
        metrics::gauge!("nuncio_sender_lane_messages", "rank" => rank.clone()).set(f64::from(messages));
        metrics::gauge!("nuncio_sender_lane_oldest_age_seconds", "rank" => rank).set(age.as_secs_f64());
    }
}

/// The fullest lanes first, filled up with empty ones; what waits in an empty lane has no age.
fn ranked(mut waiting: Vec<(u32, Duration)>) -> [(u32, Duration); RANKS] {
    waiting.retain(|(messages, _)| *messages > 0);
    waiting.sort_by(|one, other| other.cmp(one));
    let mut waiting = waiting.into_iter();
    std::array::from_fn(|_| waiting.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_lanes_come_first_and_empty_ranks_read_as_nothing() {
        let secs = Duration::from_secs;
        let shown = ranked(vec![(0, secs(99)), (3, secs(1)), (700, secs(60))]);
        assert_eq!(shown[0], (700, secs(60)));
        assert_eq!(shown[1], (3, secs(1)));
        assert_eq!(shown[2..], [(0, secs(0)); 8]);
        let many = ranked((1..=50).map(|n| (n, secs(1))).collect());
        assert_eq!(
            many.map(|(messages, _)| messages),
            [50, 49, 48, 47, 46, 45, 44, 43, 42, 41]
        );
    }

    #[test]
    fn a_lane_is_busy_while_an_attempt_is_under_way_or_its_breaker_is_open() {
        let sight = Sight::default();
        assert!(!sight.is_busy());
        sight.note(1, false);
        assert!(sight.is_busy());
        sight.note(0, true);
        assert!(sight.is_busy());
        sight.note(0, false);
        assert!(!sight.is_busy());
    }
}

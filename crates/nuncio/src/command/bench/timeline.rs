//! When each event was sent, confirmed, and received.
//!
//! Owns one clock and the numbers that events carry. Refuses to know how they travel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The number of events that only show that everything is connected.
const WARM_UP: u64 = u64::MAX;

/// One event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) at: Duration,
    pub(super) confirmed: Duration,
}

/// One delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    pub(super) number: u64,
    pub(super) lane: u64,
    pub(super) at: Duration,
}

/// Everything that happened in one run.
pub(super) struct Timeline {
    start: Instant,
    run: u32,
    sent: Mutex<Vec<Sent>>,
    arrived: Mutex<Vec<Arrived>>,
    warm: AtomicU64,
}

impl Timeline {
    pub(super) fn start(run: u32) -> Self {
        Self {
            start: Instant::now(),
            run,
            sent: Mutex::default(),
            arrived: Mutex::default(),
            warm: AtomicU64::new(0),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn payload(&self, number: u64, bytes: usize) -> Vec<u8> {
        let head = format!(r#"{{"n":{number},"run":{},"x":""#, self.run);
        let mut payload = Vec::with_capacity(bytes.max(head.len() + 2));
        payload.extend_from_slice(head.as_bytes());
        payload.resize(bytes.saturating_sub(2).max(head.len()), b'.');
        payload.extend_from_slice(br#""}"#);
        payload
    }

    pub(super) fn warm_up_payload(&self, bytes: usize) -> Vec<u8> {
        self.payload(WARM_UP, bytes)
    }

    pub(super) fn sent(&self, sent: Sent) {
        locked(&self.sent).push(sent);
    }

    /// Takes note of a delivery, if it is one of this run's.
    pub(super) fn received(&self, lane: u64, body: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Body {
            n: u64,
            run: u32,
        }
        let at = self.now();
        match serde_json::from_slice(body) {
            Ok(Body { n: WARM_UP, run }) if run == self.run => {
                self.warm.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Body { n: number, run }) if run == self.run => {
                locked(&self.arrived).push(Arrived { number, lane, at });
            }
            // Some other event of an app that was here before: none of ours.
            Ok(_) | Err(_) => {}
        }
    }

    /// Lanes that the first event got through to.
    pub(super) fn warm(&self) -> u64 {
        self.warm.load(Ordering::Relaxed)
    }

    /// How many deliveries arrived, hanging lanes aside.
    pub(super) fn arrived(&self, hanging: u64) -> u64 {
        locked(&self.arrived)
            .iter()
            .filter(|arrived| arrived.lane >= hanging)
            .count() as u64
    }

    /// How many deliveries `sent` events to `apps` in turn make, hanging lanes aside.
    pub(super) fn due(&self, sent: u64, apps: u64, endpoints: u64, hanging: u64) -> u64 {
        (0..apps)
            .map(|app| {
                let events = sent / apps + u64::from(app < sent % apps);
                let first = app * endpoints;
                let healthy = (first..first + endpoints).filter(|lane| *lane >= hanging).count();
                events * healthy as u64
            })
            .sum()
    }

    pub(super) fn everything(&self) -> (Vec<Sent>, Vec<Arrived>) {
        (locked(&self.sent).clone(), locked(&self.arrived).clone())
    }
}

/// Records are whole whatever happened to whoever added the one before.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_deliveries_of_this_run_count() {
        let timeline = Timeline::start(7);
        timeline.received(0, &timeline.payload(1, 200));
        timeline.received(0, &timeline.warm_up_payload(200));
        timeline.received(0, &Timeline::start(8).payload(2, 200));
        timeline.received(0, br#"{"type":"sync.user","userId":"user_1"}"#);
        assert_eq!(
            (timeline.arrived(0), timeline.arrived(1), timeline.warm()),
            (1, 0, 1)
        );
        assert_eq!(timeline.payload(1, 200).len(), 200);
    }

    #[tokio::test]
    async fn what_hangs_is_not_due() {
        let timeline = Timeline::start(7);
        // Three apps of two endpoints; lanes 0, 1 and 2 hang; ten events: four, three, three.
        assert_eq!(timeline.due(10, 3, 2, 3), 3 + 3 * 2);
        assert_eq!(timeline.due(10, 3, 2, 0), 20);
    }
}

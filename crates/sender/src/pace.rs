//! The pace of throttled apps: one line for all deliveries of an app in this sender, whatever their endpoint.
//!
//! Owns the line and the starts that were taken for it. Starts come from the record, where all senders take them, as many
//! at a time as wait here, so that an idle sender takes none from a busy one. While Redis is away every sender keeps to
//! its even share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nuncio_domain::AppId;
use nuncio_runtime::lifecycle::chain;
use nuncio_store::Store;
use tokio::time::{Instant, sleep_until, timeout};

/// How far ahead starts are taken, at most, where more than one is.
const AHEAD: Duration = Duration::from_millis(50);
/// How long a delivery stands in line before it goes back to its queue: RabbitMQ wants an answer within half an hour.
const PATIENCE: Duration = Duration::from_secs(300);

/// The lines of all throttled apps.
#[derive(Default)]
pub(crate) struct Paces(Mutex<HashMap<AppId, Arc<Pace>>>);

/// The line of one app.
#[derive(Default)]
struct Pace {
    waiting: AtomicU32,
    starts: tokio::sync::Mutex<Starts>,
}

/// Starts that were taken and not used yet.
#[derive(Default)]
struct Starts {
    next: Option<Instant>,
    left: u32,
}

impl Paces {
    /// Waits for a start of an app that may be sent `rate` messages a second by `senders` together. False when it took too
    /// long. Whoever gives up loses no start but the one that it was about to use.
    pub(crate) async fn start(&self, store: &Store, app: &AppId, rate: u32, senders: u32) -> bool {
        let pace = self.of(app);
        let _waiting = Waiting::of(&pace.waiting);
        timeout(PATIENCE, pace.start(store, app, rate, senders))
            .await
            .is_ok()
    }

    fn of(&self, app: &AppId) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pace) = paces.get(app) {
            return Arc::clone(pace);
        }
        // Whose line is empty needs none.
        paces.retain(|_, pace| Arc::strong_count(pace) > 1);
        Arc::clone(paces.entry(app.clone()).or_default())
    }
}

impl Pace {
    async fn start(&self, store: &Store, app: &AppId, rate: u32, senders: u32) {
        // Held until the start has come, so that the line is one.
        let mut starts = self.starts.lock().await;
        let between = Duration::from_secs(1) / rate.max(1);
        if starts.left == 0 {
            let count = wanted(self.waiting.load(Ordering::Relaxed), rate);
            match store.take_starts(app, rate, count).await {
                Ok(wait) => {
                    *starts = Starts {
                        next: Some(Instant::now() + wait),
                        left: count,
                    };
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), app = %app, "a throttled app keeps to its even share");
                    let share = between * senders.max(1);
                    let next = starts
                        .next
                        .map_or_else(Instant::now, |last| last + share - between);
                    *starts = Starts {
                        next: Some(next.max(Instant::now())),
                        left: 1,
                    };
                }
            }
        }
        let at = starts.next.unwrap_or_else(Instant::now);
        starts.left -= 1;
        starts.next = Some(at + between);
        sleep_until(at).await;
    }
}

/// How many starts to take at once for so many that wait.
fn wanted(waiting: u32, rate: u32) -> u32 {
    let ahead = u64::from(rate) * AHEAD.as_millis() as u64 / 1_000;
    waiting.clamp(1, u32::try_from(ahead.max(1)).unwrap_or(u32::MAX))
}

/// One who stands in line, also when it gives up.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn of(waiting: &'a AtomicU32) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;

    #[test]
    fn no_more_starts_are_taken_than_wait_nor_far_ahead() {
        for (waiting, rate, expected) in [
            (0, 1_000, 1),
            (1, 1, 1),
            (40, 1, 1),
            (3, 1_000, 3),
            (90, 1_000, 50),
        ] {
            assert_eq!(wanted(waiting, rate), expected, "{waiting} at {rate}");
        }
    }
}

//! The recorder: what senders and routers write, in batches.
//!
//! Owns natural batching: one flush is under way at a time; what gathers meanwhile goes in the next one, and when nothing
//! waits, a record is written at once. What comes right after a flush gathers for a moment, as only its acknowledgement
//! waits for it.
//! Guarantees that nobody waits for a store that is away: records are kept in a bounded buffer then and written in their
//! order when it is back, and that recording an attempt twice is recording it once, so that a flush whose answer was lost
//! can be repeated.

mod buffer;
mod flush;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nuncio_domain::{AppId, Attempt, DeliveryId, DeliveryState, UnixMillis};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::recorder::buffer::{Buffer, Item};
use crate::recorder::flush::Flusher;
use crate::statistics::Statistics;
use crate::{Claim, Store, StoreError};

/// How many records are kept while the store is away.
const BUFFERED_MAX: usize = 100_000;
/// How many bytes of records are kept while the store is away, about.
const BUFFERED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many records one flush writes.
const BATCH_MAX: usize = 512;
/// How many bytes one flush writes, about.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Between the begins of two flushes, unless many records wait.
const PACE: Duration = Duration::from_millis(4);
/// How many do not wait for that: less than one lane has under way, so that none waits for its records.
const MANY: usize = 12;
/// Between two tries while the store is away: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(1_000);
/// How often statistics are written at most.
const STATISTICS_EVERY: Duration = Duration::from_millis(500);
/// How long the rest may take after the stop.
const REST_MAX: Duration = Duration::from_secs(5);

/// How an endpoint is, where that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answered well.
    Healthy,
    /// It failed; since then, unless it is known to have failed before.
    Failing {
        /// When the attempt began.
        since: UnixMillis,
    },
}

/// An attempt, and how the delivery stands after it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The app.
    pub app_id: AppId,
    /// When the message was published.
    pub published_at: UnixMillis,
    /// The attempt.
    pub attempt: Attempt,
    /// How the delivery stands.
    pub state: DeliveryState,
    /// How the endpoint is, if that is to be changed.
    pub health: Option<Health>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is written (or this very attempt was before).
    Saved,
    /// Another attempt of that number was recorded before, by another copy of the delivery.
    MadeBefore,
    /// The store is away: it is kept here and written when the store is back.
    Deferred,
}

/// Writes records in batches. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Buffer>,
    wake: Notify,
    away: AtomicBool,
    /// Whether something was counted and is not written.
    counted: AtomicBool,
    /// Whether somebody waits for all to be written.
    hurry: AtomicBool,
    /// Told when a flush has ended and nothing waits.
    idle: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Buffer> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("buffered", &self.buffered())
            .field("away", &self.is_away())
            .finish()
    }
}

impl Recorder {
    /// A recorder. It writes until `stop`, and then what is left for some seconds more: stop it after those who record.
    #[must_use]
    pub fn start(store: Store, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Buffer::new(BUFFERED_MAX, BUFFERED_BYTES_MAX)),
            wake: Notify::new(),
            away: AtomicBool::new(false),
            counted: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
            idle: Notify::new(),
        });
        tracker.spawn(run(Arc::clone(&shared), Flusher::new(store), stop));
        Self { shared }
    }

    /// Records an attempt; returns when it is written, or at once when the store is away.
    pub async fn record(&self, record: Record) -> Recorded {
        self.write(Item::Attempt(Box::new(record))).await
    }

    /// Records how a delivery stands where there was no attempt: deleted, disabled, superseded, or a new run that was
    /// asked for (`Pending` under a later series).
    pub async fn record_state(&self, app_id: AppId, delivery: DeliveryId, state: DeliveryState) -> Recorded {
        self.write(Item::State {
            app_id,
            delivery,
            state,
        })
        .await
    }

    /// Records messages that were routed while the store was away; returns at once.
    pub async fn record_routed(&self, claims: Vec<Claim>) {
        for claim in claims {
            self.push(Item::Routed(Box::new(claim)), None);
        }
        self.shared.wake.notify_one();
    }

    /// How many records wait, the store being away or slow.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.shared.queue().len()
    }

    /// Whether the store was away when it was last tried.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Relaxed)
    }

    /// Waits until all that was recorded so far is written, at most `patience`. Answers whether it is.
    pub async fn flush(&self, patience: Duration) -> bool {
        let empty = async {
            loop {
                let idle = self.shared.idle.notified();
                if self.shared.queue().is_idle() && !self.shared.counted.load(Ordering::Acquire) {
                    return;
                }
                self.shared.hurry.store(true, Ordering::Release);
                self.shared.wake.notify_one();
                idle.await;
            }
        };
        tokio::time::timeout(patience, empty).await.is_ok()
    }

    async fn write(&self, item: Item) -> Recorded {
        if self.is_away() {
            self.push(item, None);
            return Recorded::Deferred;
        }
        let (done, written) = oneshot::channel();
        let waits = self.push(item, Some(done));
        // In between, the one who writes knows that there is something.
        if waits == 1 || waits >= MANY {
            self.shared.wake.notify_one();
        }
        written.await.unwrap_or(Recorded::Deferred)
    }

    /// Answers how many wait now.
    fn push(&self, item: Item, done: Option<oneshot::Sender<Recorded>>) -> usize {
        let (dropped, waits) = {
            let mut queue = self.shared.queue();
            (queue.push(item, done), queue.waits())
        };
        if dropped > 0 {
            metrics::counter!("nuncio_store_records_dropped_total").increment(dropped as u64);
        }
        waits
    }
}

async fn run(shared: Arc<Shared>, mut flusher: Flusher, stop: CancellationToken) {
    metrics::gauge!("nuncio_store_away").set(0.0);
    let mut statistics = Statistics::default();
    let mut statistics_written = Instant::now();
    let mut pause = RETRY_FIRST;
    let mut deadline = None;
    let mut not_before = Instant::now();
    loop {
        if deadline.is_none() {
            gather(&shared, not_before, &stop).await;
        }
        if deadline.is_none() && stop.is_cancelled() {
            deadline = Some(Instant::now() + REST_MAX);
        }
        let batch = shared.queue().take(BATCH_MAX, BATCH_BYTES_MAX);
        let busy = !batch.is_empty();
        if busy {
            let started = Instant::now();
            not_before = started + PACE;
            metrics::histogram!("nuncio_store_flush_records").record(batch.len() as f64);
            match flusher.flush(&batch, &mut statistics).await {
                Ok(made_before) => {
                    metrics::histogram!("nuncio_store_flush_duration_seconds")
                        .record(started.elapsed().as_secs_f64());
                    back(&shared);
                    pause = RETRY_FIRST;
                    shared.counted.store(!statistics.is_empty(), Ordering::Release);
                    shared.queue().written();
                    for (at, entry) in batch.into_iter().enumerate() {
                        entry.tell(if made_before.contains(&at) {
                            Recorded::MadeBefore
                        } else {
                            Recorded::Saved
                        });
                    }
                }
                Err(error) if error.is_unavailable() => {
                    metrics::counter!("nuncio_store_flush_failures_total").increment(1);
                    away(&shared, &error);
                    shared.queue().put_back(batch);
                    if deadline.is_some_and(|end| Instant::now() + pause > end) {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                    continue;
                }
                Err(error) => {
                    shared.queue().written();
                    flusher.one_by_one(batch, &mut statistics, &error).await;
                }
            }
        }
        let waits = shared.queue().waits();
        metrics::gauge!("nuncio_store_records_buffered").set(waits as f64);
        let hurry = shared.hurry.swap(false, Ordering::AcqRel) || deadline.is_some();
        if hurry || statistics_written.elapsed() >= STATISTICS_EVERY {
            flusher.write_statistics(&mut statistics).await;
            shared.counted.store(!statistics.is_empty(), Ordering::Release);
            statistics_written = Instant::now();
        }
        if waits > 0 {
            continue;
        }
        shared.idle.notify_waiters();
        if deadline.is_some() && !busy {
            break;
        }
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(statistics_written + STATISTICS_EVERY), if !statistics.is_empty() => {}
            () = stop.cancelled(), if deadline.is_none() => {}
            () = tokio::task::yield_now(), if deadline.is_some() => {}
        }
    }
    let left = shared.queue().waits();
    if left > 0 {
        tracing::error!(
            records = left,
            "the store stayed away: records of attempts are lost"
        );
        metrics::counter!("nuncio_store_records_dropped_total").increment(left as u64);
    }
}

/// Lets records gather until it is time or many wait.
async fn gather(shared: &Shared, not_before: Instant, stop: &CancellationToken) {
    let waits = || shared.queue().waits();
    while (1..MANY).contains(&waits()) && Instant::now() < not_before {
        tokio::select! {
            () = tokio::time::sleep_until(not_before) => {}
            () = shared.wake.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

fn away(shared: &Shared, error: &StoreError) {
    if !shared.away.swap(true, Ordering::Relaxed) {
        let cause = std::error::Error::source(error)
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::warn!(%error, cause, "records are kept in memory until the store is back");
    }
    metrics::gauge!("nuncio_store_away").set(1.0);
    let mut queue = shared.queue();
    queue.defer();
    metrics::gauge!("nuncio_store_records_buffered").set(queue.waits() as f64);
}

fn back(shared: &Shared) {
    if shared.away.load(Ordering::Relaxed) && shared.queue().waits() == 0 {
        shared.away.store(false, Ordering::Relaxed);
        metrics::gauge!("nuncio_store_away").set(0.0);
        tracing::info!("the store is back and has all records");
    }
}

//! Acknowledging: handed over at once, sent in batches.
//!
//! What comes alone is answered at once; what comes right after an answer is gathered for a moment, as nobody waits for it
//! and every frame costs the broker a write (on a quorum queue, one to disk).
//!
//! Owns the handle that settles a delivery and the task that answers for one channel. Guarantees that a delivery that
//! is not acknowledged returns to its queue, and that what was received on a channel is answered on that channel or
//! not at all. Refuses to know consumers and queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ack_window::{AckWindow, Command, Settled};

/// Settlements taken from the queue at once.
const BATCH: usize = 1_024;
/// Between two answers on a channel, unless much has gathered.
const PACE: Duration = Duration::from_millis(3);
/// Settlements that are answered without waiting, at most.
const MANY: usize = 64;
/// Or when this part of what one consumer may have unsettled is waiting, so that none runs dry.
const PREFETCH_PART: usize = 4;
/// How often a write that does not come back is checked against the state of its channel.
const CHECK: Duration = Duration::from_secs(1);

/// Settles one delivery. Dropped without being used, it returns the delivery to its queue.
#[derive(Debug)]
pub struct Acker {
    settle: Settle,
    /// 0 once settled.
    tag: u64,
}

impl Acker {
    pub(crate) fn new(settle: Settle, tag: u64) -> Self {
        Self { settle, tag }
    }

    /// The message is dealt with: the broker may forget it. If its connection is gone by now, it comes again.
    pub fn ack(mut self) {
        self.settle.send(Settled::Ack(self.tag));
        self.tag = 0;
    }

    /// The message returns to its queue and comes again, here or elsewhere.
    pub fn requeue(self) {
        drop(self);
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        if self.tag != 0 {
            self.settle.send(Settled::Requeue(self.tag));
        }
    }
}

/// The way to the task that answers for a channel.
#[derive(Debug, Clone)]
pub(crate) struct Settle {
    queue: mpsc::UnboundedSender<Settled>,
    unsent: Unsent,
}

/// Settlements that no frame was sent for yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsent(Arc<AtomicUsize>);

impl Unsent {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Settle {
    /// The way, and the task at its end, for a new channel of a connection.
    pub(crate) fn to(
        channel: Arc<Channel>,
        over: CancellationToken,
        unsent: Unsent,
        prefetch: u16,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, settled) = mpsc::unbounded_channel();
        let answering = answer(channel, over, settled, unsent.clone(), prefetch);
        (Self { queue, unsent }, answering)
    }

    fn send(&self, settled: Settled) {
        self.unsent.0.fetch_add(1, Ordering::AcqRel);
        if self.queue.send(settled).is_err() {
            // The channel is gone, and with it the tag: the broker has put the message back already.
            self.unsent.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

async fn answer(
    channel: Arc<Channel>,
    over: CancellationToken,
    mut settled: mpsc::UnboundedReceiver<Settled>,
    unsent: Unsent,
    prefetch: u16,
) {
    let settled_total = metrics::counter!("nuncio_broker_settled_total");
    let frames_total = metrics::counter!("nuncio_broker_ack_frames_total");
    let mut window = AckWindow::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut frames = Vec::with_capacity(BATCH);
    let many = (usize::from(prefetch) / PREFETCH_PART).clamp(1, MANY);
    let mut not_before = Instant::now();
    loop {
        let count = tokio::select! {
            count = settled.recv_many(&mut batch, BATCH) => count,
            () = over.cancelled() => break,
        };
        if count == 0 {
            return;
        }
        gather(&mut settled, &mut batch, not_before, many).await;
        let count = batch.len();
        not_before = Instant::now() + PACE;
        window.settle(&batch, &mut frames);
        settled_total.increment(count as u64);
        frames_total.increment(frames.len() as u64);
        let sent = send(&channel, &frames).await;
        unsent.0.fetch_sub(count, Ordering::AcqRel);
        batch.clear();
        frames.clear();
        if !sent {
            break;
        }
    }
    settled.close();
    while settled.try_recv().is_ok() {
        unsent.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Takes in more until it is time or many have gathered.
async fn gather(
    settled: &mut mpsc::UnboundedReceiver<Settled>,
    batch: &mut Vec<Settled>,
    not_before: Instant,
    many: usize,
) {
    let gathered = async { while batch.len() < many && settled.recv_many(batch, BATCH).await > 0 {} };
    // Whatever gathered until then is in the batch.
    tokio::time::timeout_at(not_before, gathered).await.ok();
}

/// Hands all frames to the connection and waits until the last is written: meanwhile the next batch gathers.
async fn send(channel: &Channel, frames: &[Command]) -> bool {
    let Some((last, before)) = frames.split_last() else {
        return true;
    };
    for frame in before {
        // One poll queues the frame; frames are written in the order in which they are queued.
        if let Some(Err(_)) = frame_of(channel, *frame).now_or_never() {
            return false;
        }
    }
    let mut writing = std::pin::pin!(frame_of(channel, *last));
    loop {
        match tokio::time::timeout(CHECK, &mut writing).await {
            Ok(written) => return written.is_ok(),
            Err(_) if channel.status().connected() => {}
            Err(_) => return false,
        }
    }
}

async fn frame_of(channel: &Channel, frame: Command) -> lapin::Result<()> {
    match frame {
        Command::Ack(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: false }).await,
        Command::AckThrough(tag) => channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
        Command::Requeue(tag) => {
            let options = BasicNackOptions {
                multiple: false,
                requeue: true,
            };
            channel.basic_nack(tag, options).await
        }
    }
}

//! The ingest loop: takes events in batches, so that Redis and the broker are asked in batches.
//!
//! Owns how many batches are under way and the orderly end. A batch is whatever has already arrived: at low load it is
//! one event, which waits for nothing.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use nuncio_broker::{ConsumeOptions, Consumer, OnMissing, Queue, Received};
use tokio::sync::mpsc;

use crate::finish::{self, FannedOut};
use crate::{Shared, batch};

/// Events of one batch, at most.
const BATCH_EVENTS_MAX: usize = 100;
/// Bytes of payloads at which a batch is full: each is copied into the claim and into the publishes.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Batches under way at once, at most.
const BATCHES_MAX: usize = 4;
/// Events that the broker hands over before any is acknowledged: so much may be in memory of what may be large.
const PREFETCH: u16 = (BATCH_EVENTS_MAX * BATCHES_MAX) as u16;

/// Routes events until told to stop, then finishes those it has begun.
pub(crate) async fn run(shared: Arc<Shared>) {
    let (done, fanned_out) = mpsc::unbounded_channel();
    let finishing = async {
        tokio::select! {
            () = finish::run(&shared, fanned_out) => {}
            () = shared.parts.life.hard.cancelled() => {}
        }
    };
    tokio::join!(take_in(&shared, done), finishing);
}

async fn take_in(shared: &Shared, done: mpsc::UnboundedSender<Vec<FannedOut>>) {
    let options = ConsumeOptions {
        prefetch: PREFETCH,
        on_missing: OnMissing::Declare,
    };
    let mut consumer = shared.parts.broker.consume(Queue::Ingest, options);
    let mut under_way = FuturesUnordered::new();
    let (soft, hard) = (&shared.parts.life.soft, &shared.parts.life.hard);
    let route = async |events| {
        let fanned_out = batch::route(shared, events).await;
        // Whoever would finish it is gone only with this process: the events then come again.
        done.send(fanned_out).ok();
    };
    loop {
        let received = tokio::select! {
            biased;
            () = soft.cancelled() => break,
            Some(()) = under_way.next(), if !under_way.is_empty() => continue,
            received = consumer.recv(), if under_way.len() < BATCHES_MAX => received,
        };
        let Some(first) = received else { break };
        under_way.push(route(gather(first, &mut consumer)));
    }
    consumer.cancel().await;
    nuncio_failpoints::hit!("router::stopping");
    let finish = async { while under_way.next().await.is_some() {} };
    tokio::select! {
        () = finish => {}
        () = hard.cancelled() => {}
    }
}

/// `first` and what has arrived behind it.
fn gather(first: Received, consumer: &mut Consumer) -> Vec<Received> {
    let mut bytes = first.body.len();
    let mut events = vec![first];
    while events.len() < BATCH_EVENTS_MAX && bytes < BATCH_BYTES_MAX {
        let Some(Some(next)) = consumer.recv().now_or_never() else {
            break;
        };
        bytes += next.body.len();
        events.push(next);
    }
    events
}

//! The ingest loop: takes events in, and routes them in batches, each app in turn, so that Redis and the broker are asked
//! in batches and no app waits behind another's many.
//!
//! Owns how many batches are under way and the orderly end. A batch is whatever has already arrived: at low load it is
//! one event, which waits for nothing.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use nuncio_broker::Received;
use nuncio_wire::IncomingEvent;
use tokio::sync::mpsc;

use crate::finish::{self, FannedOut};
use crate::read_ahead::ReadAhead;
use crate::turns::{Batch, Limits, Turns};
use crate::{Shared, batch, overflow};

/// Batches under way at once, at most.
const BATCHES_MAX: usize = 8;
const LIMITS: Limits = Limits {
    batch_events: 64,
    // Each payload is copied into the claim and into the publishes.
    batch_bytes: 1024 * 1024,
    // One burst to each of its queues.
    turn_events: 8,
    // One batch: enough for all that one app can need, and what others wait for when they come.
    app_events: 64,
};

/// Routes events until told to stop, then finishes those it has begun.
pub(crate) async fn run(shared: Arc<Shared>) {
    let (done, fanned_out) = mpsc::unbounded_channel();
    let (over, overflowing) = mpsc::unbounded_channel();
    let beside = async {
        let ended = async {
            tokio::join!(
                finish::run(&shared, fanned_out),
                overflow::run(&shared, overflowing)
            )
        };
        tokio::select! {
            _ = ended => {}
            () = shared.parts.life.hard.cancelled() => {}
        }
    };
    tokio::join!(take_in(&shared, done, over), beside);
}

async fn take_in(
    shared: &Shared,
    done: mpsc::UnboundedSender<Vec<FannedOut>>,
    over: mpsc::UnboundedSender<Received>,
) {
    let mut ahead = ReadAhead::new(shared.parts.broker.clone());
    let mut turns = Turns::new(LIMITS);
    let mut under_way = FuturesUnordered::new();
    let (soft, hard) = (&shared.parts.life.soft, &shared.parts.life.hard);
    let route = async |batch: Batch<Received>| {
        let fanned_out = batch::route(shared, batch.events).await;
        // Whoever would finish it is gone only with this process: the events then come again.
        done.send(fanned_out).ok();
        batch.apps
    };
    loop {
        while under_way.len() < BATCHES_MAX
            && let Some(batch) = turns.take()
        {
            under_way.push(route(batch));
        }
        ahead.adjust(turns.load());
        tokio::select! {
            biased;
            () = soft.cancelled() => break,
            Some(apps) = under_way.next(), if !under_way.is_empty() => turns.ended(&apps),
            received = ahead.recv() => match received {
                Some(first) => gather(first, &mut ahead, &mut turns, &over),
                None => break,
            },
        }
    }
    // What waits returns to the queue, for others to route.
    drop((turns, over));
    ahead.cancel().await;
    nuncio_failpoints::hit!("router::stopping");
    let finish = async { while under_way.next().await.is_some() {} };
    tokio::select! {
        () = finish => {}
        () = hard.cancelled() => {}
    }
}

/// Takes in `first` and what has arrived behind it; what is too much goes to the overflow queue.
fn gather(
    first: (Received, bool),
    ahead: &mut ReadAhead,
    turns: &mut Turns<Received>,
    over: &mpsc::UnboundedSender<Received>,
) {
    let mut received = Some(first);
    while let Some((event, may_move)) = received {
        let bytes = event.body.len();
        // What names no app is set aside; until then it stands in line as if it were one.
        let app = IncomingEvent::app_named(&event.routing_key, &event.properties).unwrap_or_default();
        let app = app.to_owned();
        if may_move && overflow::is_too_much(turns.load(), turns.load_of(&app)) && overflow::can_move(&event)
        {
            // Whoever would move it is gone only with this process.
            over.send(event).ok();
        } else {
            turns.push(&app, event, bytes);
        }
        received = ahead.recv().now_or_never().flatten();
    }
}

//! Reading ahead in the ingest queue, so that a quiet app's event is seen behind a busy app's many.
//!
//! Owns how many events are in memory: one subscription's as long as that is enough, more subscriptions while events wait,
//! and fewer again when they hold too many bytes or wait no longer. A subscription cannot change its prefetch, so that
//! there are several of the same. What was moved to the overflow queue is read when nothing else comes.
//! Refuses to know what events mean.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use nuncio_broker::{Broker, ConsumeOptions, Consumer, OnMissing, Queue, Received};
use tokio::time::Instant;

use crate::overflow::{self, Load};

/// Events that one subscription is handed before any is acknowledged: so much may be in memory of what may be large.
const PREFETCH: u16 = 400;
/// Subscriptions, at most: a busy app's events that a quiet app's can overtake, and some 30 MiB when they are small.
const SUBSCRIPTIONS_MAX: usize = 40;
/// The same as `PREFETCH`, of what was moved: it is nobody's first, and adds to the others' bytes.
const PREFETCH_MOVED: u16 = 100;
/// Bytes of payloads that may wait before less is read ahead.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long nothing is to wait before less is read ahead.
const CALM: Duration = Duration::from_secs(5);

/// What follows for the number of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Another,
    OneLess,
    None,
}

/// So many `events` with so many `bytes` wait, read by so many `subscriptions`, and nothing waited for `calm`.
fn change(subscriptions: usize, events: usize, bytes: usize, calm: Duration) -> Change {
    let nearly_all = subscriptions * usize::from(PREFETCH) / 2;
    if subscriptions > 1 && (bytes > BYTES_MAX || calm > CALM) {
        Change::OneLess
    } else if subscriptions < SUBSCRIPTIONS_MAX && events > nearly_all && bytes < BYTES_MAX / 2 {
        Change::Another
    } else {
        Change::None
    }
}

/// The ingest queue, read ahead as far as is useful.
pub(crate) struct ReadAhead {
    broker: Broker,
    subscriptions: Vec<Consumer>,
    moved: Consumer,
    waited_last: Instant,
}

impl ReadAhead {
    pub(crate) fn new(broker: Broker) -> Self {
        Self {
            subscriptions: vec![subscribe(&broker)],
            moved: consume(&broker, Queue::Overflow, PREFETCH_MOVED),
            broker,
            waited_last: Instant::now(),
        }
    }

    /// The next event, and whether it may be moved; nothing only after the process was told to stop. Safe to cancel.
    pub(crate) async fn recv(&mut self) -> Option<(Received, bool)> {
        poll_fn(|context| {
            for subscription in &mut self.subscriptions {
                // Made anew each time: what it waits for is kept in the subscription.
                let received = pin!(subscription.recv());
                if let Poll::Ready(received) = received.poll(context) {
                    return Poll::Ready(received.map(|event| (event, true)));
                }
            }
            let moved = pin!(self.moved.recv());
            moved
                .poll(context)
                .map(|received| received.map(|event| (overflow::back(event), false)))
        })
        .await
    }

    /// Reads further ahead, or less far, now that so much waits.
    pub(crate) fn adjust(&mut self, Load { events, bytes }: Load) {
        let now = Instant::now();
        if events > 0 {
            self.waited_last = now;
        }
        match change(self.subscriptions.len(), events, bytes, now - self.waited_last) {
            Change::Another => self.subscriptions.push(subscribe(&self.broker)),
            // What it holds and nobody read returns to the queue.
            Change::OneLess => drop(self.subscriptions.pop()),
            Change::None => {}
        }
    }

    /// Reads no more.
    pub(crate) async fn cancel(self) {
        let all = self.subscriptions.into_iter().chain([self.moved]);
        futures_util::future::join_all(all.map(Consumer::cancel)).await;
    }
}

fn subscribe(broker: &Broker) -> Consumer {
    consume(broker, Queue::Ingest, PREFETCH)
}

fn consume(broker: &Broker, queue: Queue, prefetch: u16) -> Consumer {
    let options = ConsumeOptions {
        prefetch,
        on_missing: OnMissing::Declare,
    };
    broker.consume(queue, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_read_while_much_waits_and_less_when_it_is_large_or_nothing_does() {
        let (busy, long) = (Duration::ZERO, CALM * 2);
        let few = 1_000_000;
        for (subscriptions, events, bytes, calm, expected) in [
            (1, 0, 0, busy, Change::None),
            (1, 200, few, busy, Change::None),
            (1, 201, few, busy, Change::Another),
            (2, 300, few, busy, Change::None),
            (2, 401, few, busy, Change::Another),
            (SUBSCRIPTIONS_MAX, 16_000, few, busy, Change::None),
            (1, 399, BYTES_MAX * 3, busy, Change::None),
            (1, 399, BYTES_MAX / 2, busy, Change::None),
            (3, 399, BYTES_MAX + 1, busy, Change::OneLess),
            (3, 0, 0, long, Change::OneLess),
            (1, 0, 0, long, Change::None),
        ] {
            assert_eq!(
                change(subscriptions, events, bytes, calm),
                expected,
                "{subscriptions} with {events} events of {bytes} bytes, calm for {calm:?}"
            );
        }
    }
}

//! Beginning requests: few at once, so that a sender that is handed more than it can do finishes what it began first.
//!
//! A request costs processor time when it begins and when its answer comes, and none in between. Were all begun as they
//! come, answers would wait behind ever more beginnings, and each beginning would open a connection, because those that
//! could serve it wait to be read.
//!
//! Guarantees that a turn ends soon whatever becomes of its request: what hangs keeps nobody from beginning.

use std::pin::pin;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

use crate::permits::take;

/// Requests that begin at the same time, at most.
const AT_ONCE: usize = 64;
/// How often a request that begins lets all else go on that can, what has come from the network included, before its turn
/// ends: enough to be written where a connection is idle.
const ROUNDS: usize = 3;

/// Whose turn it is to begin a request.
pub(crate) struct Starts(Semaphore);

/// The right to begin one request.
pub(crate) struct Start<'a> {
    turn: SemaphorePermit<'a>,
}

impl Default for Starts {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Starts {
    /// Waits for a turn; they come in the order in which they were asked for.
    pub(crate) async fn turn(&self) -> Start<'_> {
        Start {
            turn: take(&self.0).await,
        }
    }
}

impl Start<'_> {
    /// Makes the request. The turn ends when it has begun.
    pub(crate) async fn make<T>(self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        let begun = async {
            for _ in 0..ROUNDS {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = &mut request => return done,
            () = begun => drop(self.turn),
        }
        request.await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures_util::future::join_all;
    use futures_util::poll;

    use super::*;

    const MANY: usize = 3 * AT_ONCE + 1;

    #[tokio::test]
    async fn few_begin_at_once_and_what_hangs_keeps_nobody_from_beginning() {
        let (starts, begun) = (Starts::default(), Cell::new(0));
        let request = || async {
            let start = starts.turn().await;
            let hangs = async {
                begun.set(begun.get() + 1);
                pending::<()>().await;
            };
            start.make(hangs).await;
        };
        let mut all = pin!(join_all((0..MANY).map(|_| request())));
        assert!(poll!(&mut all).is_pending());
        assert_eq!(begun.get(), AT_ONCE, "before anything else could go on");
        for _ in 0..MANY {
            tokio::select! {
                biased;
                _ = &mut all => unreachable!("all hang"),
                () = yield_now() => {}
            }
        }
        assert_eq!(begun.get(), MANY);
    }

    #[tokio::test]
    async fn a_request_that_ends_at_once_gives_its_turn_to_the_next() {
        let starts = Starts::default();
        let requests = (0..MANY).map(|nth| {
            let starts = &starts;
            async move { starts.turn().await.make(async { nth }).await }
        });
        assert_eq!(join_all(requests).await, (0..MANY).collect::<Vec<_>>());
    }
}

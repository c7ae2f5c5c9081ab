//! How many requests are worked on at once, and how many may wait for their turn.
//!
//! Owns the two bounds. Guarantees that what is beyond them is refused at once and not queued without end: memory stays
//! bounded whatever comes, and who is let in is answered in good time. Refuses to know who calls: that is for the
//! throttle.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error;

/// Requests that may wait, for each that is worked on.
const WAITING_PER_WORKING: usize = 4;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// When to come again, in seconds.
const RETRY_AFTER: &str = "1";

pub(crate) struct Gate {
    /// Work and waiting room together.
    room: Semaphore,
    work: Semaphore,
}

/// A request that was let in; its place is free again when this is dropped.
pub(crate) struct Admitted<'gate> {
    _work: SemaphorePermit<'gate>,
    _room: SemaphorePermit<'gate>,
}

impl Gate {
    pub(crate) fn new(working_max: usize) -> Self {
        Self {
            room: Semaphore::new(working_max.saturating_mul(1 + WAITING_PER_WORKING)),
            work: Semaphore::new(working_max),
        }
    }

    /// Lets a request in, or none when there is no room for it or its turn does not come.
    pub(crate) async fn enter(&self) -> Option<Admitted<'_>> {
        let room = self.room.try_acquire().ok()?;
        let turn = tokio::time::timeout(PATIENCE, self.work.acquire());
        let work = turn.await.ok()?.ok()?;
        Some(Admitted {
            _work: work,
            _room: room,
        })
    }
}

/// The answer to a request that was not let in.
pub(crate) fn overloaded() -> axum::response::Response {
    let mut refused = error::plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "There are more requests than can be answered; nothing was done, try again",
    );
    let after = HeaderValue::from_static(RETRY_AFTER);
    refused.headers_mut().insert(header::RETRY_AFTER, after);
    refused
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_works_four_wait_and_the_next_is_refused_at_once() {
        let gate = Gate::new(1);
        let working = gate.enter().await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING_PER_WORKING).map(|_| Box::pin(gate.enter())).collect();
        for turn in &mut waiting {
            assert!(turn.now_or_never().is_none(), "it waits");
        }
        assert!(gate.enter().await.is_none(), "there is no room");
        drop(working);
        let next = waiting.remove(0).await;
        assert!(next.is_some(), "its turn has come");
        assert!(
            gate.enter().now_or_never().is_none(),
            "whoever comes now waits in turn"
        );
    }
}

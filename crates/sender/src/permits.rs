//! Requests under way in one sender, all its lanes together.
//!
//! Guarantees that there are never more than the limit, and that endpoints of which it is not known that they answer hold
//! at most half of them: however many hang, the others go on. Those that answer may use all.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The right to have requests under way.
pub(crate) struct Permits {
    all: Semaphore,
    unproven: Semaphore,
}

/// The right to have one request under way, until it is dropped.
pub(crate) struct Permit<'a> {
    _unproven: Option<SemaphorePermit<'a>>,
    _all: SemaphorePermit<'a>,
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Self {
        let limit = (limit as usize).max(1);
        Self {
            all: Semaphore::new(limit),
            unproven: Semaphore::new((limit / 2).max(1)),
        }
    }

    /// Waits for a permit; `proven` says whether the endpoint is known to answer.
    pub(crate) async fn acquire(&self, proven: bool) -> Permit<'_> {
        let unproven = if proven {
            None
        } else {
            Some(take(&self.unproven).await)
        };
        Permit {
            _unproven: unproven,
            _all: take(&self.all).await,
        }
    }
}

/// Waits for one permit of a semaphore that nobody closes.
pub(crate) async fn take(permits: &Semaphore) -> SemaphorePermit<'_> {
    permits.acquire().await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// As many permits as are to be had.
    fn exhaust(permits: &Permits, proven: bool) -> Vec<Permit<'_>> {
        std::iter::from_fn(|| permits.acquire(proven).now_or_never()).collect()
    }

    #[test]
    fn endpoints_that_answer_may_use_all_and_the_others_half() {
        for (limit, all, half) in [(8, 8, 4), (3, 3, 1), (1, 1, 1), (0, 1, 1)] {
            let permits = Permits::new(limit);
            assert_eq!(exhaust(&permits, true).len(), all, "{limit}");
            assert_eq!(exhaust(&permits, false).len(), half, "{limit}");
        }
    }

    #[test]
    fn those_that_hang_leave_half_to_those_that_answer() {
        let permits = Permits::new(8);
        let hanging = exhaust(&permits, false);
        let answering = exhaust(&permits, true);
        assert_eq!((hanging.len(), answering.len()), (4, 4));
        drop(hanging);
        assert_eq!(
            exhaust(&permits, false).len(),
            4,
            "what is given back is there again"
        );
    }
}

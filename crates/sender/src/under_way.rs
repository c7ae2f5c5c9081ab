//! The deliveries that one lane has under way, from the look at the record until what came of them is recorded.
//!
//! Guarantees that two copies of one delivery are never made at the same time in a lane: the second waits, and then finds
//! the first in the record. Copies are what crashes and lost queues leave behind. Refuses to know which one is the copy.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use nuncio_domain::{MessageId, Series};
use tokio::sync::Notify;

type Run = (MessageId, Series);

/// The runs of attempts that are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    runs: Mutex<HashSet<Run>>,
    ended: Notify,
}

/// One run under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    of: UnderWay,
    run: Run,
    /// Whether another copy was under way at first.
    pub(crate) waited: bool,
}

impl UnderWay {
    /// Waits until no other copy is under way.
    pub(crate) async fn enter(&self, message: &MessageId, series: Series) -> Hold {
        let run = (message.clone(), series);
        let waited = !self.runs().insert(run.clone());
        if waited {
            self.wait_for(&run).await;
        }
        let of = self.clone();
        Hold { of, run, waited }
    }

    /// Returns when the run was under way no longer, and is again for whoever waited.
    async fn wait_for(&self, run: &Run) {
        loop {
            // Before the look, so that no end in between is missed.
            let mut ended = std::pin::pin!(self.0.ended.notified());
            ended.as_mut().enable();
            if self.runs().insert(run.clone()) {
                return;
            }
            ended.await;
        }
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashSet<Run>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.of.runs().remove(&self.run);
        self.of.0.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_second_copy_waits_for_the_first_and_others_do_not() {
        let under_way = UnderWay::default();
        let (one, other) = ("msg_1".parse().unwrap(), "msg_2".parse().unwrap());
        let first = under_way.enter(&one, Series(0)).await;
        assert!(!first.waited);
        let mut second = Box::pin(under_way.enter(&one, Series(0)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(!under_way.enter(&other, Series(0)).await.waited);
        assert!(
            !under_way.enter(&one, Series(7)).await.waited,
            "another run of the same message"
        );
        drop(first);
        assert!(second.await.waited);
        assert!(!under_way.enter(&one, Series(0)).await.waited);
    }
}

//! The deliveries that one lane has under way, from the look at the record until what came of them is recorded.
//!
//! Guarantees that two copies of one delivery are never made at the same time in a lane: the second waits, and then finds
//! the first in the record; and that one which comes soon after the other is known for what it may be. Copies are what
//! crashes and lost queues leave behind. Refuses to know which one is the copy.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use nuncio_domain::{MessageId, Series};
use tokio::sync::Notify;

type Run = (MessageId, Series);

/// Runs that are remembered when they are no longer under way: copies mostly lie next to each other.
const REMEMBERED: usize = 16;

/// The runs of attempts that are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    runs: Mutex<Runs>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Runs {
    under_way: HashSet<Run>,
    /// Those that ended last, in order.
    ended: VecDeque<Run>,
}

/// One run under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    of: UnderWay,
    run: Run,
    /// Whether another copy was under way at first, or had been a moment before.
    pub(crate) another: bool,
}

impl UnderWay {
    /// Waits until no other copy is under way.
    pub(crate) async fn enter(&self, message: &MessageId, series: Series) -> Hold {
        let run = (message.clone(), series);
        let (waits, ended) = {
            let mut runs = self.runs();
            (!runs.under_way.insert(run.clone()), runs.ended.contains(&run))
        };
        if waits {
            self.wait_for(&run).await;
        }
        Hold {
            of: self.clone(),
            run,
            another: waits || ended,
        }
    }

    /// Returns when the run was under way no longer, and is again for whoever waited.
    async fn wait_for(&self, run: &Run) {
        loop {
            // Before the look, so that no end in between is missed.
            let mut ended = std::pin::pin!(self.0.ended.notified());
            ended.as_mut().enable();
            if self.runs().under_way.insert(run.clone()) {
                return;
            }
            ended.await;
        }
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, Runs> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        {
            let mut runs = self.of.runs();
            if let Some(run) = runs.under_way.take(&self.run) {
                if runs.ended.len() == REMEMBERED {
                    runs.ended.pop_front();
                }
                runs.ended.push_back(run);
            }
        }
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
        assert!(!first.another);
        let mut second = Box::pin(under_way.enter(&one, Series(0)));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(!under_way.enter(&other, Series(0)).await.another);
        assert!(
            !under_way.enter(&one, Series(7)).await.another,
            "another run of the same message"
        );
        drop(first);
        assert!(second.await.another);
    }

    #[tokio::test]
    async fn a_copy_that_comes_soon_after_the_other_is_known() {
        let under_way = UnderWay::default();
        let one = "msg_1".parse().unwrap();
        drop(under_way.enter(&one, Series(0)).await);
        assert!(under_way.enter(&one, Series(0)).await.another);
        assert!(!under_way.enter(&one, Series(1)).await.another);
        for n in 0..REMEMBERED {
            let other = format!("msg_9{n}").parse().unwrap();
            assert!(!under_way.enter(&other, Series(0)).await.another);
        }
        assert!(
            !under_way.enter(&one, Series(0)).await.another,
            "that is long ago"
        );
    }
}

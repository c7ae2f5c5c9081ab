//! The buffer of spans that have ended and wait for their export.
//!
//! Owns the bound. Guarantees that adding never waits, and that the oldest go, counted, when there is no more room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::otlp::Span;

/// Spans that wait, at most: some megabytes.
pub(crate) const SPANS_MAX: usize = 8_192;
/// Spans of one export.
pub(crate) const BATCH_SPANS: usize = 512;

#[derive(Default)]
pub(crate) struct Buffer {
    spans: Mutex<VecDeque<Span>>,
    batch: Notify,
}

impl Buffer {
    /// Adds a span, in place of the oldest where there is no more room.
    pub(crate) fn add(&self, span: Span) {
        let mut spans = self.lock();
        if spans.len() == SPANS_MAX {
            spans.pop_front();
            metrics::counter!("nuncio_traces_spans_dropped_total").increment(1);
        }
        spans.push_back(span);
        let whole = spans.len() >= BATCH_SPANS;
        drop(spans);
        if whole {
            self.batch.notify_one();
        }
    }

    /// Waits until there is a whole batch.
    pub(crate) async fn batch(&self) {
        while self.len() < BATCH_SPANS {
            self.batch.notified().await;
        }
    }

    /// The oldest spans, as many as one export takes.
    pub(crate) fn take(&self) -> Vec<Span> {
        let mut spans = self.lock();
        let count = spans.len().min(BATCH_SPANS);
        spans.drain(..count).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(nth: usize) -> Span {
        Span {
            start_time_unix_nano: nth as u64,
            ..Span::default()
        }
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_the_bound_holds() {
        let buffer = Buffer::default();
        for nth in 0..SPANS_MAX + 10 {
            buffer.add(span(nth));
        }
        assert_eq!(buffer.len(), SPANS_MAX);
        buffer.batch().await;
        let batch = buffer.take();
        assert_eq!(batch.len(), BATCH_SPANS);
        assert_eq!(batch[0], span(10));
        while !buffer.take().is_empty() {}
        assert_eq!(buffer.len(), 0);
    }
}

//! The buffer of records: those that wait for the flush under way, or for the store to be back.
//!
//! Owns the bounds. Guarantees that it never holds more than them: the oldest record gives way, and is counted.

use std::collections::VecDeque;

use nuncio_domain::{AppId, DeliveryId, DeliveryState};
use tokio::sync::oneshot;

use crate::Claim;
use crate::recorder::{Record, Recorded};

/// What is written.
pub(crate) enum Item {
    Attempt(Box<Record>),
    State {
        app_id: AppId,
        delivery: DeliveryId,
        state: DeliveryState,
    },
    Routed(Box<Claim>),
}

impl Item {
    /// About how many bytes it occupies, here and on the wire.
    fn bytes(&self) -> usize {
        const FIXED: usize = 400;
        FIXED
            + match self {
                Self::Attempt(record) => {
                    let attempt = &record.attempt;
                    let headers = attempt.response_headers.iter();
                    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
                    attempt.response_body.len() + attempt.url.len() + headers
                }
                Self::State { .. } => 0,
                Self::Routed(claim) => claim.payload.len() + claim.routes.len() * 64,
            }
    }
}

/// An item, and who waits for it.
pub(crate) struct Entry {
    pub(crate) item: Item,
    bytes: usize,
    done: Option<oneshot::Sender<Recorded>>,
}

impl Entry {
    /// Tells whoever waits; nobody may.
    pub(crate) fn tell(self, what: Recorded) {
        if let Some(done) = self.done {
            // Who gave up waiting does not need to know.
            done.send(what).ok();
        }
    }
}

pub(crate) struct Buffer {
    entries: VecDeque<Entry>,
    bytes: usize,
    under_way: usize,
    length_max: usize,
    bytes_max: usize,
}

impl Buffer {
    pub(crate) fn new(length_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            under_way: 0,
            length_max,
            bytes_max,
        }
    }

    /// How many there are, those of the flush under way among them.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.under_way
    }

    /// How many wait for a flush.
    pub(crate) fn waits(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits and nothing is being written.
    pub(crate) fn is_idle(&self) -> bool {
        self.len() == 0
    }

    /// Adds an item; answers how many of the oldest had to give way.
    pub(crate) fn push(&mut self, item: Item, done: Option<oneshot::Sender<Recorded>>) -> usize {
        let bytes = item.bytes();
        self.bytes += bytes;
        self.entries.push_back(Entry { item, bytes, done });
        self.shrink()
    }

    fn shrink(&mut self) -> usize {
        let mut dropped = 0;
        while self.entries.len() > self.length_max || self.bytes > self.bytes_max {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= entry.bytes;
            entry.tell(Recorded::Deferred);
            dropped += 1;
        }
        dropped
    }

    /// Takes the oldest for a flush, which ends with [`Buffer::written`] or [`Buffer::put_back`].
    pub(crate) fn take(&mut self, length_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < length_max && bytes < bytes_max {
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            bytes += entry.bytes;
            self.bytes -= entry.bytes;
            batch.push(entry);
        }
        self.under_way = batch.len();
        batch
    }

    /// The flush under way has ended well.
    pub(crate) fn written(&mut self) {
        self.under_way = 0;
    }

    /// The flush under way has failed: its records are the oldest again.
    pub(crate) fn put_back(&mut self, batch: Vec<Entry>) {
        self.under_way = 0;
        for mut entry in batch.into_iter().rev() {
            self.bytes += entry.bytes;
            if let Some(done) = entry.done.take() {
                done.send(Recorded::Deferred).ok();
            }
            self.entries.push_front(entry);
        }
        let dropped = self.shrink();
        if dropped > 0 {
            metrics::counter!("nuncio_store_records_dropped_total").increment(dropped as u64);
        }
    }

    /// Tells all who wait that their records are kept here.
    pub(crate) fn defer(&mut self) {
        for entry in &mut self.entries {
            if let Some(done) = entry.done.take() {
                done.send(Recorded::Deferred).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nuncio_domain::{EndpointId, MessageId};

    use super::*;

    fn state(n: usize) -> Item {
        Item::State {
            app_id: AppId::parse("app_1").unwrap(),
            delivery: DeliveryId {
                message: MessageId::parse(&format!("msg_{n}")).unwrap(),
                endpoint: EndpointId::parse("ep_1").unwrap(),
            },
            state: DeliveryState::PENDING,
        }
    }

    fn name(entry: &Entry) -> String {
        match &entry.item {
            Item::State { delivery, .. } => delivery.message.as_str().to_owned(),
            _ => String::new(),
        }
    }

    #[test]
    fn the_oldest_record_gives_way_when_the_buffer_is_full() {
        let mut buffer = Buffer::new(3, usize::MAX);
        let dropped: usize = (0..5).map(|n| buffer.push(state(n), None)).sum();
        assert_eq!((dropped, buffer.len()), (2, 3));
        let names: Vec<_> = buffer.take(10, usize::MAX).iter().map(name).collect();
        assert_eq!(names, ["msg_2", "msg_3", "msg_4"]);
    }

    #[test]
    fn bytes_are_bounded_too_and_never_miscounted() {
        let mut buffer = Buffer::new(usize::MAX, 1_000);
        for n in 0..10 {
            buffer.push(state(n), None);
        }
        assert_eq!(buffer.len(), 2);
        let batch = buffer.take(1, usize::MAX);
        assert_eq!((batch.len(), buffer.len(), buffer.waits()), (1, 2, 1));
        buffer.put_back(batch);
        assert_eq!((buffer.len(), buffer.bytes), (2, 800));
        let batch = buffer.take(10, usize::MAX);
        assert_eq!((batch.len(), buffer.bytes, buffer.is_idle()), (2, 0, false));
        buffer.written();
        assert!(buffer.is_idle());
    }

    #[test]
    fn a_failed_flush_keeps_the_order_and_tells_those_who_wait() {
        let mut buffer = Buffer::new(10, usize::MAX);
        let (done, mut told) = oneshot::channel();
        buffer.push(state(0), Some(done));
        buffer.push(state(1), None);
        let batch = buffer.take(2, usize::MAX);
        buffer.push(state(2), None);
        buffer.put_back(batch);
        assert_eq!(told.try_recv().unwrap(), Recorded::Deferred);
        let names: Vec<_> = buffer.take(10, usize::MAX).iter().map(name).collect();
        assert_eq!(names, ["msg_0", "msg_1", "msg_2"]);
    }
}

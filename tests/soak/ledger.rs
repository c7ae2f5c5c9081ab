//! What was published and what arrived: the oracle of a soak.
//!
//! Owns both sides of the comparison. Guarantees that only what the broker confirmed is expected, and that a duplicate is
//! what came again after it had been accepted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

/// One delivery: the lane and the event's number.
pub(crate) type Key = (usize, usize);

#[derive(Debug, Default)]
struct Delivery {
    ids: Vec<String>,
    /// When it was answered with 200, each time.
    accepted: Vec<Instant>,
}

#[derive(Default)]
struct Pages {
    confirmed: usize,
    deliveries: HashMap<Key, Delivery>,
    last_accepted: HashMap<usize, Vec<Instant>>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Pages>>);

/// What a soak came to.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) confirmed: usize,
    pub(crate) lost: Vec<Key>,
    /// When each duplicate came.
    pub(crate) duplicates: Vec<Instant>,
    /// Deliveries that came under more than one id.
    pub(crate) under_two_ids: usize,
}

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All events below `count` are confirmed.
    pub(crate) fn confirmed(&self, count: usize) {
        self.pages().confirmed = count;
    }

    /// A request arrived, and is answered with 200 or not.
    pub(crate) fn arrived(&self, key: Key, id: &str, at: Instant, accepted: bool) {
        let mut pages = self.pages();
        let delivery = pages.deliveries.entry(key).or_default();
        if !delivery.ids.iter().any(|known| known == id) {
            delivery.ids.push(id.to_owned());
        }
        if accepted {
            delivery.accepted.push(at);
            pages.last_accepted.entry(key.0).or_default().push(at);
        }
    }

    /// When the first delivery to `lane` after `moment` was accepted.
    pub(crate) fn first_after(&self, lane: usize, moment: Instant) -> Option<Instant> {
        let pages = self.pages();
        let times = pages.last_accepted.get(&lane)?;
        times.iter().rev().take_while(|at| **at >= moment).last().copied()
    }

    /// How many confirmed deliveries to `lanes` endpoints have not been accepted yet.
    pub(crate) fn open(&self, lanes: usize) -> usize {
        self.lost(lanes).len()
    }

    fn lost(&self, lanes: usize) -> Vec<Key> {
        let pages = self.pages();
        (0..pages.confirmed)
            .flat_map(|n| (0..lanes).map(move |lane| (lane, n)))
            .filter(|key| {
                pages
                    .deliveries
                    .get(key)
                    .is_none_or(|delivery| delivery.accepted.is_empty())
            })
            .collect()
    }

    pub(crate) fn judge(&self, lanes: usize) -> Judgement {
        let lost = self.lost(lanes);
        let pages = self.pages();
        Judgement {
            confirmed: pages.confirmed,
            lost,
            duplicates: pages
                .deliveries
                .values()
                .flat_map(|delivery| delivery.accepted.iter().skip(1).copied())
                .collect(),
            under_two_ids: pages
                .deliveries
                .values()
                .filter(|delivery| delivery.ids.len() > 1)
                .count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_confirmed_and_not_accepted_is_lost_and_what_was_accepted_twice_is_a_duplicate() {
        let ledger = Ledger::default();
        let now = Instant::now();
        ledger.confirmed(3);
        ledger.arrived((0, 0), "msg_a", now, true);
        ledger.arrived((0, 1), "msg_b", now, false);
        ledger.arrived((0, 1), "msg_b", now, true);
        ledger.arrived((0, 1), "msg_c", now, true);
        ledger.arrived((0, 2), "msg_d", now, false);
        // Published, not confirmed: it may arrive and need not.
        ledger.arrived((0, 3), "msg_e", now, true);
        let judgement = ledger.judge(1);
        assert_eq!(judgement.lost, [(0, 2)]);
        assert_eq!(judgement.duplicates.len(), 1);
        assert_eq!(judgement.under_two_ids, 1);
    }
}

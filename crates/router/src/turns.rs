//! Whose events are routed next: each app's in turn, a few at a time.
//!
//! Owns what was taken from the ingest queue and is not being routed yet. Guarantees that the events of one app stay in
//! order, that an app that comes fresh (nothing of it waits or is being routed) waits for no round of the others, but
//! for one turn of theirs for each fresh one before it, and that one app alone never has more than its share being
//! routed, so that others find room at once. A turn is several events, because what goes to the same queues at once
//! costs the broker less. Pure: refuses to know the broker.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::overflow::Load;

/// How much is routed at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Events of one batch.
    pub(crate) batch_events: usize,
    /// Bytes of payloads at which a batch is full.
    pub(crate) batch_bytes: usize,
    /// Events of one app in a row, while others wait.
    pub(crate) turn_events: usize,
    /// Events of one app in all batches that are being routed.
    pub(crate) app_events: usize,
}

/// Events that wait, app by app.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    limits: Limits,
    apps: HashMap<Arc<str>, App<T>>,
    /// Apps whose first turn this is.
    fresh: VecDeque<Arc<str>>,
    /// The other apps with events that wait, in the order of their turns.
    round: VecDeque<Arc<str>>,
    load: Load,
}

#[derive(Debug)]
struct App<T> {
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
    being_routed: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    event: T,
    bytes: usize,
}

impl<T> App<T> {
    fn unseen() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            being_routed: 0,
        }
    }
}

/// Events to route together.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    /// The events.
    pub(crate) events: Vec<T>,
    /// The app of each, to be told to [`Turns::ended`].
    pub(crate) apps: Vec<Arc<str>>,
}

/// A batch that is being put together, and the bytes of its payloads.
struct Filling<T> {
    batch: Batch<T>,
    bytes: usize,
}

impl<T> Filling<T> {
    fn is_full(&self, limits: &Limits) -> bool {
        self.batch.events.len() >= limits.batch_events || self.bytes >= limits.batch_bytes
    }
}

impl<T> Turns<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            apps: HashMap::new(),
            fresh: VecDeque::new(),
            round: VecDeque::new(),
            load: Load::default(),
        }
    }

    /// What waits.
    pub(crate) fn load(&self) -> Load {
        self.load
    }

    /// What waits of `app`.
    pub(crate) fn load_of(&self, app: &str) -> Load {
        self.apps.get(app).map_or_else(Load::default, |app| Load {
            events: app.waiting.len(),
            bytes: app.bytes,
        })
    }

    /// Takes in an event of `app` with a payload of so many `bytes`.
    pub(crate) fn push(&mut self, app: &str, event: T, bytes: usize) {
        let name = match self.apps.get_key_value(app) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(app),
        };
        let app = self.apps.entry(Arc::clone(&name)).or_insert_with(App::unseen);
        if app.waiting.is_empty() {
            let line = match app.being_routed {
                0 => &mut self.fresh,
                _ => &mut self.round,
            };
            line.push_back(name);
        }
        app.waiting.push_back(Waiting { event, bytes });
        app.bytes += bytes;
        self.load.events += 1;
        self.load.bytes += bytes;
    }

    /// The next batch, a turn of each app until it is full; nothing when all that waits has its share being routed. Fresh
    /// apps and the others alternate.
    pub(crate) fn take(&mut self) -> Option<Batch<T>> {
        let mut filling = Filling {
            batch: Batch {
                events: Vec::new(),
                apps: Vec::new(),
            },
            bytes: 0,
        };
        let mut without = 0;
        let mut fresh_first = true;
        while !filling.is_full(&self.limits) {
            let fresh_next = without >= self.round.len() || (fresh_first && !self.fresh.is_empty());
            let line = if fresh_next {
                &mut self.fresh
            } else {
                &mut self.round
            };
            let Some(name) = line.pop_front() else { break };
            let before = filling.batch.events.len();
            if self.turn_of(&name, &mut filling) {
                self.round.push_back(name);
            }
            if !fresh_next {
                without = if filling.batch.events.len() == before {
                    without + 1
                } else {
                    0
                };
            }
            fresh_first = !fresh_next;
        }
        (!filling.batch.events.is_empty()).then_some(filling.batch)
    }

    /// An app's turn: so many of its events as fit, and whether more of it wait.
    fn turn_of(&mut self, name: &Arc<str>, filling: &mut Filling<T>) -> bool {
        let Some(app) = self.apps.get_mut(name) else {
            return false;
        };
        for _ in 0..self.limits.turn_events {
            if app.being_routed >= self.limits.app_events || filling.is_full(&self.limits) {
                break;
            }
            let Some(next) = app.waiting.pop_front() else {
                break;
            };
            app.being_routed += 1;
            app.bytes -= next.bytes;
            self.load.events -= 1;
            self.load.bytes -= next.bytes;
            filling.bytes += next.bytes;
            filling.batch.events.push(next.event);
            filling.batch.apps.push(Arc::clone(name));
        }
        !app.waiting.is_empty()
    }

    /// Notes that a batch is no longer being routed: `apps` are those of its events.
    pub(crate) fn ended(&mut self, apps: &[Arc<str>]) {
        for name in apps {
            let Some(app) = self.apps.get_mut(name) else {
                continue;
            };
            app.being_routed = app.being_routed.saturating_sub(1);
            if app.being_routed == 0 && app.waiting.is_empty() {
                self.apps.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        batch_events: 4,
        batch_bytes: 100,
        turn_events: 2,
        app_events: 6,
    };

    fn holding(events: &[(&str, u32)]) -> Turns<u32> {
        let mut turns = Turns::new(LIMITS);
        for (app, number) in events {
            turns.push(app, *number, 10);
        }
        turns
    }

    #[test]
    fn a_quiet_app_waits_for_one_turn_of_a_busy_one() {
        let mut turns = holding(&[
            ("busy", 1),
            ("busy", 2),
            ("busy", 3),
            ("busy", 4),
            ("busy", 5),
            ("quiet", 6),
        ]);
        assert_eq!(turns.take().unwrap().events, [1, 2, 3, 4]);
        assert_eq!(turns.take().unwrap().events, [6, 5]);
        assert!(turns.take().is_none());
        assert_eq!(turns.load(), Load::default());
    }

    #[test]
    fn who_comes_fresh_is_not_behind_those_who_wait() {
        let busy = |from| (from..from + 6).flat_map(|number| [("one", number), ("two", number + 10)]);
        let mut turns = holding(&busy(1).collect::<Vec<_>>());
        assert_eq!(turns.take().unwrap().events, [1, 2, 3, 4]);
        assert_eq!(turns.take().unwrap().events, [11, 12, 5, 6]);
        turns.push("fresh", 90, 10);
        turns.push("other", 91, 10);
        assert_eq!(turns.take().unwrap().events, [90, 13, 14, 91]);
        // Not fresh any more, as long as the first is being routed.
        turns.push("fresh", 92, 10);
        assert_eq!(turns.take().unwrap().events, [15, 16, 92]);
    }

    #[test]
    fn one_app_leaves_room_for_others() {
        let busy: Vec<_> = (0..20).map(|number| ("busy", number)).collect();
        let mut turns = holding(&busy);
        let first = turns.take().unwrap();
        assert_eq!(first.events, [0, 1, 2, 3], "nobody else waits");
        assert_eq!(turns.take().unwrap().events, [4, 5]);
        assert!(turns.take().is_none(), "its share is being routed");
        turns.push("quiet", 99, 10);
        assert_eq!(turns.take().unwrap().events, [99]);
        turns.ended(&first.apps);
        assert_eq!(turns.take().unwrap().events, [6, 7, 8, 9]);
    }

    #[test]
    fn large_payloads_fill_a_batch_sooner() {
        let mut turns = Turns::new(LIMITS);
        for number in 0..4 {
            turns.push("app", number, 60);
        }
        let of_two = Load {
            events: 2,
            bytes: 120,
        };
        assert_eq!(turns.take().unwrap().events, [0, 1]);
        assert_eq!(turns.load(), of_two);
        assert_eq!(
            (turns.load_of("app"), turns.load_of("other")),
            (of_two, Load::default())
        );
    }

    #[test]
    fn nothing_is_remembered_of_apps_that_are_through() {
        let mut turns = holding(&[("one", 1), ("other", 2)]);
        let batch = turns.take().unwrap();
        turns.ended(&batch.apps);
        assert!(turns.apps.is_empty() && turns.round.is_empty() && turns.fresh.is_empty());
    }

    proptest! {
        #[test]
        fn every_event_comes_once_and_in_its_apps_order(
            steps in proptest::collection::vec((0..5_u8, any::<bool>()), 0..200),
        ) {
            let mut turns = Turns::new(LIMITS);
            let mut under_way: Vec<Batch<(u8, usize)>> = Vec::new();
            let mut taken: Vec<(u8, usize)> = Vec::new();
            for (number, (app, take)) in steps.iter().enumerate() {
                turns.push(&app.to_string(), (*app, number), 10);
                if *take && let Some(batch) = turns.take() {
                    prop_assert!(batch.events.len() <= LIMITS.batch_events);
                    taken.extend(&batch.events);
                    under_way.push(batch);
                }
                for app in 0..5 {
                    let routed = under_way.iter().flat_map(|batch| &batch.events);
                    prop_assert!(routed.filter(|event| event.0 == app).count() <= LIMITS.app_events);
                }
                if under_way.len() > 2 {
                    turns.ended(&under_way.remove(0).apps);
                }
            }
            for batch in under_way {
                turns.ended(&batch.apps);
            }
            while let Some(batch) = turns.take() {
                turns.ended(&batch.apps);
                taken.extend(&batch.events);
            }
            prop_assert_eq!(taken.len(), steps.len());
            for app in 0..5 {
                let of_app: Vec<_> = taken.iter().filter(|event| event.0 == app).collect();
                prop_assert!(of_app.is_sorted_by_key(|event| event.1));
            }
        }
    }
}

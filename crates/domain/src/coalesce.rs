//! Coalescing: of thin events about the same thing, which only say that it changed, one that waits stands for all.
//!
//! Owns which events are about the same thing, and when a later delivery takes the place of an earlier one. Guarantees
//! that after the last event about a thing at least one delivery is started that came later: a delivery is only ever left
//! out for one whose event was accepted after its own, and which has arrived or is still to be tried.
//! Refuses to know payloads and who keeps the latest message of each key.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::{AttemptNumber, DeliveryStatus, EventTypeName, MessageId, Series};

/// How long a delivery must have been due before it counts as waiting: where an endpoint keeps up, every event is sent.
pub const WAITING: Duration = Duration::from_secs(1);

/// For each event type that is coalesced, the payload's field that names what an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoalesceFields(HashMap<EventTypeName, String>);

impl CoalesceFields {
    /// The field of `event_type`, if it is coalesced.
    #[must_use]
    pub fn of(&self, event_type: &EventTypeName) -> Option<&str> {
        self.0.get(event_type).map(String::as_str)
    }
}

impl FromIterator<(EventTypeName, String)> for CoalesceFields {
    fn from_iter<T: IntoIterator<Item = (EventTypeName, String)>>(fields: T) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// What an event is about, as a short digest: two events with the same key stand for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CoalesceKey(String);

impl CoalesceKey {
    /// Characters that a key has at most.
    const LENGTH_MAX: usize = 64;

    /// The key in `text`; nothing when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| Self(text.to_owned()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CoalesceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The message of a key that was accepted last, and how its delivery to the endpoint stands; nothing of that is known
/// when the record has forgotten it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// The message.
    pub message: MessageId,
    /// How its delivery stands.
    pub status: Option<DeliveryStatus>,
}

/// Whether a delivery may be left out at all: it waits, because its endpoint fails, is paused or does not keep up. What
/// somebody asked for (resend, recover, replay) is always sent.
#[must_use]
pub fn may_coalesce(series: Series, attempt: AttemptNumber, overdue: Duration) -> bool {
    series == Series(0) && (attempt > AttemptNumber::FIRST || overdue >= WAITING)
}

/// Whether `latest` takes the place of the delivery of `message`: it came later, and has arrived or is still to be tried.
/// One that failed for good takes nobody's place.
#[must_use]
pub fn supersedes(latest: &Latest, message: &MessageId) -> bool {
    let counts = matches!(
        latest.status,
        Some(DeliveryStatus::Pending | DeliveryStatus::Retrying { .. } | DeliveryStatus::Delivered)
    );
    counts && latest.message != *message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::UnixMillis;

    fn message(number: usize) -> MessageId {
        MessageId::parse(&format!("msg_{number}")).unwrap()
    }

    #[test]
    fn only_what_waits_and_nobody_asked_for_is_left_out() {
        let second = AttemptNumber::FIRST.next();
        let cases = [
            (Series(0), AttemptNumber::FIRST, Duration::ZERO, false),
            (Series(0), AttemptNumber::FIRST, WAITING, true),
            (Series(0), second, Duration::ZERO, true),
            (Series(1_700_000_000_000), second, WAITING, false),
        ];
        for (series, attempt, overdue, expected) in cases {
            assert_eq!(
                may_coalesce(series, attempt, overdue),
                expected,
                "{series:?} {attempt:?} {overdue:?}"
            );
        }
    }

    #[test]
    fn one_that_failed_for_good_or_is_forgotten_takes_nobodys_place() {
        let due = UnixMillis(0);
        let cases = [
            (Some(DeliveryStatus::Pending), true),
            (Some(DeliveryStatus::Retrying { due }), true),
            (Some(DeliveryStatus::Delivered), true),
            (Some(DeliveryStatus::Exhausted), false),
            (Some(DeliveryStatus::Disabled), false),
            (Some(DeliveryStatus::Deleted), false),
            (Some(DeliveryStatus::Superseded), false),
            (None, false),
        ];
        for (status, expected) in cases {
            let latest = Latest {
                message: message(2),
                status,
            };
            assert_eq!(supersedes(&latest, &message(1)), expected, "{status:?}");
            assert!(!supersedes(&latest, &message(2)), "itself");
        }
    }

    /// What may happen to the deliveries of one endpoint, in any order.
    #[derive(Debug, Clone)]
    enum Step {
        /// An event about this thing is accepted.
        Accept(u8),
        /// A delivery comes up, whichever this points at, and meets this.
        ComeUp(prop::sample::Index, Met),
    }

    #[derive(Debug, Clone, Copy)]
    enum Met {
        Success,
        Failure,
        LastFailure,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let met = prop_oneof![Just(Met::Success), Just(Met::Failure), Just(Met::LastFailure)];
        let step = prop_oneof![
            (0_u8..3).prop_map(Step::Accept),
            (any::<prop::sample::Index>(), met).prop_map(|(which, met)| Step::ComeUp(which, met)),
        ];
        prop::collection::vec(step, 1..80)
    }

    struct Delivery {
        thing: u8,
        accepted: usize,
        status: DeliveryStatus,
        arrived: Option<usize>,
    }

    #[derive(Default)]
    struct World {
        deliveries: Vec<Delivery>,
        latest: HashMap<u8, usize>,
    }

    impl World {
        fn accept(&mut self, thing: u8, now: usize) {
            self.latest.insert(thing, self.deliveries.len());
            self.deliveries.push(Delivery {
                thing,
                accepted: now,
                status: DeliveryStatus::Pending,
                arrived: None,
            });
        }

        fn come_up(&mut self, number: usize, met: Met, now: usize) {
            let latest = self.latest[&self.deliveries[number].thing];
            let latest = Latest {
                message: message(latest),
                status: Some(self.deliveries[latest].status),
            };
            let delivery = &mut self.deliveries[number];
            delivery.status = if supersedes(&latest, &message(number)) {
                DeliveryStatus::Superseded
            } else {
                match met {
                    Met::Success => {
                        delivery.arrived = Some(now);
                        DeliveryStatus::Delivered
                    }
                    Met::Failure => DeliveryStatus::Retrying { due: UnixMillis(0) },
                    Met::LastFailure => DeliveryStatus::Exhausted,
                }
            };
        }

        fn waiting(&self) -> Vec<usize> {
            let waits = |number: &usize| !self.deliveries[*number].status.is_final();
            (0..self.deliveries.len()).filter(waits).collect()
        }
    }

    proptest! {
        #[test]
        fn after_the_last_event_of_a_key_a_delivery_that_started_later_arrives(steps in steps()) {
            let mut world = World::default();
            let mut now = 0;
            for step in steps {
                now += 1;
                match step {
                    Step::Accept(thing) => world.accept(thing, now),
                    Step::ComeUp(which, met) => {
                        let waiting = world.waiting();
                        if !waiting.is_empty() {
                            world.come_up(waiting[which.index(waiting.len())], met, now);
                        }
                    }
                }
            }
            // The endpoint recovers: whatever waits comes up and succeeds.
            for number in world.waiting() {
                now += 1;
                world.come_up(number, Met::Success, now);
            }
            for (thing, last) in &world.latest {
                let last = &world.deliveries[*last];
                let spent = last.status == DeliveryStatus::Exhausted;
                let of_thing = world.deliveries.iter().filter(|delivery| delivery.thing == *thing);
                let arrived = of_thing.filter_map(|delivery| delivery.arrived).any(|at| at > last.accepted);
                prop_assert!(arrived || spent, "the last event about {thing} was lost");
            }
        }

        #[test]
        fn of_those_that_wait_for_a_recovery_one_of_each_key_is_sent(accepted in prop::collection::vec(0_u8..3, 1..60)) {
            let mut world = World::default();
            for (now, thing) in accepted.iter().enumerate() {
                world.accept(*thing, now);
            }
            for number in world.waiting() {
                world.come_up(number, Met::Success, accepted.len() + number);
            }
            for thing in 0_u8..3 {
                let sent = world.deliveries.iter().filter(|delivery| delivery.thing == thing && delivery.arrived.is_some());
                prop_assert_eq!(sent.count(), usize::from(accepted.contains(&thing)));
            }
        }
    }
}

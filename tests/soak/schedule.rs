//! Which fault comes when: a pure function of the seed.
//!
//! Owns the kinds of faults and their order. Guarantees that one seed is one schedule, that every kind comes once before
//! any comes again, and that there is time to recover between two. Refuses to know how a fault is made.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Before the first fault, and before the end: the load runs undisturbed.
const CALM: Duration = Duration::from_secs(10);
/// Between the end of a fault and the next one.
const RECOVERY_MS: std::ops::Range<u64> = 4_000..8_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    RouterKilled,
    RouterFrozen,
    RouterStopped,
    SenderKilled,
    SenderFrozen,
    SenderStopped,
    ApiKilled,
    BrokerKilled,
    BrokerFrozen,
    BrokerRestarted,
    LaneDeleted,
    RungDeleted,
    ExchangeDeleted,
    RedisKilled,
    RedisFrozen,
    RedisRestarted,
    RedisSlow,
    RedisScriptsFlushed,
    AmqpReset,
    AmqpBlackhole,
    AmqpHalfClosed,
    RedisReset,
    RedisBlackhole,
    EndpointFails,
    EndpointHangs,
    ReceiverDown,
}

impl Fault {
    pub(crate) const ALL: [Self; 26] = [
        Self::RouterKilled,
        Self::RouterFrozen,
        Self::RouterStopped,
        Self::SenderKilled,
        Self::SenderFrozen,
        Self::SenderStopped,
        Self::ApiKilled,
        Self::BrokerKilled,
        Self::BrokerFrozen,
        Self::BrokerRestarted,
        Self::LaneDeleted,
        Self::RungDeleted,
        Self::ExchangeDeleted,
        Self::RedisKilled,
        Self::RedisFrozen,
        Self::RedisRestarted,
        Self::RedisSlow,
        Self::RedisScriptsFlushed,
        Self::AmqpReset,
        Self::AmqpBlackhole,
        Self::AmqpHalfClosed,
        Self::RedisReset,
        Self::RedisBlackhole,
        Self::EndpointFails,
        Self::EndpointHangs,
        Self::ReceiverDown,
    ];

    /// How it is called in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RouterKilled => "router killed",
            Self::RouterFrozen => "router frozen",
            Self::RouterStopped => "router stopped in order",
            Self::SenderKilled => "sender killed",
            Self::SenderFrozen => "sender frozen",
            Self::SenderStopped => "sender stopped in order",
            Self::ApiKilled => "api killed",
            Self::BrokerKilled => "broker killed",
            Self::BrokerFrozen => "broker frozen",
            Self::BrokerRestarted => "broker restarted in order",
            Self::LaneDeleted => "lane deleted",
            Self::RungDeleted => "rung deleted",
            Self::ExchangeDeleted => "exchange deleted",
            Self::RedisKilled => "redis killed",
            Self::RedisFrozen => "redis frozen",
            Self::RedisRestarted => "redis restarted in order",
            Self::RedisSlow => "redis slow by 500 ms",
            Self::RedisScriptsFlushed => "redis scripts flushed",
            Self::AmqpReset => "amqp connections reset",
            Self::AmqpBlackhole => "amqp blackhole",
            Self::AmqpHalfClosed => "amqp half-closed",
            Self::RedisReset => "redis connections reset",
            Self::RedisBlackhole => "redis blackhole",
            Self::EndpointFails => "endpoint answers 500",
            Self::EndpointHangs => "endpoint hangs",
            Self::ReceiverDown => "receiver down",
        }
    }

    /// The fault that is called so in the report.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| format!("expected one of: {}", Self::ALL.map(Self::name).join(", ")))
    }

    /// For how long it may last, in milliseconds.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::AmqpReset | Self::AmqpHalfClosed | Self::RedisReset | Self::RedisScriptsFlushed => 1..2,
            Self::LaneDeleted | Self::RungDeleted | Self::ExchangeDeleted => 1..2,
            Self::RouterStopped | Self::SenderStopped | Self::BrokerRestarted | Self::RedisRestarted => 1..2,
            _ => 500..6_000,
        }
    }
}

/// One fault of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    /// When it begins, at the earliest: recovery from the one before may take longer.
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// Which of several it strikes.
    pub(crate) which: usize,
}

/// The faults of a soak of this length, of these kinds.
pub(crate) fn schedule(seed: u64, length: Duration, kinds: &[Fault]) -> Vec<Planned> {
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut planned, mut at) = (Vec::new(), CALM);
    loop {
        let mut round = kinds.to_vec();
        round.shuffle(&mut dice);
        for fault in round {
            let lasts = Duration::from_millis(dice.random_range(fault.lasts()));
            let which = dice.random_range(0..2);
            let recovery = Duration::from_millis(dice.random_range(RECOVERY_MS));
            if at + lasts + CALM > length {
                return planned;
            }
            planned.push(Planned {
                at,
                fault,
                lasts,
                which,
            });
            at += lasts + recovery;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

    #[test]
    fn one_seed_is_one_schedule() {
        assert_eq!(
            schedule(7, HALF_AN_HOUR, &Fault::ALL),
            schedule(7, HALF_AN_HOUR, &Fault::ALL)
        );
        assert_ne!(
            schedule(7, HALF_AN_HOUR, &Fault::ALL),
            schedule(8, HALF_AN_HOUR, &Fault::ALL)
        );
        let short = schedule(7, HALF_AN_HOUR / 3, &Fault::ALL);
        assert_eq!(
            short,
            schedule(7, HALF_AN_HOUR, &Fault::ALL)[..short.len()],
            "a shorter one is its beginning"
        );
    }

    #[test]
    fn half_an_hour_has_a_hundred_faults_of_every_kind_and_time_between_them() {
        for seed in 0..20 {
            let planned = schedule(seed, HALF_AN_HOUR, &Fault::ALL);
            assert!(planned.len() >= 100, "{} faults", planned.len());
            for fault in Fault::ALL {
                assert!(
                    planned.iter().any(|planned| planned.fault == fault),
                    "no {}",
                    fault.name()
                );
            }
            for pair in planned.windows(2) {
                assert!(pair[1].at >= pair[0].at + pair[0].lasts + Duration::from_secs(4));
            }
        }
    }

    #[test]
    fn a_fault_may_come_alone() {
        let only = [Fault::named("sender frozen").unwrap()];
        let planned = schedule(7, HALF_AN_HOUR, &only);
        assert!(planned.len() > 100 && planned.iter().all(|planned| planned.fault == Fault::SenderFrozen));
        assert!(Fault::named("sunshine").unwrap_err().contains("sender frozen"));
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Ok(fault));
        }
    }
}

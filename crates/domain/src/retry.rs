//! The retry policy: how long to wait after which attempt, and how often.
//!
//! Owns the exponential schedule, its jitter and the ladder of rungs that carries it.
//! Guarantees that a delay is never shorter than its rung, never longer than the ceiling plus jitter, and never falls.
//! Refuses to know dice: the jitter comes in as a step.

use std::time::Duration;

use crate::AttemptNumber;

/// How many delays a rung is spread over: each is a wait queue of its own, so that no message waits behind a later one.
pub const JITTER_STEPS: u8 = 4;
/// The longest that an endpoint's `Retry-After` is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How much longer than its schedule a delivery may live, because of `Retry-After`, pauses and outages.
const BUDGET_GRACE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Most attempts that a policy may allow.
const ATTEMPTS_MAX: u16 = 100;
/// Waits for what `Retry-After` asks for, in seconds, beside the schedule's own.
const ASKED_SECONDS: [u64; 17] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400,
];

/// Which of the [`JITTER_STEPS`] delays of a rung to take; drawn at random by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jitter(u8);

impl Jitter {
    /// The shortest delay of the rung: the schedule itself.
    pub const NONE: Self = Self(0);
    /// The longest delay of the rung.
    pub const FULL: Self = Self(JITTER_STEPS - 1);

    /// The step that any random number falls on.
    #[must_use]
    pub fn from_random(random: u32) -> Self {
        Self((random % u32::from(JITTER_STEPS)) as u8)
    }
}

/// Why a retry policy is not one.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RetryPolicyError {
    /// The first delay is shorter than a millisecond.
    #[error("the first delay must be at least 1 ms")]
    First,
    /// The factor is below one or not a number.
    #[error("the factor must be a number from 1 to 100")]
    Factor,
    /// The ceiling is below the first delay or above what is kept.
    #[error("the ceiling must lie between the first delay and 7 days")]
    Ceiling,
    /// No attempts, or too many.
    #[error("the number of attempts must lie between 1 and {ATTEMPTS_MAX}")]
    Attempts,
    /// The jitter is not a share.
    #[error("the jitter must be a number from 0 to 1")]
    Jitter,
}

/// How long to wait after which attempt, and how often: first, first × factor, first × factor² … up to a ceiling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    first: Duration,
    factor: f64,
    ceiling: Duration,
    attempts: u16,
    jitter: f64,
}

impl Default for RetryPolicy {
    /// 11 attempts over some 78 hours: 5 s, 20 s, 80 s … 24 h.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 4.0,
            ceiling: Duration::from_secs(24 * 3_600),
            attempts: 11,
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// A policy of `attempts` attempts whose delays grow from `first` by `factor` up to `ceiling`, each stretched by up
    /// to the share `jitter`.
    ///
    /// # Errors
    /// Names the first argument that is out of its range.
    pub fn try_new(
        first: Duration,
        factor: f64,
        ceiling: Duration,
        attempts: u16,
        jitter: f64,
    ) -> Result<Self, RetryPolicyError> {
        if first < Duration::from_millis(1) {
            return Err(RetryPolicyError::First);
        }
        if !(1.0..=100.0).contains(&factor) {
            return Err(RetryPolicyError::Factor);
        }
        if ceiling < first || ceiling > Duration::from_secs(7 * 24 * 3_600) {
            return Err(RetryPolicyError::Ceiling);
        }
        if !(1..=ATTEMPTS_MAX).contains(&attempts) {
            return Err(RetryPolicyError::Attempts);
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(RetryPolicyError::Jitter);
        }
        Ok(Self {
            first,
            factor,
            ceiling,
            attempts,
            jitter,
        })
    }

    /// The most attempts of one run.
    #[must_use]
    pub fn attempts(&self) -> u16 {
        self.attempts
    }

    /// The longest delay, without jitter.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        self.ceiling
    }

    /// How long to wait after `attempt` failed; nothing when it was the last one.
    #[must_use]
    pub fn delay_after(&self, attempt: AttemptNumber, jitter: Jitter) -> Option<Duration> {
        (attempt.number() < self.attempts).then(|| self.stretched(self.rung(attempt), jitter))
    }

    /// How long the whole schedule takes without jitter.
    #[must_use]
    pub fn total(&self) -> Duration {
        (1..self.attempts)
            .filter_map(AttemptNumber::nth)
            .map(|attempt| self.rung(attempt))
            .sum()
    }

    /// How long after its first attempt a delivery may be tried at all.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.total().mul_f64(1.0 + self.jitter) + BUDGET_GRACE
    }

    /// Every delay that the schedule can ask for, ascending and without repetition: the wait queues of the ladder.
    #[must_use]
    pub fn rungs(&self) -> Vec<Duration> {
        let mut rungs: Vec<_> = (1..self.attempts)
            .filter_map(AttemptNumber::nth)
            .flat_map(|attempt| (0..JITTER_STEPS).map(move |step| (attempt, Jitter(step))))
            .filter_map(|(attempt, jitter)| self.delay_after(attempt, jitter))
            .collect();
        rungs.sort_unstable();
        rungs.dedup();
        rungs
    }

    /// The wait queue for `delay`: the shortest one that is not early, of the schedule's own and of those kept for
    /// `Retry-After`.
    #[must_use]
    pub fn rung_for(&self, delay: Duration) -> Duration {
        let delay =
            Duration::from_millis(u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        let asked = ASKED_SECONDS.into_iter().map(Duration::from_secs);
        let longest = RETRY_AFTER_MAX.max(self.stretched(self.ceiling, Jitter::FULL));
        asked
            .chain(self.rungs())
            .filter(|rung| *rung >= delay)
            .min()
            .unwrap_or(longest)
    }

    fn rung(&self, attempt: AttemptNumber) -> Duration {
        let grown = self.first.as_secs_f64() * self.factor.powi(i32::from(attempt.number()) - 1);
        whole_millis(grown.min(self.ceiling.as_secs_f64()))
    }

    fn stretched(&self, rung: Duration, Jitter(step): Jitter) -> Duration {
        let share = self.jitter * f64::from(step) / f64::from(JITTER_STEPS - 1);
        whole_millis(rung.as_secs_f64() * (1.0 + share))
    }
}

/// Rounds up to a whole millisecond, which is what a queue's time to live can say; forgives the last bits of a float.
fn whole_millis(seconds: f64) -> Duration {
    Duration::from_millis((seconds * 1_000.0 - 1e-6).ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = RetryPolicy> {
        (
            1_u64..100_000,
            1.0_f64..10.0,
            0_u64..100_000_000,
            1_u16..=30,
            0.0_f64..=1.0,
        )
            .prop_filter_map("a valid policy", |(first, factor, above, attempts, jitter)| {
                let first = Duration::from_millis(first);
                let ceiling = first + Duration::from_millis(above);
                RetryPolicy::try_new(first, factor, ceiling, attempts, jitter).ok()
            })
    }

    fn attempts(policy: &RetryPolicy) -> impl Iterator<Item = AttemptNumber> + use<> {
        (1..=policy.attempts() + 1).filter_map(AttemptNumber::nth)
    }

    #[test]
    fn the_default_schedule_is_the_documented_one() {
        let policy = RetryPolicy::default();
        let seconds: Vec<_> = attempts(&policy)
            .filter_map(|attempt| policy.delay_after(attempt, Jitter::NONE))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(
            seconds,
            [5, 20, 80, 320, 1_280, 5_120, 20_480, 81_920, 86_400, 86_400]
        );
        assert_eq!(policy.total().as_secs() / 3_600, 78);
    }

    #[test]
    fn a_policy_out_of_range_names_the_argument() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
        let cases = [
            (
                RetryPolicy::try_new(Duration::ZERO, 2.0, hour, 3, 0.2),
                RetryPolicyError::First,
            ),
            (
                RetryPolicy::try_new(second, 0.5, hour, 3, 0.2),
                RetryPolicyError::Factor,
            ),
            (
                RetryPolicy::try_new(second, f64::NAN, hour, 3, 0.2),
                RetryPolicyError::Factor,
            ),
            (
                RetryPolicy::try_new(hour, 2.0, second, 3, 0.2),
                RetryPolicyError::Ceiling,
            ),
            (
                RetryPolicy::try_new(second, 2.0, hour, 0, 0.2),
                RetryPolicyError::Attempts,
            ),
            (
                RetryPolicy::try_new(second, 2.0, hour, 101, 0.2),
                RetryPolicyError::Attempts,
            ),
            (
                RetryPolicy::try_new(second, 2.0, hour, 3, -0.1),
                RetryPolicyError::Jitter,
            ),
        ];
        for (policy, error) in cases {
            assert_eq!(policy.unwrap_err(), error);
        }
    }

    #[test]
    fn what_retry_after_asks_for_finds_a_rung_that_is_not_early_and_not_twice_as_late() {
        let policy = RetryPolicy::default();
        for seconds in [1, 3, 7, 59, 60, 61, 100, 400, 2_000, 5_000, 50_000, 86_400] {
            let asked = Duration::from_secs(seconds);
            let rung = policy.rung_for(asked);
            assert!(
                rung >= asked && rung <= asked.mul_f64(2.5),
                "{asked:?} waits {rung:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_delay_is_never_early_never_above_the_ceiling_with_jitter_and_never_falls(policy in policies()) {
            let mut before = Duration::ZERO;
            for attempt in attempts(&policy) {
                let Some(shortest) = policy.delay_after(attempt, Jitter::NONE) else { continue };
                let longest = policy.delay_after(attempt, Jitter::FULL).unwrap();
                prop_assert!(shortest >= before, "{shortest:?} after {before:?}");
                prop_assert!(shortest <= longest);
                let limit = policy.ceiling.mul_f64(1.0 + policy.jitter) + Duration::from_millis(1);
                prop_assert!(longest <= limit, "{longest:?} above {limit:?}");
                before = shortest;
            }
        }

        #[test]
        fn the_budget_allows_exactly_the_configured_attempts(policy in policies()) {
            let retries = attempts(&policy).filter(|a| policy.delay_after(*a, Jitter::NONE).is_some()).count();
            prop_assert_eq!(retries, usize::from(policy.attempts()) - 1);
        }

        #[test]
        fn every_delay_of_the_schedule_is_a_rung_of_its_own(policy in policies(), random: u32) {
            let rungs = policy.rungs();
            prop_assert!(rungs.is_sorted());
            for attempt in attempts(&policy) {
                let Some(delay) = policy.delay_after(attempt, Jitter::from_random(random)) else { continue };
                prop_assert!(rungs.binary_search(&delay).is_ok());
                prop_assert!(policy.rung_for(delay) == delay);
            }
        }

        #[test]
        fn no_rung_is_early(policy in policies(), asked in 0_u64..86_400_000) {
            let asked = Duration::from_millis(asked);
            prop_assert!(policy.rung_for(asked) >= asked);
        }
    }
}

//! The lane: how many deliveries of one endpoint may be under way, and when the next may start.
//!
//! Owns the breaker, the adaptive concurrency and the pace of one endpoint's queue, as one state machine that is told
//! outcomes and asked for permission. Guarantees that an endpoint that keeps failing costs one request at a time.
//! Refuses to know clocks and queues: time comes in as milliseconds since any fixed moment.
//!
//! Additive increase and multiplicative decrease as in Chiu and Jain, "Analysis of the Increase and Decrease Algorithms
//! for Congestion Avoidance", 1989; the breaker as in Nygard, "Release It!", 2007.

use std::time::Duration;

use crate::Outcome;

/// Deliveries under way at most before the endpoint has answered well once. Each success adds one, so that an endpoint
/// that answers has its full share at once, and what hangs or floods costs one request.
const UNPROVEN_LIMIT: u32 = 1;
/// Failures in a row, with nothing but failures between them, that open the breaker.
const FAILURES_TO_OPEN: u32 = 10;
/// The first pause between probes; it doubles with each that fails.
const PROBE_PAUSE_FIRST: Duration = Duration::from_millis(100);

/// Whether the endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breaker {
    /// It does, or nothing is known against it.
    Closed,
    /// It kept failing: one delivery at a time probes it.
    Open,
}

/// Whether the next delivery may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Start,
    /// When one that is under way has ended.
    AfterOutcome,
    /// Not before then, in the caller's milliseconds.
    NotBefore(u64),
}

/// Limits of a lane, from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Deliveries under way at most.
    pub concurrency: u32,
    /// The longest pause between probes while the breaker is open.
    pub probe_pause_max: Duration,
    /// The shortest time between two starts, from the throttle rate; none for no limit.
    pub start_interval: Option<Duration>,
}

/// The state of one endpoint's queue in one sender.
#[derive(Debug, Clone)]
pub struct Lane {
    limits: LaneLimits,
    under_way: u32,
    /// In hundredths, so that additive increase can be slower than one per success.
    limit_hundredths: u32,
    proven: bool,
    failures: u32,
    breaker: Breaker,
    probe_pause: Duration,
    not_before: u64,
    next_paced_start_micros: u64,
}

impl Lane {
    /// A lane of which nothing is known yet.
    #[must_use]
    pub fn new(limits: LaneLimits) -> Self {
        Self {
            limits,
            under_way: 0,
            limit_hundredths: UNPROVEN_LIMIT * 100,
            proven: false,
            failures: 0,
            breaker: Breaker::Closed,
            probe_pause: PROBE_PAUSE_FIRST,
            not_before: 0,
            next_paced_start_micros: 0,
        }
    }

    /// Takes over changed limits, and keeps what is known of the endpoint.
    pub fn adjust(&mut self, limits: LaneLimits) {
        self.limits = limits;
        self.limit_hundredths = self.limit_hundredths.min(limits.concurrency.max(1) * 100);
    }

    /// Whether the next delivery may start at `now`.
    #[must_use]
    pub fn permission(&self, now: u64) -> Permission {
        if self.under_way >= self.limit() {
            return Permission::AfterOutcome;
        }
        let paced = self
            .limits
            .start_interval
            .map_or(0, |_| self.next_paced_start_micros.div_ceil(1_000));
        let probe = if self.breaker == Breaker::Open {
            self.not_before
        } else {
            0
        };
        match paced.max(probe) {
            at if at > now => Permission::NotBefore(at),
            _ => Permission::Start,
        }
    }

    /// Notes that a delivery starts at `now`.
    pub fn started(&mut self, now: u64) {
        self.under_way += 1;
        if let Some(interval) = self.limits.start_interval {
            let micros = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
            // Up to one interval of lateness is made up for, so that the rate holds on average.
            let base = self
                .next_paced_start_micros
                .max((now * 1_000).saturating_sub(micros));
            self.next_paced_start_micros = base.saturating_add(micros);
        }
    }

    /// Notes that a delivery that had started ended without an attempt.
    pub fn skipped(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Notes that a delivery that had started met `outcome` at `now`.
    pub fn ended(&mut self, outcome: &Outcome, now: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        match outcome {
            Outcome::Accepted(_) => self.succeeded(),
            _ => self.failed(outcome, now),
        }
    }

    /// Whether the endpoint answered well since it last failed.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether the endpoint answers.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// Deliveries that may be under way at once, now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        match self.breaker {
            Breaker::Open => 1,
            Breaker::Closed => (self.limit_hundredths / 100).clamp(1, self.limits.concurrency.max(1)),
        }
    }

    /// Deliveries under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way
    }

    fn succeeded(&mut self) {
        if self.breaker == Breaker::Open {
            self.breaker = Breaker::Closed;
            self.limit_hundredths = 100;
        }
        self.proven = true;
        self.failures = 0;
        self.probe_pause = PROBE_PAUSE_FIRST;
        let ceiling = self.limits.concurrency.max(1) * 100;
        self.limit_hundredths = (self.limit_hundredths + 100).min(ceiling);
    }

    fn failed(&mut self, outcome: &Outcome, now: u64) {
        self.proven = false;
        self.failures = self.failures.saturating_add(1);
        let overloaded = matches!(
            outcome,
            Outcome::TimedOut(_)
                | Outcome::Refused {
                    status: 429 | 503,
                    ..
                }
        );
        if overloaded {
            self.limit_hundredths = (self.limit_hundredths / 2).max(100);
        }
        if self.failures < FAILURES_TO_OPEN {
            return;
        }
        if self.breaker == Breaker::Open {
            self.probe_pause = (self.probe_pause * 2).min(self.limits.probe_pause_max);
        }
        self.breaker = Breaker::Open;
        let pause = self.probe_pause.min(self.limits.probe_pause_max);
        self.not_before = now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Phase;

    const OK: Outcome = Outcome::Accepted(200);
    const TIMED_OUT: Outcome = Outcome::TimedOut(Phase::Response);
    const FAILED: Outcome = Outcome::Refused {
        status: 500,
        retry_after: None,
    };

    fn limits(concurrency: u32) -> LaneLimits {
        LaneLimits {
            concurrency,
            probe_pause_max: Duration::from_secs(5),
            start_interval: None,
        }
    }

    fn after(outcomes: &[Outcome]) -> Lane {
        let mut lane = Lane::new(limits(16));
        for outcome in outcomes {
            lane.started(0);
            lane.ended(outcome, 0);
        }
        lane
    }

    #[test]
    fn a_new_lane_starts_low_and_grows_with_each_success() {
        assert_eq!(Lane::new(limits(16)).limit(), 1);
        assert_eq!(after(&[OK]).limit(), 2);
        assert_eq!(after(&vec![OK; 50]).limit(), 16);
        assert_eq!(Lane::new(limits(1)).limit(), 1);
    }

    #[test]
    fn time_outs_halve_the_limit_and_errors_do_not() {
        let mut outcomes = vec![OK; 50];
        outcomes.push(TIMED_OUT);
        assert_eq!(after(&outcomes).limit(), 8);
        outcomes.push(FAILED);
        assert_eq!(after(&outcomes).limit(), 8);
    }

    #[test]
    fn an_endpoint_that_keeps_failing_is_probed_one_at_a_time_with_growing_pauses() {
        let mut lane = after(&vec![FAILED; 10]);
        assert_eq!((lane.breaker(), lane.limit()), (Breaker::Open, 1));
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let Permission::NotBefore(at) = lane.permission(now) else {
                panic!("a probe waits")
            };
            pauses.push(at - now);
            now = at;
            assert_eq!(lane.permission(now), Permission::Start);
            lane.started(now);
            assert_eq!(lane.permission(now), Permission::AfterOutcome);
            lane.ended(&FAILED, now);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn recovery_is_a_ramp() {
        let mut lane = after(&vec![FAILED; 20]);
        lane.started(60_000);
        lane.ended(&OK, 60_000);
        assert_eq!(
            (lane.breaker(), lane.limit(), lane.is_proven()),
            (Breaker::Closed, 2, true)
        );
        lane.started(60_000);
        lane.ended(&OK, 60_000);
        assert_eq!(lane.limit(), 3);
    }

    #[test]
    fn one_failing_message_never_waits_for_a_probe_once_its_retry_is_due() {
        let mut lane = Lane::new(limits(16));
        let mut now = 0;
        for _ in 0..30 {
            assert_eq!(lane.permission(now), Permission::Start);
            lane.started(now);
            lane.ended(&FAILED, now);
            now += 5_000;
        }
    }

    proptest! {
        #[test]
        fn a_throttled_lane_keeps_its_rate(rate in 1_u64..500, busy in proptest::collection::vec(0_u64..50, 1..400)) {
            let interval = Duration::from_micros(1_000_000 / rate);
            let mut lane = Lane::new(LaneLimits { start_interval: Some(interval), ..limits(1_000) });
            let (mut now, mut starts) = (10_000_u64, 0_u64);
            for wait in busy {
                now += wait;
                while lane.permission(now) == Permission::Start {
                    lane.started(now);
                    lane.ended(&OK, now);
                    starts += 1;
                }
            }
            let allowed = (now - 10_000) * rate / 1_000 + 3;
            prop_assert!(starts <= allowed, "{starts} starts, {allowed} allowed");
        }

        #[test]
        fn what_is_under_way_never_exceeds_the_limit(steps in proptest::collection::vec(0_u8..4, 0..300)) {
            let mut lane = Lane::new(limits(16));
            let mut now = 0;
            for step in steps {
                now += 50;
                match step {
                    0 | 1 if lane.permission(now) == Permission::Start => {
                        lane.started(now);
                        prop_assert!(lane.under_way() <= lane.limit());
                    }
                    2 if lane.under_way() > 0 => lane.ended(&OK, now),
                    3 if lane.under_way() > 0 => lane.ended(&TIMED_OUT, now),
                    _ => {}
                }
                prop_assert!((1..=16).contains(&lane.limit()));
            }
        }
    }
}

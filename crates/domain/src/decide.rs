//! The verdict: what follows from an attempt.
//!
//! Owns the one place where it is decided whether and when a delivery is tried again.

use std::time::Duration;

use crate::retry::RETRY_AFTER_MAX;
use crate::{AttemptNumber, Jitter, Outcome, RetryPolicy};

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done: a 2xx came.
    Delivered,
    /// Wait, then try again.
    RetryIn(Duration),
    /// The endpoint is gone: disable it, the delivery failed for good.
    DisableEndpoint,
    /// The budget is spent: the delivery failed for good.
    Exhausted,
}

/// What follows from the `attempt`-th attempt having met `outcome`.
///
/// The delay is the policy's, stretched by `jitter`, and at least what the endpoint asked for by `Retry-After` (at most
/// 24 hours of it).
#[must_use]
pub fn decide(policy: &RetryPolicy, attempt: AttemptNumber, outcome: &Outcome, jitter: Jitter) -> Verdict {
    let asked = match outcome {
        Outcome::Accepted(_) => return Verdict::Delivered,
        Outcome::Gone => return Verdict::DisableEndpoint,
        Outcome::Refused { retry_after, .. } => retry_after.unwrap_or(Duration::ZERO),
        Outcome::TimedOut(_) | Outcome::Unreachable(_) => Duration::ZERO,
    };
    match policy.delay_after(attempt, jitter) {
        Some(delay) => Verdict::RetryIn(delay.max(asked.min(RETRY_AFTER_MAX))),
        None => Verdict::Exhausted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Phase, Reason};

    fn after(attempt: u16, outcome: &Outcome) -> Verdict {
        decide(
            &RetryPolicy::default(),
            AttemptNumber::nth(attempt).unwrap(),
            outcome,
            Jitter::NONE,
        )
    }

    fn refused(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Refused {
            status,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn in_seconds(seconds: u64) -> Verdict {
        Verdict::RetryIn(Duration::from_secs(seconds))
    }

    #[test]
    fn every_outcome_has_its_verdict() {
        let cases = [
            (1, Outcome::Accepted(200), Verdict::Delivered),
            (11, Outcome::Accepted(299), Verdict::Delivered),
            (1, Outcome::Gone, Verdict::DisableEndpoint),
            (11, Outcome::Gone, Verdict::DisableEndpoint),
            (1, refused(500, None), in_seconds(5)),
            (2, refused(302, None), in_seconds(20)),
            (3, Outcome::TimedOut(Phase::Response), in_seconds(80)),
            (4, Outcome::TimedOut(Phase::Connect), in_seconds(320)),
            (5, Outcome::Unreachable(Reason::Dns), in_seconds(1_280)),
            (10, refused(400, None), in_seconds(86_400)),
            (11, refused(500, None), Verdict::Exhausted),
            (12, refused(500, None), Verdict::Exhausted),
            (1, refused(429, Some(60)), in_seconds(60)),
            (4, refused(503, Some(60)), in_seconds(320)),
            (1, refused(503, Some(1_000_000)), in_seconds(86_400)),
            (11, refused(429, Some(60)), Verdict::Exhausted),
        ];
        for (attempt, outcome, verdict) in cases {
            assert_eq!(
                after(attempt, &outcome),
                verdict,
                "attempt {attempt} met {outcome}"
            );
        }
    }
}

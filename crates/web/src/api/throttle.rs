//! How many requests a token may make, and how many wrong tokens an address may try.
//!
//! Owns two rates per process. Guarantees that an address that guesses is answered with 429 after a while, whatever it
//! tries, and that it does not shut out those who have a token. Refuses to know tokens: it is told who calls.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Requests a second for which an admin's token is good, by default.
pub const ADMIN_REQUESTS_PER_SECOND: u32 = 10_000;
/// Requests a second for which an app's token is good, by default.
pub const APP_REQUESTS_PER_SECOND: u32 = 100;
/// Wrong tokens that one address may try in a row.
pub const WRONG_TOKENS_BURST: u32 = 100;
/// Wrong tokens that one address may try each second after that.
pub const WRONG_TOKENS_PER_SECOND: u32 = 5;
/// Callers that are remembered before those that have been quiet are forgotten.
const KEYS_BEFORE_SWEEP: usize = 10_000;

/// How many requests a second each kind of caller may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// An admin's token.
    pub admin: u32,
    /// An app's token.
    pub app: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            admin: ADMIN_REQUESTS_PER_SECOND,
            app: APP_REQUESTS_PER_SECOND,
        }
    }
}

pub(crate) struct Throttle {
    admin: DefaultKeyedRateLimiter<String>,
    app: DefaultKeyedRateLimiter<String>,
    wrong: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Throttle {
    pub(crate) fn new(rates: Rates) -> Self {
        // A burst of two seconds' worth.
        let quota = |rate: u32| {
            let rate = at_least_one(rate);
            Quota::per_second(rate).allow_burst(rate.saturating_add(rate.get()))
        };
        let wrong = Quota::per_second(at_least_one(WRONG_TOKENS_PER_SECOND))
            .allow_burst(at_least_one(WRONG_TOKENS_BURST));
        Self {
            admin: RateLimiter::keyed(quota(rates.admin)),
            app: RateLimiter::keyed(quota(rates.app)),
            wrong: RateLimiter::keyed(wrong),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a request of the admin's token with that id.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn admin(&self, token: &str) -> Result<(), Duration> {
        self.count(&self.admin, &token.to_owned())
    }

    /// Counts a request of the app's token with that id.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn app(&self, token: &str) -> Result<(), Duration> {
        self.count(&self.app, &token.to_owned())
    }

    /// Counts a wrong token, or none at all, from that address.
    ///
    /// # Errors
    /// How long to wait.
    pub(crate) fn wrong(&self, from: IpAddr) -> Result<(), Duration> {
        self.count(&self.wrong, &from)
    }

    fn count<K: std::hash::Hash + Eq + Clone>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Result<(), Duration> {
        if limiter.len() > KEYS_BEFORE_SWEEP {
            limiter.retain_recent();
        }
        limiter
            .check_key(key)
            .map_err(|refused| refused.wait_time_from(self.clock.now()))
    }
}

fn at_least_one(rate: u32) -> NonZeroU32 {
    NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_own_rate_and_a_wait_is_told() {
        let throttle = Throttle::new(Rates { admin: 2, app: 1 });
        assert!((0..4).all(|_| throttle.admin("a").is_ok()));
        let wait = throttle.admin("a").unwrap_err();
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        assert!(throttle.admin("b").is_ok(), "another token is not held up");
        assert!(throttle.app("a").is_ok(), "nor is one of another kind");
    }

    #[test]
    fn a_thousand_guesses_are_stopped() {
        let throttle = Throttle::new(Rates::default());
        let from = IpAddr::from([192, 0, 2, 1]);
        let passed = (0..1_000).filter(|_| throttle.wrong(from).is_ok()).count();
        assert!((100..200).contains(&passed), "{passed}");
        assert!(throttle.wrong(IpAddr::from([192, 0, 2, 2])).is_ok());
    }
}

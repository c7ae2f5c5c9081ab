//! Bounded polling.
//!
//! Owns the only way in which a test waits for something it cannot be told of. Guarantees an end: what does not
//! happen in time panics with what was waited for.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Enough for anything that happens at once, on a machine that is busy with other tests.
pub const SHORT: Duration = Duration::from_secs(20);

/// Enough for a broker to come back, or for a short ladder to be climbed.
pub const LONG: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until `look` finds something, and returns it.
///
/// # Panics
/// When nothing is found within the time, naming `what`.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut look: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        sleep(PAUSE).await;
    }
}

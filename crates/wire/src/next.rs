//! The next version, as a test of a roll needs one: a version of one more, and a field that this version does not know.
//!
//! Guarantees that without the feature `next`, which only builds for tests have, nothing is ever written so.

/// The field that the next version adds, to the headers of deliveries and to the records of apps and endpoints.
const FIELD: &str = "nuncio-next";

#[cfg(feature = "next")]
static AHEAD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// From now on this process writes what the next version would.
#[cfg(feature = "next")]
pub fn go_ahead() {
    AHEAD.store(true, std::sync::atomic::Ordering::SeqCst);
}

#[cfg(feature = "next")]
fn is_ahead() -> bool {
    AHEAD.load(std::sync::atomic::Ordering::SeqCst)
}

#[cfg(not(feature = "next"))]
const fn is_ahead() -> bool {
    false
}

/// The version to write where `current` is this one's.
pub(crate) fn version(current: u8) -> u8 {
    current + u8::from(is_ahead())
}

/// The fields to write beside those of this version.
pub(crate) fn fields() -> impl Iterator<Item = (&'static str, &'static str)> {
    is_ahead().then_some((FIELD, "of the next version")).into_iter()
}

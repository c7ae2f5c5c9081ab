//! One clock for all processes of a benchmark.
//!
//! Owns the reading of the kernel's monotonic clock, which counts alike for every process: what one process sent and
//! another received can be subtracted. Refuses to know dates, except for naming a report.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the kernel's monotonic clock.
pub(crate) fn now_ns() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Seconds since 1970, for the name of a report.
pub(crate) fn unix_seconds() -> u64 {
    nanos(ClockId::Realtime) / 1_000_000_000
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

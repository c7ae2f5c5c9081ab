//! The store on real servers: a private Redis for all tests, and more for those that kill, freeze, empty or cluster it.

#![expect(clippy::unwrap_used, reason = "a test whose stage cannot be set has failed")]

mod claims;
mod configuration;
mod directory;
mod faults;
mod idempotency;
mod in_doubt;
mod lists;
mod losses;
mod putting_back;
mod records;
mod replays;
mod support;
mod topology;

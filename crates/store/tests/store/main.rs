//! The store on real servers: a private Redis for all tests, and more for those that kill, freeze, empty or cluster it.

mod claims;
mod configuration;
mod directory;
mod faults;
mod lists;
mod records;
mod support;
mod topology;

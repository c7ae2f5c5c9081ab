//! What every role needs before it can do its own work: configuration, telemetry, health, time, dice, an orderly end.
//!
//! Owns the configuration's keys, the tracing and metrics set-up, the `/metrics`, `/livez` and `/readyz` server, the
//! [`Clock`], the [`Dice`] and the [`Lifecycle`] that every task belongs to.
//! Guarantees that all mistakes of a configuration are told at once, that no secret is printed, and that a process told
//! to stop ends within its deadline.
//! Refuses to know RabbitMQ, Redis, HTTP endpoints and every other crate of the workspace.

pub mod clock;
pub mod config;
pub mod dice;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod process;
pub mod telemetry;

pub use clock::{Clock, SettableClock};
pub use config::{Config, ConfigArgs, ConfigError, ConnectUrl};
pub use dice::Dice;
pub use health::Health;
pub use lifecycle::{Ending, Lifecycle, Signals};
pub use metrics::Metrics;

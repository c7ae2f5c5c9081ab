//! Support for end-to-end tests: real servers, the real binary, and receivers that record.
//!
//! Owns every process and port that a test needs. Guarantees that nothing outlives the test process, however that
//! ends, and that tests in one process and in several run side by side: each [`Deployment`] has its own namespace.
//! Refuses to know what Nuncio is made of: it speaks AMQP, HTTP and signals, as an outsider would.

pub mod api;
pub mod broker;
pub mod certificates;
pub mod collector;
pub mod deployment;
pub mod dns;
pub mod eventually;
pub mod hostile;
pub mod nuncio;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod publisher;
pub mod receiver;
pub mod redis;
mod server;
pub mod tools;

pub use api::{ApiClient, Reply};
pub use broker::Broker;
pub use collector::Collector;
pub use deployment::Deployment;
pub use eventually::{LONG, SHORT, eventually};
pub use hostile::{Hostile, Manner};
pub use nuncio::Nuncio;
pub use proxy::{FaultProxy, Mode};
pub use publisher::{Event, Publisher};
pub use receiver::{Answer, Received, Receiver};
pub use redis::Redis;

/// Makes ring the process's TLS provider; harmless to call again.
pub fn install_tls_provider() {
    // The only error is that one is installed already, by whoever was first.
    drop(rustls::crypto::ring::default_provider().install_default());
}

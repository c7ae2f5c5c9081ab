//! RabbitMQ for Nuncio: topology, connections that come back, publisher confirms and acknowledgements.
//!
//! Owns the spelling and the arguments of every exchange and queue, one supervised connection for publishing and one
//! for consuming, the resending of what was not confirmed, and the batching of acknowledgements. The only user of
//! lapin. A process has three connections to RabbitMQ at most, for a moment four: questions and declarations have one of
//! their own beside the one that consumes, which is replaced after many refusals.
//! Guarantees that a publish is reported as done only after the broker confirmed it and did not return it; that an
//! acknowledgement never reaches another channel than the one its message came from; that a consumer subscribes again
//! by itself after whatever ended it; that [`Broker::state`] tells the truth.
//! Refuses to know apps, endpoints' URLs, retries and what a message means: it moves bytes and properties.

mod ack_window;
mod acker;
mod admin;
mod broker;
mod config;
mod consumer;
mod convert;
mod dial;
mod error;
mod link;
mod losses;
mod message;
mod names;
mod plan;
mod publisher;
mod reconnect;
mod shallow;
mod state;
mod survey;
mod topology;
mod transport;

pub use ack_window::{AckWindow, Command, Settled};
pub use acker::Acker;
pub use admin::QueueDepth;
pub use broker::Broker;
pub use config::{BrokerConfig, EndpointQueueType};
pub use consumer::{ConsumeOptions, Consumer, OnMissing};
pub use error::{AmqpError, BrokerError, PublishError};
pub use losses::LossNotice;
pub use message::{Outgoing, Received, Route};
pub use names::{Names, Queue};
pub use publisher::Publisher;
pub use state::{BrokerState, LinkState};
pub use survey::{Found, Surveyor};

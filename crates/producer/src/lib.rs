//! Publish events to Nuncio, and know that they arrived.
//!
//! Owns what an application needs: [`Producer`], the typed [`Change`]s of an authentication platform, checks before
//! sending, and errors that say what to do. And for the API, which reaches RabbitMQ only through here: [`Operator`].
//! Guarantees that success means that RabbitMQ has the event on disk and in Nuncio's queue; that an event is sent
//! again, under the same id, until that is known or its time is over; that nothing is sent that the router would set
//! aside for its form.
//! Refuses to know apps and endpoints: whether an app exists is the router's to find out. Declares nothing.
//!
//! ```no_run
//! use nuncio_producer::{Change, Producer};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::connect("amqp://guest:guest@127.0.0.1:5672/%2f").await?;
//! let receipt = producer
//!     .publish(Change::UserCreated("user_123".into()).of("project-1"))
//!     .await?;
//! println!("published {receipt}");
//! producer.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Many at once, with one result each, in order:
//!
//! ```no_run
//! # use nuncio_producer::{Event, Producer};
//! # async fn example(producer: Producer, events: Vec<Event>) {
//! for result in producer.publish_all(events).await {
//!     if let Err(error) = result {
//!         eprintln!("{error}");
//!     }
//! }
//! # }
//! ```

mod aside;
mod change;
mod error;
mod operator;
mod producer;
mod publication;

pub use aside::{Chosen, Walked};
pub use change::Change;
pub use error::{ConnectError, PublishError};
pub use nuncio_broker::{Broker, BrokerError, BrokerState, EndpointQueueType, LinkState, QueueDepth};
pub use nuncio_domain::{Channel, Event, EventTypeName, MessageId};
pub use nuncio_wire::{DeliveryEnvelope, EndpointChange, Operation, SetAsideReason, TraceContext};
pub use operator::{Operator, SetAside};
pub use producer::{Producer, ProducerBuilder};
pub use publication::{Extras, Receipt};

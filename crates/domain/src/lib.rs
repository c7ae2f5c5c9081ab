//! What Nuncio is about: apps, endpoints, events, messages, deliveries and attempts, and the decisions made on them.
//!
//! Owns the nouns of the glossary and every decision: whom to route to ([`route()`]), what follows from an attempt
//! ([`decide()`]), which senders own an endpoint ([`assign()`]).
//! Guarantees that decisions are pure functions: the same arguments, the same answer, on every replica.
//! Refuses to know clocks, dice, sockets, serialisation, RabbitMQ and Redis: time and randomness come in as arguments.

pub mod app;
pub mod assign;
pub mod attempt;
pub mod coalesce;
pub mod decide;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod ids;
pub mod lane;
pub mod limits;
pub mod loss;
pub mod message;
pub mod names;
pub mod outcome;
pub mod retry;
pub mod route;
pub mod time;

pub use app::App;
pub use assign::{SenderId, assign};
pub use attempt::{Attempt, AttemptNumber, AttemptStatus, Trigger};
pub use coalesce::{CoalesceFields, CoalesceKey, Latest};
pub use decide::{Verdict, decide};
pub use delivery::{DeliveryId, DeliveryState, DeliveryStatus, Series};
pub use endpoint::{DisabledReason, Endpoint, EndpointState};
pub use event::Event;
pub use ids::{AppId, AttemptId, EndpointId, IdError, MessageId};
pub use lane::{Breaker, Lane, LaneLimits, Permission};
pub use loss::Loss;
pub use message::Message;
pub use names::{Channel, EventTypeName, NameError, Uid};
pub use outcome::{Outcome, Phase, Reason};
pub use retry::{Jitter, RetryPolicy, RetryPolicyError};
pub use route::{Routing, route};
pub use time::UnixMillis;

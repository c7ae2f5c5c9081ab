//! The REST API, the webhook portal and the operator's console.
//!
//! Owns everything that people and programs reach over HTTP: the rules of use (what may be created, changed, sent again),
//! their requests and responses, tokens and the OpenAPI document.
//! Guarantees that every error is JSON, that what belongs to one app is never shown to another, and that an endpoint's
//! queue exists before anything can be routed to it.
//! Refuses to know AMQP and Redis: it reaches them through `producer` and `store` only.

pub mod token;

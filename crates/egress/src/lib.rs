//! The way out: which addresses may be dialled, what an endpoint's URL and headers may be, and the HTTP client that
//! keeps to it.
//!
//! Owns the table of addresses that are not public, the rules for endpoints' URLs and custom headers, and the one
//! client that posts deliveries.
//!
//! Guarantees that no request reaches an address that is not public (unless it is allowed by configuration), whether
//! it comes as a literal in any notation, from DNS, or changes between two look-ups; that redirects are never
//! followed; that the environment's proxies are ignored; and that an attempt is bounded in time and in memory,
//! whatever the other side sends.
//!
//! Refuses to know what follows from an outcome, who the endpoints belong to, and what is in a payload.

pub mod address;
mod client;
mod endpoint_url;
mod failure;
mod headers;
mod own;
mod peer;
mod pool;
mod resolver;
mod retry_after;
mod tls;

pub use client::{Attempted, EgressConfig, EgressError, HttpClient, Post, ResponseParts};
pub use endpoint_url::{EndpointUrl, HostError, PortError, UrlError, UrlRules};
pub use headers::{HeaderError, endpoint_header, endpoint_headers};
pub use own::OwnAddresses;
pub use resolver::{Lookup, LookupFuture, SystemLookup};
pub use retry_after::{RETRY_AFTER_MAX, retry_after};

//! Traces: spans of what happens to a message, from its publishing to each attempt, for OpenTelemetry.
//!
//! Owns [`Tracer`] and [`Span`], the buffer of spans that have ended, and their export by OTLP over HTTP.
//! Guarantees that nothing is kept or even allocated where no collector is configured or a trace is not sampled; that
//! nobody ever waits for the collector; that memory is bounded: while the collector is away the oldest spans go, and are
//! counted.
//! Refuses to know what the spans are of: the roles name and describe them. Does not use the guarded client, for the
//! collector is the operator's own and may be anywhere.

mod buffer;
mod export;
mod otlp;
mod span;

pub use export::{Collector, CollectorError};
pub use span::{Kind, Span, Tracer};

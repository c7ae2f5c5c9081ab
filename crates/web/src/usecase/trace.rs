//! The span of a message's way to the broker.
//!
//! Owns its attributes, by OpenTelemetry's conventions where there is one.

use nuncio_domain::Message;
use nuncio_producer::TraceContext;
use nuncio_traces::{Kind, Span, Tracer};

use super::refusal::Refusal;

/// Begins the span of a message that is to be published, below the caller's, if it is recorded.
pub(super) fn begin(tracer: &Tracer, caller: &TraceContext) -> Option<Span> {
    let mut span = tracer.begin("publish", Kind::Producer, caller)?;
    span.text("messaging.system", "rabbitmq");
    span.text("messaging.operation.name", "publish");
    span.text("messaging.operation.type", "send");
    Some(span)
}

/// Ends the span of a message, if there is one.
pub(super) fn end(span: Option<Span>, message: &Message, refusal: Option<&Refusal>) {
    let Some(mut span) = span else { return };
    span.text("messaging.message.id", message.id.as_str());
    span.text("nuncio.app.id", message.app_id.as_str());
    span.text("nuncio.event.type", message.event_type.as_str());
    if let Some(refusal) = refusal {
        let kind = match refusal {
            Refusal::Unavailable { .. } => "unavailable",
            Refusal::Broken { .. } => "broken",
            _ => "refused",
        };
        span.fail(kind, refusal.to_string());
    }
    span.end();
}

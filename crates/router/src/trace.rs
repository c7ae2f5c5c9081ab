//! The span of an event's way through the router.
//!
//! Owns its attributes, by OpenTelemetry's conventions where there is one.

use nuncio_domain::Message;
use nuncio_traces::{Kind, Span, Tracer};
use nuncio_wire::{Properties, TraceContext, TraceId};
use tracing::field::{DisplayValue, display};

/// How the way of an event ended.
pub(crate) enum Routed {
    /// Fanned out to so many endpoints.
    To(usize),
    /// It came before.
    Before,
    /// It was set aside.
    Aside,
    /// It goes back to its queue.
    Returned,
}

/// Begins the span of an event, below what published it, if it is recorded.
pub(crate) fn begin(tracer: &Tracer, queue: &str, event: &TraceContext) -> Option<Span> {
    let mut span = tracer.begin("route", Kind::Consumer, event)?;
    span.text("messaging.system", "rabbitmq");
    span.text("messaging.operation.name", "route");
    span.text("messaging.operation.type", "process");
    span.text("messaging.destination.name", queue);
    Some(span)
}

/// Ends the span of an event, if there is one.
pub(crate) fn end(span: Option<Span>, message: &Message, routed: &Routed) {
    let Some(mut span) = span else { return };
    span.text("messaging.message.id", message.id.as_str());
    span.text("nuncio.app.id", message.app_id.as_str());
    span.text("nuncio.event.type", message.event_type.as_str());
    let outcome = match routed {
        Routed::To(endpoints) => {
            span.number("nuncio.deliveries", i64::try_from(*endpoints).unwrap_or(i64::MAX));
            "routed"
        }
        Routed::Before => "duplicate",
        Routed::Aside => "set_aside",
        Routed::Returned => "returned",
    };
    span.text("nuncio.outcome", outcome);
    if matches!(routed, Routed::Aside | Routed::Returned) {
        span.fail(outcome, "the event was not routed");
    }
    span.end();
}

/// The trace of a message as lines of the log have it.
pub(crate) fn shown(properties: &Properties) -> Option<DisplayValue<TraceId>> {
    TraceContext::read(properties).trace().map(display)
}

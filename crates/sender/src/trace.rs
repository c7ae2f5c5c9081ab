//! What is told of an attempt to those who look for one delivery: a span, and lines of the log.
//!
//! Owns their attributes, by OpenTelemetry's conventions where there is one, and the ids that every line has. Guarantees
//! that neither holds a payload, a header or the path of a URL, which may be secret.

use nuncio_domain::{DeliveryId, Outcome};
use nuncio_egress::Attempted;
use nuncio_traces::{Kind, Span, Tracer};
use nuncio_wire::DeliveryEnvelope;
use tracing::field::{DisplayValue, display};

use crate::prepared::Prepared;

/// The trace of a delivery as lines of the log have it.
pub(crate) fn shown(envelope: &DeliveryEnvelope) -> Option<DisplayValue<nuncio_wire::TraceId>> {
    envelope.trace.trace().map(display)
}

/// Begins the span of an attempt, below what routed it and linked to the attempt before, if it is recorded.
pub(crate) fn begin(tracer: &Tracer, envelope: &DeliveryEnvelope, prepared: &Prepared) -> Option<Span> {
    let mut span = tracer.begin("deliver", Kind::Client, &envelope.trace)?;
    if let Some((trace, before)) = envelope.trace.trace().zip(envelope.attempt_span) {
        span.link(trace, before);
    }
    span.text("messaging.message.id", envelope.message_id.as_str());
    span.text("nuncio.app.id", envelope.app_id.as_str());
    span.text("nuncio.endpoint.id", prepared.entry.endpoint.id.as_str());
    span.text("nuncio.event.type", envelope.event_type.as_str());
    span.text("http.request.method", "POST");
    let attempt = envelope.attempt.number();
    span.number("nuncio.attempt.number", attempt);
    if attempt > 1 {
        span.number("http.request.resend_count", attempt - 1);
    }
    if let Some((host, port)) = prepared.host() {
        span.text("server.address", host);
        span.number("server.port", port);
    }
    Some(span)
}

/// Ends the span of an attempt, and notes it for the next one.
pub(crate) fn end(mut span: Span, envelope: &mut DeliveryEnvelope, outcome: &Outcome) {
    if let Some(own) = span.context().parent {
        envelope.note_attempt(own);
    }
    span.text("nuncio.outcome", outcome.label());
    let status = outcome.status();
    if let Some(status) = status {
        span.number("http.response.status_code", status);
    }
    if !matches!(outcome, Outcome::Accepted(_)) {
        let kind = status.map_or_else(|| outcome.label().to_owned(), |status| status.to_string());
        span.fail(kind, outcome.to_string());
    }
    span.end();
}

/// Says what an attempt met.
pub(crate) fn log(envelope: &DeliveryEnvelope, prepared: &Prepared, attempted: &Attempted) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let delivery = delivery(envelope, prepared);
    tracing::debug!(
        trace = shown(envelope),
        %delivery,
        message_id = %delivery.message,
        endpoint = %delivery.endpoint,
        app = %envelope.app_id,
        attempt = envelope.attempt.number(),
        outcome = %attempted.outcome,
        seconds = attempted.duration.as_secs_f64(),
        "attempted"
    );
}

/// Says that there will be no further attempt.
pub(crate) fn log_exhausted(envelope: &DeliveryEnvelope, prepared: &Prepared) {
    let delivery = delivery(envelope, prepared);
    tracing::info!(
        trace = shown(envelope),
        %delivery,
        message_id = %delivery.message,
        endpoint = %delivery.endpoint,
        app = %envelope.app_id,
        attempt = envelope.attempt.number(),
        "a delivery is given up: all its attempts failed"
    );
}

/// Warns that a delivery goes back to its queue.
pub(crate) fn warn_returned(error: &str, envelope: &DeliveryEnvelope, prepared: &Prepared) {
    let delivery = delivery(envelope, prepared);
    tracing::warn!(
        error,
        trace = shown(envelope),
        %delivery,
        message_id = %delivery.message,
        endpoint = %delivery.endpoint,
        "a delivery is returned: its retry was not confirmed"
    );
}

fn delivery(envelope: &DeliveryEnvelope, prepared: &Prepared) -> DeliveryId {
    DeliveryId {
        message: envelope.message_id.clone(),
        endpoint: prepared.entry.endpoint.id.clone(),
    }
}

//! The spans of events that are published here.
//!
//! Owns where their parent comes from: `TRACEPARENT` and `TRACESTATE` of the environment, as OpenTelemetry has it for
//! commands. Guarantees that the trace goes on with the event whether or not a span of it is recorded.

use nuncio_producer::{Event, Extras, Producer, PublishError, Receipt, TraceContext};
use nuncio_traces::{Kind, Span, Tracer};

/// What records, and below what.
pub(super) struct Traced {
    pub(super) tracer: Tracer,
    pub(super) caller: TraceContext,
}

impl Traced {
    /// Below whatever runs this command.
    pub(super) fn new(tracer: Tracer) -> Self {
        let variable = |name| std::env::var(name).ok();
        let (parent, state) = (variable("TRACEPARENT"), variable("TRACESTATE"));
        Self {
            tracer,
            caller: TraceContext::parse(parent.as_deref(), state.as_deref()),
        }
    }

    /// Publishes the event, with a span around it.
    pub(super) async fn publish(&self, producer: &Producer, event: Event) -> Result<Receipt, PublishError> {
        let span = self.tracer.begin("publish", Kind::Producer, &self.caller);
        let context = span.as_ref().map_or(&self.caller, Span::context).clone();
        let (app, event_type) = (event.app.clone(), event.event_type.clone());
        let extras = Extras {
            trace: context,
            ..Extras::default()
        };
        let published = producer.publish_with(event, extras).await;
        if let Some(mut span) = span {
            span.text("messaging.system", "rabbitmq");
            span.text("messaging.operation.name", "publish");
            span.text("messaging.operation.type", "send");
            span.text("nuncio.app.id", app);
            span.text("nuncio.event.type", event_type.as_str());
            match &published {
                Ok(receipt) => span.text("messaging.message.id", receipt.to_string()),
                Err(error) => span.fail("unconfirmed", error.to_string()),
            }
            span.end();
        }
        published
    }
}

//! What traces cost where they are off: nothing.

use nuncio_traces::{Kind, Tracer};
use nuncio_wire::{Properties, TraceContext};

const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[test]
fn where_no_collector_is_configured_a_delivery_allocates_nothing_for_its_trace() {
    let tracer = Tracer::off();
    let mut properties = Properties::default();
    properties.put_int("nuncio-attempt", 1);
    let cost = allocation_counter::measure(|| {
        let context = TraceContext::read(&properties);
        let span = tracer.clone().begin("deliver", Kind::Client, &context);
        assert!(span.is_none() && context.trace().is_none());
    });
    assert_eq!(cost.count_total, 0);
}

#[test]
fn reading_the_context_of_a_trace_that_is_not_recorded_allocates_nothing_either() {
    let mut properties = Properties::default();
    properties.put_text("traceparent", UNSAMPLED);
    let cost = allocation_counter::measure(|| {
        let context = TraceContext::read(&properties);
        assert!(context.trace().is_some());
        assert!(Tracer::off().begin("deliver", Kind::Client, &context).is_none());
    });
    assert_eq!(cost.count_total, 0);
}

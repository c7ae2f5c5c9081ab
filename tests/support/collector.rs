//! A collector of traces: takes what is exported by OTLP over HTTP, and keeps it.
//!
//! Owns the reading of exports, with the types that the OpenTelemetry project generates from its own definitions.
//! Refuses to know who exports.

use std::time::Duration;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::{Answer, Receiver, eventually};

const PATH: &str = "/v1/traces";

/// A span with what was said of the process that it is from.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The span.
    pub span: Span,
    /// The process.
    pub resource: Resource,
}

/// The value of a text attribute; empty when there is none.
fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Exported {
    /// Its trace's id.
    #[must_use]
    pub fn trace(&self) -> String {
        hexadecimal(&self.span.trace_id)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        hexadecimal(&self.span.span_id)
    }

    /// Its parent's id; empty when it has none.
    #[must_use]
    pub fn parent(&self) -> String {
        hexadecimal(&self.span.parent_span_id)
    }

    /// The ids of the spans that it is linked to.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        self.span
            .links
            .iter()
            .map(|link| hexadecimal(&link.span_id))
            .collect()
    }

    /// A text that describes it; empty when there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        text(&self.span.attributes, key)
    }

    /// A number that describes it.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        match value(&self.span.attributes, key) {
            Some(Value::IntValue(number)) => Some(*number),
            _ => None,
        }
    }

    /// A text that describes its process; empty when there is none.
    #[must_use]
    pub fn of_process(&self, key: &str) -> &str {
        text(&self.resource.attributes, key)
    }
}

/// A collector on loopback.
pub struct Collector(Receiver);

impl Collector {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> Result<Self> {
        Ok(Self(Receiver::start().await?))
    }

    /// Its address, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.0.url("")
    }

    /// Answers exports with these in turn, and then with the last one for good.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.answer(PATH, answers);
    }

    /// How many exports were tried.
    #[must_use]
    pub fn exports(&self) -> usize {
        self.0.count(PATH)
    }

    /// Refuses connections.
    pub fn stop(&mut self) {
        self.0.stop();
    }

    /// Listens again.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn resume(&mut self) -> Result<()> {
        self.0.resume().await
    }

    /// All spans so far, in the order in which they came.
    ///
    /// # Panics
    /// When an export is not one.
    #[must_use]
    pub fn spans(&self) -> Vec<Exported> {
        let mut spans = Vec::new();
        for export in self.0.requests(PATH) {
            assert_eq!(export.header("content-type"), "application/x-protobuf");
            let export = ExportTraceServiceRequest::decode(export.body).expect("an export is one");
            for of_process in export.resource_spans {
                let resource = of_process.resource.unwrap_or_default();
                let of_scopes = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(of_scopes.map(|span| Exported {
                    span,
                    resource: resource.clone(),
                }));
            }
        }
        spans
    }

    /// Waits until `count` spans of this trace have come, and returns them in the order in which they began.
    ///
    /// # Panics
    /// When they do not come in time.
    pub async fn trace(&self, trace: &str, count: usize, within: Duration) -> Vec<Exported> {
        let mut spans = eventually(&format!("{count} spans of trace {trace}"), within, || async {
            let spans: Vec<_> = self
                .spans()
                .into_iter()
                .filter(|span| span.trace() == trace)
                .collect();
            (spans.len() >= count).then_some(spans)
        })
        .await;
        spans.sort_by_key(|exported| exported.span.start_time_unix_nano);
        spans
    }
}

//! Spans: begun, described, ended.
//!
//! Owns ids, parents and the sampling decision, which is the parent's: a new trace is recorded whole, and one that its
//! publisher does not record is not recorded here. Guarantees that where nothing is recorded nothing is allocated.

use std::fmt;
use std::sync::Arc;

use nuncio_runtime::{Clock, Dice};
use nuncio_wire::{SpanId, TraceContext, TraceId, TraceParent};

use crate::buffer::Buffer;
use crate::otlp;

/// Begins spans; cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Recording>>);

/// What a tracer that records has.
pub(crate) struct Recording {
    pub(crate) clock: Clock,
    pub(crate) dice: Dice,
    pub(crate) buffer: Buffer,
}

/// On which side of what a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It makes a request and waits for the answer.
    Client,
    /// It puts a message into a queue.
    Producer,
    /// It takes a message out of a queue.
    Consumer,
}

impl Kind {
    /// Its number in OTLP.
    fn number(self) -> i32 {
        match self {
            Self::Client => 3,
            Self::Producer => 4,
            Self::Consumer => 5,
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Tracer(on)"
        } else {
            "Tracer(off)"
        })
    }
}

impl Tracer {
    /// Records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    pub(crate) fn on(recording: Arc<Recording>) -> Self {
        Self(Some(recording))
    }

    /// Begins the span `name` below `parent`, or in a new trace where there is no parent; nothing where nothing is
    /// recorded.
    #[must_use]
    pub fn begin(&self, name: &'static str, kind: Kind, parent: &TraceContext) -> Option<Span> {
        let recording = self.0.as_ref()?;
        let context = match parent.parent {
            Some(parent) if !parent.is_sampled() => return None,
            Some(parent) => parent.at(recording.span_id()),
            None => TraceParent::sampled(recording.trace_id(), recording.span_id()),
        };
        let remote = parent.parent.map_or(0, |_| otlp::FLAG_REMOTE);
        let told = otlp::Span {
            trace_id: context.trace.bytes().to_vec(),
            span_id: context.span.bytes().to_vec(),
            trace_state: parent
                .state
                .as_ref()
                .map_or_else(String::new, |state| state.as_str().to_owned()),
            parent_span_id: parent
                .parent
                .map_or_else(Vec::new, |parent| parent.span.bytes().to_vec()),
            name: name.to_owned(),
            kind: kind.number(),
            start_time_unix_nano: recording.clock.nanos(),
            flags: u32::from(context.flags()) | otlp::FLAG_REMOTE_IS_KNOWN | remote,
            ..otlp::Span::default()
        };
        Some(Span(Box::new(Open {
            recording: Arc::clone(recording),
            context: TraceContext {
                parent: Some(context),
                state: parent.state.clone(),
            },
            told,
        })))
    }
}

impl Recording {
    fn trace_id(&self) -> TraceId {
        loop {
            let mut bytes = [0; 16];
            self.dice.fill(&mut bytes);
            if let Some(id) = TraceId::new(bytes) {
                return id;
            }
        }
    }

    fn span_id(&self) -> SpanId {
        loop {
            let mut bytes = [0; 8];
            self.dice.fill(&mut bytes);
            if let Some(id) = SpanId::new(bytes) {
                return id;
            }
        }
    }
}

/// A span that has begun. One that is dropped before its end is not exported.
#[must_use]
pub struct Span(Box<Open>);

struct Open {
    recording: Arc<Recording>,
    context: TraceContext,
    told: otlp::Span,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.0.told.name).finish()
    }
}

impl Span {
    /// The context of what this span causes.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.0.context
    }

    /// Describes it by a text.
    pub fn text(&mut self, key: &'static str, text: impl Into<String>) {
        let value = otlp::Value::Text(text.into());
        self.0.told.attributes.push(otlp::KeyValue::new(key, value));
    }

    /// Describes it by a number.
    pub fn number(&mut self, key: &'static str, number: impl Into<i64>) {
        let value = otlp::Value::Number(number.into());
        self.0.told.attributes.push(otlp::KeyValue::new(key, value));
    }

    /// Links it to a span that it follows without being caused by it.
    pub fn link(&mut self, trace: TraceId, span: SpanId) {
        self.0.told.links.push(otlp::Link {
            trace_id: trace.bytes().to_vec(),
            span_id: span.bytes().to_vec(),
        });
    }

    /// Says that it failed: `kind` is one of few (`error.type`), `message` for people.
    pub fn fail(&mut self, kind: impl Into<String>, message: impl Into<String>) {
        self.text("error.type", kind);
        self.0.told.status = Some(otlp::Status {
            code: otlp::STATUS_ERROR,
            message: message.into(),
        });
    }

    /// Ends it now, and hands it to the exporter.
    pub fn end(self) {
        let Open {
            recording, mut told, ..
        } = *self.0;
        // A clock that was set back meanwhile makes no span that ends before it began.
        told.end_time_unix_nano = recording.clock.nanos().max(told.start_time_unix_nano);
        recording.buffer.add(told);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nuncio_runtime::SettableClock;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn recording(clock: &SettableClock) -> (Tracer, Arc<Recording>) {
        let recording = Arc::new(Recording {
            clock: clock.clock(),
            dice: Dice::seeded(1),
            buffer: Buffer::default(),
        });
        (Tracer::on(Arc::clone(&recording)), recording)
    }

    #[test]
    fn a_span_continues_the_trace_of_its_parent() {
        let clock = SettableClock::at(1_000);
        let (tracer, recording) = recording(&clock);
        let parent = TraceContext::parse(Some(PARENT), Some("vendor=1"));
        let mut span = tracer.begin("route", Kind::Consumer, &parent).unwrap();
        let context = span.context().clone();
        let (own, above) = (context.parent.unwrap(), parent.parent.unwrap());
        assert_eq!((own.trace, context.state), (above.trace, parent.state));
        assert!(own.is_sampled() && own.span != above.span);
        span.number("count", 2_u32);
        clock.advance(Duration::from_millis(5));
        span.end();
        let told = recording.buffer.take().remove(0);
        assert_eq!(told.parent_span_id, above.span.bytes());
        assert_eq!((told.trace_state.as_str(), told.flags), ("vendor=1", 0x301));
        assert_eq!(told.end_time_unix_nano - told.start_time_unix_nano, 5_000_000);
    }

    #[test]
    fn without_a_parent_a_trace_begins_and_is_recorded() {
        let clock = SettableClock::at(1_000);
        let (tracer, recording) = recording(&clock);
        let begin = || {
            tracer
                .begin("publish", Kind::Producer, &TraceContext::default())
                .unwrap()
        };
        let (mut one, other) = (begin(), begin());
        assert_ne!(one.context().trace(), other.context().trace());
        assert!(one.context().parent.unwrap().is_sampled());
        one.fail("timed_out", "no confirm came");
        clock.set(1);
        one.end();
        let told = recording.buffer.take().remove(0);
        assert!(told.parent_span_id.is_empty() && told.end_time_unix_nano == told.start_time_unix_nano);
        assert_eq!(told.status.unwrap().code, otlp::STATUS_ERROR);
        drop(other);
        assert_eq!(recording.buffer.len(), 0, "what has not ended is not exported");
    }

    #[test]
    fn what_its_publisher_does_not_record_is_not_recorded() {
        let (tracer, _) = recording(&SettableClock::at(1));
        let parent = TraceContext::parse(Some(&PARENT.replace("-01", "-00")), None);
        assert!(tracer.begin("route", Kind::Consumer, &parent).is_none());
    }
}

//! The delivery envelope: what travels from the router through queues and rungs to the sender, beside the payload.
//!
//! Owns its header names and their reading. Guarantees that the retry budget survives the loss of Redis, because it is
//! all in here, and that headers of newer versions survive the trip through an older one.
//! Refuses to know the endpoint: that is the queue it was taken from.

use nuncio_domain::{AppId, AttemptNumber, EventTypeName, MessageId, Series, Trigger, UnixMillis};

use crate::headers::{self, HeaderValue, Headers, Properties};
use crate::next;
use crate::trace::{SpanId, TraceContext, TraceParent};

/// The envelope version that this code writes.
const VERSION: u8 = 1;
/// Headers that this version knows, and those that the broker adds on the way.
const KNOWN: [&str; 15] = [
    headers::VERSION,
    headers::ATTEMPT,
    headers::TRIGGER,
    headers::SERIES,
    headers::FIRST_ATTEMPT,
    headers::DEADLINE,
    headers::CREATED,
    headers::DUE,
    headers::TRACEPARENT,
    headers::TRACESTATE,
    headers::ATTEMPT_SPAN,
    "BCC",
    "CC",
    "x-death",
    "x-delivery-count",
];
/// Headers that the broker adds when it dead-letters.
const BROKER_PREFIXES: [&str; 2] = ["x-first-death-", "x-last-death-"];

/// Why an AMQP message in an endpoint's queue is not a delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the property or header `{0}` is missing or invalid")]
pub struct EnvelopeError(pub &'static str);

/// What travels with a payload to an endpoint's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryEnvelope {
    /// The app.
    pub app_id: AppId,
    /// The message.
    pub message_id: MessageId,
    /// Its type.
    pub event_type: EventTypeName,
    /// When the message was accepted.
    pub created_at: UnixMillis,
    /// The how-manieth attempt of its run this is.
    pub attempt: AttemptNumber,
    /// What set it off.
    pub trigger: Trigger,
    /// Which run it belongs to.
    pub series: Series,
    /// When the first attempt of the run began; none before it.
    pub first_attempt_at: Option<UnixMillis>,
    /// After when no further attempt is made; none before the first attempt.
    pub deadline: Option<UnixMillis>,
    /// When this attempt is due; none for at once.
    pub due: Option<UnixMillis>,
    /// The trace that it belongs to: what routed it, or else what first attempted it.
    pub trace: TraceContext,
    /// The span of the attempt before this one, if that was recorded.
    pub attempt_span: Option<SpanId>,
    /// Headers of other versions, carried along.
    pub unknown: Headers,
}

impl DeliveryEnvelope {
    /// The first delivery of a message.
    #[must_use]
    pub fn first(
        app_id: AppId,
        message_id: MessageId,
        event_type: EventTypeName,
        created_at: UnixMillis,
        trace: TraceContext,
    ) -> Self {
        Self {
            app_id,
            message_id,
            event_type,
            created_at,
            attempt: AttemptNumber::FIRST,
            trigger: Trigger::Scheduled,
            series: Series(0),
            first_attempt_at: None,
            deadline: None,
            due: None,
            trace,
            attempt_span: None,
            unknown: Headers::new(),
        }
    }

    /// The envelope in the properties of a message taken from an endpoint's queue.
    ///
    /// # Errors
    /// Names the property or header without which it cannot be delivered.
    pub fn read(properties: &Properties) -> Result<Self, EnvelopeError> {
        let field = |name: &'static str| EnvelopeError(name);
        let app = properties.app_id.as_deref().ok_or(field("app_id"))?;
        let message = properties.message_id.as_deref().ok_or(field("message_id"))?;
        let event_type = properties.kind.as_deref().ok_or(field("type"))?;
        let attempt = match properties.headers.get(headers::ATTEMPT) {
            None => AttemptNumber::FIRST,
            Some(HeaderValue::Int(number)) => u16::try_from(*number)
                .ok()
                .and_then(AttemptNumber::nth)
                .ok_or(field(headers::ATTEMPT))?,
            Some(_) => return Err(field(headers::ATTEMPT)),
        };
        let message_id = MessageId::parse(message).map_err(|_| field("message_id"))?;
        let seconds = properties
            .timestamp
            .and_then(|seconds| i64::try_from(seconds).ok());
        let created_at = properties
            .int(headers::CREATED)
            .or(seconds.and_then(|seconds| seconds.checked_mul(1_000)))
            .map(UnixMillis)
            .or_else(|| message_id.made_at())
            .ok_or(field(headers::CREATED))?;
        Ok(Self {
            app_id: AppId::parse(app).map_err(|_| field("app_id"))?,
            message_id,
            event_type: EventTypeName::parse(event_type).map_err(|_| field("type"))?,
            created_at,
            attempt,
            trigger: match properties.text(headers::TRIGGER) {
                Some("manual") => Trigger::Manual,
                _ => Trigger::Scheduled,
            },
            series: Series(properties.int(headers::SERIES).unwrap_or(0)),
            first_attempt_at: properties.int(headers::FIRST_ATTEMPT).map(UnixMillis),
            deadline: properties.int(headers::DEADLINE).map(UnixMillis),
            due: properties.int(headers::DUE).map(UnixMillis),
            trace: TraceContext::read(properties),
            attempt_span: properties.text(headers::ATTEMPT_SPAN).and_then(SpanId::parse),
            unknown: unknown(&properties.headers),
        })
    }

    /// The properties to publish this delivery with.
    #[must_use]
    pub fn write(&self) -> Properties {
        let mut properties = Properties {
            message_id: Some(self.message_id.as_str().to_owned()),
            kind: Some(self.event_type.as_str().to_owned()),
            app_id: Some(self.app_id.as_str().to_owned()),
            timestamp: u64::try_from(self.created_at.seconds()).ok(),
            content_type: Some("application/json".to_owned()),
            headers: self.unknown.clone(),
        };
        properties.put_int(headers::VERSION, i64::from(next::version(VERSION)));
        for (name, text) in next::fields() {
            properties.put_text(name, text);
        }
        properties.put_int(headers::ATTEMPT, i64::from(self.attempt.number()));
        properties.put_int(headers::CREATED, self.created_at.0);
        if self.trigger == Trigger::Manual {
            properties.put_text(headers::TRIGGER, "manual");
        }
        if self.series != Series(0) {
            properties.put_int(headers::SERIES, self.series.0);
        }
        let times = [
            (headers::FIRST_ATTEMPT, self.first_attempt_at),
            (headers::DEADLINE, self.deadline),
            (headers::DUE, self.due),
        ];
        for (name, time) in times {
            if let Some(time) = time {
                properties.put_int(name, time.0);
            }
        }
        self.trace.write(&mut properties);
        if let Some(span) = self.attempt_span {
            properties.put_text(headers::ATTEMPT_SPAN, span.to_string());
        }
        properties
    }

    /// Notes the span of its attempt, for the attempts that follow: they are in the same trace.
    pub fn note_attempt(&mut self, span: TraceParent) {
        self.attempt_span = Some(span.span);
        self.trace.parent.get_or_insert(span);
    }
}

fn unknown(headers: &Headers) -> Headers {
    let kept = headers.iter().filter(|(name, value)| {
        **value != HeaderValue::Other
            && !KNOWN.contains(&name.as_str())
            && !BROKER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::TraceId;

    fn envelope() -> DeliveryEnvelope {
        DeliveryEnvelope::first(
            AppId::parse("app_1").unwrap(),
            MessageId::parse("msg_1").unwrap(),
            EventTypeName::parse("sync.user").unwrap(),
            UnixMillis(1_700_000_000_123),
            TraceContext::default(),
        )
    }

    #[test]
    fn headers_of_a_newer_version_survive_and_those_of_the_broker_do_not() {
        let mut properties = envelope().write();
        properties.put_int(headers::VERSION, 9);
        properties.put_text("nuncio-priority", "high");
        properties
            .headers
            .insert("x-death".into(), HeaderValue::List(vec![HeaderValue::Other]));
        properties.put_text("x-first-death-queue", "nuncio.retry.5000");
        let read = DeliveryEnvelope::read(&properties).unwrap();
        let written = read.write();
        assert_eq!(written.text("nuncio-priority"), Some("high"));
        assert!(
            !written.headers.keys().any(|name| name.starts_with("x-")),
            "{written:?}"
        );
    }

    #[test]
    fn an_envelope_of_the_barest_kind_is_a_first_attempt() {
        let bare = Properties {
            headers: Headers::new(),
            ..envelope().write()
        };
        let read = DeliveryEnvelope::read(&bare).unwrap();
        assert_eq!(
            (read.attempt, read.series, read.trigger),
            (AttemptNumber::FIRST, Series(0), Trigger::Scheduled)
        );
        assert_eq!(read.created_at, UnixMillis(1_700_000_000_000));
    }

    #[test]
    fn attempts_of_one_delivery_stay_in_one_trace_and_know_the_one_before() {
        let span = |text: &str| TraceParent::parse(&format!("00-{}-{text}-01", "ab".repeat(16))).unwrap();
        let (routed, first, second) = (
            span("00000000000000aa"),
            span("0000000000000001"),
            span("0000000000000002"),
        );
        let mut alone = envelope();
        alone.note_attempt(first);
        alone.note_attempt(second);
        assert_eq!(
            (alone.trace.parent, alone.attempt_span),
            (Some(first), Some(second.span))
        );
        let mut traced = envelope();
        traced.trace.parent = Some(routed);
        traced.note_attempt(first);
        let read = DeliveryEnvelope::read(&traced.write()).unwrap();
        assert_eq!(
            (read.trace.parent, read.attempt_span),
            (Some(routed), Some(first.span))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        type Spoil = fn(&mut Properties);
        let cases: [(Spoil, &str); 5] = [
            (|p| p.app_id = None, "app_id"),
            (|p| p.message_id = Some("order-1".into()), "message_id"),
            (|p| p.kind = None, "type"),
            (|p| p.put_int(headers::ATTEMPT, 0), headers::ATTEMPT),
            (|p| p.put_text(headers::ATTEMPT, "1"), headers::ATTEMPT),
        ];
        for (spoil, name) in cases {
            let mut properties = envelope().write();
            spoil(&mut properties);
            assert_eq!(
                DeliveryEnvelope::read(&properties).unwrap_err(),
                EnvelopeError(name)
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            attempt in 1_u16..100, series in 0_i64..2_000_000_000_000, times in proptest::option::of(0_i64..4_000_000_000_000),
            manual: bool, trace: [u8; 16], span: [u8; 8],
        ) {
            let ids = TraceId::new(trace).zip(SpanId::new(span));
            let parent = ids.map(|(trace, span)| TraceParent::sampled(trace, span));
            let envelope = DeliveryEnvelope {
                attempt: AttemptNumber::nth(attempt).unwrap(),
                series: Series(series),
                trigger: if manual { Trigger::Manual } else { Trigger::Scheduled },
                first_attempt_at: times.map(UnixMillis),
                deadline: times.map(UnixMillis),
                due: times.map(UnixMillis),
                trace: TraceContext { parent, state: None },
                attempt_span: SpanId::new(span),
                ..envelope()
            };
            prop_assert_eq!(DeliveryEnvelope::read(&envelope.write()).unwrap(), envelope);
        }
    }
}

//! Reading what applications publish: bytes from anyone, in any language.
//!
//! Owns the rules of the public AMQP interface and the reasons for which an event is set aside.
//! Guarantees an answer for any bytes: an event, or a reason with the detail. Refuses to know which apps exist.

use std::fmt;

use nuncio_domain::limits::{CHANNELS_MAX, EVENT_ID_BYTES_MAX};
use nuncio_domain::{Channel, EventTypeName, MessageId, Uid, UnixMillis};
use serde::de::IgnoredAny;

use crate::headers::{self, HeaderValue, Properties};
use crate::trace::TraceContext;

/// Why an event is set aside instead of delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetAsideReason {
    /// The body is not JSON in UTF-8.
    InvalidJson,
    /// The body is larger than configured.
    TooLarge,
    /// No app has that id or uid.
    UnknownApp,
    /// The routing key is not `<app>.<event type>`.
    BadRoutingKey,
    /// A header or property that Nuncio reads is of another type or out of its grammar.
    BadHeaders,
    /// The `message_id` is empty or too long.
    BadId,
    /// The same `message_id` came before with another body.
    Conflict,
}

impl SetAsideReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InvalidJson,
        Self::TooLarge,
        Self::UnknownApp,
        Self::BadRoutingKey,
        Self::BadHeaders,
        Self::BadId,
        Self::Conflict,
    ];

    /// The value of the header `nuncio-reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::TooLarge => "too_large",
            Self::UnknownApp => "unknown_app",
            Self::BadRoutingKey => "bad_routing_key",
            Self::BadHeaders => "bad_headers",
            Self::BadId => "bad_id",
            Self::Conflict => "conflict",
        }
    }
}

impl fmt::Display for SetAsideReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event that cannot be delivered as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason, one of a few.
    pub reason: SetAsideReason,
    /// What exactly was wrong, for the person who looks at it.
    pub detail: String,
}

fn unreadable<T>(reason: SetAsideReason, detail: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable {
        reason,
        detail: detail.into(),
    })
}

/// An event as it was published, checked but for the existence of its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingEvent {
    /// The app's id or uid.
    pub app: String,
    /// Its type.
    pub event_type: EventTypeName,
    /// The id that it is to have, when the publisher made one (`msg_` and a KSUID).
    pub message_id: Option<MessageId>,
    /// The publisher's own id for it.
    pub event_id: Option<String>,
    /// Its channels.
    pub channels: Vec<Channel>,
    /// When it was published, as far as the publisher said.
    pub published_at: Option<UnixMillis>,
    /// Days to keep the payload, when fewer than the retention.
    pub payload_retention_days: Option<u16>,
    /// The publisher's trace.
    pub trace: TraceContext,
}

impl IncomingEvent {
    /// The app that an event names, by id or uid, unchecked: the property `app_id`, or else the routing key up to its
    /// first dot.
    #[must_use]
    pub fn app_named<'a>(routing_key: &'a str, properties: &'a Properties) -> Option<&'a str> {
        let by_key = || routing_key.split_once('.').map(|(app, _)| app);
        properties.app_id.as_deref().or_else(by_key)
    }

    /// The event in an AMQP message to the exchange `<ns>.events`.
    ///
    /// # Errors
    /// Names the first thing that keeps it from being delivered.
    pub fn read(
        routing_key: &str,
        properties: &Properties,
        body: &[u8],
        payload_bytes_max: usize,
    ) -> Result<Self, Unreadable> {
        if body.len() > payload_bytes_max {
            let detail = format!(
                "the body has {} bytes; at most {payload_bytes_max} are accepted",
                body.len()
            );
            return unreadable(SetAsideReason::TooLarge, detail);
        }
        let (app, event_type) = address(routing_key, properties)?;
        let (message_id, event_id) = ids(properties)?;
        let channels = channels(properties)?;
        check_json(body)?;
        let seconds = properties
            .timestamp
            .and_then(|seconds| i64::try_from(seconds).ok());
        Ok(Self {
            app,
            event_type,
            published_at: message_id.as_ref().and_then(MessageId::made_at).or(seconds
                .and_then(|seconds| seconds.checked_mul(1_000))
                .map(UnixMillis)),
            message_id,
            event_id,
            channels,
            payload_retention_days: retention(properties)?,
            trace: TraceContext::read(properties),
        })
    }
}

/// App and event type: from `<app>.<event type>`, each overridden by its property.
fn address(routing_key: &str, properties: &Properties) -> Result<(String, EventTypeName), Unreadable> {
    let split = routing_key.split_once('.');
    let Some(app) = IncomingEvent::app_named(routing_key, properties) else {
        let detail = format!("the routing key {routing_key:?} is not `<app>.<event type>`");
        return unreadable(SetAsideReason::BadRoutingKey, detail);
    };
    let named_by_property = properties.app_id.is_some();
    if Uid::parse(app).is_err() {
        let reason = if named_by_property {
            SetAsideReason::BadHeaders
        } else {
            SetAsideReason::BadRoutingKey
        };
        return unreadable(reason, format!("the app {app:?} is not an id or uid"));
    }
    let (event_type, reason) = match (&properties.kind, split) {
        (Some(kind), _) => (kind.as_str(), SetAsideReason::BadHeaders),
        (None, Some((_, event_type))) => (event_type, SetAsideReason::BadRoutingKey),
        (None, None) => {
            let detail = format!("the routing key {routing_key:?} names no event type");
            return unreadable(SetAsideReason::BadRoutingKey, detail);
        }
    };
    match EventTypeName::parse(event_type) {
        Ok(name) => Ok((app.to_owned(), name)),
        Err(error) => unreadable(reason, format!("the event type {event_type:?}: {error}")),
    }
}

fn ids(properties: &Properties) -> Result<(Option<MessageId>, Option<String>), Unreadable> {
    let own_event_id = match properties.headers.get(headers::EVENT_ID) {
        None => None,
        Some(HeaderValue::Text(text)) if (1..=EVENT_ID_BYTES_MAX).contains(&text.len()) => Some(text.clone()),
        Some(_) => {
            return unreadable(
                SetAsideReason::BadHeaders,
                "`nuncio-event-id` is not a text of 1 to 256 bytes",
            );
        }
    };
    let Some(text) = properties.message_id.as_deref() else {
        return Ok((None, own_event_id));
    };
    if !(1..=EVENT_ID_BYTES_MAX).contains(&text.len()) {
        let detail = format!(
            "the message_id has {} bytes; 1 to {EVENT_ID_BYTES_MAX} are accepted",
            text.len()
        );
        return unreadable(SetAsideReason::BadId, detail);
    }
    if text.chars().any(char::is_control) {
        return unreadable(SetAsideReason::BadId, "the message_id holds control characters");
    }
    match MessageId::parse(text).ok().filter(|id| id.made_at().is_some()) {
        Some(id) => Ok((Some(id), own_event_id)),
        None => Ok((None, Some(own_event_id.unwrap_or_else(|| text.to_owned())))),
    }
}

fn channels(properties: &Properties) -> Result<Vec<Channel>, Unreadable> {
    fn bad<T>(detail: &str) -> Result<T, Unreadable> {
        unreadable(SetAsideReason::BadHeaders, format!("`nuncio-channels` {detail}"))
    }
    let names: Vec<&str> = match properties.headers.get(headers::CHANNELS) {
        None => return Ok(Vec::new()),
        Some(HeaderValue::Text(text)) => text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect(),
        Some(HeaderValue::List(items)) => {
            let mut names = Vec::with_capacity(items.len().min(CHANNELS_MAX));
            for item in items {
                let HeaderValue::Text(name) = item else {
                    return bad("holds something that is not a text");
                };
                names.push(name.as_str());
            }
            names
        }
        Some(_) => return bad("is neither a list of texts nor a text"),
    };
    if names.len() > CHANNELS_MAX {
        return bad(&format!(
            "has {} channels; at most {CHANNELS_MAX} are accepted",
            names.len()
        ));
    }
    names
        .into_iter()
        .map(|name| Channel::parse(name).or_else(|error| bad(&format!("{name:?}: {error}"))))
        .collect()
}

fn retention(properties: &Properties) -> Result<Option<u16>, Unreadable> {
    match properties.headers.get(headers::PAYLOAD_RETENTION_DAYS) {
        None => Ok(None),
        Some(HeaderValue::Int(days @ 1..=365)) => Ok(u16::try_from(*days).ok()),
        Some(_) => unreadable(
            SetAsideReason::BadHeaders,
            "`nuncio-payload-retention-days` is not a number of days from 1 to 365",
        ),
    }
}

/// Checks syntax and encoding without building anything, and without recursing however deep the body is nested: the
/// bytes are delivered as they are.
fn check_json(body: &[u8]) -> Result<(), Unreadable> {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            return unreadable(
                SetAsideReason::InvalidJson,
                format!("the body is not UTF-8: {error}"),
            );
        }
    };
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => unreadable(
            SetAsideReason::InvalidJson,
            format!("the body is not JSON: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1_024;

    fn reason(routing_key: &str, properties: &Properties, body: &[u8]) -> SetAsideReason {
        IncomingEvent::read(routing_key, properties, body, LIMIT)
            .unwrap_err()
            .reason
    }

    #[test]
    fn the_routing_key_names_app_and_event_type() {
        let event = IncomingEvent::read("app_2x.sync.user", &Properties::default(), b"{}", LIMIT).unwrap();
        assert_eq!(
            (event.app.as_str(), event.event_type.as_str()),
            ("app_2x", "sync.user")
        );
    }

    #[test]
    fn properties_override_the_routing_key() {
        let properties = Properties {
            app_id: Some("customer.with.dots".into()),
            kind: Some("sync.organization".into()),
            ..Default::default()
        };
        let event = IncomingEvent::read("whatever", &properties, b"{}", LIMIT).unwrap();
        assert_eq!(
            (event.app.as_str(), event.event_type.as_str()),
            ("customer.with.dots", "sync.organization")
        );
    }

    #[test]
    fn a_message_id_of_our_making_is_the_id_and_any_other_is_the_event_id() {
        let own = "msg_1srOrx2ZWZBpBUvZwXKQmoEYga2";
        let with = |id: &str| Properties {
            message_id: Some(id.into()),
            ..Default::default()
        };
        let event = IncomingEvent::read("a.b", &with(own), b"{}", LIMIT).unwrap();
        assert_eq!((event.message_id.unwrap().as_str(), event.event_id), (own, None));
        let event = IncomingEvent::read("a.b", &with("order 1/2"), b"{}", LIMIT).unwrap();
        assert_eq!(
            (event.message_id, event.event_id.as_deref()),
            (None, Some("order 1/2"))
        );
    }

    #[test]
    fn channels_come_as_a_list_or_with_commas() {
        let mut properties = Properties::default();
        properties.put_text(headers::CHANNELS, "a, b");
        let with_commas = IncomingEvent::read("a.b", &properties, b"{}", LIMIT).unwrap();
        let list = ["a", "b"].map(|name| HeaderValue::Text(name.into())).to_vec();
        properties
            .headers
            .insert(headers::CHANNELS.into(), HeaderValue::List(list));
        let as_list = IncomingEvent::read("a.b", &properties, b"{}", LIMIT).unwrap();
        assert_eq!(with_commas.channels, as_list.channels);
        assert_eq!(as_list.channels.len(), 2);
    }

    #[test]
    fn what_cannot_be_delivered_is_named() {
        use SetAsideReason::*;
        let none = Properties::default();
        let header = |name: &str, value: HeaderValue| {
            let mut properties = Properties::default();
            properties.headers.insert(name.into(), value);
            properties
        };
        let id = |text: &str| Properties {
            message_id: Some(text.into()),
            ..Default::default()
        };
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        let long = vec![b' '; LIMIT + 1];
        let many = HeaderValue::List(vec![HeaderValue::Text("c".into()); 11]);
        let cases: Vec<(&str, Properties, &[u8], SetAsideReason)> = vec![
            ("a.b", none.clone(), b"{", InvalidJson),
            ("a.b", none.clone(), b"", InvalidJson),
            ("a.b", none.clone(), b"{} {}", InvalidJson),
            ("a.b", none.clone(), b"{\"a\":\"\xff\"}", InvalidJson),
            ("a.b", none.clone(), &deep.as_bytes()[..1_000], InvalidJson),
            ("a.b", none.clone(), &long, TooLarge),
            ("ab", none.clone(), b"{}", BadRoutingKey),
            (".b", none.clone(), b"{}", BadRoutingKey),
            ("a.", none.clone(), b"{}", BadRoutingKey),
            ("a b.c", none.clone(), b"{}", BadRoutingKey),
            ("a.#", none.clone(), b"{}", BadRoutingKey),
            (
                "a.b",
                Properties {
                    app_id: Some("a:b*".into()),
                    ..Default::default()
                },
                b"{}",
                BadHeaders,
            ),
            (
                "a.b",
                Properties {
                    kind: Some("*.x".into()),
                    ..Default::default()
                },
                b"{}",
                BadHeaders,
            ),
            (
                "a.b",
                header(headers::CHANNELS, HeaderValue::Int(1)),
                b"{}",
                BadHeaders,
            ),
            (
                "a.b",
                header(headers::CHANNELS, HeaderValue::Other),
                b"{}",
                BadHeaders,
            ),
            (
                "a.b",
                header(headers::CHANNELS, HeaderValue::Text("a b".into())),
                b"{}",
                BadHeaders,
            ),
            ("a.b", header(headers::CHANNELS, many), b"{}", BadHeaders),
            (
                "a.b",
                header(headers::EVENT_ID, HeaderValue::Bool(true)),
                b"{}",
                BadHeaders,
            ),
            ("a.b", id(""), b"{}", BadId),
            ("a.b", id(&"x".repeat(257)), b"{}", BadId),
            ("a.b", id("a\nb"), b"{}", BadId),
        ];
        for (routing_key, properties, body, expected) in cases {
            assert_eq!(
                reason(routing_key, &properties, body),
                expected,
                "{routing_key} {properties:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(
            key in ".{0,40}", app in proptest::option::of(".{0,20}"), id in proptest::option::of(".{0,300}"),
            body: Vec<u8>,
        ) {
            let properties = Properties { app_id: app, message_id: id, ..Default::default() };
            if let Err(unreadable) = IncomingEvent::read(&key, &properties, &body, LIMIT) {
                prop_assert!(!unreadable.detail.is_empty());
            }
        }
    }
}

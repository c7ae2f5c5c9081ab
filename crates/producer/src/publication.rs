//! An event as the AMQP message that carries it.
//!
//! Owns the choice of ids, routing key and properties. Guarantees that the router reads the same event from it, by
//! reading it as the router does. Refuses to know connections.

use std::fmt;

use nuncio_broker::Outgoing;
use nuncio_domain::{Event, MessageId, UnixMillis};
use nuncio_wire::headers::{CHANNELS, EVENT_ID, PAYLOAD_RETENTION_DAYS};
use nuncio_wire::{HeaderValue, IncomingEvent, Properties, SetAsideReason, TraceContext};
use rand::Rng;

use crate::error::PublishError;

/// Bytes that AMQP keeps of a routing key or of the property `message_id`.
const SHORT_BYTES_MAX: usize = 255;

/// What may go with an event besides itself.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The id that its message is to have. Without it, and without an event id, one is made.
    pub message_id: Option<MessageId>,
    /// The trace that its deliveries belong to.
    pub trace: TraceContext,
    /// Days to keep the payload, when fewer than the retention.
    pub payload_retention_days: Option<u16>,
}

/// The id under which a published event can be found, and under which it may be published again without effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Receipt {
    /// The id of its message.
    Message(MessageId),
    /// The event id that it came with; the router makes the message's id from it.
    Event(String),
}

impl Receipt {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Message(id) => id.as_str(),
            Self::Event(id) => id,
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is published for an event.
pub(crate) struct Publication {
    pub(crate) routing_key: String,
    pub(crate) message: Outgoing,
    pub(crate) receipt: Receipt,
}

impl Publication {
    pub(crate) fn of(
        event: Event,
        extras: Extras,
        payload_bytes_max: usize,
        now: UnixMillis,
        rng: &mut impl Rng,
    ) -> Result<Self, PublishError> {
        let Event {
            app,
            event_type,
            payload,
            event_id,
            channels,
        } = event;
        let mut properties = Properties {
            timestamp: u64::try_from(now.seconds()).ok(),
            content_type: Some("application/json".to_owned()),
            ..Properties::default()
        };
        let receipt = match (extras.message_id, event_id) {
            (Some(id), event_id) => {
                if let Some(event_id) = event_id {
                    properties.put_text(EVENT_ID, event_id);
                }
                properties.message_id = Some(id.as_str().to_owned());
                Receipt::Message(id)
            }
            (None, Some(event_id)) => {
                if event_id.len() <= SHORT_BYTES_MAX {
                    properties.message_id = Some(event_id.clone());
                } else {
                    properties.put_text(EVENT_ID, event_id.clone());
                }
                Receipt::Event(event_id)
            }
            (None, None) => {
                let id = MessageId::generate(now, rng);
                properties.message_id = Some(id.as_str().to_owned());
                Receipt::Message(id)
            }
        };
        if !channels.is_empty() {
            let names = channels
                .iter()
                .map(|channel| HeaderValue::Text(channel.as_str().to_owned()));
            properties
                .headers
                .insert(CHANNELS.to_owned(), HeaderValue::List(names.collect()));
        }
        if let Some(days) = extras.payload_retention_days {
            properties.put_int(PAYLOAD_RETENTION_DAYS, i64::from(days));
        }
        extras.trace.write(&mut properties);
        let mut routing_key = format!("{app}.{event_type}");
        let readable = !app.contains('.') && routing_key.len() <= SHORT_BYTES_MAX;
        if !readable {
            if routing_key.len() > SHORT_BYTES_MAX {
                routing_key.truncate(0);
                routing_key.push_str(if app.len() <= SHORT_BYTES_MAX { &app } else { "" });
            }
            properties.app_id = Some(app);
            properties.kind = Some(event_type.as_str().to_owned());
        }
        if let Some(text) = properties
            .app_id
            .as_ref()
            .filter(|text| text.len() > SHORT_BYTES_MAX)
        {
            return Err(PublishError::Invalid {
                reason: SetAsideReason::BadHeaders,
                detail: format!("{text:?} is longer than the {SHORT_BYTES_MAX} bytes that AMQP allows"),
            });
        }
        IncomingEvent::read(&routing_key, &properties, &payload, payload_bytes_max).map_err(
            |unreadable| PublishError::Invalid {
                reason: unreadable.reason,
                detail: unreadable.detail,
            },
        )?;
        Ok(Self {
            routing_key,
            message: Outgoing::persistent(properties, payload),
            receipt,
        })
    }
}

#[cfg(test)]
mod tests {
    use nuncio_domain::{Channel, EventTypeName};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_123);

    fn event(app: &str, event_type: &str) -> Event {
        Event {
            app: app.to_owned(),
            event_type: EventTypeName::parse(event_type).unwrap(),
            payload: br#"{"a":1}"#.to_vec(),
            event_id: None,
            channels: Vec::new(),
        }
    }

    fn publication(event: Event, extras: Extras) -> Result<Publication, PublishError> {
        Publication::of(event, extras, 256 * 1024, NOW, &mut StdRng::seed_from_u64(1))
    }

    fn read(publication: &Publication) -> IncomingEvent {
        let Publication {
            routing_key, message, ..
        } = publication;
        IncomingEvent::read(routing_key, &message.properties, &message.body, 256 * 1024).unwrap()
    }

    #[test]
    fn an_event_without_an_id_gets_a_message_id_that_says_when() {
        let published = publication(event("app_1", "sync.user"), Extras::default()).unwrap();
        let Receipt::Message(id) = &published.receipt else {
            panic!("{:?}", published.receipt);
        };
        assert_eq!(published.routing_key, "app_1.sync.user");
        assert_eq!(read(&published).message_id.as_ref(), Some(id));
        assert!((id.made_at().unwrap().0 - NOW.0).abs() < 4);
        assert_eq!(published.message.properties.timestamp, Some(1_700_000_000));
        assert!(published.message.persistent);
    }

    #[test]
    fn an_event_keeps_its_own_id() {
        let own = |id: &str| Event {
            event_id: Some(id.to_owned()),
            ..event("app_1", "sync.user")
        };
        let published = publication(own("order-1"), Extras::default()).unwrap();
        assert_eq!(published.receipt, Receipt::Event("order-1".into()));
        assert_eq!(
            published.message.properties.message_id.as_deref(),
            Some("order-1")
        );
        // One byte more than AMQP keeps of the property.
        let long = "x".repeat(256);
        let published = publication(own(&long), Extras::default()).unwrap();
        assert_eq!(read(&published).event_id.as_deref(), Some(long.as_str()));
        assert!(publication(own(""), Extras::default()).is_err());
        assert!(publication(own(&"x".repeat(257)), Extras::default()).is_err());
    }

    #[test]
    fn a_given_message_id_and_an_event_id_travel_side_by_side() {
        let id = MessageId::generate(NOW, &mut StdRng::seed_from_u64(2));
        let event = Event {
            event_id: Some("order-1".into()),
            ..event("app_1", "sync.user")
        };
        let extras = Extras {
            message_id: Some(id.clone()),
            ..Extras::default()
        };
        let published = publication(event, extras).unwrap();
        assert_eq!(published.receipt, Receipt::Message(id.clone()));
        let read = read(&published);
        assert_eq!(
            (read.message_id, read.event_id.as_deref()),
            (Some(id), Some("order-1"))
        );
    }

    #[test]
    fn what_the_router_would_set_aside_is_refused_with_its_reason() {
        let with = |payload: &[u8]| Event {
            payload: payload.to_vec(),
            ..event("app_1", "sync.user")
        };
        let reason = |event| match publication(event, Extras::default()).map(|_| ()) {
            Err(PublishError::Invalid { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(with(b"{")), SetAsideReason::InvalidJson);
        assert_eq!(reason(with(b"\xff")), SetAsideReason::InvalidJson);
        assert_eq!(
            reason(with(&vec![b' '; 256 * 1024 + 1])),
            SetAsideReason::TooLarge
        );
        assert_eq!(reason(event("", "sync.user")), SetAsideReason::BadRoutingKey);
        assert_eq!(reason(event("a b", "sync.user")), SetAsideReason::BadRoutingKey);
        assert_eq!(reason(event(&"a".repeat(256), "t")), SetAsideReason::BadHeaders);
    }

    proptest! {
        #[test]
        fn the_router_reads_the_event_that_was_published(
            app in "[a-zA-Z0-9_.-]{1,255}",
            event_type in "[a-zA-Z0-9_.-]{1,256}",
            event_id in proptest::option::of("[ -~]{1,256}"),
            channels in proptest::collection::vec("[a-z]{1,20}", 0..10),
            payload in "[0-9]{1,9}",
        ) {
            let event = Event {
                payload: format!("[{}]", payload.trim_start_matches('0').parse::<u64>().unwrap_or(0)).into_bytes(),
                event_id: event_id.filter(|id| MessageId::parse(id).is_err()),
                channels: channels.iter().map(|name| Channel::parse(name).unwrap()).collect(),
                ..event(&app, &event_type)
            };
            let published = publication(event.clone(), Extras::default()).unwrap();
            prop_assert!(published.routing_key.len() <= 255);
            let read = read(&published);
            prop_assert_eq!(read.app, event.app);
            prop_assert_eq!(read.event_type, event.event_type);
            prop_assert_eq!(read.event_id, event.event_id);
            prop_assert_eq!(read.channels, event.channels);
            prop_assert_eq!(&published.message.body[..], &event.payload[..]);
        }
    }
}

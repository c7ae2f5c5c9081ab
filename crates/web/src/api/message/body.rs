//! Bodies of messages.

use nuncio_domain::{Message, UnixMillis};
use nuncio_producer::TraceContext;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::app::body::ApplicationIn;
use crate::api::body::{Object, Whole};
use crate::usecase::messages::MessageDraft;

/// An event to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageIn {
    /// Its type. Types that are not in the catalogue are accepted.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[a-zA-Z0-9_.-]+$",
        example = "user.signup"
    )]
    event_type: String,
    /// What is sent: a JSON object, delivered byte for byte as it is written here. At most 256 KiB, unless configured
    /// otherwise.
    #[schema(value_type = Object, example = json!({"email": "test@example.com"}))]
    #[serde(alias = "data")]
    payload: Option<Box<RawValue>>,
    /// The caller's own id for it, unique in the app for as long as messages are kept.
    #[schema(
        nullable,
        min_length = 1,
        max_length = 256,
        pattern = "^[a-zA-Z0-9_.-]+$",
        example = "unique-msg-identifier"
    )]
    event_id: Option<String>,
    /// Channels that endpoints may filter on.
    #[schema(nullable, min_items = 1, max_items = 10, example = json!(["project_123", "group_2"]))]
    channels: Option<Vec<String>>,
    /// Days that the payload is kept, where that is less than messages are kept at all.
    #[schema(value_type = Option<u64>, minimum = 5, maximum = 90, default = 90)]
    payload_retention_period: Option<Whole>,
    /// Hours that the payload is kept; goes before `payloadRetentionPeriod`.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 2160)]
    payload_retention_hours: Option<Whole>,
    /// An app to create, unless there is one with the id or uid in the path.
    #[schema(value_type = Option<ApplicationIn>)]
    application: Option<Object<ApplicationIn>>,
    /// What some clients wrap a payload in that they have serialised themselves. Left out of the document, as Svix does.
    #[schema(ignore)]
    transformations_params: Option<Object<Transformation>>,
    /// Not supported: a message with it is refused.
    #[schema(ignore)]
    deliver_at: Option<String>,
    /// Taken for the sake of other clients, and forgotten.
    #[serde(rename = "tags")]
    #[schema(ignore)]
    _tags: Option<Vec<String>>,
}

/// A payload as text, to be sent as it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transformation {
    raw_payload: Option<String>,
}

impl From<MessageIn> for MessageDraft {
    fn from(body: MessageIn) -> Self {
        let raw = body
            .transformations_params
            .and_then(|Object(params)| params.raw_payload);
        Self {
            event_type: body.event_type,
            payload: raw.or_else(|| {
                body.payload
                    .map(|payload| String::from(Box::<str>::from(payload)))
            }),
            event_id: body.event_id,
            channels: body.channels,
            payload_retention_days: body.payload_retention_period.map(|Whole(days)| days),
            payload_retention_hours: body.payload_retention_hours.map(|Whole(hours)| hours),
            application: body.application.map(|Object(app)| app.into()),
            deliver_at: body.deliver_at.is_some(),
            trace: TraceContext::default(),
        }
    }
}

/// A message: an event that was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageOut {
    /// Its id; receivers see it as `webhook-id`.
    #[schema(example = "msg_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    pub(crate) id: String,
    /// The caller's own id for it.
    #[schema(required = true)]
    pub(crate) event_id: Option<String>,
    /// Its type.
    #[schema(example = "user.signup")]
    pub(crate) event_type: String,
    /// What was sent; `{}` where it was not asked for, `{"expired":true}` where it is no longer kept.
    #[schema(value_type = Object)]
    pub(crate) payload: Box<RawValue>,
    /// Its channels.
    #[schema(required = true)]
    pub(crate) channels: Option<Vec<String>>,
    /// When it was accepted.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) timestamp: UnixMillis,
    /// Always null: messages have none.
    #[schema(required = true)]
    pub(crate) tags: Option<Vec<String>>,
    /// Always null: messages are sent at once.
    #[schema(required = true)]
    pub(crate) deliver_at: Option<String>,
}

/// A payload as it is shown.
pub(crate) enum Shown {
    /// It was asked not to show it.
    Left,
    /// As it was sent; nothing when it is no longer kept.
    Kept(Option<Vec<u8>>),
}

impl Shown {
    /// The JSON text; what is not JSON (it came over AMQP and is older than the rule) is shown as a string.
    pub(crate) fn into_json(self) -> Box<RawValue> {
        let text = match self {
            Self::Left => "{}".to_owned(),
            Self::Kept(None) => r#"{"expired":true}"#.to_owned(),
            Self::Kept(Some(bytes)) => String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        };
        RawValue::from_string(text.clone())
            .unwrap_or_else(|_not_json| serde_json::value::to_raw_value(&text).expect("a string serialises"))
    }
}

impl MessageOut {
    pub(crate) fn new(message: Message, payload: Shown) -> Self {
        Self {
            id: message.id.to_string(),
            event_id: message.event_id,
            event_type: message.event_type.to_string(),
            payload: payload.into_json(),
            channels: (!message.channels.is_empty())
                .then(|| message.channels.iter().map(ToString::to_string).collect()),
            timestamp: message.created_at,
            tags: None,
            deliver_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_shown_as_they_were_sent() {
        for (shown, text) in [
            (Shown::Left, "{}"),
            (Shown::Kept(None), r#"{"expired":true}"#),
            (Shown::Kept(Some(br#"{"b" : 1.0}"#.to_vec())), r#"{"b" : 1.0}"#),
            (Shown::Kept(Some(b"<svg>".to_vec())), r#""<svg>""#),
        ] {
            assert_eq!(shown.into_json().get(), text);
        }
    }

    #[test]
    fn the_payload_is_taken_out_of_the_body_without_a_change() {
        let text = r#"{"eventType":"a","payload": {"b" : 1.0, "a":[ ]} }"#;
        let body: MessageIn = crate::api::body::parse(text.as_bytes()).unwrap();
        let draft = MessageDraft::from(body);
        assert_eq!(draft.payload.as_deref(), Some(r#"{"b" : 1.0, "a":[ ]}"#));
        let text = r#"{"eventType":"a","payload":{},"transformationsParams":{"rawPayload":"{ \"x\":1}"}}"#;
        let body: MessageIn = crate::api::body::parse(text.as_bytes()).unwrap();
        assert_eq!(MessageDraft::from(body).payload.as_deref(), Some("{ \"x\":1}"));
    }
}

//! Bodies of attempts and of deliveries as Svix shows them.

use nuncio_domain::{AttemptStatus, DeliveryState, DeliveryStatus, Trigger, UnixMillis};
use nuncio_store::{DeliveryOutlook, StoredAttempt};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::api::endpoint::body::EndpointOut;
use crate::api::message::body::MessageOut;

/// What is shown in place of a response that was deleted.
const EXPUNGED: &str = "EXPUNGED";

/// How something stands: 0 success, 1 pending, 2 fail, 3 sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageStatus {
    Success,
    Pending,
    Fail,
    Sending,
    /// Asked for by some clients; nothing ever stands so.
    Canceled,
}

impl MessageStatus {
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Pending => "pending",
            Self::Fail => "fail",
            Self::Sending => "sending",
            Self::Canceled => "canceled",
        }
    }

    /// The deliveries that stand so.
    pub(crate) fn outlook(self) -> Option<DeliveryOutlook> {
        match self {
            Self::Success => Some(DeliveryOutlook::Succeeded),
            Self::Pending | Self::Sending => Some(DeliveryOutlook::Waiting),
            Self::Fail => Some(DeliveryOutlook::Failed),
            Self::Canceled => None,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Success,
            1 => Self::Pending,
            2 => Self::Fail,
            3 => Self::Sending,
            4 => Self::Canceled,
            _ => return None,
        })
    }
}

impl From<DeliveryStatus> for MessageStatus {
    fn from(status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Delivered => Self::Success,
            DeliveryStatus::Pending => Self::Pending,
            DeliveryStatus::Retrying { .. } => Self::Sending,
            DeliveryStatus::Exhausted
            | DeliveryStatus::Disabled
            | DeliveryStatus::Deleted
            | DeliveryStatus::Superseded => Self::Fail,
        }
    }
}

impl From<AttemptStatus> for MessageStatus {
    fn from(status: AttemptStatus) -> Self {
        match status {
            AttemptStatus::Succeeded => Self::Success,
            AttemptStatus::Failed => Self::Fail,
        }
    }
}

impl<'de> Deserialize<'de> for MessageStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        Self::from_number(number).ok_or_else(|| {
            D::Error::custom("expected 0 (success), 1 (pending), 2 (fail), 3 (sending) or 4 (canceled)")
        })
    }
}

/// A hundred of status codes: 0 for none, 100, 200, 300, 400, 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusCodeClass(pub(crate) u16);

impl<'de> Deserialize<'de> for StatusCodeClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u16::deserialize(deserializer)?;
        matches!(number, 0 | 100 | 200 | 300 | 400 | 500)
            .then_some(Self(number))
            .ok_or_else(|| D::Error::custom("expected 0, 100, 200, 300, 400 or 500"))
    }
}

/// The classes there are.
pub(crate) fn status_code_class_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .enum_values(Some([0, 100, 200, 300, 400, 500]))
        .build()
}

/// One request that was made, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageAttemptOut {
    /// Its id.
    #[schema(example = "atmpt_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    id: String,
    /// The message.
    #[schema(example = "msg_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    msg_id: String,
    /// The endpoint.
    #[schema(example = "ep_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    endpoint_id: String,
    /// The URL that it went to, as it was then.
    #[schema(format = "uri")]
    url: String,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[schema(minimum = 0, maximum = 3)]
    status: u8,
    /// The status in a word.
    #[schema(example = "success")]
    status_text: &'static str,
    /// The response's status code; 0 when no response came.
    #[schema(example = 200)]
    response_status_code: u16,
    /// The response's body, up to 16 KiB, or why there was none; `{}` when it was not asked for, `EXPUNGED` when it was
    /// deleted.
    response: String,
    /// How long it took, in milliseconds.
    response_duration_ms: u64,
    /// 0 for one that the schedule made, 1 for one that was asked for.
    #[schema(minimum = 0, maximum = 1)]
    trigger_type: u8,
    /// When it began.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    timestamp: UnixMillis,
    /// The how-manieth attempt of its run, from 1.
    attempt_number: u16,
    /// When the next attempt of the run is due, if one is.
    #[serde(with = "crate::api::time::optional")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    next_attempt: Option<UnixMillis>,
    /// The message, when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    msg: Option<MessageOut>,
}

impl MessageAttemptOut {
    /// The attempt as it is shown.
    pub(crate) fn new(stored: StoredAttempt, with_content: bool, msg: Option<MessageOut>) -> Self {
        let StoredAttempt { attempt, expunged } = stored;
        let status = MessageStatus::from(attempt.status());
        let response = match (with_content, attempt.outcome.status()) {
            (false, _) => "{}".to_owned(),
            (true, Some(_)) if expunged => EXPUNGED.to_owned(),
            (true, Some(_)) => attempt.response_body,
            (true, None) => attempt.outcome.to_string(),
        };
        Self {
            id: attempt.id.to_string(),
            msg_id: attempt.message_id.to_string(),
            endpoint_id: attempt.endpoint_id.to_string(),
            url: attempt.url,
            status: status.number(),
            status_text: status.text(),
            response_status_code: attempt.outcome.status().unwrap_or(0),
            response,
            response_duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            trigger_type: match attempt.trigger {
                Trigger::Scheduled => 0,
                Trigger::Manual => 1,
            },
            timestamp: attempt.started_at,
            attempt_number: attempt.number.number(),
            next_attempt: attempt.next_due,
            msg,
        }
    }
}

/// When the next attempt of a delivery is due, if one is.
pub(crate) fn next_attempt(state: DeliveryState) -> Option<UnixMillis> {
    match state.status {
        DeliveryStatus::Retrying { due } => Some(due),
        _ => None,
    }
}

/// A message, and how its delivery to one endpoint stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointMessageOut {
    #[serde(flatten)]
    #[schema(inline)]
    message: MessageOut,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[schema(minimum = 0, maximum = 3)]
    status: u8,
    /// The status in a word.
    status_text: &'static str,
    /// When the next attempt is due, if one is.
    #[serde(with = "crate::api::time::optional")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    next_attempt: Option<UnixMillis>,
}

impl EndpointMessageOut {
    pub(crate) fn new(message: MessageOut, state: DeliveryState) -> Self {
        let status = MessageStatus::from(state.status);
        Self {
            message,
            status: status.number(),
            status_text: status.text(),
            next_attempt: next_attempt(state),
        }
    }
}

/// An endpoint, and how the delivery of one message to it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageEndpointOut {
    #[serde(flatten)]
    #[schema(inline)]
    endpoint: EndpointOut,
    /// 0 success, 1 pending, 2 fail, 3 sending.
    #[schema(minimum = 0, maximum = 3)]
    status: u8,
    /// The status in a word.
    status_text: &'static str,
    /// When the next attempt is due, if one is.
    #[serde(with = "crate::api::time::optional")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    next_attempt: Option<UnixMillis>,
}

impl MessageEndpointOut {
    pub(crate) fn new(endpoint: EndpointOut, state: DeliveryState) -> Self {
        let status = MessageStatus::from(state.status);
        Self {
            endpoint,
            status: status.number(),
            status_text: status.text(),
            next_attempt: next_attempt(state),
        }
    }
}

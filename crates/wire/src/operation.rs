//! Operational events: what Nuncio itself has to tell, on the exchange `<ns>.operations`.
//!
//! Owns their names (also their routing keys) and bodies, which are those of Svix's operational webhooks.
//! Refuses to know who listens. Source: <https://api.svix.com/docs#tag/Webhooks>.

use jiff::Timestamp;
use nuncio_domain::{App, Attempt, Endpoint, MessageId, UnixMillis};
use serde::Serialize;

/// What happened to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointChange {
    /// It was created.
    Created,
    /// Its URL, filters or other fields were changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was enabled.
    Enabled,
    /// It was disabled, by a person, a 410 or for having failed too long.
    Disabled,
    /// It was paused: its messages wait.
    Paused,
    /// It was resumed.
    Resumed,
}

/// What happened to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryChange {
    /// Its retry budget is spent.
    Exhausted,
    /// Its fourth attempt failed.
    Failing,
    /// It was delivered after its fourth attempt had failed.
    Recovered,
}

/// An operational event, ready to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its type and routing key.
    pub kind: &'static str,
    /// Its JSON body.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, D> {
    r#type: &'a str,
    data: D,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointData<'a> {
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<&'a str>,
    endpoint_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AttemptData<'a> {
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_uid: Option<&'a str>,
    endpoint_id: &'a str,
    msg_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_event_id: Option<&'a str>,
    last_attempt: LastAttempt<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastAttempt<'a> {
    id: &'a str,
    response_status_code: u16,
    timestamp: String,
}

impl EndpointChange {
    /// The event's type.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Created => "endpoint.created",
            Self::Updated => "endpoint.updated",
            Self::Deleted => "endpoint.deleted",
            Self::Enabled => "endpoint.enabled",
            Self::Disabled => "endpoint.disabled",
            Self::Paused => "endpoint.paused",
            Self::Resumed => "endpoint.resumed",
        }
    }

    /// The event that tells this change of `endpoint`; `failing_since` where it was disabled for only failing, and a
    /// word for what set it off.
    #[must_use]
    pub fn event(
        self,
        app: &App,
        endpoint: &Endpoint,
        failing_since: Option<UnixMillis>,
        trigger: Option<&str>,
    ) -> Operation {
        let data = EndpointData {
            app_id: app.id.as_str(),
            app_uid: app.uid.as_ref().map(AsRef::as_ref),
            endpoint_id: endpoint.id.as_str(),
            endpoint_uid: endpoint.uid.as_ref().map(AsRef::as_ref),
            fail_since: failing_since.map(rfc3339),
            trigger,
        };
        operation(self.kind(), data)
    }
}

impl DeliveryChange {
    /// The event's type.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Exhausted => "message.attempt.exhausted",
            Self::Failing => "message.attempt.failing",
            Self::Recovered => "message.attempt.recovered",
        }
    }

    /// The event that tells this change of the delivery that `attempt` belongs to.
    #[must_use]
    pub fn event(
        self,
        app: &App,
        message: &MessageId,
        event_id: Option<&str>,
        attempt: &Attempt,
    ) -> Operation {
        let data = AttemptData {
            app_id: app.id.as_str(),
            app_uid: app.uid.as_ref().map(AsRef::as_ref),
            endpoint_id: attempt.endpoint_id.as_str(),
            msg_id: message.as_str(),
            msg_event_id: event_id,
            last_attempt: LastAttempt {
                id: attempt.id.as_str(),
                response_status_code: attempt.outcome.status().unwrap_or(0),
                timestamp: rfc3339(attempt.started_at),
            },
        };
        operation(self.kind(), data)
    }
}

fn operation<D: Serialize>(kind: &'static str, data: D) -> Operation {
    let body = serde_json::to_vec(&Body { r#type: kind, data }).expect("texts and numbers are always JSON");
    Operation { kind, body }
}

fn rfc3339(at: UnixMillis) -> String {
    Timestamp::from_millisecond(at.0)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nuncio_domain::{AttemptNumber, Outcome, Trigger};

    use super::*;

    fn app() -> App {
        App {
            id: "app_1".parse().unwrap(),
            uid: Some("customer-1".parse().unwrap()),
            name: "One".into(),
            throttle_rate: None,
            metadata: Default::default(),
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        }
    }

    #[test]
    fn an_exhausted_delivery_tells_its_last_attempt() {
        let attempt = Attempt {
            id: "atmpt_1".parse().unwrap(),
            message_id: "msg_1".parse().unwrap(),
            endpoint_id: "ep_1".parse().unwrap(),
            event_type: "sync.user".parse().unwrap(),
            url: "https://example.com/".into(),
            number: AttemptNumber::FIRST,
            trigger: Trigger::Scheduled,
            outcome: Outcome::Refused {
                status: 500,
                retry_after: None,
            },
            started_at: UnixMillis(1_700_000_000_123),
            duration: Duration::from_millis(5),
            next_due: None,
            response_body: String::new(),
            response_headers: Vec::new(),
        };
        let told = DeliveryChange::Exhausted.event(&app(), &attempt.message_id, None, &attempt);
        assert_eq!(
            String::from_utf8(told.body).unwrap(),
            "{\"type\":\"message.attempt.exhausted\",\"data\":{\"appId\":\"app_1\",\"appUid\":\"customer-1\",\
             \"endpointId\":\"ep_1\",\"msgId\":\"msg_1\",\"lastAttempt\":{\"id\":\"atmpt_1\",\
             \"responseStatusCode\":500,\"timestamp\":\"2023-11-14T22:13:20.123Z\"}}}"
        );
    }

    #[test]
    fn an_endpoint_disabled_for_failing_tells_since_when() {
        let endpoint = Endpoint {
            url: "https://example.com/".into(),
            ..Endpoint::blank("app_1".parse().unwrap(), "ep_1".parse().unwrap(), UnixMillis(0))
        };
        let told = EndpointChange::Disabled.event(&app(), &endpoint, Some(UnixMillis(0)), Some("failing"));
        assert_eq!(told.kind, "endpoint.disabled");
        assert_eq!(
            String::from_utf8(told.body).unwrap(),
            "{\"type\":\"endpoint.disabled\",\"data\":{\"appId\":\"app_1\",\"appUid\":\"customer-1\",\
             \"endpointId\":\"ep_1\",\"failSince\":\"1970-01-01T00:00:00Z\",\"trigger\":\"failing\"}}"
        );
    }
}

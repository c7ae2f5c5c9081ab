//! Records of apps and endpoints.
//!
//! Owns readable JSON with a version. Guarantees that fields of newer versions survive a change by this one.

use std::collections::BTreeMap;

use nuncio_domain::{App, AppId, DisabledReason, Endpoint, EndpointId, EndpointState, Uid, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RecordError;

const VERSION: u8 = 1;

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An app as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppRecord {
    #[serde(default)]
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    created_at: i64,
    updated_at: i64,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl AppRecord {
    /// The record of `app`.
    #[must_use]
    pub fn new(app: &App) -> Self {
        Self {
            v: VERSION,
            uid: app.uid.as_ref().map(|uid| uid.as_str().to_owned()),
            name: app.name.clone(),
            throttle_rate: app.throttle_rate,
            metadata: app.metadata.clone(),
            created_at: app.created_at.0,
            updated_at: app.updated_at.0,
            extra: Map::new(),
        }
    }

    /// The record of `app`, with what this one holds beyond our knowledge.
    #[must_use]
    pub fn updated(self, app: &App) -> Self {
        Self {
            v: self.v.max(VERSION),
            extra: self.extra,
            ..Self::new(app)
        }
    }

    /// The record in `text`.
    ///
    /// # Errors
    /// When it is not the JSON of an app.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        serde_json::from_slice(text).map_err(RecordError::json("an app"))
    }

    /// The record as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("string keys and plain values always serialise")
    }

    /// The app of that id.
    ///
    /// # Errors
    /// When the uid does not follow the grammar.
    pub fn to_app(&self, id: AppId) -> Result<App, RecordError> {
        Ok(App {
            id,
            uid: uid("an app", self.uid.as_deref())?,
            name: self.name.clone(),
            throttle_rate: self.throttle_rate,
            metadata: self.metadata.clone(),
            created_at: UnixMillis(self.created_at),
            updated_at: UnixMillis(self.updated_at),
        })
    }
}

fn uid(noun: &'static str, text: Option<&str>) -> Result<Option<Uid>, RecordError> {
    text.map(|text| Uid::parse(text).map_err(|_| RecordError::field(noun, "uid")))
        .transpose()
}

/// An endpoint as it is kept, without its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRecord {
    #[serde(default)]
    v: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    url: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    created_at: i64,
    updated_at: i64,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl EndpointRecord {
    /// The record of `endpoint`.
    #[must_use]
    pub fn new(endpoint: &Endpoint) -> Self {
        let (state, since, reason) = match endpoint.state {
            EndpointState::Active => ("active", None, None),
            EndpointState::Paused { since } => ("paused", Some(since.0), None),
            EndpointState::Disabled { since, reason } => ("disabled", Some(since.0), Some(reason.as_str())),
        };
        Self {
            v: VERSION,
            uid: endpoint.uid.as_ref().map(|uid| uid.as_str().to_owned()),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            state: state.to_owned(),
            since,
            reason: reason.map(str::to_owned),
            version: endpoint.version,
            event_types: endpoint
                .event_types
                .as_ref()
                .map(|types| types.iter().map(|name| name.as_str().to_owned()).collect()),
            channels: endpoint
                .channels
                .as_ref()
                .map(|names| names.iter().map(|name| name.as_str().to_owned()).collect()),
            throttle_rate: endpoint.throttle_rate,
            headers: endpoint.headers.clone(),
            metadata: endpoint.metadata.clone(),
            created_at: endpoint.created_at.0,
            updated_at: endpoint.updated_at.0,
            extra: Map::new(),
        }
    }

    /// The record of `endpoint`, with what this one holds beyond our knowledge.
    #[must_use]
    pub fn updated(self, endpoint: &Endpoint) -> Self {
        Self {
            v: self.v.max(VERSION),
            extra: self.extra,
            ..Self::new(endpoint)
        }
    }

    /// The record in `text`.
    ///
    /// # Errors
    /// When it is not the JSON of an endpoint.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        serde_json::from_slice(text).map_err(RecordError::json("an endpoint"))
    }

    /// The record as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("string keys and plain values always serialise")
    }

    /// The endpoint of that id in that app.
    ///
    /// A state that only a newer version knows is read as paused: messages are kept, and nothing is sent that should not.
    ///
    /// # Errors
    /// When a name does not follow its grammar.
    pub fn to_endpoint(&self, app_id: AppId, id: EndpointId) -> Result<Endpoint, RecordError> {
        const NOUN: &str = "an endpoint";
        let since = UnixMillis(self.since.unwrap_or(self.updated_at));
        let state = match self.state.as_str() {
            "active" => EndpointState::Active,
            "disabled" => EndpointState::Disabled {
                since,
                reason: match self.reason.as_deref() {
                    Some("gone") => DisabledReason::Gone,
                    Some("failing") => DisabledReason::Failing,
                    _ => DisabledReason::Manual,
                },
            },
            _ => EndpointState::Paused { since },
        };
        let event_types = self
            .event_types
            .as_ref()
            .map(|names| names.iter().map(|name| name.parse()).collect::<Result<_, _>>())
            .transpose()
            .map_err(|_| RecordError::field(NOUN, "eventTypes"))?;
        let channels = self
            .channels
            .as_ref()
            .map(|names| names.iter().map(|name| name.parse()).collect::<Result<_, _>>())
            .transpose()
            .map_err(|_| RecordError::field(NOUN, "channels"))?;
        Ok(Endpoint {
            id,
            app_id,
            uid: uid(NOUN, self.uid.as_deref())?,
            url: self.url.clone(),
            description: self.description.clone(),
            state,
            version: self.version,
            event_types,
            channels,
            throttle_rate: self.throttle_rate,
            headers: self.headers.clone(),
            metadata: self.metadata.clone(),
            created_at: UnixMillis(self.created_at),
            updated_at: UnixMillis(self.updated_at),
        })
    }
}

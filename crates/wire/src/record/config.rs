//! Records of apps and endpoints.
//!
//! Owns readable JSON with a version. Guarantees that fields of newer versions survive a change by this one.

use std::collections::BTreeMap;

use nuncio_domain::{App, AppId, DisabledReason, Endpoint, EndpointId, EndpointState, Uid, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RecordError;
use crate::next;

const VERSION: u8 = 1;

fn extra() -> Map<String, Value> {
    next::fields()
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect()
}

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
            v: next::version(VERSION),
            uid: app.uid.as_ref().map(|uid| uid.as_str().to_owned()),
            name: app.name.clone(),
            throttle_rate: app.throttle_rate,
            metadata: app.metadata.clone(),
            created_at: app.created_at.0,
            updated_at: app.updated_at.0,
            extra: extra(),
        }
    }

    /// The record of `app`, with what this one holds beyond our knowledge.
    #[must_use]
    pub fn updated(self, app: &App) -> Self {
        Self {
            v: self.v.max(next::version(VERSION)),
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
            v: next::version(VERSION),
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
            extra: extra(),
        }
    }

    /// The record of `endpoint`, with what this one holds beyond our knowledge: fields, and a state that did not change.
    #[must_use]
    pub fn updated(self, endpoint: &Endpoint) -> Self {
        let new = Self::new(endpoint);
        let (state, since, reason) = if self.state() == endpoint.state {
            (self.state, self.since, self.reason)
        } else {
            (new.state, new.since, new.reason)
        };
        Self {
            v: self.v.max(next::version(VERSION)),
            state,
            since,
            reason,
            extra: self.extra,
            ..new
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
            state: self.state(),
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

    /// The state, as far as this version knows it.
    fn state(&self) -> EndpointState {
        let since = UnixMillis(self.since.unwrap_or(self.updated_at));
        match self.state.as_str() {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
        proptest::collection::btree_map("[a-z]{1,8}", ".{0,20}", 0..4)
    }

    fn states() -> impl Strategy<Value = EndpointState> {
        let reasons = prop_oneof![
            Just(DisabledReason::Manual),
            Just(DisabledReason::Gone),
            Just(DisabledReason::Failing)
        ];
        prop_oneof![
            Just(EndpointState::Active),
            any::<i64>().prop_map(|since| EndpointState::Paused {
                since: UnixMillis(since)
            }),
            (any::<i64>(), reasons).prop_map(|(since, reason)| EndpointState::Disabled {
                since: UnixMillis(since),
                reason,
            }),
        ]
    }

    fn uids() -> impl Strategy<Value = Option<Uid>> {
        proptest::option::of(
            "[a-zA-Z0-9_.-]{1,20}".prop_map(|uid| uid.parse().expect("it follows the grammar")),
        )
    }

    proptest! {
        #[test]
        fn an_app_reads_back_as_it_was_written(
            uid in uids(), name: String, throttle_rate: Option<u32>, metadata in texts(), at: i64, changed: i64,
        ) {
            let app = App {
                id: AppId::parse("app_1").unwrap(), uid, name, throttle_rate, metadata,
                created_at: UnixMillis(at), updated_at: UnixMillis(changed),
            };
            let record = AppRecord::parse(AppRecord::new(&app).to_json().as_bytes()).unwrap();
            prop_assert_eq!(record.to_app(app.id.clone()).unwrap(), app);
        }

        #[test]
        fn an_endpoint_reads_back_as_it_was_written(
            uid in uids(), url: String, description: String, state in states(), version: u32,
            types in proptest::option::of(proptest::collection::btree_set("[a-z.]{1,9}", 0..4)),
            channels in proptest::option::of(proptest::collection::btree_set("[a-z.]{1,9}", 0..4)),
            throttle_rate: Option<u32>, headers in texts(), metadata in texts(), at: i64, changed: i64,
        ) {
            let endpoint = Endpoint {
                id: EndpointId::parse("ep_1").unwrap(), app_id: AppId::parse("app_1").unwrap(),
                uid, url, description, state, version,
                event_types: types.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
                channels: channels.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
                throttle_rate, headers, metadata,
                created_at: UnixMillis(at), updated_at: UnixMillis(changed),
            };
            let record = EndpointRecord::parse(EndpointRecord::new(&endpoint).to_json().as_bytes()).unwrap();
            let read = record.to_endpoint(endpoint.app_id.clone(), endpoint.id.clone()).unwrap();
            prop_assert_eq!(read, endpoint);
        }
    }

    #[test]
    fn what_a_newer_version_added_survives_a_change() {
        let text = r#"{"v":2,"name":"a","createdAt":1,"updatedAt":1,"region":{"id":7}}"#;
        let record = AppRecord::parse(text.as_bytes()).unwrap();
        let mut app = record.to_app(AppId::parse("app_1").unwrap()).unwrap();
        app.name = "b".into();
        let kept: Value = serde_json::from_str(&record.updated(&app).to_json()).unwrap();
        assert_eq!(
            (&kept["v"], &kept["name"], &kept["region"]["id"]),
            (&2.into(), &"b".into(), &7.into())
        );
    }

    #[test]
    fn what_is_not_a_record_is_refused_by_name() {
        for text in ["", "[]", "{}", r#"{"name":1}"#] {
            let error = AppRecord::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "expected the JSON of an app", "{text:?}");
        }
        let text = r#"{"uid":"a b","name":"a","createdAt":1,"updatedAt":1}"#;
        let error = AppRecord::parse(text.as_bytes())
            .unwrap()
            .to_app(AppId::parse("app_1").unwrap())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the field `uid` of an app holds something else than expected"
        );
    }
}

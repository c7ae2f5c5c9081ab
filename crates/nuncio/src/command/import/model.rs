//! What a server that speaks Svix's API says, as far as it is imported.
//!
//! Owns the spelling of its fields under the names of several of its versions. Refuses to judge them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use nuncio_domain::UnixMillis;
use nuncio_web::usecase::apps::AppDraft;
use nuncio_web::usecase::endpoints::EndpointDraft;
use nuncio_web::usecase::event_types::EventTypeDraft;
use nuncio_web::usecase::import::{Foreign, Times};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What every secret starts with that signs with HMAC; older servers leave it out.
const SECRET_PREFIX: &str = "whsec_";

/// One page of a list.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) iterator: Option<String>,
    pub(super) done: bool,
}

/// Times of anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Made {
    fn times(&self) -> Times {
        Times {
            created: UnixMillis(self.created_at.as_millisecond()),
            updated: UnixMillis(self.updated_at.as_millisecond()),
        }
    }
}

/// An app.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForeignApp {
    id: String,
    uid: Option<String>,
    name: String,
    throttle_rate: Option<u64>,
    rate_limit: Option<u64>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    made: Made,
}

impl ForeignApp {
    pub(super) fn described(self) -> (String, AppDraft, Times) {
        let times = self.made.times();
        let draft = AppDraft {
            name: self.name,
            uid: self.uid,
            throttle_rate: self.throttle_rate,
            rate_limit: self.rate_limit,
            metadata: self.metadata,
        };
        (self.id, draft, times)
    }
}

/// An endpoint, as lists tell it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForeignEndpoint {
    pub(super) id: String,
    uid: Option<String>,
    url: String,
    #[serde(default)]
    description: String,
    disabled: Option<bool>,
    event_types: Option<Vec<String>>,
    filter_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    throttle_rate: Option<u64>,
    rate_limit: Option<u64>,
    version: Option<u64>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    made: Made,
}

/// An endpoint's secret.
#[derive(Deserialize)]
pub(super) struct Secret {
    key: String,
}

/// An endpoint's own headers.
#[derive(Default, Deserialize)]
pub(super) struct Headers {
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Names of those whose values are not told.
    #[serde(default)]
    sensitive: Vec<String>,
}

/// Whether an endpoint is sent something else than what was published.
#[derive(Deserialize)]
pub(super) struct Transformation {
    #[serde(default)]
    pub(super) enabled: bool,
}

impl ForeignEndpoint {
    pub(super) fn described(self, secret: Secret, headers: Headers) -> Foreign {
        let key = secret.key;
        // Ed25519 keys have prefixes of their own.
        let secret = if key.starts_with("wh") && key.contains('_') {
            key
        } else {
            format!("{SECRET_PREFIX}{key}")
        };
        let some = |names: Option<Vec<String>>| names.filter(|names| !names.is_empty());
        Foreign {
            id: self.id,
            times: self.made.times(),
            hidden_headers: headers
                .sensitive
                .into_iter()
                .filter(|name| !headers.headers.contains_key(name))
                .collect(),
            draft: EndpointDraft {
                url: self.url,
                description: self.description,
                uid: self.uid,
                disabled: Some(self.disabled.unwrap_or(false)),
                event_types: some(self.event_types),
                filter_types: some(self.filter_types),
                channels: some(self.channels),
                throttle_rate: self.throttle_rate,
                rate_limit: self.rate_limit,
                version: self.version,
                metadata: self.metadata,
                headers: Some(headers.headers),
                secret: Some(secret),
            },
        }
    }
}

/// An event type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForeignEventType {
    name: String,
    #[serde(default)]
    description: String,
    archived: Option<bool>,
    deprecated: Option<bool>,
    schemas: Option<Map<String, Value>>,
    feature_flag: Option<String>,
    feature_flags: Option<Vec<String>>,
    group_name: Option<String>,
    #[serde(flatten)]
    made: Made,
}

impl ForeignEventType {
    pub(super) fn described(self) -> (String, EventTypeDraft, Times) {
        let times = self.made.times();
        let draft = EventTypeDraft {
            description: Some(self.description),
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: Some(self.schemas),
            feature_flag: Some(self.feature_flag),
            feature_flags: self.feature_flags.map(Some),
            group_name: Some(self.group_name),
            enforce_schema: None,
        };
        (self.name, draft, times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_gets_the_prefix_that_older_servers_leave_out() {
        let endpoint = r#"{"id":"ep_1","url":"https://a.example","filterTypes":[],
            "createdAt":"2024-01-02T03:04:05.678901Z","updatedAt":"2024-01-02T03:04:05+00:00"}"#;
        for (key, expected) in [
            ("c2VjcmV0", "whsec_c2VjcmV0"),
            ("whsec_c2VjcmV0", "whsec_c2VjcmV0"),
            ("whpk_c2VjcmV0", "whpk_c2VjcmV0"),
        ] {
            let endpoint: ForeignEndpoint = serde_json::from_str(endpoint).unwrap();
            let foreign = endpoint.described(Secret { key: key.to_owned() }, Headers::default());
            assert_eq!(foreign.draft.secret.as_deref(), Some(expected));
            assert_eq!(foreign.draft.filter_types, None, "none means all");
            assert_eq!(foreign.times.created, UnixMillis(1_704_164_645_678));
        }
    }

    #[test]
    fn headers_whose_values_are_hidden_are_told_by_name() {
        let headers = r#"{"headers":{"x-a":"1"},"sensitive":["authorization"]}"#;
        let headers: Headers = serde_json::from_str(headers).unwrap();
        assert_eq!(headers.sensitive, ["authorization"]);
    }
}

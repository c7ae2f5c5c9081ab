//! Bodies of endpoints.

use std::collections::{BTreeMap, BTreeSet};

use nuncio_domain::{Endpoint, EndpointState, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::{Entries, Whole, not_null, present};
use crate::usecase::endpoints::{EndpointDraft, EndpointPatch as Patch};

macro_rules! endpoint_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            /// Where to post. Public addresses only, unless the operator allows others; no user name, no fragment.
            #[schema(min_length = 1, max_length = 2048, format = "uri", example = "https://example.com/webhook/")]
            url: String,
            /// A description for people.
            #[schema(nullable, max_length = 1024, default = "", example = "An example endpoint name")]
            description: Option<String>,
            /// The caller's own id for it, unique in the app: usable wherever the id is.
            #[schema(nullable, min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$", example = "unique-ep-identifier")]
            uid: Option<String>,
            /// Whether it is disabled: nothing is sent to it, nor kept for it.
            #[schema(nullable, default = false)]
            disabled: Option<bool>,
            /// The event types that it wants; null for all.
            #[schema(nullable, min_items = 1, max_items = 1000, example = json!(["user.signup", "user.deleted"]))]
            event_types: Option<Vec<String>>,
            /// The older name of `eventTypes`.
            #[schema(nullable, min_items = 1, max_items = 1000, deprecated)]
            filter_types: Option<Vec<String>>,
            /// The channels that it listens to; null for all messages, with or without channels.
            #[schema(nullable, min_items = 1, max_items = 10, example = json!(["project_123", "group_2"]))]
            channels: Option<Vec<String>>,
            /// Messages a second that it is sent at most; null for no limit.
            #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535)]
            throttle_rate: Option<Whole>,
            /// The older name of `throttleRate`.
            #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535, deprecated)]
            rate_limit: Option<Whole>,
            /// A number of the caller's own; kept, not interpreted.
            #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535, deprecated)]
            version: Option<Whole>,
            /// The caller's own keys and values: at most 4 KiB in all.
            #[schema(value_type = Option<BTreeMap<String, String>>)]
            metadata: Option<Entries<String>>,
            $($(#[$field_doc])* $field: $ty,)*
        }
    };
}

endpoint_body! {
    /// An endpoint to create.
    EndpointIn {
        /// The secret that signs its messages: `whsec_` and base64 of 24 to 64 bytes, or `whsk_` and base64 of an ed25519
        /// key. Null makes one.
        #[schema(nullable, min_length = 38, max_length = 100, example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
        secret: Option<String>,
        /// Its own request headers: at most 64, of at most 4 KiB each. Those that belong to the delivery itself cannot be
        /// set.
        #[schema(value_type = Option<BTreeMap<String, String>>)]
        headers: Option<Entries<String>>,
    }
}

endpoint_body! {
    /// An endpoint to replace: its secret and its headers stay.
    EndpointUpdate {}
}

impl From<EndpointIn> for EndpointDraft {
    fn from(body: EndpointIn) -> Self {
        Self {
            url: body.url,
            description: body.description.unwrap_or_default(),
            uid: body.uid,
            disabled: body.disabled,
            event_types: body.event_types,
            filter_types: body.filter_types,
            channels: body.channels,
            throttle_rate: body.throttle_rate.map(|Whole(rate)| rate),
            rate_limit: body.rate_limit.map(|Whole(rate)| rate),
            version: body.version.map(|Whole(version)| version),
            metadata: body.metadata.unwrap_or_default().0,
            headers: body.headers.map(|headers| headers.0),
            secret: body.secret,
        }
    }
}

impl From<EndpointUpdate> for EndpointDraft {
    fn from(body: EndpointUpdate) -> Self {
        Self {
            url: body.url,
            description: body.description.unwrap_or_default(),
            uid: body.uid,
            disabled: body.disabled,
            event_types: body.event_types,
            filter_types: body.filter_types,
            channels: body.channels,
            throttle_rate: body.throttle_rate.map(|Whole(rate)| rate),
            rate_limit: body.rate_limit.map(|Whole(rate)| rate),
            version: body.version.map(|Whole(version)| version),
            metadata: body.metadata.unwrap_or_default().0,
            headers: None,
            secret: None,
        }
    }
}

/// What to change of an endpoint: fields left out stay as they are.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointPatch {
    /// Where to post.
    #[schema(nullable = false, min_length = 1, max_length = 2048, format = "uri")]
    #[serde(default, deserialize_with = "not_null")]
    url: Option<String>,
    /// A description for people.
    #[schema(nullable = false, max_length = 1024)]
    #[serde(default, deserialize_with = "not_null")]
    description: Option<String>,
    /// The caller's own id for it; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    uid: Option<Option<String>>,
    /// Whether it is disabled.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    disabled: Option<bool>,
    /// The event types that it wants; null for all.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 1000)]
    event_types: Option<Option<Vec<String>>>,
    /// The older name of `eventTypes`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 1000, deprecated)]
    filter_types: Option<Option<Vec<String>>>,
    /// The channels that it listens to; null for all messages.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 10)]
    channels: Option<Option<Vec<String>>>,
    /// Messages a second; null takes the limit away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535)]
    throttle_rate: Option<Option<Whole>>,
    /// The older name of `throttleRate`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535, deprecated)]
    rate_limit: Option<Option<Whole>>,
    /// A number of the caller's own.
    #[schema(value_type = u64, required = false, minimum = 1, maximum = 65535, deprecated)]
    #[serde(default, deserialize_with = "not_null")]
    version: Option<Whole>,
    /// The secret that signs its messages from now on; the old one stops at once.
    #[schema(nullable, min_length = 38, max_length = 100)]
    secret: Option<String>,
    /// The caller's own keys and values, all of them anew; null takes them away.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    #[serde(default, deserialize_with = "present")]
    metadata: Option<Option<Entries<String>>>,
}

impl From<EndpointPatch> for Patch {
    fn from(body: EndpointPatch) -> Self {
        Self {
            url: body.url,
            description: body.description,
            uid: body.uid,
            disabled: body.disabled,
            event_types: body.event_types,
            filter_types: body.filter_types,
            channels: body.channels,
            throttle_rate: body.throttle_rate.map(|rate| rate.map(|Whole(rate)| rate)),
            rate_limit: body.rate_limit.map(|rate| rate.map(|Whole(rate)| rate)),
            version: body.version.map(|Whole(version)| version),
            metadata: body.metadata.map(|metadata| metadata.unwrap_or_default().0),
            headers: None,
            secret: body.secret,
        }
    }
}

/// An endpoint: a URL that receives.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointOut {
    /// Its id.
    #[schema(example = "ep_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    pub(crate) id: String,
    /// The caller's own id for it.
    #[schema(required = true)]
    pub(crate) uid: Option<String>,
    /// Where to post, in canonical form.
    #[schema(format = "uri", example = "https://example.com/webhook/")]
    pub(crate) url: String,
    /// A description for people.
    pub(crate) description: String,
    /// Whether it is disabled.
    pub(crate) disabled: bool,
    /// Why it is disabled: `manual`, `gone` (it answered 410) or `failing`; null when it is not.
    #[schema(required = true)]
    pub(crate) disabled_reason: Option<&'static str>,
    /// Whether it is paused: its messages wait until it is resumed.
    pub(crate) paused: bool,
    /// The event types that it wants; null for all.
    #[schema(required = true)]
    pub(crate) event_types: Option<Vec<String>>,
    /// The older name of `eventTypes`.
    #[schema(required = true, deprecated)]
    pub(crate) filter_types: Option<Vec<String>>,
    /// The channels that it listens to; null for all messages.
    #[schema(required = true)]
    pub(crate) channels: Option<Vec<String>>,
    /// Messages a second that it is sent at most.
    #[schema(required = true)]
    pub(crate) throttle_rate: Option<u32>,
    /// The older name of `throttleRate`.
    #[schema(required = true, deprecated)]
    pub(crate) rate_limit: Option<u32>,
    /// A number of the caller's own.
    #[schema(deprecated)]
    pub(crate) version: u32,
    /// The caller's own keys and values.
    pub(crate) metadata: BTreeMap<String, String>,
    /// When it was created.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: UnixMillis,
    /// When it was last changed.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: UnixMillis,
}

pub(crate) fn texts<N: AsRef<str>>(names: &BTreeSet<N>) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}

impl From<Endpoint> for EndpointOut {
    fn from(endpoint: Endpoint) -> Self {
        let event_types = endpoint.event_types.as_ref().map(texts);
        Self {
            id: endpoint.id.to_string(),
            disabled: endpoint.is_disabled(),
            disabled_reason: match endpoint.state {
                EndpointState::Disabled { reason, .. } => Some(reason.as_str()),
                EndpointState::Active | EndpointState::Paused { .. } => None,
            },
            paused: endpoint.is_paused(),
            uid: endpoint.uid.map(|uid| uid.to_string()),
            url: endpoint.url,
            description: endpoint.description,
            filter_types: event_types.clone(),
            event_types,
            channels: endpoint.channels.as_ref().map(texts),
            throttle_rate: endpoint.throttle_rate,
            rate_limit: endpoint.throttle_rate,
            version: endpoint.version,
            metadata: endpoint.metadata,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

/// An endpoint's own request headers, all of them anew.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct EndpointHeadersIn {
    /// Names and values.
    #[schema(value_type = BTreeMap<String, String>, example = json!({"X-Example": "123"}))]
    pub(crate) headers: Entries<String>,
}

/// What to change of an endpoint's own request headers.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointHeadersPatchIn {
    /// Names and values; null takes a header away.
    #[schema(value_type = BTreeMap<String, Option<String>>, example = json!({"X-Example": "123", "X-Gone": null}))]
    pub(crate) headers: Entries<Option<String>>,
    /// Names of headers to take away.
    #[serde(default)]
    pub(crate) delete_headers: Option<Vec<String>>,
}

/// An endpoint's own request headers.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EndpointHeadersOut {
    /// Names and values, but for the sensitive ones.
    pub(crate) headers: BTreeMap<String, String>,
    /// Names of headers whose values are not shown, because they carry credentials.
    pub(crate) sensitive: BTreeSet<String>,
}

/// An endpoint's secret.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct EndpointSecretOut {
    /// The secret that signs its messages.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    pub(crate) key: String,
}

/// How to change an endpoint's secret.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointSecretRotateIn {
    /// The new secret; null makes one.
    #[schema(nullable, min_length = 38, max_length = 100)]
    pub(crate) key: Option<String>,
    /// How long messages are signed with the old secret too: from 0 to 7 days.
    #[schema(value_type = Option<u64>, default = 86400, maximum = 604800)]
    pub(crate) grace_period_seconds: Option<Whole>,
}

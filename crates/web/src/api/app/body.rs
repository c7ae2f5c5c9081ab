//! Bodies of apps.

use nuncio_domain::{App, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::body::{Entries, Whole, not_null, present};
use crate::usecase::apps::{AppDraft, AppPatch};

/// An app to create or replace.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationIn {
    /// A name for people.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        example = "My first application"
    )]
    name: String,
    /// The caller's own id for it: usable wherever the id is.
    #[schema(
        nullable,
        min_length = 1,
        max_length = 256,
        pattern = "^[a-zA-Z0-9_.-]+$",
        example = "unique-app-identifier"
    )]
    uid: Option<String>,
    /// Messages a second that all of the app's endpoints together are sent at most; null for no limit.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535)]
    throttle_rate: Option<Whole>,
    /// The older name of `throttleRate`.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535, deprecated)]
    rate_limit: Option<Whole>,
    /// The caller's own keys and values: at most 4 KiB in all.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    metadata: Option<Entries<String>>,
}

impl From<ApplicationIn> for AppDraft {
    fn from(body: ApplicationIn) -> Self {
        Self {
            name: body.name,
            uid: body.uid,
            throttle_rate: body.throttle_rate.map(|Whole(rate)| rate),
            rate_limit: body.rate_limit.map(|Whole(rate)| rate),
            metadata: body.metadata.unwrap_or_default().0,
        }
    }
}

/// What to change of an app: fields left out stay as they are.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationPatch {
    /// A name for people.
    #[schema(
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        nullable = false
    )]
    #[serde(default, deserialize_with = "not_null")]
    name: Option<String>,
    /// The caller's own id for it; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    uid: Option<Option<String>>,
    /// Messages a second; null takes the limit away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535)]
    throttle_rate: Option<Option<Whole>>,
    /// The older name of `throttleRate`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 65535, deprecated)]
    rate_limit: Option<Option<Whole>>,
    /// The caller's own keys and values, all of them anew; null takes them away.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    #[serde(default, deserialize_with = "present")]
    metadata: Option<Option<Entries<String>>>,
}

impl From<ApplicationPatch> for AppPatch {
    fn from(body: ApplicationPatch) -> Self {
        Self {
            name: body.name,
            uid: body.uid,
            throttle_rate: body.throttle_rate.map(|rate| rate.map(|Whole(rate)| rate)),
            rate_limit: body.rate_limit.map(|rate| rate.map(|Whole(rate)| rate)),
            metadata: body.metadata.map(|metadata| metadata.unwrap_or_default().0),
        }
    }
}

/// An app.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApplicationOut {
    /// Its id.
    #[schema(example = "app_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    id: String,
    /// The caller's own id for it.
    #[schema(required = true, example = "unique-app-identifier")]
    uid: Option<String>,
    /// A name for people.
    #[schema(example = "My first application")]
    name: String,
    /// Messages a second that all of the app's endpoints together are sent at most.
    #[schema(required = true)]
    throttle_rate: Option<u32>,
    /// The older name of `throttleRate`.
    #[schema(required = true, deprecated)]
    rate_limit: Option<u32>,
    /// The caller's own keys and values.
    metadata: std::collections::BTreeMap<String, String>,
    /// When it was created.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMillis,
    /// When it was last changed.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMillis,
}

impl From<App> for ApplicationOut {
    fn from(app: App) -> Self {
        Self {
            id: app.id.to_string(),
            uid: app.uid.map(|uid| uid.to_string()),
            name: app.name,
            throttle_rate: app.throttle_rate,
            rate_limit: app.throttle_rate,
            metadata: app.metadata,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

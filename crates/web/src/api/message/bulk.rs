//! Routes about many messages, or about one before it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::auth::{InApp, Operate};
use crate::api::body::Body;
use crate::api::{Answer, Api};

/// Whose payloads to delete.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct BulkExpungeContentsIn {
    /// Ids or event ids of messages.
    #[schema(max_items = 100)]
    ids: Option<Vec<String>>,
}

/// What became of a payload.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BulkExpungeStatus {
    /// It is gone.
    Expunged,
    /// There is no such message, or its payload was gone.
    NotFound,
}

/// What became of payloads.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BulkExpungeContentsOut {
    /// By id or event id, as it was given.
    results: BTreeMap<String, BulkExpungeStatus>,
}

/// Delete the payloads of several messages: they can neither be shown nor sent again then.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/msg/bulk-expunge", operation_id = "v1.message.bulk-expunge", tag = "Message",
    request_body = BulkExpungeContentsIn,
    responses((status = 200, description = "What became of each", body = BulkExpungeContentsOut))
)]
pub(super) async fn bulk_expunge(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Operate>,
    Body(body): Body<BulkExpungeContentsIn>,
) -> Answer<Json<BulkExpungeContentsOut>> {
    let expunged = api
        .use_cases
        .expunge_payloads(&app, body.ids.unwrap_or_default())
        .await?;
    let shown = expunged.into_iter().map(|(id, gone)| {
        let status = if gone {
            BulkExpungeStatus::Expunged
        } else {
            BulkExpungeStatus::NotFound
        };
        (id, status)
    });
    Ok(Json(BulkExpungeContentsOut {
        results: shown.collect(),
    }))
}

/// A message that might be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessagePrecheckIn {
    /// Its type.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[a-zA-Z0-9_.-]+$",
        example = "user.signup"
    )]
    event_type: String,
    /// Its channels.
    #[schema(nullable, min_items = 1, max_items = 10, example = json!(["project_123", "group_2"]))]
    channels: Option<Vec<String>>,
}

/// Whether anyone wants a message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MessagePrecheckOut {
    /// Whether an endpoint that is not disabled would get it.
    active: bool,
}

/// Tell whether a message of that type, on those channels, would be sent to any endpoint.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/msg/precheck/active", operation_id = "v1.message.precheck", tag = "Message",
    request_body = MessagePrecheckIn,
    responses((status = 200, description = "The answer", body = MessagePrecheckOut))
)]
pub(super) async fn precheck(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Operate>,
    Body(body): Body<MessagePrecheckIn>,
) -> Answer<Json<MessagePrecheckOut>> {
    let active = api
        .use_cases
        .is_wanted(&app, &body.event_type, body.channels.as_deref())
        .await?;
    Ok(Json(MessagePrecheckOut { active }))
}

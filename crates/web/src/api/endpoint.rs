//! Routes of endpoints, their headers and their secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use nuncio_store::Order;
use secrecy::ExposeSecret;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{InApp, Look, Manage, Rotate, SeeSecret};
use super::body::{Body, Whole};
use super::page::ListResponse;
use super::path::{At, EndpointAt};
use super::query::{Limit, Ordering, Params, iterator};
use super::{Answer, Api, Upsert};
use crate::usecase::occasion::Occasion;

pub(crate) mod body;

use body::{
    EndpointHeadersIn, EndpointHeadersOut, EndpointHeadersPatchIn, EndpointIn, EndpointOut, EndpointPatch,
    EndpointSecretOut, EndpointSecretRotateIn, EndpointUpdate,
};

/// Headers whose values are never shown again, because they carry credentials.
pub(crate) const SENSITIVE: [&str; 9] = [
    "authorization",
    "cookie",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-secret",
];

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, patch, delete))
        .routes(routes!(get_headers, update_headers, patch_headers))
        .routes(routes!(get_secret))
        .routes(routes!(rotate_secret))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListEndpoints {
    /// The most items on the page.
    #[serde(default)]
    #[param(value_type = u64, required = false, default = 50, minimum = 1, maximum = 250)]
    limit: Limit,
    /// The `iterator` or `prevIterator` of a page got before.
    #[serde(default, deserialize_with = "iterator")]
    #[param(value_type = String, required = false, pattern = "^-?[a-zA-Z0-9_-]*$")]
    iterator: Option<String>,
    /// The order of the list; newest first by default.
    #[param(nullable = false, inline)]
    order: Option<Ordering>,
}

/// List an app's endpoints.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint", operation_id = "v1.endpoint.list", tag = "Endpoint",
    params(ListEndpoints),
    responses((status = 200, description = "A page of endpoints", body = ListResponse<EndpointOut>))
)]
async fn list(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    Params(query): Params<ListEndpoints>,
) -> Answer<Json<ListResponse<EndpointOut>>> {
    let order = query.order.map_or(Order::NewestFirst, Order::from);
    let scope = format!("endpoints {} {order:?}", app.id);
    let request = api
        .iterators
        .request(query.limit, query.iterator.as_deref(), order, &scope)?;
    let page = api.use_cases.list_endpoints(&app, &request).await?;
    Ok(Json(api.iterators.page(
        &request,
        page,
        &scope,
        EndpointOut::from,
    )))
}

/// Create an endpoint.
///
/// Without a `secret` one is made.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint", operation_id = "v1.endpoint.create", tag = "Endpoint",
    request_body = EndpointIn,
    responses((status = 201, description = "It was created", body = EndpointOut))
)]
async fn create(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    occasion: Occasion,
    Body(body): Body<EndpointIn>,
) -> Answer<(StatusCode, Json<EndpointOut>)> {
    let created = api.use_cases.create_endpoint(&app, body.into(), &occasion);
    let endpoint = created.await?;
    Ok((StatusCode::CREATED, Json(endpoint.into())))
}

/// Get an endpoint.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.get", tag = "Endpoint",
    responses((status = 200, description = "The endpoint", body = EndpointOut))
)]
async fn get(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<EndpointAt>,
) -> Answer<Json<EndpointOut>> {
    let endpoint = api.use_cases.endpoint(&app, &at.endpoint_id).await?;
    Ok(Json(endpoint.into()))
}

/// Replace an endpoint, or create one under the uid in the path.
///
/// Its secret and its headers stay as they are.
#[utoipa::path(
    put, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.update", tag = "Endpoint",
    request_body = EndpointUpdate,
    responses(
        (status = 200, description = "It was replaced", body = EndpointOut),
        (status = 201, description = "It was created", body = EndpointOut),
    )
)]
async fn update(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
    Body(body): Body<EndpointUpdate>,
) -> Answer<Upsert<EndpointOut>> {
    let endpoint = api
        .use_cases
        .replace_endpoint(&app, &at.endpoint_id, body.into())
        .await?;
    Ok(Upsert::show(endpoint, EndpointOut::from))
}

/// Change some fields of an endpoint.
#[utoipa::path(
    patch, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.patch", tag = "Endpoint",
    request_body = EndpointPatch,
    responses((status = 200, description = "The endpoint as it is now", body = EndpointOut))
)]
async fn patch(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
    Body(body): Body<EndpointPatch>,
) -> Answer<Json<EndpointOut>> {
    let endpoint = api
        .use_cases
        .patch_endpoint(&app, &at.endpoint_id, body.into())
        .await?;
    Ok(Json(endpoint.into()))
}

/// Delete an endpoint; what waits for it is not sent any more.
#[utoipa::path(
    delete, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}", operation_id = "v1.endpoint.delete",
    tag = "Endpoint",
    responses((status = 204, description = "It is gone"))
)]
async fn delete(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
) -> Answer<StatusCode> {
    api.use_cases.delete_endpoint(&app, &at.endpoint_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get an endpoint's own request headers.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", operation_id = "v1.endpoint.get-headers",
    tag = "Endpoint",
    responses((status = 200, description = "The headers", body = EndpointHeadersOut))
)]
async fn get_headers(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<EndpointAt>,
) -> Answer<Json<EndpointHeadersOut>> {
    let endpoint = api.use_cases.endpoint(&app, &at.endpoint_id).await?;
    Ok(Json(split_sensitive(endpoint.headers)))
}

fn split_sensitive(headers: BTreeMap<String, String>) -> EndpointHeadersOut {
    let (sensitive, headers): (BTreeMap<_, _>, BTreeMap<_, _>) = headers
        .into_iter()
        .partition(|(name, _)| SENSITIVE.contains(&name.to_ascii_lowercase().as_str()));
    EndpointHeadersOut {
        headers,
        sensitive: sensitive.into_keys().collect(),
    }
}

/// Replace an endpoint's own request headers.
#[utoipa::path(
    put, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", operation_id = "v1.endpoint.update-headers",
    tag = "Endpoint", request_body = EndpointHeadersIn,
    responses((status = 204, description = "They were replaced"))
)]
async fn update_headers(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
    Body(body): Body<EndpointHeadersIn>,
) -> Answer<StatusCode> {
    api.use_cases
        .replace_headers(&app, &at.endpoint_id, body.headers.0)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set some of an endpoint's own request headers, and take away those that are null.
#[utoipa::path(
    patch, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", operation_id = "v1.endpoint.patch-headers",
    tag = "Endpoint", request_body = EndpointHeadersPatchIn,
    responses((status = 204, description = "They were changed"))
)]
async fn patch_headers(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
    Body(body): Body<EndpointHeadersPatchIn>,
) -> Answer<StatusCode> {
    let deleted = body.delete_headers.unwrap_or_default();
    let mut changes: BTreeMap<_, _> = deleted.into_iter().map(|name| (name, None)).collect();
    changes.extend(body.headers.0);
    api.use_cases
        .patch_headers(&app, &at.endpoint_id, changes)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get the secret that signs an endpoint's messages; of an ed25519 key the public half, `whpk_…`.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", operation_id = "v1.endpoint.get-secret",
    tag = "Endpoint",
    responses((status = 200, description = "The secret", body = EndpointSecretOut))
)]
async fn get_secret(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<SeeSecret>,
    At(at): At<EndpointAt>,
) -> Answer<Json<EndpointSecretOut>> {
    let secret = api.use_cases.secret(&app, &at.endpoint_id).await?;
    Ok(Json(EndpointSecretOut {
        key: secret.expose_secret().to_owned(),
    }))
}

/// Change an endpoint's secret; messages are signed with the old one too for a while.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate",
    operation_id = "v1.endpoint.rotate-secret", tag = "Endpoint", request_body = EndpointSecretRotateIn,
    responses((status = 200, description = "The new secret", body = EndpointSecretOut))
)]
async fn rotate_secret(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Rotate>,
    At(at): At<EndpointAt>,
    occasion: Occasion,
    Body(body): Body<EndpointSecretRotateIn>,
) -> Answer<Json<EndpointSecretOut>> {
    let grace = body.grace_period_seconds.map(|Whole(seconds)| seconds);
    let secret = api
        .use_cases
        .rotate_secret(&app, &at.endpoint_id, body.key.as_deref(), grace, &occasion)
        .await?;
    Ok(Json(EndpointSecretOut {
        key: secret.expose_secret().to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown_again() {
        let headers = [
            ("Authorization", "Bearer canary"),
            ("x-API-key", "canary"),
            ("X-Team", "blue"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shown = split_sensitive(headers.into());
        let json = serde_json::to_string(&shown).unwrap();
        assert_eq!(
            json,
            r#"{"headers":{"X-Team":"blue"},"sensitive":["Authorization","x-API-key"]}"#
        );
    }
}

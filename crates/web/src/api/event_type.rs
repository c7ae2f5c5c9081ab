//! Routes of the catalogue of event types.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use nuncio_store::Order;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Caller};
use super::body::Body;
use super::page::ListResponse;
use super::path::At;
use super::query::{Limit, Ordering, Params, iterator};
use super::{Answer, Api, Upsert};
use crate::token::{Scope, Verified};
use crate::usecase::occasion::Occasion;

pub(crate) mod body;

use body::{EventTypeIn, EventTypeOut, EventTypePatch, EventTypeUpdate};

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, patch, delete))
}

fn flags(caller: &Verified) -> Option<&[String]> {
    match &caller.scope {
        Scope::Admin => None,
        Scope::App(grant) => Some(grant.flags()),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListEventTypes {
    /// The most items on the page.
    #[serde(default)]
    #[param(value_type = u64, required = false, default = 50, minimum = 1, maximum = 250)]
    limit: Limit,
    /// The `iterator` or `prevIterator` of a page got before.
    #[serde(default, deserialize_with = "iterator")]
    #[param(value_type = String, required = false, pattern = "^-?[a-zA-Z0-9_-]*$")]
    iterator: Option<String>,
    /// The order of the list, by name; ascending by default.
    #[param(nullable = false, inline)]
    order: Option<Ordering>,
    /// Whether archived types are listed too.
    #[serde(default)]
    #[param(required = false)]
    include_archived: bool,
    /// Whether schemas are shown.
    #[serde(default)]
    #[param(required = false)]
    with_content: bool,
}

/// List event types, by name.
#[utoipa::path(
    get, path = "/api/v1/event-type", operation_id = "v1.event-type.list", tag = "Event Type", params(ListEventTypes),
    responses((status = 200, description = "A page of event types", body = ListResponse<EventTypeOut>))
)]
async fn list(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    Params(query): Params<ListEventTypes>,
) -> Answer<Json<ListResponse<EventTypeOut>>> {
    let order = query.order.map_or(Order::OldestFirst, Order::from);
    let scope = format!("event types {order:?} {}", query.include_archived);
    let request = api
        .iterators
        .request(query.limit, query.iterator.as_deref(), order, &scope)?;
    let page = api
        .use_cases
        .list_event_types(query.include_archived, flags(&caller), &request)
        .await?;
    let show = |event_type| EventTypeOut::new(event_type, query.with_content);
    Ok(Json(api.iterators.page(&request, page, &scope, show)))
}

/// Add an event type, or bring an archived one back.
#[utoipa::path(
    post, path = "/api/v1/event-type", operation_id = "v1.event-type.create", tag = "Event Type",
    request_body = EventTypeIn,
    responses((status = 201, description = "It was added", body = EventTypeOut))
)]
async fn create(
    State(api): State<Arc<Api>>,
    _: Admin,
    occasion: Occasion,
    Body(body): Body<EventTypeIn>,
) -> Answer<(StatusCode, Json<EventTypeOut>)> {
    let (name, draft) = body.into();
    let created = api.use_cases.create_event_type(&name, draft, &occasion).await?;
    Ok((StatusCode::CREATED, Json(EventTypeOut::new(created, true))))
}

/// Get an event type.
#[utoipa::path(
    get, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.get", tag = "Event Type",
    responses((status = 200, description = "The event type", body = EventTypeOut))
)]
async fn get(
    State(api): State<Arc<Api>>,
    Caller(caller): Caller,
    At(name): At<String>,
) -> Answer<Json<EventTypeOut>> {
    let found = api.use_cases.event_type(&name, flags(&caller)).await?;
    Ok(Json(EventTypeOut::new(found, true)))
}

/// Replace an event type, or add it.
#[utoipa::path(
    put, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.update", tag = "Event Type",
    request_body = EventTypeUpdate,
    responses(
        (status = 200, description = "It was replaced", body = EventTypeOut),
        (status = 201, description = "It was added", body = EventTypeOut),
    )
)]
async fn update(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(name): At<String>,
    Body(body): Body<EventTypeUpdate>,
) -> Answer<Upsert<EventTypeOut>> {
    let changed = api.use_cases.replace_event_type(&name, body.into()).await?;
    Ok(Upsert::show(changed, |event_type| {
        EventTypeOut::new(event_type, true)
    }))
}

/// Change some fields of an event type.
#[utoipa::path(
    patch, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.patch", tag = "Event Type",
    request_body = EventTypePatch,
    responses((status = 200, description = "The event type as it is now", body = EventTypeOut))
)]
async fn patch(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(name): At<String>,
    Body(body): Body<EventTypePatch>,
) -> Answer<Json<EventTypeOut>> {
    let changed = api.use_cases.patch_event_type(&name, body.into()).await?;
    Ok(Json(EventTypeOut::new(changed, true)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteEventType {
    /// Delete it for good, instead of archiving it.
    #[serde(default)]
    #[param(required = false)]
    expunge: bool,
}

/// Archive an event type, or delete it for good.
///
/// Endpoints that filter on it go on doing so.
#[utoipa::path(
    delete, path = "/api/v1/event-type/{event_type_name}", operation_id = "v1.event-type.delete", tag = "Event Type",
    params(DeleteEventType),
    responses((status = 204, description = "It is archived or gone"))
)]
async fn delete(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(name): At<String>,
    Params(query): Params<DeleteEventType>,
) -> Answer<StatusCode> {
    api.use_cases.delete_event_type(&name, query.expunge).await?;
    Ok(StatusCode::NO_CONTENT)
}

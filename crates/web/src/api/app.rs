//! Routes of apps.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use nuncio_store::Order;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, InApp, Look};
use super::body::Body;
use super::page::ListResponse;
use super::path::At;
use super::query::{Limit, Ordering, Params, iterator};
use super::{Answer, Api, Upsert};
use crate::usecase::apps::Without;
use crate::usecase::occasion::Occasion;

pub(crate) mod body;

use body::{ApplicationIn, ApplicationOut, ApplicationPatch};

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, patch, delete))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListApps {
    /// The most items on the page.
    #[serde(default)]
    #[param(value_type = u64, required = false, default = 50, minimum = 1, maximum = 250)]
    limit: Limit,
    /// The `iterator` or `prevIterator` of a page got before.
    #[serde(default, deserialize_with = "iterator")]
    #[param(value_type = String, required = false, pattern = "^-?[a-zA-Z0-9_-]*$")]
    iterator: Option<String>,
    /// The order of the list; oldest first by default.
    #[param(nullable = false, inline)]
    order: Option<Ordering>,
    /// Leave out apps that have no endpoints.
    #[serde(default)]
    #[param(required = false)]
    exclude_apps_with_no_endpoints: bool,
    /// Leave out apps that have only disabled endpoints.
    #[serde(default)]
    #[param(required = false)]
    exclude_apps_with_disabled_endpoints: bool,
    /// Leave out apps that only have endpoints at Svix Play.
    #[serde(default)]
    #[param(required = false)]
    exclude_apps_with_svix_play_endpoints: bool,
}

impl ListApps {
    fn without(&self) -> Without {
        Without {
            endpoints: self.exclude_apps_with_no_endpoints,
            enabled_endpoints: self.exclude_apps_with_disabled_endpoints,
            real_endpoints: self.exclude_apps_with_svix_play_endpoints,
        }
    }
}

/// List apps.
#[utoipa::path(
    get, path = "/api/v1/app", operation_id = "v1.application.list", tag = "Application", params(ListApps),
    responses((status = 200, description = "A page of apps", body = ListResponse<ApplicationOut>))
)]
async fn list(
    State(api): State<Arc<Api>>,
    _: Admin,
    Params(query): Params<ListApps>,
) -> Answer<Json<ListResponse<ApplicationOut>>> {
    let order = query.order.map_or(Order::OldestFirst, Order::from);
    let without = query.without();
    let scope = format!("apps {order:?} {without:?}");
    let request = api
        .iterators
        .request(query.limit, query.iterator.as_deref(), order, &scope)?;
    let page = api.use_cases.list_apps(without, &request).await?;
    Ok(Json(api.iterators.page(
        &request,
        page,
        &scope,
        ApplicationOut::from,
    )))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CreateApp {
    /// Answer with the app that has the uid already, instead of 409.
    #[serde(default)]
    #[param(required = false)]
    get_if_exists: bool,
}

/// Create an app.
#[utoipa::path(
    post, path = "/api/v1/app", operation_id = "v1.application.create", tag = "Application", params(CreateApp),
    request_body = ApplicationIn,
    responses(
        (status = 200, description = "It was there (`get_if_exists`)", body = ApplicationOut),
        (status = 201, description = "It was created", body = ApplicationOut),
    )
)]
async fn create(
    State(api): State<Arc<Api>>,
    _: Admin,
    Params(query): Params<CreateApp>,
    occasion: Occasion,
    Body(body): Body<ApplicationIn>,
) -> Answer<Upsert<ApplicationOut>> {
    let created = api
        .use_cases
        .create_app(body.into(), query.get_if_exists, &occasion);
    let app = created.await?;
    Ok(Upsert::show(app, ApplicationOut::from))
}

/// Get an app.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}", operation_id = "v1.application.get", tag = "Application",
    responses((status = 200, description = "The app", body = ApplicationOut))
)]
async fn get(InApp { app, .. }: InApp<Look>) -> Json<ApplicationOut> {
    Json(app.into())
}

/// Replace an app, or create one under the uid in the path.
#[utoipa::path(
    put, path = "/api/v1/app/{app_id}", operation_id = "v1.application.update", tag = "Application",
    request_body = ApplicationIn,
    responses(
        (status = 200, description = "It was replaced", body = ApplicationOut),
        (status = 201, description = "It was created", body = ApplicationOut),
    )
)]
async fn update(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(app_id): At<String>,
    Body(body): Body<ApplicationIn>,
) -> Answer<Upsert<ApplicationOut>> {
    let app = api.use_cases.replace_app(&app_id, body.into()).await?;
    Ok(Upsert::show(app, ApplicationOut::from))
}

/// Change some fields of an app.
#[utoipa::path(
    patch, path = "/api/v1/app/{app_id}", operation_id = "v1.application.patch", tag = "Application",
    request_body = ApplicationPatch,
    responses((status = 200, description = "The app as it is now", body = ApplicationOut))
)]
async fn patch(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(app_id): At<String>,
    Body(body): Body<ApplicationPatch>,
) -> Answer<Json<ApplicationOut>> {
    let app = api.use_cases.patch_app(&app_id, body.into()).await?;
    Ok(Json(app.into()))
}

/// Delete an app, its endpoints and its history.
#[utoipa::path(
    delete, path = "/api/v1/app/{app_id}", operation_id = "v1.application.delete", tag = "Application",
    responses((status = 204, description = "It is gone"))
)]
async fn delete(State(api): State<Arc<Api>>, _: Admin, At(app_id): At<String>) -> Answer<StatusCode> {
    api.use_cases.delete_app(&app_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! Routes that tell whether the API answers, for everyone.

use std::sync::Arc;

use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(ping))
}

/// Whether the API answers.
#[utoipa::path(
    get, path = "/api/v1/health", operation_id = "v1.health.get", tag = "Health", security(()),
    responses((status = 204, description = "It does"))
)]
async fn get() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether the API answers.
#[utoipa::path(
    get, path = "/api/v1/health/ping", operation_id = "v1.health.ping", tag = "Health", security(()),
    responses((status = 204, description = "It does"))
)]
async fn ping() -> StatusCode {
    StatusCode::NO_CONTENT
}

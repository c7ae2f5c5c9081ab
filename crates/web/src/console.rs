//! The console: where the operator sees all projects and how the pipeline stands.
//!
//! Owns pages for those who hold an admin's token. Guarantees that they ask the use cases that the API asks.

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};

use crate::page::Web;
use crate::page::failure::Failure;

mod health;
mod operator;
mod project;
mod projects;
mod set_aside;
mod sign_in;

/// What was just done, as the address of the next page says it.
const NOTICES: [(&str, &str); 6] = [
    (
        "created",
        "The project was created, with an empty webhook configuration.",
    ),
    ("saved", "Your changes were saved."),
    (
        "deleted",
        "The project and everything that was its own were deleted.",
    ),
    ("replayed", "The event was published again."),
    ("discarded", "The event was deleted."),
    ("purged", "All events that were set aside were deleted."),
];

fn notice(code: &str) -> Option<&'static str> {
    NOTICES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, text)| *text)
}

/// All pages of the console.
pub(crate) fn routes() -> Router<Arc<Web>> {
    Router::new()
        // Whoever opens the server's bare address is most likely its operator.
        .route("/", get(async || Redirect::to("/console")))
        .route("/console", get(sign_in::enter))
        .route("/console/sign-in", get(sign_in::ask).post(sign_in::sign_in))
        .route("/console/leave", post(sign_in::leave))
        .route("/console/projects", get(projects::list).post(projects::create))
        .route("/console/projects/new", get(projects::blank))
        .route(
            "/console/projects/{app_id}",
            get(project::settings).post(project::save),
        )
        .route("/console/projects/{app_id}/portal", post(project::edit_webhooks))
        .route(
            "/console/projects/{app_id}/delete",
            get(project::ask).post(project::delete),
        )
        .route("/console/health", get(health::health))
        .route("/console/health/live", get(health::live))
        .route("/console/set-aside", get(set_aside::list))
        .route(
            "/console/set-aside/purge",
            get(set_aside::ask).post(set_aside::purge),
        )
        .route("/console/set-aside/{name}", get(set_aside::event))
        .route("/console/set-aside/{name}/replay", post(set_aside::replay))
        .route("/console/set-aside/{name}/discard", post(set_aside::discard))
        .route("/console/{*rest}", get(nowhere))
        .method_not_allowed_fallback(nowhere)
}

/// Within a session as without one.
async fn nowhere(_: Result<operator::Operator, Failure>) -> Failure {
    Failure::nowhere()
}

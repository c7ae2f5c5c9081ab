//! The portal: where a customer adds endpoints and sees what became of every message.
//!
//! Owns the pages of one app. Guarantees that they ask the use cases that the API asks, and that what a link does not
//! allow is neither offered nor done. Refuses to show anything of another app: the session names the only one.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::page::Web;
use crate::page::failure::Failure;

mod catalogue;
mod confirm;
mod credential;
mod draft;
mod edit;
mod endpoint;
mod list;
mod live;
mod message;
mod messages;
mod opening;
mod settings;
mod verify;
mod visitor;

/// What was just done, as the address of the next page says it.
const NOTICES: [(&str, &str); 14] = [
    (
        "added",
        "The endpoint was added. Send it a test event to see it work.",
    ),
    ("saved", "Your changes were saved."),
    ("deleted", "The endpoint was deleted."),
    (
        "paused",
        "The endpoint is paused: messages wait until you resume it.",
    ),
    (
        "resumed",
        "The endpoint is active again. What waited is sent first.",
    ),
    (
        "enabled",
        "The endpoint is enabled. Use “Recover failed” for what failed meanwhile.",
    ),
    (
        "disabled",
        "The endpoint is disabled: nothing is sent to it, nor kept for it.",
    ),
    (
        "rotated",
        "A new secret signs from now on, and the old one beside it until the overlap ends.",
    ),
    (
        "replaced",
        "A new secret signs from now on. The old one no longer does.",
    ),
    ("resent", "The message is on its way again."),
    (
        "recovering",
        "What failed in that time is being sent again. It appears below as it is tried.",
    ),
    (
        "none-failed",
        "Nothing failed in that time, so nothing is sent again.",
    ),
    (
        "replaying",
        "What is missing of that time is being sent. It appears below as it is tried.",
    ),
    (
        "none-missing",
        "Nothing is missing of that time, so nothing is sent.",
    ),
];

fn notice(code: &str) -> Option<&'static str> {
    NOTICES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, text)| *text)
}

/// All pages of the portal.
pub(crate) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/portal", get(opening::open))
        .route("/portal/session", post(opening::exchange))
        .route("/portal/leave", get(opening::open).post(opening::leave))
        .route("/portal/endpoints", get(list::list).post(edit::create))
        .route("/portal/endpoints/new", get(edit::blank))
        .route("/portal/endpoints/check", post(edit::check))
        .route("/portal/endpoints/{endpoint_id}", get(endpoint::activity))
        .route("/portal/endpoints/{endpoint_id}/live", get(endpoint::live))
        .route(
            "/portal/endpoints/{endpoint_id}/edit",
            get(edit::filled).post(edit::save),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/delete",
            get(confirm::delete).post(settings::delete),
        )
        .route("/portal/endpoints/{endpoint_id}/disable", get(confirm::disable))
        .route(
            "/portal/endpoints/{endpoint_id}/settings",
            get(settings::settings),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/secret",
            get(settings::back).post(settings::reveal),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/rotate",
            get(settings::back).post(settings::rotate),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/state",
            get(settings::back).post(settings::state),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/test",
            get(endpoint::back).post(endpoint::test),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/replay",
            get(endpoint::back).post(endpoint::replay),
        )
        .route(
            "/portal/endpoints/{endpoint_id}/resend",
            get(endpoint::back).post(endpoint::resend),
        )
        .route("/portal/endpoints/{endpoint_id}/verify", get(verify::verify))
        .route("/portal/messages", get(messages::list))
        .route("/portal/messages/{msg_id}", get(message::message))
        .route("/portal/messages/{msg_id}/live", get(message::live))
        .route("/portal/event-types", get(catalogue::catalogue))
        .route("/portal/{*rest}", get(nowhere))
        .method_not_allowed_fallback(nowhere)
}

/// Within a session as without one.
async fn nowhere(_: Result<visitor::Visitor, Failure>) -> Failure {
    Failure::nowhere()
}

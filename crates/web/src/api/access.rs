//! Routes of portal links and of the tokens in them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::body::ApplicationIn;
use super::auth::{Admin, Caller, InApp, Operate};
use super::body::{Body, Object, Whole};
use super::path::At;
use super::{Answer, Api};
use crate::look::Look;
use crate::token::{Capability, Scope};
use crate::usecase::occasion::Occasion;
use crate::usecase::refusal::Refusal;
use crate::usecase::sessions::AccessDraft;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(portal_access))
        .routes(routes!(dashboard_access))
        .routes(routes!(logout))
        .routes(routes!(expire_all))
}

/// What a portal link is to allow.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AppPortalAccessIn {
    /// An app to create, unless there is one with the id or uid in the path.
    #[schema(value_type = Option<ApplicationIn>)]
    application: Option<Object<ApplicationIn>>,
    /// Whether it is for looking only.
    #[schema(nullable, default = false)]
    read_only: Option<bool>,
    /// What it allows; everything by default.
    capabilities: Option<Vec<Capability>>,
    /// Event types behind one of these flags are shown; those behind others are not.
    #[schema(max_items = 100)]
    feature_flags: Option<Vec<String>>,
    /// Seconds for which it is good: from one hour to seven days.
    #[schema(value_type = Option<u64>, minimum = 3600, maximum = 604800, default = 604800)]
    expiry: Option<Whole>,
    /// A name by which the session can be ended.
    #[schema(nullable, min_length = 1, max_length = 256)]
    session_id: Option<String>,
    /// How the portal looks to whoever opens the link; what is left out is as the app's metadata says, under
    /// `portal-name`, `portal-logo` and `portal-accent`.
    #[schema(value_type = Option<Look>)]
    branding: Option<Object<Look>>,
}

impl From<AppPortalAccessIn> for AccessDraft {
    fn from(body: AppPortalAccessIn) -> Self {
        Self {
            application: body.application.map(|Object(app)| app.into()),
            read_only: body.read_only.unwrap_or(false),
            capabilities: body.capabilities,
            feature_flags: body.feature_flags,
            expiry_seconds: body.expiry.map(|Whole(seconds)| seconds),
            session: body.session_id,
            look: body.branding.map(|Object(look)| look).unwrap_or_default(),
        }
    }
}

/// A portal link.
#[derive(Serialize, ToSchema)]
struct AppPortalAccessOut {
    /// Where to send the customer. The token is in the fragment, which browsers do not send to servers.
    #[schema(format = "uri", example = "https://hooks.example.com/portal#token=…")]
    url: String,
    /// The token alone; it is good for the API too.
    token: String,
}

/// Make a link to the portal for an app's customer.
///
/// Many may be outstanding; each is good until it expires or is ended.
#[utoipa::path(
    post, path = "/api/v1/auth/app-portal-access/{app_id}", operation_id = "v1.authentication.app-portal-access",
    tag = "Authentication", request_body = AppPortalAccessIn,
    responses((status = 200, description = "The link", body = AppPortalAccessOut))
)]
async fn portal_access(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(app_id): At<String>,
    occasion: Occasion,
    Body(body): Body<AppPortalAccessIn>,
) -> Answer<Json<AppPortalAccessOut>> {
    link(&api, &app_id, body.into(), &occasion).await
}

/// Make a link to the portal: the older name of `app-portal-access`.
#[utoipa::path(
    post, path = "/api/v1/auth/dashboard-access/{app_id}", operation_id = "v1.authentication.dashboard-access",
    tag = "Authentication",
    responses((status = 200, description = "The link", body = AppPortalAccessOut))
)]
async fn dashboard_access(
    State(api): State<Arc<Api>>,
    _: Admin,
    At(app_id): At<String>,
    occasion: Occasion,
) -> Answer<Json<AppPortalAccessOut>> {
    link(&api, &app_id, AccessDraft::default(), &occasion).await
}

async fn link(
    api: &Api,
    app_id: &str,
    draft: AccessDraft,
    occasion: &Occasion,
) -> Answer<Json<AppPortalAccessOut>> {
    let access = api.use_cases.portal_access(app_id, draft, occasion).await?;
    let token = occasion.dice.with(|rng| {
        api.tokens
            .mint(&Scope::App(access.grant), access.now, access.lifetime, rng)
    });
    let base = api.public_url.trim_end_matches('/');
    Ok(Json(AppPortalAccessOut {
        url: format!("{base}/portal#token={token}"),
        token,
    }))
}

/// End the token that makes this request. Only a customer's token can be ended.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", operation_id = "v1.authentication.logout", tag = "Authentication",
    responses((status = 204, description = "It is ended"))
)]
async fn logout(State(api): State<Arc<Api>>, Caller(caller): Caller) -> Answer<StatusCode> {
    match &caller.scope {
        Scope::App(grant) => api.use_cases.logout(grant, &caller).await?,
        Scope::Admin => return Err(Refusal::Forbidden("an admin's token cannot be ended by itself").into()),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Which tokens to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApplicationTokenExpireIn {
    /// Seconds until they end; at once by default.
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 604800)]
    expiry: Option<Whole>,
    /// Only tokens of these sessions; all of the app's by default.
    #[serde(default)]
    #[schema(max_items = 100)]
    session_ids: Option<Vec<String>>,
}

/// End all tokens that were made for an app until now, or those of some sessions.
#[utoipa::path(
    post, path = "/api/v1/auth/app/{app_id}/expire-all", operation_id = "v1.authentication.expire-all",
    tag = "Authentication", request_body = ApplicationTokenExpireIn,
    responses((status = 204, description = "They end"))
)]
async fn expire_all(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Operate>,
    occasion: Occasion,
    Body(body): Body<ApplicationTokenExpireIn>,
) -> Answer<StatusCode> {
    let sessions = body.session_ids.unwrap_or_default();
    let delay = body.expiry.map_or(0, |Whole(seconds)| seconds);
    api.use_cases
        .end_sessions(&app, &sessions, delay, &occasion)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

//! An endpoint's settings: its secret, its state, its end.
//!
//! Guarantees that a secret is on a page only after it was asked for, and that a deletion names what it deletes.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_domain::Endpoint;
use secrecy::ExposeSecret;

use super::list::types;
use super::notice;
use super::visitor::{Can, Head, Visitor};
use crate::api::path::{At, EndpointAt};
use crate::page::failure::Failure;
use crate::page::form::{Change, Fields};
use crate::page::part::When;
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::token::Capability;
use crate::usecase::endpoints::EndpointPatch;
use crate::usecase::refusal::Refusal;

#[derive(Template)]
#[template(path = "portal/settings.html")]
struct SettingsPage {
    shell: Shell,
    can: Can,
    head: Head,
    uid: Option<String>,
    types: Vec<String>,
    channels: Vec<String>,
    headers: Vec<(String, String)>,
    rate: Option<u32>,
    created: When,
    updated: When,
    secret: Option<String>,
    /// What was wrong with the secret that was to be used.
    mistake: String,
}

#[derive(Template)]
#[template(path = "portal/delete.html")]
struct DeletePage {
    shell: Shell,
    head: Head,
}

fn page(
    visitor: &Visitor,
    endpoint: &Endpoint,
    secret: Option<String>,
    mistake: String,
    told: Option<&'static str>,
) -> Answer {
    show(&SettingsPage {
        shell: visitor
            .shell(endpoint.url.clone(), "/portal/endpoints")
            .told(told),
        can: visitor.can,
        head: Head::of(endpoint),
        uid: endpoint.uid.as_ref().map(ToString::to_string),
        types: types(endpoint),
        channels: endpoint
            .channels
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        headers: endpoint.headers.clone().into_iter().collect(),
        rate: endpoint.throttle_rate,
        created: When::exact(endpoint.created_at),
        updated: When::exact(endpoint.updated_at),
        secret,
        mistake,
    })
}

pub(super) async fn settings(
    State(web): State<Arc<Web>>,
    visitor: Visitor,
    At(at): At<EndpointAt>,
    fields: Fields,
) -> Answer {
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    page(
        &visitor,
        &endpoint,
        None,
        String::new(),
        notice(fields.text("done")),
    )
}

/// Shows the secret.
pub(super) async fn reveal(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::ViewEndpointSecret)?;
    let use_cases = &web.api.use_cases;
    let endpoint = use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    let secret = use_cases.secret(&visitor.app, &at.endpoint_id).await?;
    page(
        &visitor,
        &endpoint,
        Some(secret.expose_secret().to_owned()),
        String::new(),
        None,
    )
}

/// Lets another secret sign.
pub(super) async fn rotate(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::ManageEndpointSecret)?;
    let use_cases = &web.api.use_cases;
    let endpoint = use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    let overlap: Option<u64> = change.fields.text("overlap").parse().ok();
    let key = change.fields.some("secret");
    let rotated = use_cases
        .rotate_secret(&visitor.app, &at.endpoint_id, key, overlap, &use_cases.occasion())
        .await;
    match rotated {
        Ok(_) => {
            let done = if overlap == Some(0) { "replaced" } else { "rotated" };
            Ok(go(&format!(
                "/portal/endpoints/{}/settings?done={done}",
                endpoint.id
            )))
        }
        Err(Refusal::Invalid(complaints)) => {
            let told: Vec<_> = complaints
                .iter()
                .map(|complaint| crate::page::failure::sentence(&complaint.message))
                .collect();
            page(&visitor, &endpoint, None, told.join(" "), None)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Pauses, resumes, enables or disables.
pub(super) async fn state(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::ManageEndpoint)?;
    let (app, id) = (&visitor.app, at.endpoint_id.as_str());
    let use_cases = &web.api.use_cases;
    let disabled = |disabled| EndpointPatch {
        disabled: Some(disabled),
        ..EndpointPatch::default()
    };
    let (endpoint, done) = match change.fields.text("to") {
        "pause" => (use_cases.pause(app, id).await?, "paused"),
        "resume" => (use_cases.resume(app, id).await?, "resumed"),
        "enable" => (
            use_cases.patch_endpoint(app, id, disabled(false)).await?,
            "enabled",
        ),
        "disable" => (
            use_cases.patch_endpoint(app, id, disabled(true)).await?,
            "disabled",
        ),
        _ => return Err(Failure::unreadable()),
    };
    Ok(go(&format!("/portal/endpoints/{}?done={done}", endpoint.id)))
}

/// Asks whether the endpoint is to be deleted.
pub(super) async fn ask(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<EndpointAt>) -> Answer {
    visitor.need(Capability::ManageEndpoint)?;
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    show(&DeletePage {
        shell: visitor.shell("Delete endpoint", "/portal/endpoints"),
        head: Head::of(&endpoint),
    })
}

/// Deletes the endpoint.
pub(super) async fn delete(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::ManageEndpoint)?;
    web.api
        .use_cases
        .delete_endpoint(&visitor.app, &at.endpoint_id)
        .await?;
    Ok(go("/portal/endpoints?done=deleted"))
}

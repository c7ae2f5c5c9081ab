//! An endpoint's settings: its secret, its state, its end.
//!
//! Guarantees that a secret is on a page only after it was asked for, and the value of a credential header on none.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use nuncio_domain::Endpoint;
use secrecy::ExposeSecret;

use super::credential::masked;
use super::list::types;
use super::visitor::{Can, Head, Visitor};
use super::{confirm, notice};
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
    /// Names and values; no value for a credential.
    headers: Vec<(String, Option<String>)>,
    masked: bool,
    rate: Option<u32>,
    created: When,
    updated: When,
    secret: Option<String>,
    overlaps: Vec<Overlap>,
    rotation: Rotation,
}

/// How long an old secret may go on signing, in seconds and in words; the first is what is usual.
const OVERLAPS: [(&str, &str); 4] = [
    ("86400", "24 hours"),
    ("3600", "1 hour"),
    ("604800", "7 days"),
    ("0", "no time: it has leaked"),
];

/// One of them to choose.
struct Overlap {
    seconds: &'static str,
    words: &'static str,
    chosen: bool,
}

/// What stands in the form that rotates the secret.
#[derive(Default)]
struct Rotation {
    overlap: String,
    secret: String,
    /// What was wrong with that secret.
    mistake: String,
}

impl Rotation {
    fn read(fields: &Fields) -> Self {
        Self {
            overlap: fields.text("overlap").to_owned(),
            secret: fields.text("secret").to_owned(),
            mistake: String::new(),
        }
    }
}

fn page(
    visitor: &Visitor,
    endpoint: &Endpoint,
    secret: Option<String>,
    rotation: Rotation,
    told: Option<&'static str>,
) -> Answer {
    let head = Head::of(endpoint);
    let headers = masked(&endpoint.headers);
    let overlaps = OVERLAPS.map(|(seconds, words)| Overlap {
        seconds,
        words,
        chosen: seconds == rotation.overlap,
    });
    show(&SettingsPage {
        shell: visitor
            .shell(head.title("Settings"), "/portal/endpoints")
            .told(told),
        can: visitor.can,
        head,
        uid: endpoint.uid.as_ref().map(ToString::to_string),
        types: types(endpoint),
        channels: endpoint
            .channels
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        masked: headers.iter().any(|(_, value)| value.is_none()),
        headers,
        rate: endpoint.throttle_rate,
        created: When::exact(endpoint.created_at),
        updated: When::exact(endpoint.updated_at),
        secret,
        overlaps: overlaps.into(),
        rotation,
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
        Rotation::default(),
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
        Rotation::default(),
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
    let mut rotation = Rotation::read(&change.fields);
    let overlap: Option<u64> = rotation.overlap.parse().ok();
    if overlap == Some(0) && change.fields.text("sure") != "yes" {
        return confirm::rotate(&visitor, &endpoint, &rotation.secret);
    }
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
            rotation.mistake = told.join(" ");
            let page = page(&visitor, &endpoint, None, rotation, None)?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
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

/// Leads from an address that only takes forms to the page that they are on.
pub(super) async fn back(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<EndpointAt>) -> Answer {
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    Ok(go(&format!("/portal/endpoints/{}/settings", endpoint.id)))
}

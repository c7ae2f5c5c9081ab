//! Adding an endpoint and changing it.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use nuncio_store::PageRequest;

use super::draft::{Mistakes, Typed};
use super::visitor::Visitor;
use crate::api::path::{At, EndpointAt};
use crate::page::failure::Failure;
use crate::page::form::{Change, Fields};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::token::Capability;
use crate::usecase::refusal::Refusal;

/// Event types that are offered.
const OFFERED_MAX: usize = 250;

#[derive(Template)]
#[template(path = "portal/edit.html")]
struct EditPage {
    shell: Shell,
    action: String,
    back: String,
    /// The URL of the endpoint that is there; none for one to add.
    existing: Option<String>,
    typed: Typed,
    mistakes: Mistakes,
    offered: Vec<Offered>,
    advanced: bool,
}

/// An event type to choose.
struct Offered {
    name: String,
    description: String,
    chosen: bool,
}

/// A page with a form: for a new endpoint, or for the one with that id and URL.
async fn page(
    web: &Web,
    visitor: &Visitor,
    existing: Option<(String, String)>,
    typed: Typed,
    mistakes: Mistakes,
) -> Answer {
    let offered = offered(web, visitor, &typed).await?;
    let (action, back) = match &existing {
        Some((id, _)) => (
            format!("/portal/endpoints/{id}/edit"),
            format!("/portal/endpoints/{id}/settings"),
        ),
        None => ("/portal/endpoints".to_owned(), "/portal/endpoints".to_owned()),
    };
    let title = if existing.is_some() {
        "Edit endpoint"
    } else {
        "Add endpoint"
    };
    let refused = !mistakes.is_empty();
    let advanced = mistakes.advanced()
        || [&typed.channels, &typed.headers, &typed.rate, &typed.secret]
            .iter()
            .any(|text| !text.is_empty());
    let page = show(&EditPage {
        shell: visitor.shell(title, "/portal/endpoints"),
        action,
        back,
        existing: existing.map(|(_, url)| url),
        typed,
        mistakes,
        offered,
        advanced,
    })?;
    let status = if refused {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    Ok((status, page).into_response())
}

async fn catalogue(web: &Web, visitor: &Visitor) -> Result<Vec<(String, String)>, Failure> {
    let page = PageRequest::oldest(OFFERED_MAX);
    let types = web
        .api
        .use_cases
        .list_event_types(false, visitor.flags(), &page)
        .await?;
    let named = types
        .items
        .into_iter()
        .map(|known| (known.name.to_string(), known.description));
    Ok(named.collect())
}

async fn offered(web: &Web, visitor: &Visitor, typed: &Typed) -> Result<Vec<Offered>, Failure> {
    let offered = catalogue(web, visitor)
        .await?
        .into_iter()
        .map(|(name, description)| Offered {
            chosen: typed.has(&name),
            name,
            description,
        });
    Ok(offered.collect())
}

/// The form of a new endpoint.
pub(super) async fn blank(State(web): State<Arc<Web>>, visitor: Visitor, fields: Fields) -> Answer {
    visitor.need(Capability::ManageEndpoint)?;
    let types = fields.all("type");
    let typed = Typed {
        some_types: !types.is_empty(),
        types,
        ..Typed::default()
    };
    page(&web, &visitor, None, typed, Mistakes::default()).await
}

/// Adds an endpoint.
pub(super) async fn create(State(web): State<Arc<Web>>, change: Change<Visitor>) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::ManageEndpoint)?;
    let typed = Typed::read(&change.fields);
    let (draft, mut mistakes) = typed.draft();
    let use_cases = &web.api.use_cases;
    let done = if mistakes.is_empty() {
        let occasion = use_cases.occasion();
        let created = use_cases.create_endpoint(&visitor.app, draft, &occasion);
        created.await.map(Some)
    } else {
        use_cases.check_endpoint(draft).map(|()| None)
    };
    match done {
        Ok(Some(endpoint)) => return Ok(go(&format!("/portal/endpoints/{}?done=added", endpoint.id))),
        Ok(None) => {}
        Err(refusal) => mistakes.take(refusal)?,
    }
    page(&web, &visitor, None, typed, mistakes).await
}

/// The form of an endpoint that is there.
pub(super) async fn filled(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<EndpointAt>) -> Answer {
    visitor.need(Capability::ManageEndpoint)?;
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    let names: Vec<_> = catalogue(&web, &visitor)
        .await?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let typed = Typed::of(&endpoint, &names);
    let existing = Some((endpoint.id.to_string(), endpoint.url));
    page(&web, &visitor, existing, typed, Mistakes::default()).await
}

/// Changes an endpoint.
pub(super) async fn save(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::ManageEndpoint)?;
    let use_cases = &web.api.use_cases;
    let endpoint = use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    let typed = Typed::read(&change.fields);
    let (patch, mut mistakes) = typed.patch(&endpoint);
    if mistakes.is_empty() {
        match use_cases
            .patch_endpoint(&visitor.app, &at.endpoint_id, patch)
            .await
        {
            Ok(_) => {
                return Ok(go(&format!(
                    "/portal/endpoints/{}/settings?done=saved",
                    endpoint.id
                )));
            }
            Err(refusal) => mistakes.take(refusal)?,
        }
    } else if let Err(refusal) = use_cases.check_endpoint(typed.draft().0) {
        mistakes.take(refusal)?;
    }
    let existing = Some((endpoint.id.to_string(), endpoint.url));
    page(&web, &visitor, existing, typed, mistakes).await
}

/// Tells what is wrong with a form while it is filled in.
pub(super) async fn check(State(web): State<Arc<Web>>, change: Change<Visitor>) -> Result<Response, Failure> {
    change.session.need(Capability::ManageEndpoint)?;
    let (draft, mut mistakes) = Typed::read(&change.fields).draft();
    if let Err(refusal @ Refusal::Invalid(_)) = web.api.use_cases.check_endpoint(draft) {
        mistakes.take(refusal)?;
    }
    Ok(Json(mistakes.all()).into_response())
}

//! A project's settings, with the way to its webhooks.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;
use nuncio_domain::App;

use super::notice;
use super::operator::Operator;
use super::projects::{Mistakes, Typed};
use crate::api::path::At;
use crate::look::Look;
use crate::page::form::{Change, Fields};
use crate::page::part::When;
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::token::Scope;
use crate::usecase::apps::AppPatch;
use crate::usecase::sessions::{AccessDraft, LIFETIME_MIN};

#[derive(Template)]
#[template(path = "console/project.html")]
struct ProjectPage {
    shell: Shell,
    id: String,
    name: String,
    created: When,
    updated: When,
    endpoints: usize,
    typed: Typed,
    look: Look,
    mistakes: Mistakes,
}

#[derive(Template)]
#[template(path = "console/delete.html")]
struct DeletePage {
    shell: Shell,
    id: String,
    name: String,
    endpoints: usize,
}

fn page(
    web: &Web,
    operator: &Operator,
    app: &App,
    typed: Option<Typed>,
    look: Look,
    mistakes: Mistakes,
    told: Option<&'static str>,
) -> Answer {
    show(&ProjectPage {
        shell: operator.shell(app.name.clone(), "/console/projects").told(told),
        id: app.id.to_string(),
        name: app.name.clone(),
        created: When::exact(app.created_at),
        updated: When::exact(app.updated_at),
        endpoints: web.api.use_cases.endpoint_count(&app.id),
        typed: typed.unwrap_or_else(|| Typed {
            name: app.name.clone(),
            uid: app.uid.as_ref().map(ToString::to_string).unwrap_or_default(),
            rate: app.throttle_rate.map(|rate| rate.to_string()).unwrap_or_default(),
        }),
        look,
        mistakes,
    })
}

pub(super) async fn settings(
    State(web): State<Arc<Web>>,
    operator: Operator,
    At(id): At<String>,
    fields: Fields,
) -> Answer {
    let app = web.api.use_cases.app(&id).await?;
    let told = notice(fields.text("done"));
    page(
        &web,
        &operator,
        &app,
        None,
        Look::of_metadata(&app.metadata),
        Mistakes::default(),
        told,
    )
}

pub(super) async fn save(
    State(web): State<Arc<Web>>,
    At(id): At<String>,
    change: Change<Operator>,
) -> Answer {
    let use_cases = &web.api.use_cases;
    let app = use_cases.app(&id).await?;
    let typed = Typed::read(&change.fields);
    let text = |name: &str| change.fields.some(name).map(str::to_owned);
    let look = Look {
        name: text("look_name"),
        logo: text("look_logo"),
        accent: text("look_accent"),
    };
    let mut mistakes = Mistakes::of_look(&look);
    if mistakes.is_empty() {
        let mut metadata = app.metadata.clone();
        look.write_to(&mut metadata);
        let patch = AppPatch {
            name: Some(typed.name.clone()),
            uid: Some(typed.uid()),
            throttle_rate: Some(typed.rate()),
            metadata: Some(metadata),
            ..AppPatch::default()
        };
        match use_cases.patch_app(&id, patch).await {
            Ok(app) => return Ok(go(&format!("/console/projects/{}?done=saved", app.id))),
            Err(refusal) => mistakes.take(refusal)?,
        }
    }
    let page = page(&web, &change.session, &app, Some(typed), look, mistakes, None)?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// Opens the project's portal under a fresh link.
pub(super) async fn edit_webhooks(
    State(web): State<Arc<Web>>,
    At(id): At<String>,
    _: Change<Operator>,
) -> Answer {
    let use_cases = &web.api.use_cases;
    let draft = AccessDraft {
        expiry_seconds: Some(LIFETIME_MIN.as_secs()),
        ..AccessDraft::default()
    };
    let occasion = use_cases.occasion();
    let access = use_cases.portal_access(&id, draft, &occasion).await?;
    let token = occasion.dice.with(|rng| {
        web.api
            .tokens
            .mint(&Scope::App(access.grant), access.now, access.lifetime, rng)
    });
    // The same address as the console's: wherever that is reached, the portal is.
    Ok(go(&format!("/portal#token={token}")))
}

pub(super) async fn ask(State(web): State<Arc<Web>>, operator: Operator, At(id): At<String>) -> Answer {
    let app = web.api.use_cases.app(&id).await?;
    show(&DeletePage {
        shell: operator.shell("Delete project", "/console/projects"),
        endpoints: web.api.use_cases.endpoint_count(&app.id),
        id: app.id.to_string(),
        name: app.name,
    })
}

pub(super) async fn delete(State(web): State<Arc<Web>>, At(id): At<String>, _: Change<Operator>) -> Answer {
    web.api.use_cases.delete_app(&id).await?;
    Ok(go("/console/projects?done=deleted"))
}

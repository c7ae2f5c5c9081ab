//! A project's settings, with the way to its webhooks.

use std::collections::BTreeMap;
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
use crate::page::accent::Colour;
use crate::page::form::{Change, Fields};
use crate::page::part::When;
use crate::page::shell::{BRAND_ACCENT, BRAND_NAME, Shell};
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
    look_name: String,
    look_accent: String,
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
    look: (String, String),
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
        look_name: look.0,
        look_accent: look.1,
        mistakes,
    })
}

fn look(app: &App) -> (String, String) {
    let of = |key: &str| app.metadata.get(key).cloned().unwrap_or_default();
    (of(BRAND_NAME), of(BRAND_ACCENT))
}

pub(super) async fn settings(
    State(web): State<Arc<Web>>,
    operator: Operator,
    At(id): At<String>,
    fields: Fields,
) -> Answer {
    let app = web.api.use_cases.app(&id).await?;
    let told = notice(fields.text("done"));
    page(&web, &operator, &app, None, look(&app), Mistakes::default(), told)
}

pub(super) async fn save(
    State(web): State<Arc<Web>>,
    At(id): At<String>,
    change: Change<Operator>,
) -> Answer {
    let use_cases = &web.api.use_cases;
    let app = use_cases.app(&id).await?;
    let typed = Typed::read(&change.fields);
    let text = |name: &str| change.fields.text(name).to_owned();
    let look = (text("look_name"), text("look_accent"));
    let mut mistakes = Mistakes::default();
    if !look.1.is_empty() && Colour::parse(&look.1).is_none() {
        mistakes.look = "The colour must be of the form #rrggbb.".to_owned();
    }
    if mistakes.is_empty() {
        let patch = AppPatch {
            name: Some(typed.name.clone()),
            uid: Some(typed.uid()),
            throttle_rate: Some(typed.rate()),
            metadata: Some(with_look(app.metadata.clone(), &look)),
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

fn with_look(
    mut metadata: BTreeMap<String, String>,
    (name, accent): &(String, String),
) -> BTreeMap<String, String> {
    for (key, value) in [(BRAND_NAME, name), (BRAND_ACCENT, accent)] {
        if value.is_empty() {
            metadata.remove(key);
        } else {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    metadata
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
    let access = use_cases.portal_access(&id, draft).await?;
    let token = use_cases.dice.with(|rng| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_leaves_other_metadata_alone() {
        let before = BTreeMap::from([
            ("own".to_owned(), "kept".to_owned()),
            (BRAND_NAME.to_owned(), "old".to_owned()),
        ]);
        let after = with_look(before, &(String::new(), "#123456".to_owned()));
        assert_eq!(after.get("own").map(String::as_str), Some("kept"));
        assert_eq!(after.get(BRAND_ACCENT).map(String::as_str), Some("#123456"));
        assert!(!after.contains_key(BRAND_NAME));
    }
}

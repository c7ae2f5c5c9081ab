//! The list of projects, and a new one.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use http::StatusCode;

use super::notice;
use super::operator::Operator;
use crate::look::Look;
use crate::page::failure::{Failure, sentence};
use crate::page::form::{Change, Fields};
use crate::page::part::{When, count};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::usecase::apps::{AppDraft, Upserted};
use crate::usecase::check::METADATA_BYTES_MAX;
use crate::usecase::refusal::Refusal;

/// Projects on one page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "console/projects.html")]
struct ProjectsPage {
    shell: Shell,
    query: String,
    lines: Vec<Line>,
    found: String,
    any: bool,
    previous: Option<usize>,
    next: Option<usize>,
}

struct Line {
    id: String,
    name: String,
    uid: String,
    endpoints: usize,
    created: When,
}

#[derive(Template)]
#[template(path = "console/new.html")]
struct NewPage {
    shell: Shell,
    typed: Typed,
    mistakes: Mistakes,
}

/// What stands in a project's form.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) rate: String,
}

/// What is wrong with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Mistakes {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) rate: String,
    pub(super) look_name: String,
    pub(super) look_logo: String,
    pub(super) look_accent: String,
}

impl Typed {
    pub(super) fn read(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            name: text("name"),
            uid: text("uid"),
            rate: text("rate"),
        }
    }

    pub(super) fn uid(&self) -> Option<String> {
        Some(self.uid.clone()).filter(|uid| !uid.is_empty())
    }

    /// The rate; a number that none is becomes one that is refused.
    pub(super) fn rate(&self) -> Option<u64> {
        Some(self.rate.as_str())
            .filter(|rate| !rate.is_empty())
            .map(|rate| rate.parse().unwrap_or(u64::MAX))
    }
}

impl Mistakes {
    pub(super) fn is_empty(&self) -> bool {
        let project = [&self.name, &self.uid, &self.rate];
        let look = [&self.look_name, &self.look_logo, &self.look_accent];
        project.into_iter().chain(look).all(String::is_empty)
    }

    /// What is wrong with the look.
    pub(super) fn of_look(look: &Look) -> Self {
        let mut mistakes = Self::default();
        for (field, mistake) in look.mistakes(METADATA_BYTES_MAX) {
            let place = match field {
                "logo" => &mut mistakes.look_logo,
                "accent" => &mut mistakes.look_accent,
                _ => &mut mistakes.look_name,
            };
            *place = sentence(&mistake);
        }
        mistakes
    }

    /// The complaints in a refusal.
    ///
    /// # Errors
    /// The refusal, where it is not about fields.
    pub(super) fn take(&mut self, refusal: Refusal) -> Result<(), Failure> {
        match refusal {
            Refusal::Invalid(complaints) => {
                for complaint in complaints {
                    let field = match complaint.field.first().map_or("", String::as_str) {
                        "uid" => &mut self.uid,
                        "throttleRate" => &mut self.rate,
                        "metadata" => &mut self.look_logo,
                        _ => &mut self.name,
                    };
                    *field = sentence(&complaint.message);
                }
                Ok(())
            }
            Refusal::Conflict { detail, .. } => {
                self.uid = sentence(&detail);
                Ok(())
            }
            refusal => Err(refusal.into()),
        }
    }
}

pub(super) async fn list(State(web): State<Arc<Web>>, operator: Operator, fields: Fields) -> Answer {
    let use_cases = &web.api.use_cases;
    let query = fields.text("q").to_owned();
    let found = use_cases.search_apps(&query);
    let page: usize = fields.text("page").parse().unwrap_or(1).max(1);
    let lines = found
        .iter()
        .skip((page - 1).saturating_mul(PAGE))
        .take(PAGE)
        .map(|app| Line {
            id: app.id.to_string(),
            name: app.name.clone(),
            uid: app.uid.as_ref().map(ToString::to_string).unwrap_or_default(),
            endpoints: use_cases.endpoint_count(&app.id),
            created: When::relative(app.created_at),
        });
    show(&ProjectsPage {
        shell: operator
            .shell("Projects", "/console/projects")
            .told(notice(fields.text("done"))),
        lines: lines.collect(),
        found: count(found.len() as u64),
        any: !found.is_empty() || !query.is_empty(),
        previous: (page > 1).then(|| page - 1),
        next: (page.saturating_mul(PAGE) < found.len()).then_some(page + 1),
        query,
    })
}

pub(super) async fn blank(operator: Operator) -> Answer {
    show(&NewPage {
        shell: operator.shell("New project", "/console/projects"),
        typed: Typed::default(),
        mistakes: Mistakes::default(),
    })
}

pub(super) async fn create(State(web): State<Arc<Web>>, change: Change<Operator>) -> Answer {
    let typed = Typed::read(&change.fields);
    let draft = AppDraft {
        name: typed.name.clone(),
        uid: typed.uid(),
        throttle_rate: typed.rate(),
        ..AppDraft::default()
    };
    let mut mistakes = Mistakes::default();
    let use_cases = &web.api.use_cases;
    match use_cases.create_app(draft, false, &use_cases.occasion()).await {
        Ok(Upserted::Created(app) | Upserted::Found(app)) => {
            return Ok(go(&format!("/console/projects/{}?done=created", app.id)));
        }
        Err(refusal) => mistakes.take(refusal)?,
    }
    let page = show(&NewPage {
        shell: change.session.shell("New project", "/console/projects"),
        typed,
        mistakes,
    })?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

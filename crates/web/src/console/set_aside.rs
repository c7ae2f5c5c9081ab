//! Events that were set aside: why, what they are, and what to do with them.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_producer::SetAside;

use super::notice;
use super::operator::Operator;
use crate::api::path::At;
use crate::page::failure::{Failure, sentence};
use crate::page::form::{Change, Fields};
use crate::page::part::When;
use crate::page::pretty::pretty;
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::usecase::set_aside::SET_ASIDE_MAX;

/// Characters of a body that are shown.
const BODY_SHOWN_MAX: usize = 64 * 1024;

/// What the reasons mean and what helps.
const REASONS: [(&str, &str); 7] = [
    (
        "invalid_json",
        "The body is not a JSON object that every receiver could read. Publish it again, corrected.",
    ),
    ("too_large", "The body is larger than what is accepted."),
    (
        "unknown_app",
        "No project has the id or uid in the routing key. Create the project, then publish the event again.",
    ),
    (
        "bad_routing_key",
        "The routing key is not of the form <project>.<event type>.",
    ),
    ("bad_headers", "A header of the event cannot be read."),
    ("bad_id", "The message id cannot be used."),
    (
        "conflict",
        "An event with the same id and another body was accepted before.",
    ),
];

#[derive(Template)]
#[template(path = "console/set_aside.html")]
struct ListPage {
    shell: Shell,
    lines: Vec<Line>,
    most: usize,
}

#[derive(Template)]
#[template(path = "console/set_aside_event.html")]
struct EventPage {
    shell: Shell,
    line: Line,
    exchange: String,
    message_id: Option<String>,
    detail: String,
    help: &'static str,
    body: String,
    cut: bool,
    kept: bool,
    sha256: Option<String>,
}

#[derive(Template)]
#[template(path = "console/purge.html")]
struct PurgePage {
    shell: Shell,
    many: usize,
}

struct Line {
    name: String,
    reason: String,
    routing_key: String,
    at: Option<When>,
    bytes: usize,
}

impl Line {
    /// What the event is listed and headed as.
    fn title(&self) -> &str {
        if self.routing_key.is_empty() {
            "(none)"
        } else {
            &self.routing_key
        }
    }
}

fn line(event: &SetAside) -> Line {
    Line {
        name: event.name(),
        reason: event.reason.clone(),
        routing_key: event.routing_key.clone(),
        at: event.at.map(When::relative),
        bytes: event.body.len(),
    }
}

pub(super) async fn list(State(web): State<Arc<Web>>, operator: Operator, fields: Fields) -> Answer {
    let events = web.api.use_cases.set_aside().await?;
    show(&ListPage {
        shell: operator
            .shell("Set aside", "/console/set-aside")
            .told(notice(fields.text("done"))),
        lines: events.iter().map(line).collect(),
        most: SET_ASIDE_MAX,
    })
}

pub(super) async fn event(State(web): State<Arc<Web>>, operator: Operator, At(name): At<String>) -> Answer {
    let events = web.api.use_cases.set_aside().await?;
    let event = events
        .iter()
        .find(|event| event.name() == name)
        .ok_or_else(Failure::nowhere)?;
    let text = String::from_utf8_lossy(&event.body);
    let shown: String = text.chars().take(BODY_SHOWN_MAX).collect();
    let help = REASONS.iter().find(|(reason, _)| *reason == event.reason);
    show(&EventPage {
        shell: operator.shell("Set aside", "/console/set-aside"),
        line: line(event),
        exchange: event.exchange.clone(),
        message_id: event.message_id.clone(),
        detail: event.detail.as_deref().map(sentence).unwrap_or_default(),
        help: help.map_or("", |(_, help)| help),
        cut: shown.len() < text.len(),
        body: pretty(&shown),
        kept: !(event.body_sha256.is_some() && event.body.is_empty()),
        sha256: event.body_sha256.clone(),
    })
}

pub(super) async fn replay(State(web): State<Arc<Web>>, At(name): At<String>, _: Change<Operator>) -> Answer {
    web.api.use_cases.replay_set_aside(&name).await?;
    Ok(go("/console/set-aside?done=replayed"))
}

pub(super) async fn discard(
    State(web): State<Arc<Web>>,
    At(name): At<String>,
    _: Change<Operator>,
) -> Answer {
    web.api.use_cases.discard_set_aside(&name).await?;
    Ok(go("/console/set-aside?done=discarded"))
}

/// Asks whether all are to be deleted.
pub(super) async fn ask(State(web): State<Arc<Web>>, operator: Operator) -> Answer {
    let many = web.api.use_cases.set_aside().await?.len();
    show(&PurgePage {
        shell: operator.shell("Delete all", "/console/set-aside"),
        many,
    })
}

pub(super) async fn purge(State(web): State<Arc<Web>>, _: Change<Operator>) -> Answer {
    web.api.use_cases.purge_set_aside().await?;
    Ok(go("/console/set-aside?done=purged"))
}

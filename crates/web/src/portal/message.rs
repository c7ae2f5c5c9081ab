//! The page of one message: what was sent, to whom and why, and every attempt.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_domain::{DeliveryStatus, Routing};
use nuncio_store::{AttemptFilter, PageRequest, StoredMessage};

use super::live::AttemptLine;
use super::notice;
use super::visitor::{Can, Visitor};
use crate::api::path::{At, MessageAt};
use crate::page::failure::Failure;
use crate::page::form::Fields;
use crate::page::part::{Badge, When, count};
use crate::page::pretty::pretty;
use crate::page::shell::Shell;
use crate::page::{Answer, Web, show};
use crate::usecase::insight::RoutingOf;

/// Attempts that are shown.
const ATTEMPTS_MAX: usize = 100;

#[derive(Template)]
#[template(path = "portal/message.html")]
struct MessagePage {
    shell: Shell,
    id: String,
    event_id: Option<String>,
    event_type: String,
    channels: Vec<String>,
    at: When,
    payload: Option<String>,
    bytes: String,
    as_sent: bool,
    live: Live,
}

/// The part that is loaded again and again.
#[derive(Template)]
#[template(path = "portal/message_live.html")]
struct Live {
    csrf: String,
    can: Can,
    id: String,
    kept: bool,
    routed: bool,
    routes: Vec<Route>,
    attempts: Vec<AttemptLine>,
}

impl askama::filters::HtmlSafe for Live {}

/// Why an endpoint did or did not get the message, and how that stands.
struct Route {
    endpoint: String,
    url: Option<String>,
    badge: Badge,
    why: &'static str,
    next: Option<When>,
    resendable: bool,
}

fn route(of: &RoutingOf) -> Route {
    let why = match of.decided {
        None => "It was added after this message was published",
        Some(Routing::Matched) => "It wants this event type",
        Some(Routing::Buffered) => "It wants this event type; it was paused, so the message waited",
        Some(Routing::Disabled) => "It was disabled",
        Some(Routing::OtherEventTypes) => "It does not want this event type",
        Some(Routing::OtherChannels) => "It listens to other channels",
    };
    let next = of.state.and_then(|state| match state.status {
        DeliveryStatus::Retrying { due } => Some(When::countdown(due)),
        _ => None,
    });
    let enabled = of.now.as_ref().is_some_and(|endpoint| !endpoint.is_disabled());
    Route {
        endpoint: of.endpoint.to_string(),
        url: of.now.as_ref().map(|endpoint| endpoint.url.clone()),
        badge: of.state.map_or_else(
            || Badge::new("quiet", "Not sent", ""),
            |state| Badge::of_delivery(&state),
        ),
        why,
        next,
        resendable: enabled && of.state.is_some(),
    }
}

async fn load_live(
    web: &Web,
    visitor: &Visitor,
    stored: &StoredMessage,
    kept: bool,
) -> Result<Live, Failure> {
    let use_cases = &web.api.use_cases;
    let now = use_cases.now();
    let id = &stored.message.id;
    let (filter, page) = (AttemptFilter::default(), PageRequest::first(ATTEMPTS_MAX));
    let (report, attempts) = tokio::join!(
        use_cases.routing(&visitor.app, id.as_str()),
        use_cases.attempts_of_message(&visitor.app, id, &filter, &page),
    );
    let report = report?;
    Ok(Live {
        csrf: visitor.csrf.clone(),
        can: visitor.can,
        id: id.to_string(),
        kept,
        routed: report.routed,
        routes: report.endpoints.iter().map(route).collect(),
        attempts: attempts?
            .items
            .iter()
            .map(|stored| AttemptLine::of(stored, now))
            .collect(),
    })
}

pub(super) async fn message(
    State(web): State<Arc<Web>>,
    visitor: Visitor,
    At(at): At<MessageAt>,
    fields: Fields,
) -> Answer {
    let use_cases = &web.api.use_cases;
    let stored = use_cases.message(&visitor.app, &at.msg_id).await?;
    let id = stored.message.id.clone();
    let payload = use_cases
        .payloads(&visitor.app, std::slice::from_ref(&id))
        .await?;
    let payload = payload.into_iter().next().flatten();
    let live = load_live(&web, &visitor, &stored, payload.is_some()).await?;
    let as_sent = fields.text("as") == "sent";
    let message = stored.message;
    show(&MessagePage {
        shell: visitor
            .shell(format!("Message {id}"), "/portal/messages")
            .told(notice(fields.text("done"))),
        id: id.to_string(),
        event_id: message.event_id,
        event_type: message.event_type.to_string(),
        channels: message.channels.iter().map(ToString::to_string).collect(),
        at: When::exact(message.created_at),
        bytes: payload
            .as_ref()
            .map_or_else(String::new, |payload| count(payload.len() as u64)),
        payload: payload.map(|payload| {
            let text = String::from_utf8_lossy(&payload);
            if as_sent { text.into_owned() } else { pretty(&text) }
        }),
        as_sent,
        live,
    })
}

/// The moving part alone.
pub(super) async fn live(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<MessageAt>) -> Answer {
    let stored = web.api.use_cases.message(&visitor.app, &at.msg_id).await?;
    let kept = !stored.expunged;
    show(&load_live(&web, &visitor, &stored, kept).await?)
}

//! The list of messages: what was published, and how its deliveries stand.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_domain::EventTypeName;
use nuncio_store::{
    Deliveries, DeliveryOutlook, DeliveryRecord, MessageFilter, Order, PageRequest, StoredMessage,
};

use super::visitor::Visitor;
use crate::api::query::Limit;
use crate::page::form::Fields;
use crate::page::part::{Badge, When};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::usecase::refusal::Refusal;

/// Messages on one page.
const PAGE: usize = 50;
/// Event types that are offered.
const OFFERED_MAX: usize = 250;

#[derive(Template)]
#[template(path = "portal/messages.html")]
struct MessagesPage {
    shell: Shell,
    lines: Vec<Line>,
    offered: Vec<String>,
    chosen: String,
    missing: String,
    older: Option<String>,
    newest: bool,
}

struct Line {
    id: String,
    event_id: String,
    event_type: String,
    at: When,
    badges: Vec<Badge>,
}

pub(super) async fn list(State(web): State<Arc<Web>>, visitor: Visitor, fields: Fields) -> Answer {
    let use_cases = &web.api.use_cases;
    let wanted = fields.text("id");
    if !wanted.is_empty() {
        match use_cases.message(&visitor.app, wanted).await {
            Ok(found) => return Ok(go(&format!("/portal/messages/{}", found.message.id))),
            Err(Refusal::NotFound(_)) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    let chosen = fields.text("type").to_owned();
    let filter = MessageFilter {
        event_types: chosen.parse::<EventTypeName>().into_iter().collect(),
        deliveries: Deliveries::All,
        ..MessageFilter::default()
    };
    let scope = format!("portal messages {} {chosen}", visitor.app.id);
    let request = web
        .api
        .iterators
        .request(Limit(PAGE), fields.some("at"), Order::NewestFirst, &scope)?;
    let found = use_cases.list_messages(&visitor.app, &filter, &request).await?;
    let page = web
        .api
        .iterators
        .page(&request, found, &scope, |stored| line(&stored));
    let types = use_cases
        .list_event_types(false, visitor.flags(), &PageRequest::oldest(OFFERED_MAX))
        .await?;
    let older = page.iterator.filter(|_| !page.done).map(|at| {
        let query = serde_urlencoded::to_string([("type", chosen.as_str()), ("at", &at)]);
        format!("/portal/messages?{}", query.unwrap_or_default())
    });
    show(&MessagesPage {
        shell: visitor.shell("Messages", "/portal/messages"),
        lines: page.data,
        offered: types.items.iter().map(|known| known.name.to_string()).collect(),
        chosen,
        missing: wanted.to_owned(),
        older,
        newest: fields.some("at").is_none(),
    })
}

fn line(stored: &StoredMessage) -> Line {
    Line {
        id: stored.message.id.to_string(),
        event_id: stored.message.event_id.clone().unwrap_or_default(),
        event_type: stored.message.event_type.to_string(),
        at: When::relative(stored.message.created_at),
        badges: badges(stored),
    }
}

/// How many deliveries stand how.
fn badges(stored: &StoredMessage) -> Vec<Badge> {
    let states = stored
        .deliveries
        .iter()
        .filter_map(|(_, record)| DeliveryRecord::state(record));
    let (mut delivered, mut waiting, mut failed) = (0_u32, 0_u32, 0_u32);
    for state in states {
        match DeliveryOutlook::of(&state) {
            DeliveryOutlook::Succeeded => delivered += 1,
            DeliveryOutlook::Waiting => waiting += 1,
            DeliveryOutlook::Failed => failed += 1,
        }
    }
    let some =
        |many: u32, tone, word: &str| (many > 0).then(|| Badge::new(tone, format!("{many} {word}"), ""));
    let badges: Vec<_> = [
        some(delivered, "good", "delivered"),
        some(waiting, "warn", "waiting"),
        some(failed, "bad", "failed"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !badges.is_empty() {
        badges
    } else if stored.routed {
        vec![Badge::new("quiet", "No endpoint", "No endpoint wanted it")]
    } else {
        vec![Badge::new("info", "Being routed", "")]
    }
}

//! The catalogue of event types: what may come, in which shape, with an example.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_store::{EventType, PageRequest};

use super::visitor::{Can, Visitor};
use crate::page::form::Fields;
use crate::page::pretty::pretty;
use crate::page::shell::Shell;
use crate::page::{Answer, Web, show};
use crate::usecase::event_types::newest;
use crate::usecase::example::example_text;

/// Event types that are shown.
const SHOWN_MAX: usize = 250;

#[derive(Template)]
#[template(path = "portal/catalogue.html")]
struct CataloguePage {
    shell: Shell,
    can: Can,
    query: String,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    description: String,
    group: Option<String>,
    deprecated: bool,
    schema: Option<String>,
    example: Option<String>,
}

impl From<EventType> for Entry {
    fn from(known: EventType) -> Self {
        let schema = known.schemas.as_ref().and_then(newest);
        let text = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
        Self {
            schema: schema.map(text),
            example: schema.map(|schema| pretty(&example_text(schema, 0))),
            name: known.name.to_string(),
            description: known.description,
            group: known.group_name,
            deprecated: known.deprecated,
        }
    }
}

pub(super) async fn catalogue(State(web): State<Arc<Web>>, visitor: Visitor, fields: Fields) -> Answer {
    let page = PageRequest::oldest(SHOWN_MAX);
    let types = web
        .api
        .use_cases
        .list_event_types(false, visitor.flags(), &page)
        .await?;
    let query = fields.text("q").to_owned();
    let wanted = query.to_lowercase();
    let entries = types.items.into_iter().map(Entry::from).filter(|entry| {
        entry.name.to_lowercase().contains(&wanted) || entry.description.to_lowercase().contains(&wanted)
    });
    show(&CataloguePage {
        shell: visitor.shell("Event types", "/portal/event-types"),
        can: visitor.can,
        entries: entries.collect(),
        query,
    })
}

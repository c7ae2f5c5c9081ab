//! Event types: the catalogue that customers choose from.
//!
//! Owns their record, which is global, and the two types that are there from the start. Refuses to check payloads.

use nuncio_domain::{EventTypeName, UnixMillis};
use redis::Value;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::apps::ROUNDS_MAX;
use crate::link::Lane;
use crate::page::{Page, PageRequest, Position};
use crate::{Store, StoreError, script};

/// An event type.
#[derive(Debug, Clone, PartialEq)]
pub struct EventType {
    /// Its name.
    pub name: EventTypeName,
    /// A description for people.
    pub description: String,
    /// Whether it is hidden from those who choose.
    pub archived: bool,
    /// Whether it should not be chosen any more.
    pub deprecated: bool,
    /// JSON schemas by version, examples among their keywords; none when there are none.
    pub schemas: Option<Map<String, serde_json::Value>>,
    /// A flag without which it is not shown.
    pub feature_flag: Option<String>,
    /// The name of the group it is shown in.
    pub group_name: Option<String>,
    /// Whether payloads must fit the newest schema.
    pub enforce_schema: bool,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl EventType {
    /// Whether it is there from the start, and nobody changed it since.
    #[must_use]
    pub fn is_untouched_seed(&self) -> bool {
        seeds(self.created_at).contains(self)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventTypeRecord {
    #[serde(default)]
    v: u8,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    archived: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deprecated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schemas: Option<Map<String, serde_json::Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feature_flag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group_name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    enforce_schema: bool,
    created_at: i64,
    updated_at: i64,
    #[serde(flatten)]
    extra: Map<String, serde_json::Value>,
}

impl EventTypeRecord {
    fn new(event_type: &EventType, extra: Map<String, serde_json::Value>) -> Self {
        Self {
            v: 1,
            description: event_type.description.clone(),
            archived: event_type.archived,
            deprecated: event_type.deprecated,
            schemas: event_type.schemas.clone(),
            feature_flag: event_type.feature_flag.clone(),
            group_name: event_type.group_name.clone(),
            enforce_schema: event_type.enforce_schema,
            created_at: event_type.created_at.0,
            updated_at: event_type.updated_at.0,
            extra,
        }
    }

    fn to_event_type(&self, name: EventTypeName) -> EventType {
        EventType {
            name,
            description: self.description.clone(),
            archived: self.archived,
            deprecated: self.deprecated,
            schemas: self.schemas.clone(),
            feature_flag: self.feature_flag.clone(),
            group_name: self.group_name.clone(),
            enforce_schema: self.enforce_schema,
            created_at: UnixMillis(self.created_at),
            updated_at: UnixMillis(self.updated_at),
        }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("string keys and plain values always serialise")
    }
}

impl Store {
    /// Keeps a new event type.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken.
    pub async fn create_event_type(&self, event_type: &EventType) -> Result<(), StoreError> {
        let record = EventTypeRecord::new(event_type, Map::new()).to_json();
        if self
            .change_event_type("create an event type", &event_type.name, "", &record)
            .await?
        {
            Ok(())
        } else {
            Err(StoreError::Conflict {
                what: "name of the event type",
                by: event_type.name.as_str().to_owned(),
            })
        }
    }

    /// The event type of that name.
    ///
    /// # Errors
    /// When Redis is away or the record cannot be read.
    pub async fn event_type(&self, name: &EventTypeName) -> Result<Option<EventType>, StoreError> {
        let found = self.event_type_record(name).await?;
        Ok(found.map(|(_, record)| record.to_event_type(name.clone())))
    }

    /// Changes an event type as `edit` says; it may be called again when others changed it meanwhile.
    ///
    /// # Errors
    /// What `edit` refuses with; [`StoreError::NotFound`].
    pub async fn update_event_type<E: From<StoreError>>(
        &self,
        name: &EventTypeName,
        mut edit: impl FnMut(&mut EventType) -> Result<(), E>,
    ) -> Result<EventType, E> {
        for _ in 0..ROUNDS_MAX {
            let found = self.event_type_record(name).await?;
            let (held, record) = found.ok_or(StoreError::NotFound("event type"))?;
            let mut event_type = record.to_event_type(name.clone());
            edit(&mut event_type)?;
            event_type.name = name.clone();
            let changed = EventTypeRecord::new(&event_type, record.extra).to_json();
            if self
                .change_event_type("change an event type", name, &held, &changed)
                .await?
            {
                return Ok(event_type);
            }
        }
        Err(StoreError::Contended("event type").into())
    }

    /// Deletes an event type for good. Answers whether there was one.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn delete_event_type(&self, name: &EventTypeName) -> Result<bool, StoreError> {
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(self.keys().event_types()).arg(name.as_str());
        self.one("delete an event type", cmd).await
    }

    /// All event types, by name.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn event_types(&self) -> Result<Vec<EventType>, StoreError> {
        let mut types = Vec::new();
        for (name, text) in self.event_type_texts().await? {
            let Ok(name) = EventTypeName::parse(&name) else {
                continue;
            };
            let record = parse(name.as_str(), &text)?;
            types.push(record.to_event_type(name));
        }
        types.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(types)
    }

    /// A page of the event types, by name: the oldest first means ascending names.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn list_event_types(
        &self,
        include_archived: bool,
        request: &PageRequest,
    ) -> Result<Page<EventType>, StoreError> {
        let mut types = self.event_types().await?;
        types.retain(|event_type| include_archived || !event_type.archived);
        let descending = request.descending();
        if descending {
            types.reverse();
        }
        if let Some(Position(anchor)) = request.anchor() {
            types.retain(|t| {
                if descending {
                    t.name.as_str() < anchor.as_str()
                } else {
                    t.name.as_str() > anchor.as_str()
                }
            });
        }
        let more = types.len() > request.limit;
        types.truncate(request.limit);
        let position = |t: Option<&EventType>| t.map(|t| Position(t.name.as_str().to_owned()));
        let (first, last) = (position(types.first()), position(types.last()));
        Ok(Page::assemble(request, types, first, last, more))
    }

    /// Writes the event types that are there from the start, once in the life of a store: what is deleted later stays so.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn seed_event_types(&self, now: UnixMillis) -> Result<(), StoreError> {
        const ACTION: &str = "write the first event types";
        let mut seeded = redis::cmd("GET");
        seeded.arg(self.keys().seeded());
        if self.one::<Option<String>>(ACTION, seeded).await?.is_some() {
            return Ok(());
        }
        let add = seeds(now).into_iter().map(|event_type| {
            let mut cmd = redis::cmd("HSETNX");
            let record = EventTypeRecord::new(&event_type, Map::new()).to_json();
            cmd.arg(self.keys().event_types())
                .arg(event_type.name.as_str())
                .arg(record);
            cmd
        });
        self.group(Lane::Calls, ACTION, add.collect()).await?;
        let mut done = redis::cmd("SET");
        done.arg(self.keys().seeded()).arg(now.0);
        self.one::<Value>(ACTION, done).await?;
        Ok(())
    }

    /// The records of all event types by name, as they are kept.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn event_type_images(&self) -> Result<nuncio_wire::journal::EventTypeImages, StoreError> {
        Ok(self.event_type_texts().await?.into_iter().collect())
    }

    pub(crate) async fn event_type_texts(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().event_types());
        self.one("list event types", cmd).await
    }

    async fn event_type_record(
        &self,
        name: &EventTypeName,
    ) -> Result<Option<(String, EventTypeRecord)>, StoreError> {
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys().event_types()).arg(name.as_str());
        let text: Option<String> = self.one("read an event type", cmd).await?;
        text.map(|text| {
            let record = parse(name.as_str(), &text)?;
            Ok((text, record))
        })
        .transpose()
    }

    pub(crate) async fn change_event_type(
        &self,
        action: &'static str,
        name: &EventTypeName,
        held: &str,
        record: &str,
    ) -> Result<bool, StoreError> {
        let mut cmd = script::call(&script::CHANGE_FIELD, &[&self.keys().event_types()]);
        cmd.arg(name.as_str()).arg(held).arg(record);
        self.one(action, cmd).await
    }
}

fn parse(name: &str, text: &str) -> Result<EventTypeRecord, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Record {
        what: format!("the event type {name}"),
        source: nuncio_wire::record::RecordError::Json {
            noun: "an event type",
            source,
        },
    })
}

/// Whether this is the record of an event type of the start that nobody changed since.
pub(crate) fn is_untouched_seed(name: &str, record: &str) -> bool {
    match (EventTypeName::parse(name), parse(name, record)) {
        (Ok(name), Ok(held)) => held.extra.is_empty() && held.to_event_type(name).is_untouched_seed(),
        _ => false,
    }
}

/// The two event types of the first user, with the bodies that they have.
fn seeds(now: UnixMillis) -> [EventType; 2] {
    let seed = |name: &str, noun: &str, id: &str, example: &str| {
        let schema = json!({
            "title": name,
            "type": "object",
            "properties": {
                "type": { "type": "string", "const": name, "description": "The name of the event type." },
                id: { "type": "string", "description": format!("The id of the {noun} to synchronise.") },
            },
            "required": ["type", id],
            "additionalProperties": false,
            "examples": [{ "type": name, id: example }],
        });
        EventType {
            name: EventTypeName::parse(name).expect("the names below follow the grammar"),
            description: format!("The {noun} was created, updated or deleted: fetch it again."),
            archived: false,
            deprecated: false,
            schemas: Some(Map::from_iter([("1".to_owned(), schema)])),
            feature_flag: None,
            group_name: None,
            enforce_schema: false,
            created_at: now,
            updated_at: now,
        }
    };
    [
        seed("sync.user", "user", "userId", "user_2x4y6z8a0b1c3d5e7f9g"),
        seed(
            "sync.organization",
            "organization",
            "organizationId",
            "org_2x4y6z8a0b1c3d5e7f9g",
        ),
    ]
}

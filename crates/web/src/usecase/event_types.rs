//! Event types: the catalogue that customers choose from, and the schemas that payloads may be held to.
//!
//! Guarantees that a schema that is enforced is one that can be: it is compiled before it is kept. Unregistered types are
//! accepted everywhere.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use nuncio_domain::{EventTypeName, UnixMillis};
use nuncio_store::{EventType, Page, PageRequest};
use serde_json::{Map, Value};

use super::apps::Upserted;
use super::occasion::Occasion;
use super::refusal::{Complaints, Noun, Outcome, Refusal};
use super::{UseCases, check, store};

/// How long a process goes on enforcing a schema that was changed elsewhere.
const CATALOGUE_FRESH: Duration = Duration::from_secs(5);
/// Event types whose schemas a process remembers.
const CATALOGUE_SIZE: u64 = 10_000;
/// Mistakes of one payload that are told.
const MISTAKES_MAX: usize = 20;

const VALUE: &str = "value_error";

/// An event type as a caller describes it; nothing leaves a field as it is, an inner nothing takes it away.
#[derive(Debug, Clone, Default)]
pub struct EventTypeDraft {
    /// A description for people.
    pub description: Option<String>,
    /// Whether it is hidden from those who choose.
    pub archived: Option<bool>,
    /// Whether it should not be chosen any more.
    pub deprecated: Option<bool>,
    /// JSON schemas by version.
    pub schemas: Option<Option<Map<String, Value>>>,
    /// A flag without which it is not shown.
    pub feature_flag: Option<Option<String>>,
    /// The same as a list, of which the first counts; the single one goes before it.
    pub feature_flags: Option<Option<Vec<String>>>,
    /// The group that it is shown in.
    pub group_name: Option<Option<String>>,
    /// Whether payloads must fit the newest schema.
    pub enforce_schema: Option<bool>,
}

/// A schema that payloads are held to.
pub struct Schema(jsonschema::Validator);

impl Schema {
    fn compile(schema: &Value) -> Result<Self, String> {
        jsonschema::options()
            .build(schema)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// What is wrong with a payload.
    #[must_use]
    pub fn mistakes(&self, payload: &str) -> Vec<String> {
        match serde_json::from_str::<Value>(payload) {
            Ok(value) => self
                .0
                .iter_errors(&value)
                .take(MISTAKES_MAX)
                .map(|error| format!("{} at `{}`", error.masked(), error.instance_path()))
                .collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}

/// The schemas that are enforced, as far as they were asked for.
pub(crate) struct Catalogue(Cache<EventTypeName, Option<Arc<Schema>>>);

impl Default for Catalogue {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(CATALOGUE_SIZE)
            .time_to_live(CATALOGUE_FRESH);
        Self(cache.build())
    }
}

/// The schema of the highest version.
pub(crate) fn newest(schemas: &Map<String, Value>) -> Option<&Value> {
    let version = |name: &str| name.trim_start_matches('v').parse::<u64>().unwrap_or(0);
    schemas
        .iter()
        .max_by_key(|(name, _)| version(name))
        .map(|(_, schema)| schema)
}

impl UseCases {
    /// One page of the catalogue, by name; those behind flags that are not among `flags` are left out.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list_event_types(
        &self,
        include_archived: bool,
        flags: Option<&[String]>,
        page: &PageRequest,
    ) -> Outcome<Page<EventType>> {
        let mut list = store(self.store.list_event_types(include_archived, page).await)?;
        list.items.retain(|event_type| is_shown(event_type, flags));
        Ok(list)
    }

    /// The event type of that name.
    ///
    /// # Errors
    /// When there is none, or it is behind a flag that is not among `flags`.
    pub async fn event_type(&self, name: &str, flags: Option<&[String]>) -> Outcome<EventType> {
        let name = parse_name(name)?;
        let found = store(self.store.event_type(&name).await)?;
        found
            .filter(|event_type| is_shown(event_type, flags))
            .ok_or(Refusal::NotFound(Noun::EventType))
    }

    /// Adds an event type to the catalogue, or brings an archived one back.
    ///
    /// # Errors
    /// When fields cannot be accepted, or there is one of that name that is not archived.
    pub async fn create_event_type(
        &self,
        name: &str,
        draft: EventTypeDraft,
        occasion: &Occasion,
    ) -> Outcome<EventType> {
        let mut complaints = Complaints::new();
        let name = complaints.keep("name", VALUE, name.parse());
        check_draft(&mut complaints, &draft);
        let name: EventTypeName = complaints.or(name)?;
        let now = occasion.at;
        match store(self.store.event_type(&name).await)? {
            None => self.insert_event_type(name, &draft, now).await,
            // Made, or brought back, by this very request before.
            Some(held) if occasion.again && [held.created_at, held.updated_at].contains(&now) => Ok(held),
            Some(held) if held.archived => self.write_event_type(&name, &all_of(draft), now).await,
            Some(_) => Err(Refusal::Conflict {
                code: "event_type_exists",
                detail: "an event type with this name already exists".to_owned(),
            }),
        }
    }

    /// Replaces the event type of that name, or adds it.
    ///
    /// # Errors
    /// When fields cannot be accepted.
    pub async fn replace_event_type(
        &self,
        name: &str,
        draft: EventTypeDraft,
    ) -> Outcome<Upserted<EventType>> {
        let mut complaints = Complaints::new();
        let name = complaints.keep("name", "value_error", name.parse::<EventTypeName>());
        check_draft(&mut complaints, &draft);
        let name = complaints.or(name)?;
        if store(self.store.event_type(&name).await)?.is_none() {
            return self
                .insert_event_type(name, &draft, self.now())
                .await
                .map(Upserted::Created);
        }
        self.write_event_type(&name, &all_of(draft), self.now())
            .await
            .map(Upserted::Found)
    }

    /// Changes some fields of the event type of that name.
    ///
    /// # Errors
    /// When there is none, or fields cannot be accepted.
    pub async fn patch_event_type(&self, name: &str, draft: EventTypeDraft) -> Outcome<EventType> {
        let name = parse_name(name)?;
        let mut complaints = Complaints::new();
        check_draft(&mut complaints, &draft);
        complaints.or(Some(()))?;
        self.write_event_type(&name, &draft, self.now()).await
    }

    /// Archives the event type of that name, or deletes it for good.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_event_type(&self, name: &str, for_good: bool) -> Outcome<()> {
        let name = parse_name(name)?;
        if !for_good {
            let archive = EventTypeDraft {
                archived: Some(true),
                ..EventTypeDraft::default()
            };
            return self.write_event_type(&name, &archive, self.now()).await.map(drop);
        }
        let deleted = store(self.store.delete_event_type(&name).await)?;
        self.catalogue.0.invalidate(&name).await;
        if deleted {
            Ok(())
        } else {
            Err(Refusal::NotFound(Noun::EventType))
        }
    }

    async fn insert_event_type(
        &self,
        name: EventTypeName,
        draft: &EventTypeDraft,
        now: UnixMillis,
    ) -> Outcome<EventType> {
        let mut event_type = blank(name, now);
        apply(draft, &mut event_type);
        store(self.store.create_event_type(&event_type).await)?;
        self.catalogue.0.invalidate(&event_type.name).await;
        Ok(event_type)
    }

    async fn write_event_type(
        &self,
        name: &EventTypeName,
        draft: &EventTypeDraft,
        now: UnixMillis,
    ) -> Outcome<EventType> {
        let changed = self
            .store
            .update_event_type(name, |event_type| {
                apply(draft, event_type);
                event_type.updated_at = now;
                Ok::<_, Refusal>(())
            })
            .await?;
        self.catalogue.0.invalidate(name).await;
        Ok(changed)
    }

    /// The schema that payloads of that type must fit, if they must fit any.
    ///
    /// # Errors
    /// When the store is away and it is not remembered.
    pub(crate) async fn enforced_schema(&self, name: &EventTypeName) -> Outcome<Option<Arc<Schema>>> {
        if let Some(known) = self.catalogue.0.get(name).await {
            return Ok(known);
        }
        let found = store(self.store.event_type(name).await)?.filter(|held| held.enforce_schema);
        let schema = found
            .as_ref()
            .and_then(|held| held.schemas.as_ref())
            .and_then(newest)
            .map(Schema::compile);
        let schema = match schema {
            Some(Ok(schema)) => Some(Arc::new(schema)),
            None => None,
            Some(Err(error)) => {
                tracing::warn!(event_type = %name, error, "a schema cannot be enforced");
                None
            }
        };
        self.catalogue.0.insert(name.clone(), schema.clone()).await;
        Ok(schema)
    }
}

fn parse_name(name: &str) -> Outcome<EventTypeName> {
    name.parse()
        .map_err(|_no_name| Refusal::NotFound(Noun::EventType))
}

fn is_shown(event_type: &EventType, flags: Option<&[String]>) -> bool {
    match (&event_type.feature_flag, flags) {
        (Some(flag), Some(flags)) => flags.contains(flag),
        _ => true,
    }
}

/// An event type that nothing was said of yet.
pub(super) fn blank(name: EventTypeName, now: UnixMillis) -> EventType {
    EventType {
        name,
        description: String::new(),
        archived: false,
        deprecated: false,
        schemas: None,
        feature_flag: None,
        group_name: None,
        enforce_schema: false,
        created_at: now,
        updated_at: now,
    }
}

/// The same draft, taking away what it leaves out.
pub(super) fn all_of(draft: EventTypeDraft) -> EventTypeDraft {
    EventTypeDraft {
        description: Some(draft.description.unwrap_or_default()),
        archived: Some(draft.archived.unwrap_or(false)),
        deprecated: Some(draft.deprecated.unwrap_or(false)),
        schemas: Some(draft.schemas.flatten()),
        feature_flag: Some(draft.feature_flag.flatten()),
        feature_flags: draft.feature_flags,
        group_name: Some(draft.group_name.flatten()),
        enforce_schema: Some(draft.enforce_schema.unwrap_or(false)),
    }
}

pub(super) fn apply(draft: &EventTypeDraft, event_type: &mut EventType) {
    fn set<T: Clone>(field: &mut T, value: Option<&T>) {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
    set(&mut event_type.description, draft.description.as_ref());
    set(&mut event_type.archived, draft.archived.as_ref());
    set(&mut event_type.deprecated, draft.deprecated.as_ref());
    set(&mut event_type.schemas, draft.schemas.as_ref());
    let first = |flags: &Option<Vec<String>>| flags.as_ref().and_then(|flags| flags.first().cloned());
    let listed = draft.feature_flags.as_ref().map(first);
    let flag = draft.feature_flag.clone().filter(Option::is_some).or(listed);
    set(
        &mut event_type.feature_flag,
        flag.or(draft.feature_flag.clone()).as_ref(),
    );
    set(&mut event_type.group_name, draft.group_name.as_ref());
    set(&mut event_type.enforce_schema, draft.enforce_schema.as_ref());
}

pub(super) fn check_draft(complaints: &mut Complaints, draft: &EventTypeDraft) {
    if let Some(description) = &draft.description {
        check::text(complaints, "description", description, true);
    }
    for (field, name) in [
        ("featureFlag", &draft.feature_flag),
        ("groupName", &draft.group_name),
    ] {
        if let Some(Some(name)) = name {
            complaints.keep(field, VALUE, name.parse::<EventTypeName>());
        }
    }
    for (index, flag) in draft.feature_flags.iter().flatten().flatten().enumerate() {
        if let Err(error) = flag.parse::<EventTypeName>() {
            complaints.add_at(&["featureFlags", &index.to_string()], VALUE, error);
        }
    }
    let Some(Some(schemas)) = &draft.schemas else {
        return;
    };
    for (version, schema) in schemas {
        if !schema.is_object() {
            complaints.add_at(
                &["schemas", version],
                "type_error",
                "must be a JSON schema: an object",
            );
        } else if let Err(error) = check_schema(schema, draft.enforce_schema == Some(true)) {
            complaints.add_at(&["schemas", version], "value_error.schema", error);
        }
    }
}

/// Whether it is a JSON schema at all; one that is enforced must also stand alone, as nothing is fetched for it.
fn check_schema(schema: &Value, enforced: bool) -> Result<(), String> {
    if enforced {
        return Schema::compile(schema).map(drop);
    }
    jsonschema::draft202012::meta::validate(schema).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_schema_has_the_highest_number() {
        let schemas = json!({"1": {"a": 1}, "10": {"a": 10}, "v2": {"a": 2}});
        assert_eq!(newest(schemas.as_object().unwrap()), Some(&json!({"a": 10})));
        assert_eq!(newest(&Map::new()), None);
    }

    #[test]
    fn payloads_are_held_to_a_schema_and_mistakes_do_not_repeat_them() {
        let schema =
            json!({"type": "object", "required": ["userId"], "properties": {"userId": {"type": "string"}}});
        let schema = Schema::compile(&schema).unwrap();
        assert!(schema.mistakes(r#"{"userId":"user_1"}"#).is_empty());
        let mistakes = schema.mistakes(r#"{"userId":{"canary":1}}"#);
        assert_eq!(mistakes.len(), 1);
        assert!(
            !mistakes[0].contains("canary") && mistakes[0].contains("/userId"),
            "{mistakes:?}"
        );
        assert!(Schema::compile(&json!({"type": 7})).is_err());
    }

    #[test]
    fn what_is_no_schema_is_refused_and_one_that_points_elsewhere_only_where_it_is_enforced() {
        let elsewhere = json!({"$ref": "https://example.com/schema.json"});
        for (schema, kept, enforced) in [
            (json!({"type": "object"}), true, true),
            (json!({"readOnly": 15}), false, false),
            (json!({"type": 7}), false, false),
            (elsewhere, true, false),
        ] {
            assert_eq!(check_schema(&schema, false).is_ok(), kept, "{schema}");
            assert_eq!(check_schema(&schema, true).is_ok(), enforced, "{schema}");
        }
    }
}

//! Bodies of event types.

use nuncio_domain::UnixMillis;
use nuncio_store::EventType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::body::{Entries, not_null, present};
use crate::usecase::event_types::EventTypeDraft;

type Schemas = Entries<Value>;

macro_rules! event_type_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $name {
            $($(#[$field_doc])* $field: $ty,)*
            /// A description for people.
            #[schema(max_length = 1024, example = "A user has signed up")]
            description: String,
            /// Whether it is hidden from those who choose.
            #[schema(nullable, default = false)]
            archived: Option<bool>,
            /// Whether it should not be chosen any more.
            #[schema(nullable, default = false)]
            deprecated: Option<bool>,
            /// JSON schemas by version; examples are taken from them.
            #[schema(value_type = Option<std::collections::BTreeMap<String, Object>>)]
            schemas: Option<Schemas>,
            /// A flag without which customers do not see it.
            #[schema(nullable, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
            feature_flag: Option<String>,
            /// The newer form of `featureFlag`: the first counts.
            #[schema(nullable)]
            feature_flags: Option<Vec<String>>,
            /// The group that it is shown in.
            #[schema(nullable, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
            group_name: Option<String>,
            /// Whether messages are refused whose payload does not fit the schema of the highest version.
            #[schema(nullable, default = false)]
            enforce_schema: Option<bool>,
        }

        impl $name {
            fn draft(self) -> EventTypeDraft {
                EventTypeDraft {
                    description: Some(self.description),
                    archived: self.archived,
                    deprecated: self.deprecated,
                    schemas: Some(self.schemas.map(into_map)),
                    feature_flag: Some(self.feature_flag),
                    feature_flags: self.feature_flags.map(Some),
                    group_name: Some(self.group_name),
                    enforce_schema: self.enforce_schema,
                }
            }
        }
    };
}

event_type_body! {
    /// An event type to add.
    EventTypeIn {
        /// Its name.
        #[schema(min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$", example = "user.signup")]
        name: String,
    }
}

event_type_body! {
    /// An event type to replace.
    EventTypeUpdate {}
}

fn into_map(schemas: Schemas) -> Map<String, Value> {
    schemas.0.into_iter().collect()
}

impl From<EventTypeIn> for (String, EventTypeDraft) {
    fn from(body: EventTypeIn) -> Self {
        (body.name.clone(), body.draft())
    }
}

impl From<EventTypeUpdate> for EventTypeDraft {
    fn from(body: EventTypeUpdate) -> Self {
        body.draft()
    }
}

/// What to change of an event type: fields left out stay as they are.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypePatch {
    /// A description for people.
    #[schema(nullable = false, max_length = 1024)]
    #[serde(default, deserialize_with = "not_null")]
    description: Option<String>,
    /// Whether it is hidden from those who choose.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    archived: Option<bool>,
    /// Whether it should not be chosen any more.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    deprecated: Option<bool>,
    /// JSON schemas by version; null takes them away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Object>>)]
    schemas: Option<Option<Schemas>>,
    /// A flag without which customers do not see it; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    feature_flag: Option<Option<String>>,
    /// The newer form of `featureFlag`: the first counts.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    feature_flags: Option<Option<Vec<String>>>,
    /// The group that it is shown in; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    group_name: Option<Option<String>>,
    /// Whether messages are refused whose payload does not fit the schema of the highest version.
    #[schema(nullable = false)]
    #[serde(default, deserialize_with = "not_null")]
    enforce_schema: Option<bool>,
}

impl From<EventTypePatch> for EventTypeDraft {
    fn from(body: EventTypePatch) -> Self {
        Self {
            description: body.description,
            archived: body.archived,
            deprecated: body.deprecated,
            schemas: body.schemas.map(|schemas| schemas.map(into_map)),
            feature_flag: body.feature_flag,
            feature_flags: body.feature_flags,
            group_name: body.group_name,
            enforce_schema: body.enforce_schema,
        }
    }
}

/// An event type.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventTypeOut {
    /// Its name.
    #[schema(example = "user.signup")]
    name: String,
    /// A description for people.
    description: String,
    /// Whether it is hidden from those who choose.
    archived: bool,
    /// Whether it should not be chosen any more.
    deprecated: bool,
    /// JSON schemas by version; null where there are none, or they were not asked for.
    #[schema(required = true, value_type = Option<std::collections::BTreeMap<String, Object>>)]
    schemas: Option<Map<String, Value>>,
    /// A flag without which customers do not see it.
    #[schema(required = true)]
    feature_flag: Option<String>,
    /// The newer form of `featureFlag`.
    #[schema(required = true)]
    feature_flags: Option<Vec<String>>,
    /// The group that it is shown in.
    #[schema(required = true)]
    group_name: Option<String>,
    /// Whether messages are refused whose payload does not fit the schema of the highest version.
    enforce_schema: bool,
    /// When it was added.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMillis,
    /// When it was last changed.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMillis,
}

impl EventTypeOut {
    pub(crate) fn new(event_type: EventType, with_content: bool) -> Self {
        Self {
            name: event_type.name.to_string(),
            description: event_type.description,
            archived: event_type.archived,
            deprecated: event_type.deprecated,
            schemas: event_type.schemas.filter(|_| with_content),
            feature_flags: event_type.feature_flag.clone().map(|flag| vec![flag]),
            feature_flag: event_type.feature_flag,
            group_name: event_type.group_name,
            enforce_schema: event_type.enforce_schema,
            created_at: event_type.created_at,
            updated_at: event_type.updated_at,
        }
    }
}

//! Examples: a message made up from its event type's schema, to try an endpoint with.
//!
//! Guarantees that an example goes to the one endpoint alone, whatever it filters on.

use bytes::Bytes;
use nuncio_domain::{App, EventTypeName, Message, MessageId, Routing};
use nuncio_store::{Claim, Claimed, body_hash};
use serde_json::{Map, Value, json};

use super::event_types::newest;
use super::messages::Accepted;
use super::occasion::Occasion;
use super::refusal::{Complaints, Outcome, Refusal};
use super::replay::refuse_disabled;
use super::{UseCases, store};

/// The event type by which Svix's portal tries an endpoint.
const PING: &str = "svix.ping";
/// Levels of a schema that are followed.
const DEPTH_MAX: usize = 16;
/// How often a claim is tried again because the app was changed meanwhile.
const ROUNDS_MAX: usize = 8;

impl UseCases {
    /// Sends an example of that event type to one endpoint: the `nth` of those that its schema gives, from 0.
    ///
    /// # Errors
    /// When there is no such endpoint, it is disabled, or the name is none.
    pub async fn send_example(
        &self,
        app: &App,
        endpoint: &str,
        event_type: &str,
        nth: usize,
        occasion: &Occasion,
    ) -> Outcome<Accepted> {
        let endpoint = self.endpoint(app, endpoint).await?;
        let mut complaints = Complaints::new();
        let event_type = complaints.keep("eventType", "value_error", event_type.parse());
        let event_type: EventTypeName = complaints.or(event_type)?;
        refuse_disabled(&endpoint)?;
        let known = store(self.store.event_type(&event_type).await)?;
        let schema = known.as_ref().and_then(|known| known.schemas.as_ref());
        let example = match schema.and_then(newest) {
            Some(schema) => example_text(schema, nth),
            None if event_type.as_str() == PING => json!({"success": true}).to_string(),
            None => json!({"type": event_type.as_str(), "example": true}).to_string(),
        };
        let payload = example.into_bytes();
        let now = occasion.at;
        let message = Message {
            id: occasion.dice.with(|mut rng| MessageId::generate(now, &mut rng)),
            app_id: app.id.clone(),
            event_id: None,
            event_type,
            channels: Vec::new(),
            created_at: now,
        };
        let mut claim = Claim {
            message: message.clone(),
            payload: Bytes::from(payload.clone()),
            payload_retention: None,
            body_hash: body_hash(message.event_type.as_str(), &payload),
            routes: vec![(endpoint.id.clone(), Routing::Matched)],
            coalesce: None,
            app_version: 0,
            token: format!("example {}", message.id),
            redelivered: false,
            anonymous: !occasion.again,
        };
        self.claim_example(&mut claim).await?;
        self.deliver(&message, &endpoint.id, payload.clone(), now).await?;
        store(
            self.store
                .mark_routed(&[(app.id.clone(), message.id.clone())])
                .await,
        )?;
        Ok(Accepted { message, payload })
    }

    async fn claim_example(&self, claim: &mut Claim) -> Outcome<()> {
        let app = claim.message.app_id.clone();
        for _ in 0..ROUNDS_MAX {
            let answers = store(self.store.claim(std::slice::from_ref(claim)).await)?;
            match answers.into_iter().next() {
                Some(Claimed::Stale { version }) => claim.app_version = version,
                _ => return Ok(()),
            }
        }
        Err(Refusal::Conflict {
            code: "conflict",
            detail: format!("the application {app} is being changed by others at the same time"),
        })
    }
}

/// The example as text, its keys in the order in which the schema requires them: that is how publishers write them.
pub(crate) fn example_text(schema: &Value, nth: usize) -> String {
    let Value::Object(mut example) = example_of(schema, nth) else {
        return Value::Null.to_string();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    let first: Vec<_> = required.filter_map(|name| example.remove_entry(name)).collect();
    let pairs = first.into_iter().chain(example);
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{}:{value}", Value::from(name)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// An example of what fits the schema: the `nth` that it gives, its first one where it gives fewer, or one that is made up.
/// Always an object.
fn example_of(schema: &Value, nth: usize) -> Value {
    let given = schema.get("examples").and_then(|examples| examples.get(nth));
    let example = given.cloned().unwrap_or_else(|| made_up(schema, 0));
    if example.is_object() {
        example
    } else {
        json!({ "example": example })
    }
}

fn made_up(schema: &Value, depth: usize) -> Value {
    let Some(schema) = schema.as_object().filter(|_| depth < DEPTH_MAX) else {
        return Value::Null;
    };
    let given = schema
        .get("examples")
        .and_then(|examples| examples.as_array()?.first())
        .or_else(|| schema.get("example"))
        .or_else(|| schema.get("const"))
        .or_else(|| schema.get("default"))
        .or_else(|| schema.get("enum").and_then(|values| values.as_array()?.first()));
    if let Some(given) = given {
        return given.clone();
    }
    let branch = ["oneOf", "anyOf"]
        .iter()
        .find_map(|name| schema.get(*name)?.as_array()?.first());
    if let Some(branch) = branch {
        return made_up(branch, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or("null"),
        _ if schema.contains_key("properties") => "object",
        _ => "",
    };
    match kind {
        "object" => Value::Object(properties(schema, depth)),
        "array" => match schema.get("items") {
            Some(items) => json!([made_up(items, depth + 1)]),
            None => json!([]),
        },
        "string" => string(schema),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(0)),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}

fn properties(schema: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.clone(), made_up(schema, depth + 1)))
        .collect()
}

fn string(schema: &Map<String, Value>) -> Value {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("date") => "2026-01-31",
        Some("time") => "12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "123e4567-e89b-12d3-a456-426614174000",
        _ => "string",
    };
    json!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_the_given_one_or_made_up_from_the_schema() {
        let cases = [
            (
                json!({"examples": [{"a": 1}], "properties": {"b": {}}}),
                json!({"a": 1}),
            ),
            (
                json!({"type": "object", "properties": {
                    "type": {"type": "string", "const": "sync.user"},
                    "id": {"type": "string", "examples": ["user_1"]},
                    "at": {"type": "string", "format": "date-time"},
                    "count": {"type": ["null", "integer"], "minimum": 3},
                    "tags": {"type": "array", "items": {"enum": ["x", "y"]}},
                    "on": {"type": "boolean"},
                    "inner": {"anyOf": [{"properties": {"deep": {"type": "string"}}}]},
                }}),
                json!({
                    "type": "sync.user", "id": "user_1", "at": "2026-01-31T12:00:00Z", "count": 3, "tags": ["x"],
                    "on": true, "inner": {"deep": "string"},
                }),
            ),
            (json!({"type": "string"}), json!({"example": "string"})),
            (json!({}), json!({"example": null})),
        ];
        for (schema, example) in cases {
            assert_eq!(example_of(&schema, 0), example, "{schema}");
        }
    }

    #[test]
    fn required_keys_come_first_in_their_own_order() {
        let schema = json!({
            "required": ["type", "absent", "id"],
            "examples": [{"a \" b": [1], "id": "<x>", "type": "t"}],
        });
        assert_eq!(
            example_text(&schema, 0),
            r#"{"type":"t","id":"<x>","a \" b":[1]}"#
        );
    }

    #[test]
    fn of_several_examples_one_may_be_chosen() {
        let schema = json!({"examples": [{"a": 1}, {"a": 2}]});
        for (nth, a) in [(0, 1), (1, 2), (2, 1)] {
            assert_eq!(example_of(&schema, nth), json!({"a": a}), "{nth}");
        }
    }

    #[test]
    fn a_bottomless_schema_ends() {
        let mut schema = json!({"type": "string"});
        for _ in 0..100 {
            schema = json!({"type": "object", "properties": {"a": schema}});
        }
        assert!(example_of(&schema, 0).to_string().len() < 1_000);
    }
}

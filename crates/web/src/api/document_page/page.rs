//! The reference as one HTML page, made from the OpenAPI document when the process starts.
//!
//! Guarantees that all text is escaped and that nothing is loaded from elsewhere. Refuses to know single routes.

use std::fmt::Write;

use askama::Template;
use serde_json::Value;

/// Levels of a schema that are shown inside each other.
const DEPTH_MAX: usize = 4;
const VERBS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference<'a> {
    title: &'a str,
    version: &'a str,
    description: Vec<&'a str>,
    groups: Vec<Group<'a>>,
}

struct Group<'a> {
    name: &'a str,
    description: &'a str,
    operations: Vec<Operation<'a>>,
}

struct Operation<'a> {
    id: &'a str,
    verb: String,
    path: &'a str,
    summary: &'a str,
    description: &'a str,
    parameters: Vec<Field>,
    body: Vec<Field>,
    responses: Vec<Response>,
}

struct Response {
    status: String,
    description: String,
    fields: Vec<Field>,
}

/// One parameter or field of a body.
struct Field {
    name: String,
    kind: String,
    required: bool,
    description: String,
    depth: usize,
}

/// The page.
pub(super) fn render(document: &Value) -> String {
    let text = |pointer: &str| {
        document
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let tags = document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let groups = tags.iter().map(|tag| {
        let name = tag["name"].as_str().unwrap_or_default();
        Group {
            name,
            description: tag["description"].as_str().unwrap_or_default(),
            operations: operations(document, name),
        }
    });
    let reference = Reference {
        title: text("/info/title"),
        version: text("/info/version"),
        description: text("/info/description").split("\n\n").collect(),
        groups: groups.collect(),
    };
    reference.render().expect("writing to a string does not fail")
}

fn operations<'a>(document: &'a Value, tag: &str) -> Vec<Operation<'a>> {
    let paths = document["paths"].as_object();
    let mut found = Vec::new();
    for (path, item) in paths.into_iter().flatten() {
        for verb in VERBS {
            let operation = &item[verb];
            if operation.pointer("/tags/0").and_then(Value::as_str) == Some(tag) {
                found.push(read(document, path, verb, operation));
            }
        }
    }
    found
}

fn read<'a>(document: &'a Value, path: &'a str, verb: &str, operation: &'a Value) -> Operation<'a> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| Field {
        name: parameter["name"].as_str().unwrap_or_default().to_owned(),
        kind: format!(
            "{}, in the {}",
            kind(document, &parameter["schema"]),
            parameter["in"].as_str().unwrap_or_default()
        ),
        required: parameter["required"].as_bool().unwrap_or(false),
        description: parameter["description"].as_str().unwrap_or_default().to_owned(),
        depth: 0,
    });
    let mut body = Vec::new();
    if let Some(schema) = operation.pointer("/requestBody/content/application~1json/schema") {
        fields(document, schema, 0, &mut body);
    }
    let responses = operation["responses"].as_object().into_iter().flatten();
    let responses = responses.map(|(status, response)| {
        let mut shown = Vec::new();
        if status.starts_with('2')
            && let Some(schema) = response.pointer("/content/application~1json/schema")
        {
            fields(document, schema, 0, &mut shown);
        }
        Response {
            status: status.clone(),
            description: response["description"].as_str().unwrap_or_default().to_owned(),
            fields: shown,
        }
    });
    Operation {
        id: operation["operationId"].as_str().unwrap_or_default(),
        verb: verb.to_uppercase(),
        path,
        summary: operation["summary"].as_str().unwrap_or_default(),
        description: operation["description"].as_str().unwrap_or_default(),
        parameters: parameters.collect(),
        body,
        responses: responses.collect(),
    }
}

/// The schema behind a reference, or one of several that is not null.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(target) = schema["$ref"].as_str() {
        let found = document.pointer(target.trim_start_matches('#'));
        return found.map_or(schema, |found| resolve(document, found));
    }
    let branches = ["oneOf", "anyOf", "allOf"]
        .iter()
        .find_map(|name| schema[*name].as_array());
    let branch = branches
        .into_iter()
        .flatten()
        .find(|branch| branch["type"] != "null");
    branch.map_or(schema, |branch| resolve(document, branch))
}

fn fields(document: &Value, schema: &Value, depth: usize, found: &mut Vec<Field>) {
    let schema = resolve(document, schema);
    let all = schema["allOf"].as_array().into_iter().flatten();
    for part in all {
        fields(document, part, depth, found);
    }
    let required = schema["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, property) in properties {
        found.push(Field {
            name: name.clone(),
            kind: kind(document, property),
            required: required.iter().any(|known| known == name),
            description: property["description"].as_str().unwrap_or_default().to_owned(),
            depth,
        });
        if depth < DEPTH_MAX {
            let inner = resolve(document, property);
            let items = if inner["items"].is_object() {
                &inner["items"]
            } else {
                inner
            };
            fields(document, items, depth + 1, found);
        }
    }
}

fn kind(document: &Value, schema: &Value) -> String {
    let resolved = resolve(document, schema);
    let mut text = match &resolved["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "object".to_owned(),
    };
    if resolved["items"].is_object() {
        let items = kind(document, &resolved["items"]);
        // Writing to a string does not fail.
        let _written = write!(text, " of {items}");
    }
    for (name, word) in [
        ("format", ""),
        ("default", "default "),
        ("maximum", "at most "),
        ("maxLength", "length at most "),
    ] {
        match &schema[name] {
            Value::Null => {}
            Value::String(value) => {
                let _written = write!(text, ", {word}{value}");
            }
            value => {
                let _written = write!(text, ", {word}{value}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_loads_nothing() {
        let document = crate::document();
        let page = render(&document);
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(page.contains(path.as_str()), "{path}");
            for (_, operation) in item.as_object().unwrap() {
                assert!(page.contains(operation["operationId"].as_str().unwrap()));
            }
        }
        for needle in ["<script", "src=", "@import", "url("] {
            assert!(!page.contains(needle), "{needle}");
        }
    }
}

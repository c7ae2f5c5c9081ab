//! The grammar of fields, by their names: what a type alone does not say.
//!
//! Guarantees that what a request schema allows is accepted, as far as a schema can say it. Refuses to know which bodies
//! have which fields: one name means one thing everywhere.

use serde_json::{Map, Value, json};

const NAME: &str = "^[a-zA-Z0-9_.-]+$";
/// Host names of the usual lengths, with letters alone in their last label, and usual ports. Longer ones are accepted too,
/// up to 253 bytes, and addresses, where they may be dialled.
const URL: &str = "^https?://([a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?\\.){1,6}[a-zA-Z]{2,24}\
                   (:(80|443|8080|8443|[1-5][0-9]{4}))?([/?][A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?$";
/// Base64 of 24 to 64 bytes after `whsec_`, or of a 32-byte ed25519 seed after `whsk_`.
const SECRET: &str = "^(whsec_([A-Za-z0-9+/]{4}){8,20}\
                      ([A-Za-z0-9+/]{4}|[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)\
                      |whsk_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$";
/// No control characters but tab and line breaks.
const TEXT: &str = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]*$";
/// Names of the usual forms. Others are accepted too, but for those that belong to the delivery itself.
const HEADER_NAME: &str = "^X-[A-Z0-9][a-zA-Z0-9-]*$|^Authorization$";
const HEADER_VALUE: &str = "^([!-~]([ \\t!-~]*[!-~])?)?$";

/// Says more of the fields of all request bodies in the document.
pub(super) fn refine(document: &mut Value) {
    let requests = request_schemas(document);
    let schemas = document
        .pointer_mut("/components/schemas")
        .and_then(Value::as_object_mut);
    for (name, schema) in schemas.into_iter().flatten() {
        nullable_times(schema);
        if !requests.contains(name) {
            continue;
        }
        for (field, property) in fields(schema) {
            refine_field(field, property);
        }
    }
}

fn fields(schema: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten()
}

/// The schemas that request bodies are made of.
fn request_schemas(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let paths = document["paths"].as_object().into_iter().flatten();
    for (_, item) in paths {
        for (_, operation) in item.as_object().into_iter().flatten() {
            let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref");
            let name = schema
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

fn refine_field(field: &str, property: &mut Value) {
    match field {
        "eventTypes" | "filterTypes" | "featureFlags" | "channels" => {
            property["items"] = json!({"type": "string", "minLength": 1, "maxLength": 256, "pattern": NAME});
        }
        "uid" | "eventId" | "eventType" | "name" if property["pattern"].is_string() => {
            property["minLength"] = json!(1);
        }
        "featureFlag" | "groupName" => property["minLength"] = json!(1),
        "sessionIds" => property["items"] = json!({"type": "string", "minLength": 1, "maxLength": 256}),
        "url" => property["pattern"] = json!(URL),
        "secret" | "key" => property["pattern"] = json!(SECRET),
        "description" => property["pattern"] = json!(TEXT),
        "headers" => headers(property),
        "metadata" => property["maxProperties"] = json!(16),
        _ => {}
    }
}

fn headers(property: &mut Value) {
    property["propertyNames"] = json!({"type": "string", "pattern": HEADER_NAME, "maxLength": 256});
    property["maxProperties"] = json!(64);
    let value = json!({"type": "string", "pattern": HEADER_VALUE, "maxLength": 4096});
    let nullable = property["additionalProperties"]["type"].is_array();
    property["additionalProperties"] = if nullable {
        json!({"oneOf": [value, {"type": "null"}]})
    } else {
        value
    };
}

/// A time that may be null, as two branches: a format says nothing where several types are allowed.
fn nullable_times(schema: &mut Value) {
    for (_, property) in fields(schema) {
        if property["format"] != "date-time" || !property["type"].is_array() {
            continue;
        }
        let mut branches = Map::new();
        branches.insert("description".to_owned(), property["description"].clone());
        branches.insert(
            "oneOf".to_owned(),
            json!([{"type": "string", "format": "date-time"}, {"type": "null"}]),
        );
        *property = Value::Object(branches);
    }
}

#[cfg(test)]
mod tests {
    use nuncio_egress::{EndpointUrl, UrlRules, endpoint_header};
    use nuncio_signing::Secret;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let schema = json!({"type": "string", "pattern": pattern});
        jsonschema::is_valid(&schema, &json!(text))
    }

    #[test]
    fn what_the_patterns_allow_is_accepted() {
        for url in [
            "https://example.com",
            "http://a-b.example.org:8443/x?y=z",
            "https://Example.COM/",
        ] {
            assert!(matches(URL, url), "{url}");
            assert!(EndpointUrl::parse(url, &UrlRules::default()).is_ok(), "{url}");
        }
        for (secret, fits) in [
            (format!("whsec_{}", "A".repeat(32)), true),
            (format!("whsec_{}AQ==", "A".repeat(32)), true),
            (format!("whsec_{}AAE=", "A".repeat(80)), true),
            (format!("whsec_{}", "A".repeat(84)), true),
            (format!("whsk_{}=", "A".repeat(43)), true),
            (format!("whsec_{}", "A".repeat(28)), false),
            (format!("whsec_{}", "A".repeat(92)), false),
            (format!("whsec_{}AB==", "A".repeat(32)), false),
        ] {
            assert_eq!(Secret::parse(&secret).is_ok(), fits, "{secret}");
            assert!(fits || !matches(SECRET, &secret), "{secret}");
        }
        for name in ["X-Team", "X-A-1", "Authorization"] {
            assert!(matches(HEADER_NAME, name), "{name}");
            assert!(endpoint_header(name, "v").is_ok(), "{name}");
        }
        for name in ["", "Host", "webhook-id", "X-"] {
            assert!(!matches(HEADER_NAME, name), "{name}");
        }
        assert!(
            matches(HEADER_VALUE, "a b\tc") && !matches(HEADER_VALUE, " a") && !matches(HEADER_VALUE, "é")
        );
        assert!(matches(TEXT, "a\nb é") && !matches(TEXT, "a\u{0}") && !matches(TEXT, "\u{9f}"));
    }
}

//! The OpenAPI document: what all operations have in common.
//!
//! Owns the parameters in paths, the errors, the idempotency key and the way to authenticate, so that no route repeats
//! them. Refuses to know single routes: each describes itself.

use serde_json::Value;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Ref, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, RefOr, Required};
use utoipa::{PartialSchema, ToSchema};

use super::error::{HttpErrorOut, HttpValidationError, ValidationErrorItem};
use super::idempotency::KEY_BYTES_MAX;

const BEARER: &str = "HTTPBearer";
const NAME_PATTERN: &str = "^[a-zA-Z0-9_.-]+$";
const NAME_BYTES_MAX: usize = 256;

const DESCRIPTION: &str = "Nuncio delivers webhooks. This API is that of Svix, version 1: every official Svix client \
works with it, given this server's address and a token. What differs is said where it does.

Ids can be replaced by the caller's own (`uid`, and `eventId` for messages) everywhere. Lists come in pages: give \
`iterator` back to get the next one, until `done`. A POST with an `Idempotency-Key` that was used before, within 12 hours, \
is answered as it was then. Doubled and trailing slashes in paths do not matter.";

const TAGS: [(&str, &str); 8] = [
    (
        "Application",
        "An app is one customer's or project's webhook configuration.",
    ),
    (
        "Endpoint",
        "An endpoint is a URL that receives an app's messages.",
    ),
    ("Message", "A message is an event that was accepted."),
    (
        "Message Attempt",
        "An attempt is one HTTP request of a message to an endpoint.",
    ),
    (
        "Event Type",
        "The catalogue of event types. Types that are not in it are accepted too.",
    ),
    ("Authentication", "Links to the portal, and their end."),
    ("Health", "Whether the API answers."),
    ("Beyond Svix", "What Svix does not have."),
];

/// What each failure means, by status.
const ERRORS: [(&str, &str); 9] = [
    (
        "400",
        "It cannot be done as things are, or the iterator is not one",
    ),
    ("401", "No token, or one that is not valid"),
    ("403", "The token does not allow it"),
    ("404", "It is not there, or belongs to someone else"),
    ("409", "It collides with what is there"),
    ("413", "The body or the payload is too large"),
    ("429", "Too many requests: `Retry-After` says how long to wait"),
    ("500", "A mistake of ours"),
    ("503", "RabbitMQ or Redis is not available: try again"),
];

mod grammar;

/// The document with what all operations have in common.
pub(crate) fn complete(mut document: OpenApi) -> Value {
    document.info = InfoBuilder::new()
        .title("Nuncio")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    document.tags = Some(
        TAGS.iter()
            .map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build())
            .collect(),
    );
    let components = document.components.get_or_insert_default();
    for (name, schema) in [
        (HttpErrorOut::name(), HttpErrorOut::schema()),
        (HttpValidationError::name(), HttpValidationError::schema()),
        (ValidationErrorItem::name(), ValidationErrorItem::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An admin's token, or one of an app's customer"))
        .build();
    components
        .security_schemes
        .insert(BEARER.to_owned(), RefOr::T(SecurityScheme::Http(bearer)));
    document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
    for (path, item) in &mut document.paths.paths {
        for (verb, operation) in operations(item) {
            describe(path, verb, operation);
        }
    }
    let mut document = serde_json::to_value(document).expect("the document is plain data");
    optional_bodies(&mut document);
    grammar::refine(&mut document);
    document
}

/// A body all of whose fields may be left out may be left out itself.
fn optional_bodies(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let items = document["paths"].as_object_mut().into_iter().flatten();
    let operations = items.flat_map(|(_, item)| item.as_object_mut().into_iter().flatten());
    for (_, operation) in operations {
        let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref");
        let name = schema
            .and_then(Value::as_str)
            .and_then(|path| path.rsplit('/').next());
        let Some(name) = name.map(str::to_owned) else {
            continue;
        };
        let needs_a_field = schemas[&name]["required"]
            .as_array()
            .is_some_and(|fields| !fields.is_empty());
        operation["requestBody"]["required"] = Value::Bool(needs_a_field);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", item.get.as_mut()),
        ("put", item.put.as_mut()),
        ("post", item.post.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(verb, operation)| Some((verb, operation?)))
}

fn describe(path: &str, verb: &str, operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.retain(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in != ParameterIn::Path,
        RefOr::Ref(_) => true,
    });
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for (index, name) in names.enumerate() {
        parameters.insert(index, RefOr::T(in_path(name)));
    }
    let open = path.starts_with("/api/v1/health");
    if verb == "post" && !open {
        parameters.push(RefOr::T(idempotency_key()));
    }
    let responses = &mut operation.responses.responses;
    if open {
        return;
    }
    for (status, meaning) in ERRORS {
        let has_body = operation.request_body.is_some();
        if status == "413" && !has_body && verb != "post" {
            continue;
        }
        responses.insert(status.to_owned(), failure(meaning, &HttpErrorOut::name()));
    }
    let invalid = failure(
        "Fields that cannot be accepted, all of them",
        &HttpValidationError::name(),
    );
    responses.insert("422".to_owned(), invalid);
}

fn failure(meaning: &str, schema: &str) -> RefOr<utoipa::openapi::Response> {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(schema)))
        .build();
    let response = ResponseBuilder::new()
        .description(meaning)
        .content("application/json", content);
    RefOr::T(response.build())
}

fn in_path(name: &str) -> utoipa::openapi::path::Parameter {
    let description = match name {
        "app_id" => "The app's id or uid",
        "endpoint_id" => "The endpoint's id or uid",
        "msg_id" => "The message's id or event id",
        "attempt_id" => "The attempt's id",
        "event_type_name" => "The event type's name",
        _ => "An id",
    };
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(NAME_BYTES_MAX))
        .pattern(Some(NAME_PATTERN));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn idempotency_key() -> utoipa::openapi::path::Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(KEY_BYTES_MAX))
        .pattern(Some("^[!-~]([ -~]*[!-~])?$"));
    ParameterBuilder::new()
        .name("idempotency-key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The request's own name: the same one again, within 12 hours, is the same request",
        ))
        .schema(Some(schema))
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_the_one_that_was_reviewed() {
        insta::assert_json_snapshot!("openapi", crate::document());
    }

    #[test]
    fn every_reference_in_the_document_leads_somewhere() {
        let document = crate::document();
        let text = document.to_string();
        let references: Vec<_> = text
            .split("\"$ref\":\"#")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(references.len() > 100);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_has_its_own_id_a_summary_and_its_failures() {
        let document = crate::document();
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (verb, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{verb} {path}");
                assert!(
                    !operation["summary"].as_str().unwrap().is_empty(),
                    "{verb} {path}"
                );
                let open = path.starts_with("/api/v1/health");
                assert_eq!(
                    operation["responses"].get("401").is_some(),
                    !open,
                    "{verb} {path}"
                );
            }
        }
        assert!(ids.len() > 45, "{}", ids.len());
    }
}

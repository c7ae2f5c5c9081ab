//! Reading query strings.
//!
//! Owns the forms in which clients write times and lists of names. Guarantees that a mistake names its parameter, and
//! that a parameter given twice is a mistake, but for lists, which add up.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use nuncio_domain::UnixMillis;
use nuncio_domain::limits::{NAME_BYTES_MAX, PAGE_SIZE_MAX};
use nuncio_store::Order;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, Type};

use super::error::{ApiError, Part};
use super::time::parse_time;
use crate::usecase::refusal::{Complaint, Refusal, shortened};

/// Items of a page when the caller does not say how many.
const PAGE_SIZE: usize = 50;
/// Parameters that may be given many times, or once with commas; some clients write `name[]` or `name[0]`.
const LISTS: [&str; 2] = ["event_types", "tags"];

/// The parameters in a request's query string.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parse(parts.uri.query().unwrap_or_default())
            .map(Self)
            .map_err(IntoResponse::into_response)
    }
}

pub(crate) fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
        .map_err(|error| complaint(Vec::new(), "value_error", error.to_string()))?;
    let mut joined: Vec<(String, String)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let (name, list) = match list_name(&name) {
            Some(list) => (list.to_owned(), true),
            None => (name, false),
        };
        match joined.iter_mut().find(|(known, _)| list && *known == name) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value);
            }
            None => joined.push((name, value)),
        }
    }
    let pairs = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(
        joined.iter().map(|(name, value)| (name.as_str(), Value(value))),
    );
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let field = error.path().iter().map(ToString::to_string);
        complaint(
            field.filter(|name| name != "?").collect(),
            "type_error",
            error.into_inner().to_string(),
        )
    })
}

/// The list that a parameter adds to, if it does.
fn list_name(name: &str) -> Option<&'static str> {
    let bare = match name.split_once('[') {
        Some((bare, index)) => index
            .strip_suffix(']')
            .filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|_| bare)?,
        None => name,
    };
    LISTS.into_iter().find(|list| *list == bare)
}

fn complaint(field: Vec<String>, kind: &'static str, message: String) -> ApiError {
    let complaint = Complaint {
        field,
        message: shortened(message),
        kind,
    };
    ApiError::about(Part::Query, Refusal::Invalid(vec![complaint]))
}

/// A value of the query: a text that reads itself as whatever is asked for.
struct Value<'a>(&'a str);

impl<'de> serde::de::IntoDeserializer<'de, serde::de::value::Error> for Value<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident => $visit:ident: $ty:ty, $what:literal;)*) => {
        $(fn $method<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            let value: $ty = self
                .0
                .parse()
                .map_err(|_not_one| Self::Error::custom(concat!("expected ", $what)))?;
            visitor.$visit(value)
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        use serde::de::IntoDeserializer;
        visitor.visit_enum(self.0.into_deserializer())
    }

    parsed! {
        deserialize_bool => visit_bool: bool, "`true` or `false`";
        deserialize_u16 => visit_u16: u16, "a whole number";
        deserialize_u64 => visit_u64: u64, "a whole number";
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u32 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// A number of items: from 1 to [`PAGE_SIZE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) usize);

impl Default for Limit {
    fn default() -> Self {
        Self(PAGE_SIZE)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = u64::deserialize(deserializer)?;
        usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=PAGE_SIZE_MAX).contains(limit))
            .map(Self)
            .ok_or_else(|| {
                D::Error::custom(format_args!("expected a whole number from 1 to {PAGE_SIZE_MAX}"))
            })
    }
}

/// The order that a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ordering {
    /// Oldest, or first in the alphabet, first.
    Ascending,
    /// Newest, or last in the alphabet, first.
    Descending,
}

impl From<Ordering> for Order {
    fn from(ordering: Ordering) -> Self {
        match ordering {
            Ordering::Ascending => Self::OldestFirst,
            Ordering::Descending => Self::NewestFirst,
        }
    }
}

pub(crate) fn yes() -> bool {
    true
}

/// A point in time, as RFC 3339 has it; one without an offset is taken for UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) UnixMillis);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).map(Self).ok_or_else(|| {
            D::Error::custom("expected a time such as `2026-01-31T12:00:00Z`, with an offset or in UTC")
        })
    }
}

/// The `iterator` or `prevIterator` of a page, as far as its letters tell: whether it was given out here, its page knows.
pub(crate) fn iterator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !text.bytes().all(alphabet) {
        return Err(D::Error::custom(
            "this is no iterator: they have letters, digits, `_` and `-`",
        ));
    }
    Ok(Some(text))
}

/// Names with commas between them.
pub(crate) fn names<'de, D: Deserializer<'de>, N: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<Option<Vec<N>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let names: Result<Vec<N>, _> = text
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::parse)
        .collect();
    let names = names.map_err(D::Error::custom)?;
    Ok((!names.is_empty()).then_some(names))
}

/// Names as the document describes them.
pub(crate) fn names_schema() -> Array {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(NAME_BYTES_MAX))
        .pattern(Some("^[a-zA-Z0-9_.-]*$"));
    ArrayBuilder::new().items(name).build()
}

/// One name.
pub(crate) fn name<'de, D: Deserializer<'de>, N: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<Option<N>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use nuncio_domain::{Channel, EventTypeName};

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default)]
        limit: Limit,
        #[serde(default, deserialize_with = "super::iterator")]
        iterator: Option<String>,
        before: Option<Time>,
        #[serde(default)]
        with_content: bool,
        #[serde(default, deserialize_with = "names")]
        event_types: Option<Vec<EventTypeName>>,
        #[serde(default, deserialize_with = "name")]
        channel: Option<Channel>,
    }

    #[test]
    fn parameters_are_read_in_every_form_that_clients_write_them() {
        let empty: Sample = parse("").unwrap_or_else(|_| panic!());
        assert_eq!(empty.limit, Limit(50));
        assert!(empty.iterator.is_none() && empty.event_types.is_none() && !empty.with_content);
        let full: Sample = parse(
            "limit=7&iterator=-abc&before=2026-01-31T12%3A00%3A00%2B01%3A00&with_content=true\
             &event_types=a.b%2Cc&event_types=d&event_types%5B%5D=e&event_types[7]=f&channel=x&unknown=1&unknown=2",
        )
        .unwrap_or_else(|_| panic!());
        assert_eq!(full.limit, Limit(7));
        assert_eq!(full.iterator.as_deref(), Some("-abc"));
        assert_eq!(full.before, Some(Time(UnixMillis(1_769_857_200_000))));
        assert!(full.with_content);
        let types: Vec<_> = full
            .event_types
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(types, ["a.b", "c", "d", "e", "f"]);
        assert_eq!(full.channel.unwrap().as_str(), "x");
    }

    #[test]
    fn a_mistake_names_its_parameter() {
        for (query, name) in [
            ("limit=251", "limit"),
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=2", "limit"),
            ("iterator=BAD-$$$ITERATOR", "iterator"),
            ("before=yesterday", "before"),
            ("with_content=1", "with_content"),
            ("event_types=a%20b", "event_types"),
            ("channel=", "channel"),
            ("channel=a*b", "channel"),
        ] {
            let ApiErrorParts { field, status } = parts(parse::<Sample>(query).unwrap_err());
            assert_eq!(status, http::StatusCode::UNPROCESSABLE_ENTITY);
            let twice = query == "limit=1&limit=2";
            assert!(
                field == ["query", name] || (twice && field == ["query"]),
                "{query}: {field:?}"
            );
        }
    }

    struct ApiErrorParts {
        field: Vec<String>,
        status: http::StatusCode,
    }

    fn parts(error: ApiError) -> ApiErrorParts {
        let response = error.into_response();
        let status = response.status();
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(response.into_body(), 10_000))
            .unwrap()
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let loc = body["detail"][0]["loc"].as_array().unwrap();
        ApiErrorParts {
            field: loc.iter().map(|part| part.as_str().unwrap().to_owned()).collect(),
            status,
        }
    }
}

//! Reading JSON bodies.
//!
//! Owns the strictness that serde leaves out: an object is an object (never a list of its fields), no key twice, and
//! what is wrong is said with its place. Guarantees that an empty body counts as `{}`, because clients retry with one.
//! Refuses to know what the fields mean.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{PartialSchema, ToSchema};

use super::error::{ApiError, Part};
use crate::usecase::refusal::{Complaint, Refusal, shortened};

/// Beyond this a float does not hold every whole number.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// The JSON object in a request's body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = read(request, state).await?;
        parse(&bytes).map(Self).map_err(IntoResponse::into_response)
    }
}

/// A body that is read once it is known whether it is needed: some clients retry without theirs.
pub(crate) struct Unread(Bytes);

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        read(request, state).await.map(Self)
    }
}

impl Unread {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON object in it.
    ///
    /// # Errors
    /// When it is not the one that is expected.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        parse(&self.0)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Response> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            super::error::plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                "The request's body is larger than what is accepted here",
            )
        } else {
            super::error::plain(
                StatusCode::BAD_REQUEST,
                "bad_body",
                "The request's body ended too early",
            )
        }
    })
}

/// The JSON object in `bytes`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) {
        b"{}"
    } else {
        bytes
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: Object<T> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error
            .path()
            .iter()
            .map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => index.to_string(),
                segment => segment.to_string(),
            })
            .filter(|segment| segment != "?")
            .collect();
        complaint(field, error.inner())
    })?;
    json.end().map_err(|error| complaint(Vec::new(), &error))?;
    Ok(value.0)
}

fn complaint(mut field: Vec<String>, error: &serde_json::Error) -> ApiError {
    let message = error.to_string();
    let missing = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    let kind = match missing {
        Some(name) => {
            field.push(name.to_owned());
            "value_error.missing"
        }
        None if error.is_data() => "type_error",
        None => "value_error.jsondecode",
    };
    let complaint = Complaint {
        field,
        message: shortened(message),
        kind,
    };
    ApiError::about(Part::Body, Refusal::Invalid(vec![complaint]))
}

/// A JSON object: serde alone would take a list of the fields' values for one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<T: PartialSchema> PartialSchema for Object<T> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        T::schema()
    }
}

impl<T: ToSchema> ToSchema for Object<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        T::name()
    }
}

/// Keys and values, no key twice.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Entries<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    if entries.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
                    }
                    entries.insert(key, value);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// A whole number, however it is written: `300` and `300.0` are the same number in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number that is not negative")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 && (0.0..WHOLE_FLOAT_MAX).contains(&number) {
                    Ok(Whole(number as u64))
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_u64(WholeVisitor)
    }
}

/// Reads a field that may be left out, but not null: for patches.
pub(crate) fn not_null<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Reads a field that may be left out, null, or set: for patches.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests;

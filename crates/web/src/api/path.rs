//! Paths as clients write them.
//!
//! Guarantees that doubled and trailing slashes do not matter, and that a path that cannot be read is answered like one
//! that leads nowhere.

use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{StatusCode, Uri as HttpUri};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::plain;

/// The same request, its path without doubled and trailing slashes.
pub(crate) fn normalise(mut request: Request) -> Request {
    if let Some(uri) = normalised(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn normalised(uri: &HttpUri) -> Option<Uri> {
    let path = uri.path();
    let untidy = path.contains("//") || (path.len() > 1 && path.ends_with('/'));
    if !untidy {
        return None;
    }
    let mut tidy = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        tidy.push('/');
        tidy.push_str(part);
    }
    if tidy.is_empty() {
        tidy.push('/');
    }
    if let Some(query) = uri.query() {
        tidy.push('?');
        tidy.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(tidy).ok()?);
    Uri::from_parts(parts).ok()
}

/// The parameters in the path.
pub(crate) struct At<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(params)) => Ok(Self(params)),
            Err(_unreadable) => Err(nowhere().await.into_response()),
        }
    }
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),* })*) => {
        $($(#[$doc])* #[derive(Deserialize)]
        pub(crate) struct $name {
            $(pub(crate) $field: String,)*
        })*
    };
}

places! {
    /// An endpoint of the app in the path.
    EndpointAt { endpoint_id }
    /// A message of the app in the path.
    MessageAt { msg_id }
    /// An attempt of a message.
    AttemptAt { msg_id, attempt_id }
    /// A message and an endpoint.
    DeliveryAt { msg_id, endpoint_id }
}

/// The answer where nothing is.
pub(crate) async fn nowhere() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "not_found",
        "There is nothing at this path",
    )
}

/// The answer where something is, but not for that verb.
pub(crate) async fn wrong_verb() -> Response {
    plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "There is no such method at this path",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_and_trailing_slashes_do_not_matter() {
        let tidy = |path: &str| {
            let uri: Uri = path.parse().unwrap();
            normalised(&uri).map(|uri| uri.to_string())
        };
        for (path, expected) in [
            ("/api/v1/app", None),
            ("/", None),
            ("//api/v1/app", Some("/api/v1/app")),
            ("/api/v1/app/", Some("/api/v1/app")),
            (
                "/api//v1///app//?get_if_exists=false",
                Some("/api/v1/app?get_if_exists=false"),
            ),
            ("//", Some("/")),
            ("/a?b=//c/", None),
        ] {
            assert_eq!(tidy(path).as_deref(), expected, "{path}");
        }
    }
}

//! Forms and query strings, as pages read them.
//!
//! Guarantees that a [`Change`] comes from a page of ours, in the session that the page was made for: a handler that
//! takes one cannot forget to ask. Keeps what was typed, so that it can be shown again.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;

use super::failure::Failure;
use super::{Web, origin};

/// Bytes of a form.
const FORM_BYTES_MAX: usize = 512 * 1024;
/// The field that holds a form's token; scripts send it as a header of that name.
const TOKEN: &str = "csrf";

/// Names and values, as they were sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(serde_urlencoded::from_bytes(encoded).unwrap_or_default())
    }

    /// The value of a field without spaces around it; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// The value of a field, unless it is empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// The values of a field that may be there many times.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).collect()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Fields {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}

/// Who is signed in.
pub(crate) trait Session: FromRequestParts<Arc<Web>, Rejection = Failure> + Send {
    /// The session's id.
    fn id(&self) -> &str;
}

/// A form that was sent to change something.
pub(crate) struct Change<S> {
    pub(crate) session: S,
    pub(crate) fields: Fields,
}

impl<S: Session> FromRequest<Arc<Web>> for Change<S> {
    type Rejection = Failure;

    async fn from_request(request: Request, web: &Arc<Web>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        if !origin::is_ours(&parts.headers, &web.origin, true) {
            return Err(Failure::foreign());
        }
        let session = S::from_request_parts(&mut parts, web).await?;
        let body = to_bytes(body, FORM_BYTES_MAX)
            .await
            .map_err(|_too_large_or_cut| Failure::unreadable())?;
        let fields = Fields::parse(&body);
        let header = parts.headers.get(TOKEN).and_then(|value| value.to_str().ok());
        let given = fields.some(TOKEN).or(header).unwrap_or_default();
        if !web.sessions.is_form_token(session.id(), given) {
            return Err(Failure::stale());
        }
        Ok(Self { session, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_what_was_typed() {
        let fields = Fields::parse(b"url=+https%3A%2F%2Fx%2F%3Fa%3Db%26c+&type=a&type=b&empty=");
        assert_eq!(fields.text("url"), "https://x/?a=b&c");
        assert_eq!(fields.all("type"), ["a", "b"]);
        assert_eq!((fields.some("empty"), fields.text("missing")), (None, ""));
    }
}

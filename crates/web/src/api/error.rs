//! Errors on the wire.
//!
//! Owns the two bodies that Svix clients read: `{"code","detail"}`, and `{"detail":[{"loc","msg","type"}]}` under 422.
//! Guarantees that every error is one of them. Logs what is ours, once, with its whole chain.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::usecase::refusal::{Complaint, Refusal};

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HttpErrorOut {
    /// A short name for the error, for machines.
    #[schema(example = "not_found")]
    pub code: String,
    /// What is wrong, for people.
    #[schema(example = "There is no such application")]
    pub detail: String,
}

/// Everything that is wrong with a request's path, query, headers or body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HTTPValidationError)]
pub(crate) struct HttpValidationError {
    /// The mistakes, all of them.
    pub detail: Vec<ValidationErrorItem>,
}

/// One mistake in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ValidationErrorItem {
    /// Where it is: `body`, `query`, `path` or `header`, then the names of fields.
    #[schema(example = json!(["body", "url"]))]
    pub loc: Vec<String>,
    /// What is wrong, and what would be right.
    pub msg: String,
    /// A short name for the kind of mistake.
    #[schema(example = "value_error")]
    pub r#type: String,
}

/// What a request is answered with when it fails.
#[derive(Debug)]
pub(crate) struct ApiError {
    refusal: Refusal,
    part: Part,
}

/// Which part of a request complaints are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Body,
    Query,
    Header,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

impl ApiError {
    /// A refusal whose complaints are about `part`.
    pub(crate) fn about(part: Part, refusal: Refusal) -> Self {
        Self { refusal, part }
    }

    fn status(&self) -> StatusCode {
        match &self.refusal {
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Conflict { .. } => StatusCode::CONFLICT,
            Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Impossible { .. } => StatusCode::BAD_REQUEST,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Changed => StatusCode::PRECONDITION_FAILED,
            Refusal::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Broken { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match &self.refusal {
            Refusal::NotFound(_) => "not_found",
            Refusal::Conflict { code, .. } | Refusal::Impossible { code, .. } => code,
            Refusal::Invalid(_) => "validation",
            Refusal::TooLarge { .. } => "payload_too_large",
            Refusal::Unauthenticated(_) => "authentication_failed",
            // With a space, as Svix writes it.
            Refusal::Forbidden(_) => "insufficient access",
            Refusal::TooMany { .. } => "rate_limited",
            Refusal::Changed => "precondition_failed",
            Refusal::Unavailable { .. } => "unavailable",
            Refusal::Broken { .. } => "server_error",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::about(Part::Body, refusal)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = (self.status(), self.code());
        if status.is_server_error() {
            log(&self.refusal);
        }
        let mut response = match &self.refusal {
            Refusal::Invalid(complaints) => {
                let detail = complaints.iter().map(|complaint| item(self.part, complaint));
                let body = HttpValidationError {
                    detail: detail.collect(),
                };
                (status, Json(body)).into_response()
            }
            refusal => plain(status, code, sentence(&refusal.to_string())),
        };
        match &self.refusal {
            Refusal::TooMany { retry_after } => {
                let seconds = HeaderValue::from(retry_after.as_secs().max(1));
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            Refusal::Unavailable { .. } => {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Refusal::Unauthenticated(_) => {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// An error body with nothing to add.
pub(crate) fn plain(status: StatusCode, code: &str, detail: impl Into<String>) -> Response {
    let body = HttpErrorOut {
        code: code.to_owned(),
        detail: detail.into(),
    };
    (status, Json(body)).into_response()
}

fn item(part: Part, complaint: &Complaint) -> ValidationErrorItem {
    let loc = std::iter::once(part.as_str().to_owned()).chain(complaint.field.iter().cloned());
    ValidationErrorItem {
        loc: loc.collect(),
        msg: complaint.message.clone(),
        r#type: complaint.kind.to_owned(),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn log(refusal: &Refusal) {
    let mut chain = refusal.to_string();
    let mut cause = std::error::Error::source(refusal);
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!(error = chain, "a request failed");
}

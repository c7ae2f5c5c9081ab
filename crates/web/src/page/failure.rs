//! What a person sees when something is not done.
//!
//! Guarantees that every refusal has a page that says what to do next. Logs what is ours, once, with its whole chain.

use std::time::Duration;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::shell::{Frame, Place, Shell};
use crate::usecase::refusal::Refusal;

/// Why there is another page than the one asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    title: &'static str,
    detail: String,
    signed_out: bool,
    retry_after: Option<Duration>,
}

#[derive(Template)]
#[template(path = "page/failure.html")]
struct FailurePage {
    shell: Shell,
    failure: Failure,
    home: &'static str,
    portal: bool,
}

impl Failure {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            signed_out: false,
            retry_after: None,
        }
    }

    /// There is no session, or it is over.
    pub(crate) fn signed_out() -> Self {
        Self {
            signed_out: true,
            ..Self::new(StatusCode::UNAUTHORIZED, "Your session has ended", "")
        }
    }

    /// A mistake of ours.
    pub(crate) fn ours() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong",
            "This is a mistake of ours. Nothing was changed.",
        )
    }

    /// Another site's page asks.
    pub(crate) fn foreign() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This came from another site",
            "Nothing was changed. Open the page here and try again.",
        )
    }

    /// The form belongs to another session.
    pub(crate) fn stale() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This page is out of date",
            "It belongs to an earlier session, or to another project that you opened since. Nothing was changed: \
             open the page again and repeat what you did.",
        )
    }

    /// The form cannot be read.
    pub(crate) fn unreadable() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "This could not be read",
            "The form is too long or did not arrive whole. Nothing was changed.",
        )
    }

    /// The session does not allow it.
    pub(crate) fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Your link does not allow this",
            "It was made for looking only, or for less than this. Ask whoever gave it to you for another one.",
        )
    }

    /// Nothing is there.
    pub(crate) fn nowhere() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is nothing here",
            "The page you asked for does not exist.",
        )
    }

    /// What stands around it: that of the session that it happened in, while there is one.
    fn shell(&self, place: Place, frame: &Frame) -> Shell {
        match frame.shell() {
            Some(shell) if !self.signed_out => Shell {
                title: self.title.to_owned(),
                ..shell.clone()
            },
            _ => Shell::bare(place, self.title),
        }
    }

    pub(crate) fn page(self, place: Place, frame: &Frame) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let page = FailurePage {
            shell: self.shell(place, frame),
            home: place.home(),
            portal: place == Place::Portal,
            failure: self,
        };
        let mut response = match page.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                status.into_response()
            }
        };
        if let Some(wait) = retry_after {
            let seconds = HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match &refusal {
            Refusal::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "Not found",
                format!("In this project {detail}. It may have been deleted, or be older than what is kept."),
            ),
            Refusal::Conflict { .. } | Refusal::Changed => {
                Self::new(StatusCode::CONFLICT, "This was not done", sentence(&detail))
            }
            Refusal::Invalid(complaints) => {
                let all: Vec<_> = complaints
                    .iter()
                    .map(|complaint| format!("{}: {}", complaint.field.join("."), complaint.message))
                    .collect();
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "This was not done",
                    all.join("; "),
                )
            }
            Refusal::Impossible { .. } | Refusal::TooLarge { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                "This cannot be done now",
                sentence(&detail),
            ),
            Refusal::Unauthenticated(_) => Self::signed_out(),
            Refusal::Forbidden(_) => Self::forbidden(),
            Refusal::TooMany { retry_after } => Self {
                retry_after: Some(*retry_after),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "Too many requests",
                    sentence(&detail),
                )
            },
            Refusal::Unavailable { what, .. } => {
                tracing::warn!(
                    error = nuncio_runtime::lifecycle::chain(&refusal),
                    "a page could not be shown"
                );
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Back in a moment",
                    format!(
                        "A part of this service ({what}) does not answer right now. Events are kept; try again."
                    ),
                )
            }
            Refusal::Broken { .. } => {
                tracing::error!(
                    error = nuncio_runtime::lifecycle::chain(&refusal),
                    "a page failed"
                );
                Self::ours()
            }
        }
    }
}

/// The same for people: with a capital first letter and a full stop, and quotation marks around what is meant literally.
pub(crate) fn sentence(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let quoted = parts.map(|(nth, part)| match nth {
        0 => part.to_owned(),
        nth if nth % 2 == 1 => format!("“{part}"),
        _ => format!("”{part}"),
    });
    let text: String = quoted.collect();
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let rest = chars.as_str();
    let stop = if rest.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{rest}{stop}", first.to_uppercase())
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usecase::refusal::Noun;

    #[test]
    fn refusals_are_told_in_whole_sentences() {
        assert_eq!(sentence("the endpoint is gone"), "The endpoint is gone.");
        assert_eq!(sentence(""), "");
        assert_eq!(sentence("`a` is not `b`"), "“a” is not “b”.");
        let failure = Failure::from(Refusal::NotFound(Noun::Endpoint));
        assert_eq!(failure.status, StatusCode::NOT_FOUND);
        assert!(
            failure.detail.contains("there is no such endpoint"),
            "{failure:?}"
        );
    }

    #[test]
    fn a_failure_keeps_what_stands_around_the_session_that_it_happened_in() {
        let tabs = [("/portal/messages", "Messages")];
        let shell = || Shell::signed_in(Place::Portal, "x", &tabs, "", String::new());
        let frame = Frame::default();
        let mut extensions = http::Extensions::new();
        extensions.insert(frame.clone());
        let around = |failure: &Failure| {
            let shell = failure.shell(Place::Portal, &frame);
            (shell.title, shell.tabs.len())
        };
        let nowhere = Failure::nowhere();
        assert_eq!(around(&nowhere), (nowhere.title.to_owned(), 0));
        Frame::keep(&extensions, shell);
        assert_eq!(around(&nowhere), (nowhere.title.to_owned(), 1));
        assert_eq!(around(&Failure::signed_out()).1, 0);
    }

    #[test]
    fn an_ended_session_says_how_to_get_a_new_link() {
        let page = FailurePage {
            shell: Shell::bare(Place::Portal, "x"),
            failure: Failure::signed_out(),
            home: Place::Portal.home(),
            portal: true,
        };
        let text = page.render().unwrap();
        assert!(text.contains("open the webhook settings again"), "{text}");
    }
}

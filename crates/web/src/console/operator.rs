//! Who is signed in to the console.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::page::Web;
use crate::page::failure::Failure;
use crate::page::form::Session;
use crate::page::shell::{Frame, Place, Shell};
use crate::token::{Scope, Verified};
use crate::usecase::refusal::Refusal;

const TABS: [(&str, &str); 3] = [
    ("/console/projects", "Projects"),
    ("/console/health", "Health"),
    ("/console/set-aside", "Set aside"),
];

/// Someone who holds an admin's token.
pub(super) struct Operator {
    verified: Verified,
    csrf: String,
}

impl FromRequestParts<Arc<Web>> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Failure> {
        let now = web.api.use_cases.now();
        let verified = web
            .sessions
            .token(Place::Console, &parts.headers)
            .and_then(|token| web.sessions.tokens(Place::Console).verify(token, now).ok())
            .filter(|verified| verified.scope == Scope::Admin)
            .ok_or_else(Failure::signed_out)?;
        web.api
            .throttle
            .admin(&verified.id)
            .map_err(|retry_after| Refusal::TooMany { retry_after })?;
        let operator = Self {
            csrf: web
                .api
                .use_cases
                .dice
                .with(|rng| web.sessions.form_token(&verified.id, rng)),
            verified,
        };
        Frame::keep(&parts.extensions, || operator.shell("", ""));
        Ok(operator)
    }
}

impl Session for Operator {
    fn id(&self) -> &str {
        &self.verified.id
    }
}

impl Operator {
    /// What stands around a page under the navigation's entry `current`.
    pub(super) fn shell(&self, title: impl Into<String>, current: &str) -> Shell {
        Shell {
            context: "Console".to_owned(),
            ..Shell::signed_in(Place::Console, title, &TABS, current, self.csrf.clone())
        }
    }
}

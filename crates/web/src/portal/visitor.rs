//! Who looks at the portal, and what their link allows.
//!
//! Guarantees that a session that was ended, or whose app is gone, is none.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use nuncio_domain::{App, Endpoint, UnixMillis};

use crate::look::Look;
use crate::page::Web;
use crate::page::failure::Failure;
use crate::page::form::Session;
use crate::page::shell::{Frame, Place, Shell};
use crate::token::{AppGrant, Capability, Scope, Verified};
use crate::usecase::refusal::Refusal;

const TABS: [(&str, &str); 3] = [
    ("/portal/endpoints", "Endpoints"),
    ("/portal/messages", "Messages"),
    ("/portal/event-types", "Event types"),
];

/// A customer.
pub(super) struct Visitor {
    pub(super) app: App,
    pub(super) grant: AppGrant,
    pub(super) verified: Verified,
    pub(super) csrf: String,
    pub(super) can: Can,
}

/// What pages offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Can {
    pub(super) manage: bool,
    pub(super) see_secret: bool,
    pub(super) rotate: bool,
    pub(super) resend: bool,
}

impl Can {
    pub(super) fn of(grant: &AppGrant) -> Self {
        let allow = |capability| grant.capabilities.allow(capability);
        Self {
            manage: allow(Capability::ManageEndpoint),
            see_secret: allow(Capability::ViewEndpointSecret),
            rotate: allow(Capability::ManageEndpointSecret),
            resend: allow(Capability::CreateAttempts),
        }
    }
}

impl FromRequestParts<Arc<Web>> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, web: &Arc<Web>) -> Result<Self, Failure> {
        let use_cases = &web.api.use_cases;
        let verified = web
            .sessions
            .token(Place::Portal, &parts.headers)
            .and_then(|token| {
                web.sessions
                    .tokens(Place::Portal)
                    .verify(token, use_cases.now())
                    .ok()
            })
            .ok_or_else(Failure::signed_out)?;
        let Scope::App(grant) = verified.scope.clone() else {
            return Err(Failure::signed_out());
        };
        web.api
            .throttle
            .app(&verified.id)
            .map_err(|retry_after| Refusal::TooMany { retry_after })?;
        use_cases.check_session(&grant, &verified).await?;
        let app = match use_cases.app(grant.app.as_str()).await {
            Err(Refusal::NotFound(_)) => return Err(Failure::signed_out()),
            found => found?,
        };
        if !grant.capabilities.allow(Capability::ViewBase) {
            return Err(Failure::forbidden());
        }
        let visitor = Self {
            csrf: use_cases
                .dice
                .with(|rng| web.sessions.form_token(&verified.id, rng)),
            can: Can::of(&grant),
            app,
            grant,
            verified,
        };
        Frame::keep(&parts.extensions, || visitor.shell("", ""));
        Ok(visitor)
    }
}

impl Session for Visitor {
    fn id(&self) -> &str {
        &self.verified.id
    }
}

impl Visitor {
    /// # Errors
    /// When the link does not allow it.
    pub(super) fn need(&self, capability: Capability) -> Result<(), Failure> {
        if self.grant.capabilities.allow(capability) {
            Ok(())
        } else {
            Err(Failure::forbidden())
        }
    }

    /// What stands around a page under the navigation's entry `current`.
    pub(super) fn shell(&self, title: impl Into<String>, current: &str) -> Shell {
        let look = self.grant.look.clone().or(Look::of_metadata(&self.app.metadata));
        Shell::signed_in(Place::Portal, title, &TABS, current, self.csrf.clone()).branded(&self.app, look)
    }

    pub(super) fn flags(&self) -> Option<&[String]> {
        Some(self.grant.flags())
    }
}

/// An endpoint as its own pages head it.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) description: String,
    pub(super) badge: crate::page::part::Badge,
    /// Why it does not receive, where it does not.
    pub(super) why: Option<&'static str>,
    pub(super) paused: bool,
    pub(super) disabled: bool,
    /// For how long it has only failed, where it has.
    pub(super) failing: Option<String>,
    pub(super) since: Option<crate::page::part::When>,
}

impl Head {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        use nuncio_domain::EndpointState;

        use crate::page::part::{Badge, When, why_disabled};
        let (why, since) = match endpoint.state {
            EndpointState::Active => (None, None),
            EndpointState::Paused { since } => (Some("Messages wait until it is resumed"), Some(since)),
            EndpointState::Disabled { since, reason } => (Some(why_disabled(reason)), Some(since)),
        };
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            badge: Badge::of_endpoint(endpoint),
            why,
            paused: endpoint.is_paused(),
            disabled: endpoint.is_disabled(),
            failing: None,
            since: since.map(When::relative),
        }
    }

    /// The same of an endpoint that has only failed since then, if at all.
    pub(super) fn watched(endpoint: &Endpoint, failing_since: Option<UnixMillis>, now: UnixMillis) -> Self {
        use crate::page::part::{Badge, failing_for, words};
        let head = Self::of(endpoint);
        match failing_for(endpoint, failing_since, now) {
            None => head,
            Some(long) => Self {
                failing: Some(words(long)),
                badge: Badge::failing(),
                why: Some("Every attempt has failed; it is tried one delivery at a time"),
                ..head
            },
        }
    }

    /// The title of one of its pages: that page's name, and where the endpoint is.
    pub(super) fn title(&self, page: &str) -> String {
        let place = self
            .url
            .split_once("://")
            .map_or(self.url.as_str(), |(_, rest)| rest);
        let end = place.find(['?', '#']).unwrap_or(place.len());
        format!("{page} · {}", &place[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::list::tests::hostile;

    #[test]
    fn each_page_of_an_endpoint_has_a_title_of_its_own() {
        let endpoint = Endpoint {
            url: "https://example.com/hooks?key=1".to_owned(),
            ..hostile()
        };
        let head = Head::of(&endpoint);
        assert_eq!(head.title("Settings"), "Settings · example.com/hooks");
    }
}

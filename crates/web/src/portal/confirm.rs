//! Questions before what cannot be undone, or what stops deliveries.
//!
//! Guarantees that a question names the endpoint and says what follows, and that it works without scripts.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_domain::Endpoint;

use super::visitor::{Head, Visitor};
use crate::api::path::{At, EndpointAt};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, show};
use crate::token::Capability;

#[derive(Template)]
#[template(path = "portal/confirm.html")]
struct ConfirmPage {
    shell: Shell,
    head: Head,
    consequence: &'static str,
    action: &'static str,
    /// What is sent along when the answer is yes.
    fields: Vec<(&'static str, String)>,
    button: &'static str,
    keep: &'static str,
}

/// What is asked.
struct Question {
    title: &'static str,
    consequence: &'static str,
    action: &'static str,
    button: &'static str,
    keep: &'static str,
}

const DELETE: Question = Question {
    title: "Delete this endpoint?",
    consequence: "Nothing will be sent to it any more, and what waits for it is dropped. This cannot be undone.",
    action: "delete",
    button: "Delete endpoint",
    keep: "Keep it",
};

const DISABLE: Question = Question {
    title: "Disable this endpoint?",
    consequence: "Nothing is sent to it, and new messages are not kept for it. What waits for it now fails. \
                  To keep messages until later, pause it instead.",
    action: "state",
    button: "Disable endpoint",
    keep: "Keep it on",
};

const ROTATE: Question = Question {
    title: "Rotate without an overlap?",
    consequence: "The old secret stops signing at once: until your server has the new one, it cannot verify our requests.",
    action: "rotate",
    button: "Rotate now",
    keep: "Keep the old secret",
};

impl Question {
    fn page(self, visitor: &Visitor, endpoint: &Endpoint, fields: Vec<(&'static str, String)>) -> Answer {
        show(&ConfirmPage {
            shell: visitor.shell(self.title, "/portal/endpoints"),
            head: Head::of(endpoint),
            consequence: self.consequence,
            action: self.action,
            fields,
            button: self.button,
            keep: self.keep,
        })
    }
}

/// Asks whether the endpoint is to be deleted.
pub(super) async fn delete(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<EndpointAt>) -> Answer {
    visitor.need(Capability::ManageEndpoint)?;
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    DELETE.page(&visitor, &endpoint, Vec::new())
}

/// Asks whether the endpoint is to be disabled.
pub(super) async fn disable(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<EndpointAt>) -> Answer {
    visitor.need(Capability::ManageEndpoint)?;
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    DISABLE.page(&visitor, &endpoint, vec![("to", "disable".to_owned())])
}

/// Asks whether the old secret is to stop signing at once; `secret` is the customer's own new one, if any.
pub(super) fn rotate(visitor: &Visitor, endpoint: &Endpoint, secret: &str) -> Answer {
    let fields = vec![
        ("overlap", "0".to_owned()),
        ("secret", secret.to_owned()),
        ("sure", "yes".to_owned()),
    ];
    ROTATE.page(visitor, endpoint, fields)
}

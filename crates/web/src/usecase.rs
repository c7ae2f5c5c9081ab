//! The rules of use: what may be created, changed, seen and sent again, the same for the API, the portal and the console.
//!
//! Owns every check of what people write and the order of effects: a lane exists before anything can be routed to it,
//! a record before it is published. Refuses to know HTTP, tokens and how things are shown.

use std::time::Duration;

use nuncio_domain::UnixMillis;
use nuncio_egress::UrlRules;
use nuncio_producer::{BrokerError, Operator, Producer, PublishError};
use nuncio_runtime::{Clock, Dice, Lifecycle};
use nuncio_store::{Directory, InDoubt, Store, StoreError};
use nuncio_traces::Tracer;

pub mod apps;
pub mod bulk;
pub(crate) mod check;
pub mod endpoints;
pub mod event_types;
pub mod example;
pub mod history;
pub mod import;
mod in_doubt;
pub mod insight;
pub mod messages;
pub mod occasion;
pub mod overview;
pub mod refusal;
pub mod replay;
pub mod secrets;
pub mod sessions;
pub mod set_aside;
mod trace;

use refusal::{Noun, Outcome, Refusal};

/// What the rules depend on beside the store and the broker.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What an endpoint's URL must keep to.
    pub urls: UrlRules,
    /// Bytes of the biggest payload.
    pub payload_bytes_max: usize,
    /// How long messages and attempts are kept.
    pub retention: Duration,
}

/// Everything that can be done with Nuncio from outside.
pub struct UseCases {
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    pub(crate) producer: Producer,
    pub(crate) operator: Operator,
    pub(crate) clock: Clock,
    pub(crate) dice: Dice,
    pub(crate) tracer: Tracer,
    pub(crate) rules: Rules,
    pub(crate) life: Lifecycle,
    pub(crate) catalogue: event_types::Catalogue,
}

impl UseCases {
    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.clock.now())
    }

    /// Lets this process know at once that an app is gone.
    pub(crate) async fn forget_app(&self, app: &nuncio_domain::AppId) {
        if let Err(error) = self.directory.refresh(app).await {
            tracing::debug!(app = %app, error = nuncio_runtime::lifecycle::chain(&error), "still remembered");
        }
    }

    /// Deletes the queues of endpoints that the record does not know. One that cannot be deleted now stays in doubt, and is
    /// deleted later.
    pub(crate) async fn drop_lanes(&self, endpoints: &[InDoubt]) {
        let mut gone = Vec::with_capacity(endpoints.len());
        for doubt in endpoints {
            let Some(endpoint) = &doubt.endpoint else { continue };
            match self.operator.delete_endpoint(endpoint).await {
                Ok(()) => gone.push(doubt.clone()),
                Err(error) => tracing::warn!(
                    endpoint = %endpoint,
                    error = nuncio_runtime::lifecycle::chain(&error),
                    "the queue of a deleted endpoint could not be deleted yet"
                ),
            }
        }
        self.done(&gone).await;
    }
}

/// What the broker answered, as a refusal where it could not.
pub(crate) fn broker<T, E>(answer: Result<T, E>) -> Outcome<T>
where
    Refusal: From<E>,
{
    answer.map_err(Refusal::from)
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        Self::Unavailable {
            what: "the broker",
            source: Box::new(error),
        }
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Invalid { detail, .. } => Self::Impossible {
                code: "not_deliverable",
                detail,
            },
            error => Self::Unavailable {
                what: "the broker",
                source: Box::new(error),
            },
        }
    }
}

/// What the store answered, as a refusal where it could not.
pub(crate) fn store<T>(answer: Result<T, StoreError>) -> Outcome<T> {
    answer.map_err(Refusal::from)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(noun) => Self::NotFound(match noun {
                "app" => Noun::App,
                "endpoint" => Noun::Endpoint,
                "event type" => Noun::EventType,
                "attempt" => Noun::Attempt,
                _ => Noun::Message,
            }),
            StoreError::Conflict { what, by } => Self::Conflict {
                code: "conflict",
                detail: format!("the {what} is taken by {by}"),
            },
            StoreError::TooManyEndpoints(most) => Self::Conflict {
                code: "limit_reached",
                detail: format!("the application has {most} endpoints, which is as many as it may have"),
            },
            StoreError::Contended(_) => Self::Conflict {
                code: "conflict",
                detail: error.to_string(),
            },
            StoreError::BadPosition => Self::Impossible {
                code: "invalid_iterator",
                detail: "the iterator leads to nowhere".to_owned(),
            },
            error if error.is_unavailable() => Self::Unavailable {
                what: "the store",
                source: Box::new(error),
            },
            error => Self::Broken {
                what: "the store failed",
                source: Box::new(error),
            },
        }
    }
}

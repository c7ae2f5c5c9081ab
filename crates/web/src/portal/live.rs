//! What moves: attempts and the deliveries they belong to, as lines of a table.

use nuncio_domain::{AttemptStatus, Trigger, UnixMillis};
use nuncio_store::StoredAttempt;

use crate::page::part::{Badge, When, explain, span};
use crate::page::pretty::pretty;

/// One attempt.
pub(super) struct AttemptLine {
    pub(super) id: String,
    pub(super) message: String,
    pub(super) endpoint: String,
    pub(super) event_type: String,
    pub(super) url: String,
    pub(super) badge: Badge,
    pub(super) failed: bool,
    pub(super) at: When,
    pub(super) duration: String,
    pub(super) number: String,
    pub(super) manual: bool,
    pub(super) explanation: String,
    pub(super) next: Option<When>,
    pub(super) body: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) expunged: bool,
}

impl AttemptLine {
    /// The attempt, and when it is followed by another one, as long as that is to come.
    pub(super) fn of(stored: &StoredAttempt, now: UnixMillis) -> Self {
        let attempt = &stored.attempt;
        Self {
            id: attempt.id.to_string(),
            message: attempt.message_id.to_string(),
            endpoint: attempt.endpoint_id.to_string(),
            event_type: attempt.event_type.to_string(),
            url: attempt.url.clone(),
            badge: Badge::of_attempt(attempt),
            failed: attempt.status() == AttemptStatus::Failed,
            at: When::relative(attempt.started_at),
            duration: span(attempt.duration),
            number: attempt.number.to_string(),
            manual: attempt.trigger == Trigger::Manual,
            explanation: explain(&attempt.outcome),
            next: attempt.next_due.filter(|due| *due > now).map(When::countdown),
            body: pretty(&attempt.response_body),
            headers: attempt.response_headers.clone(),
            expunged: stored.expunged,
        }
    }
}

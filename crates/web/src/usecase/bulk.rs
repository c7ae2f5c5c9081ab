//! What is asked about many messages at once, or about one before it is sent.

use std::collections::BTreeMap;

use nuncio_domain::limits::CHANNELS_MAX;
use nuncio_domain::{App, Channel, EventTypeName, route};

use super::refusal::{Complaints, Outcome, Refusal};
use super::{UseCases, check, store};

/// Messages whose payloads are deleted with one request.
const EXPUNGED_MAX: usize = 100;

impl UseCases {
    /// Deletes the payloads of messages, and answers for each id or event id whether one was there.
    ///
    /// # Errors
    /// When there are too many, or the store is away: asking again finishes the work.
    pub async fn expunge_payloads(&self, app: &App, ids: Vec<String>) -> Outcome<BTreeMap<String, bool>> {
        let mut complaints = Complaints::new();
        if ids.len() > EXPUNGED_MAX {
            complaints.add(
                "ids",
                "value_error",
                format_args!("must have at most {EXPUNGED_MAX} items"),
            );
        }
        complaints.or(Some(()))?;
        let mut gone = BTreeMap::new();
        for id in ids {
            let expunged = match self.message(app, &id).await {
                Ok(stored) if stored.expunged => false,
                Ok(stored) => store(self.store.expunge_payload(&app.id, &stored.message.id).await)?,
                Err(Refusal::NotFound(_)) => false,
                Err(refusal) => return Err(refusal),
            };
            *gone.entry(id).or_default() |= expunged;
        }
        Ok(gone)
    }

    /// Whether a message of that type, on those channels, would be sent to any endpoint of the app.
    ///
    /// # Errors
    /// When a name is none, or the store is away.
    pub async fn is_wanted(&self, app: &App, event_type: &str, channels: Option<&[String]>) -> Outcome<bool> {
        let mut complaints = Complaints::new();
        let event_type = complaints.keep("eventType", "value_error", event_type.parse());
        let channels = check::names::<Channel>(&mut complaints, "channels", channels, CHANNELS_MAX);
        let event_type: EventTypeName = complaints.or(event_type)?;
        let channels: Vec<_> = channels.into_iter().flatten().collect();
        let endpoints = store(self.store.endpoints(&app.id).await)?;
        Ok(endpoints
            .iter()
            .any(|endpoint| route(endpoint, &event_type, &channels).is_routed()))
    }
}

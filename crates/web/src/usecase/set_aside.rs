//! Events that were set aside: looked at, published again, or forgotten.
//!
//! Guarantees that looking takes nothing away, and that only the event that was looked at is published again or
//! forgotten: each is named by a digest of what it is.

use nuncio_producer::SetAside;
use sha2::{Digest, Sha256};

use super::refusal::{Noun, Outcome, Refusal};
use super::{UseCases, broker};

/// Events that are looked through.
pub const SET_ASIDE_MAX: usize = 250;

/// The name of an event that was set aside.
#[must_use]
pub fn name_of(event: &SetAside) -> String {
    let mut digest = Sha256::new();
    let at = event.at.map_or(0, |at| at.0).to_be_bytes();
    let parts = [
        event.reason.as_bytes(),
        event.exchange.as_bytes(),
        event.routing_key.as_bytes(),
        event.message_id.as_deref().unwrap_or_default().as_bytes(),
        event.body_sha256.as_deref().unwrap_or_default().as_bytes(),
        &at,
        &event.body,
    ];
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest
        .finalize()
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl UseCases {
    /// The oldest events that were set aside. They return to their queue when they are dropped.
    ///
    /// # Errors
    /// When the broker is away.
    pub async fn set_aside(&self) -> Outcome<Vec<SetAside>> {
        broker(self.operator.set_aside(SET_ASIDE_MAX).await)
    }

    /// Publishes an event that was set aside again.
    ///
    /// # Errors
    /// When there is none of that name, or its body was not kept, or it was not confirmed.
    pub async fn replay_set_aside(&self, name: &str) -> Outcome<()> {
        let event = self.take_set_aside(name).await?;
        broker(self.operator.replay(event).await)
    }

    /// Forgets an event that was set aside.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn discard_set_aside(&self, name: &str) -> Outcome<()> {
        self.take_set_aside(name).await?.discard();
        Ok(())
    }

    /// Forgets all events that are set aside now, and tells how many they were.
    ///
    /// # Errors
    /// When the broker is away.
    pub async fn purge_set_aside(&self) -> Outcome<usize> {
        let mut purged = 0;
        loop {
            let events = self.set_aside().await?;
            let many = events.len();
            for event in events {
                event.discard();
            }
            purged += many;
            if many < SET_ASIDE_MAX {
                return Ok(purged);
            }
        }
    }

    async fn take_set_aside(&self, name: &str) -> Outcome<SetAside> {
        let events = self.set_aside().await?;
        events
            .into_iter()
            .find(|event| name_of(event) == name)
            .ok_or(Refusal::NotFound(Noun::Message))
    }
}

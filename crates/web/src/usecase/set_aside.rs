//! Events that were set aside: looked at, published again, or forgotten.
//!
//! Guarantees that looking takes nothing away, and that only the event that was looked at is published again or
//! forgotten. The rules are the producer's, the same as for the command line.

use nuncio_producer::{Chosen, SetAside};

use super::refusal::{Noun, Outcome, Refusal};
use super::{UseCases, broker};

/// Events that are looked through.
pub const SET_ASIDE_MAX: usize = 250;

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
        let chosen = Chosen::One(name.to_owned());
        let mut walked = broker(self.operator.replay_chosen(&chosen, self.now()).await)?;
        match walked.failed.pop() {
            Some((_, error)) => Err(error.into()),
            None if walked.done == 0 => Err(Refusal::NotFound(Noun::Message)),
            None => Ok(()),
        }
    }

    /// Forgets an event that was set aside.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn discard_set_aside(&self, name: &str) -> Outcome<()> {
        let chosen = Chosen::One(name.to_owned());
        match broker(self.operator.discard_chosen(&chosen, self.now()).await)?.done {
            0 => Err(Refusal::NotFound(Noun::Message)),
            _ => Ok(()),
        }
    }

    /// Forgets all events that were set aside until now, and tells how many they were.
    ///
    /// # Errors
    /// When the broker is away.
    pub async fn purge_set_aside(&self) -> Outcome<usize> {
        Ok(broker(self.operator.discard_chosen(&Chosen::All, self.now()).await)?.done)
    }
}

//! Occasions: when something is asked for, and the dice for what it makes.
//!
//! Guarantees that a request that is made again under its idempotency key has the occasion of its first time: what it
//! makes gets the ids, secrets and times that it got or would have got then, so that it finds its own work and does not
//! do it twice. Refuses to know how a first time is remembered.

use nuncio_domain::UnixMillis;
use nuncio_runtime::Dice;

use super::UseCases;

/// The present, and randomness for it, of one request.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// When it was first asked for.
    pub at: UnixMillis,
    /// What ids and secrets are drawn with.
    pub dice: Dice,
    /// Whether it was asked for before, so that it may be done already.
    pub again: bool,
}

impl UseCases {
    /// One that was not there before.
    #[must_use]
    pub fn occasion(&self) -> Occasion {
        Occasion {
            at: self.now(),
            dice: self.dice.clone(),
            again: false,
        }
    }
}

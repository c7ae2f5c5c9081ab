//! Events that were set aside: one, those of a reason, or all; published again or forgotten.
//!
//! Owns the walk through the queue and the names of its events. Guarantees that what is not chosen returns to the queue,
//! also when the walk is cut short; that an event leaves only after it was published again or discarded on purpose; and
//! that a walk ends although what it publishes may be set aside once more.
//! Refuses to know who asks.

use std::collections::HashSet;
use std::time::Duration;

use nuncio_broker::BrokerError;
use nuncio_domain::UnixMillis;
use sha2::{Digest, Sha256};

use crate::error::PublishError;
use crate::operator::{Operator, SetAside};

/// Events taken from the queue at once.
const LOT: usize = 250;
/// Events that are held, because they were not chosen, before the walk gives up.
const HELD_MAX: usize = 10_000;
/// Bytes of them.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How far the clocks of routers may be behind this one.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Which events of those that were set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// The one of this name.
    One(String),
    /// Those with this reason.
    Reason(String),
    /// All of them.
    All,
}

impl Chosen {
    fn has(&self, event: &SetAside) -> bool {
        match self {
            Self::One(name) => event.name() == *name,
            Self::Reason(reason) => event.reason == *reason,
            Self::All => true,
        }
    }
}

/// What a walk through the events that were set aside did.
#[derive(Debug, Default)]
pub struct Walked {
    /// Events that left the queue.
    pub done: usize,
    /// Events that could not be published again, with the reason why: they stay.
    pub failed: Vec<(String, PublishError)>,
    /// Events that came again after they were published: they stay.
    pub again: usize,
    /// Whether the queue was seen to its end; it is not when too many events had to be passed over.
    pub complete: bool,
}

impl SetAside {
    /// What it is called: a digest of what it is and when it was set aside.
    #[must_use]
    pub fn name(&self) -> String {
        let at = self.at.map_or(0, |at| at.0).to_be_bytes();
        let digest = self.digest().chain_update(at).finalize();
        digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }

    fn digest(&self) -> Sha256 {
        let mut digest = Sha256::new();
        let parts = [
            self.reason.as_bytes(),
            self.exchange.as_bytes(),
            self.routing_key.as_bytes(),
            self.message_id.as_deref().unwrap_or_default().as_bytes(),
            self.body_sha256.as_deref().unwrap_or_default().as_bytes(),
            &self.body,
        ];
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest
    }
}

impl Operator {
    /// Publishes the chosen events again that were set aside before `now`.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses: what was not published yet stays set aside.
    pub async fn replay_chosen(&self, chosen: &Chosen, now: UnixMillis) -> Result<Walked, BrokerError> {
        let mut walked = Walked::default();
        let mut replayed = HashSet::new();
        let mut held = Held::default();
        while let Some(lot) = self.lot(&held, &mut walked).await? {
            for event in lot {
                let content: [u8; 32] = event.digest().finalize().into();
                if !chosen.has(&event) {
                    held.push(event);
                } else if replayed.contains(&content) && !is_before(&event, now) {
                    walked.again += 1;
                    held.push(event);
                } else {
                    replayed.insert(content);
                    let name = event.name();
                    match self.publish_again(&event).await {
                        Ok(()) => {
                            event.discard();
                            walked.done += 1;
                        }
                        Err(error) => {
                            let is_its_own_fault = matches!(error, PublishError::Invalid { .. });
                            walked.failed.push((name, error));
                            held.push(event);
                            if !is_its_own_fault {
                                return Ok(walked);
                            }
                        }
                    }
                    if matches!(chosen, Chosen::One(_)) {
                        walked.complete = true;
                        return Ok(walked);
                    }
                }
            }
        }
        Ok(walked)
    }

    /// Forgets the chosen events that were set aside before `now`.
    ///
    /// # Errors
    /// When RabbitMQ is away, or refuses: what was not forgotten yet stays set aside.
    pub async fn discard_chosen(&self, chosen: &Chosen, now: UnixMillis) -> Result<Walked, BrokerError> {
        let mut walked = Walked::default();
        let mut held = Held::default();
        while let Some(lot) = self.lot(&held, &mut walked).await? {
            for event in lot {
                if !chosen.has(&event) || event.at.is_some_and(|at| at > now) {
                    held.push(event);
                } else {
                    event.discard();
                    walked.done += 1;
                    if matches!(chosen, Chosen::One(_)) {
                        walked.complete = true;
                        return Ok(walked);
                    }
                }
            }
        }
        Ok(walked)
    }

    /// The next events; nothing at the end of the queue, or when too many are held.
    async fn lot(&self, held: &Held, walked: &mut Walked) -> Result<Option<Vec<SetAside>>, BrokerError> {
        if held.is_full() {
            return Ok(None);
        }
        let lot = self.set_aside(LOT).await?;
        walked.complete = lot.is_empty();
        Ok((!lot.is_empty()).then_some(lot))
    }
}

/// Whether an event was set aside before the walk began, so that it cannot be one that the walk published.
fn is_before(event: &SetAside, now: UnixMillis) -> bool {
    event.at.is_some_and(|at| at.plus(CLOCK_SKEW) < now)
}

/// Events that were passed over: while they are held they do not come again; dropped, they return.
#[derive(Default)]
struct Held {
    events: Vec<SetAside>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, event: SetAside) {
        self.bytes += event.body.len();
        self.events.push(event);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= HELD_MAX || self.bytes >= HELD_BYTES_MAX
    }
}

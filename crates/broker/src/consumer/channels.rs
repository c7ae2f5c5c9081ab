//! Channels shared by many consumers.
//!
//! Owns how consumers are spread over channels: by prefetch, because it is set per channel, and never too many on one. Those
//! that may hold much unsettled have a channel each, because RabbitMQ looks for every acknowledged message among all
//! that are unsettled on its channel, from the oldest on.
//! Refuses to know queues.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::Channel;
use lapin::options::BasicQosOptions;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::acker::Settle;
use crate::broker::Shared;
use crate::error::{AmqpError, BrokerError};
use crate::link::Session;

/// Consumers on one channel, at most.
pub(crate) const CONSUMERS_PER_CHANNEL_MAX: usize = 2_000;
/// Consumers on one channel before another is opened, while there are few channels.
const CONSUMERS_PER_CHANNEL: usize = 100;
/// Channels with the same prefetch that are opened before any is filled to the brim.
const CHANNELS: usize = 4;
/// The prefetch from which on a consumer shares its channel with none.
const PREFETCH_LARGE: u16 = 200;
/// Consumers that subscribe at the same time.
const TURNS: usize = 128;
const DEADLINE: Duration = Duration::from_secs(30);

/// The consuming channels of one connection.
pub(crate) struct ConsumeChannels {
    by_prefetch: Mutex<HashMap<u16, Vec<Arc<Slot>>>>,
    turns: Semaphore,
}

impl Default for ConsumeChannels {
    fn default() -> Self {
        Self {
            by_prefetch: Mutex::default(),
            turns: Semaphore::new(TURNS),
        }
    }
}

#[derive(Default)]
struct Slot {
    taken: AtomicUsize,
    channel: OnceCell<Arc<ConsumeChannel>>,
}

/// A channel with its prefetch, and the way to the task that acknowledges on it.
pub(crate) struct ConsumeChannel {
    pub(crate) channel: Arc<Channel>,
    pub(crate) settle: Settle,
}

/// A consumer's place on a channel.
pub(crate) struct Seat {
    pub(crate) channel: Arc<ConsumeChannel>,
    slot: Arc<Slot>,
}

impl Seat {
    /// Whether the channel is up.
    pub(crate) fn is_open(&self) -> bool {
        self.channel.channel.status().connected()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.slot.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl ConsumeChannels {
    /// Leave to subscribe, so that thousands do not ask at once.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// A place on a channel with this prefetch.
    pub(crate) async fn seat(
        &self,
        shared: &Arc<Shared>,
        session: &Session,
        prefetch: u16,
    ) -> Result<Seat, BrokerError> {
        let slot = self.slot(prefetch);
        let opened = slot
            .channel
            .get_or_try_init(|| async { open(shared, session, prefetch).await.map(Arc::new) })
            .await
            .cloned();
        match opened {
            Ok(channel) => Ok(Seat { channel, slot }),
            Err(error) => {
                slot.taken.fetch_sub(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    fn slot(&self, prefetch: u16) -> Arc<Slot> {
        let mut by_prefetch = self.by_prefetch.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = by_prefetch.entry(prefetch).or_default();
        slots.retain(|slot| {
            slot.channel
                .get()
                .is_none_or(|open| open.channel.status().connected())
        });
        let most = match slots.len() {
            _ if prefetch >= PREFETCH_LARGE => 1,
            CHANNELS.. => CONSUMERS_PER_CHANNEL_MAX,
            _ => CONSUMERS_PER_CHANNEL,
        };
        let emptiest = slots
            .iter()
            .min_by_key(|slot| slot.taken.load(Ordering::Acquire))
            .cloned();
        let slot = match emptiest {
            Some(slot) if slot.taken.load(Ordering::Acquire) < most => slot,
            _ => {
                let slot = Arc::new(Slot::default());
                slots.push(slot.clone());
                slot
            }
        };
        slot.taken.fetch_add(1, Ordering::AcqRel);
        slot
    }
}

async fn open(shared: &Arc<Shared>, session: &Session, prefetch: u16) -> Result<ConsumeChannel, BrokerError> {
    let attempt = || "opening a channel to consume on".to_owned();
    let opening = async {
        let channel = session.connection.create_channel().await?;
        channel
            .basic_qos(prefetch, BasicQosOptions { global: false })
            .await?;
        Ok(channel)
    };
    let channel = timeout(DEADLINE, opening)
        .await
        .map_err(|_| BrokerError::TimedOut {
            attempt: attempt(),
            waited: DEADLINE,
        })?
        .inspect_err(|error| session.no_channel(error))
        .map_err(|source| BrokerError::Failed {
            attempt: attempt(),
            source: AmqpError(source),
        })?;
    let channel = Arc::new(channel);
    let (settle, answering) = Settle::to(
        channel.clone(),
        session.over.clone(),
        shared.unsent.clone(),
        prefetch,
    );
    shared.spawn(answering);
    Ok(ConsumeChannel { channel, settle })
}

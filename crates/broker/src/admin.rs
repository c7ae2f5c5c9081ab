//! Questions and declarations, apart from the flow of messages.
//!
//! Owns the channels for them, so that a refusal, which closes a channel, disturbs neither consumers nor publishers.
//! Guarantees an answer within a deadline. Refuses to know which objects are Nuncio's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::Channel;
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::acker::{Acker, Settle};
use crate::broker::Shared;
use crate::convert::from_amqp;
use crate::error::{AmqpError, BrokerError, Refusal, refusal};
use crate::link::Session;
use crate::message::Received;

/// Channels that operations are spread over.
const CHANNELS: usize = 8;
/// How long one operation may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a channel that closes.
const CLOSING: Duration = Duration::from_millis(2);
/// How often an operation is tried whose channel was closed by another operation's fault.
const TRIES: usize = 20;

/// How full a queue is. Right after a restart of the broker it may read as empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages ready to be delivered.
    pub messages: u32,
    /// Consumers.
    pub consumers: u32,
}

/// The channels for operations on one connection.
pub(crate) struct Desk {
    slots: [Mutex<Option<Arc<Channel>>>; CHANNELS],
    /// Passive declarations of what may be missing close their channel: they have some of their own, one question at a
    /// time on each, so that none fails by another's fault.
    probes: [Mutex<Option<Arc<Channel>>>; CHANNELS],
    next: AtomicUsize,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| Mutex::new(None)),
            probes: std::array::from_fn(|_| Mutex::new(None)),
            next: AtomicUsize::new(0),
        }
    }

    /// Performs `operation`, which concerns `objects`, and says what was attempted if it fails.
    pub(crate) async fn perform<T, F>(
        &self,
        session: &Session,
        attempt: &str,
        objects: &[&str],
        operation: impl Fn(Arc<Channel>) -> F,
    ) -> Result<T, BrokerError>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        let slot = &self.slots[self.next.fetch_add(1, Ordering::Relaxed) % CHANNELS];
        perform(slot, session, attempt, objects, operation).await
    }

    /// How full `queue` is; nothing when it does not exist.
    pub(crate) async fn depth(
        &self,
        session: &Session,
        queue: &str,
    ) -> Result<Option<QueueDepth>, BrokerError> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let name = ShortString::try_new(queue).map_err(|_| BrokerError::Missing {
            object: queue.to_owned(),
        })?;
        let failed = |error| BrokerError::from_amqp("asking for a queue's depth", queue, error);
        let asking = async {
            let probe = &self.probes[self.next.fetch_add(1, Ordering::Relaxed) % CHANNELS];
            let mut open = probe.lock().await;
            let channel = match open.take() {
                Some(channel) if channel.status().connected() => channel,
                _ => Arc::new(session.connection.create_channel().await.map_err(failed)?),
            };
            let asked = channel.queue_declare(name, options, FieldTable::default()).await;
            if asked.is_ok() {
                // Not kept after a refusal, which closes it, nor when this is cancelled.
                *open = Some(channel);
            } else {
                // lapin agrees to the closing in the background: until then its number is taken.
                while channel.status().closing() {
                    sleep(CLOSING).await;
                }
            }
            asked.map_err(failed)
        };
        let asked = timeout(DEADLINE, asking)
            .await
            .map_err(|_| BrokerError::TimedOut {
                attempt: format!("asking for the depth of {queue}"),
                waited: DEADLINE,
            })?;
        match asked {
            Ok(queue) => Ok(Some(QueueDepth {
                messages: queue.message_count(),
                consumers: queue.consumer_count(),
            })),
            Err(BrokerError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

async fn perform<T, F>(
    slot: &Mutex<Option<Arc<Channel>>>,
    session: &Session,
    attempt: &str,
    objects: &[&str],
    operation: impl Fn(Arc<Channel>) -> F,
) -> Result<T, BrokerError>
where
    F: Future<Output = lapin::Result<T>>,
{
    let timed_out = || BrokerError::TimedOut {
        attempt: attempt.to_owned(),
        waited: DEADLINE,
    };
    let mut last = None;
    for _ in 0..TRIES {
        let opened = timeout(DEADLINE, channel_in(slot, session))
            .await
            .map_err(|_| timed_out())?;
        let channel = opened.map_err(|source| BrokerError::Failed {
            attempt: attempt.to_owned(),
            source: AmqpError(source),
        })?;
        match timeout(DEADLINE, operation(channel.clone())).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) if let Some(object) = concerned(&error, objects) => {
                return Err(BrokerError::from_amqp(attempt, object, error));
            }
            Ok(Err(error)) if !session.connection.status().connected() => {
                return Err(BrokerError::Failed {
                    attempt: attempt.to_owned(),
                    source: AmqpError(error),
                });
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                // Whoever asks next does not wait behind an answer that never comes.
                let mut slot = slot.lock().await;
                if slot.as_ref().is_some_and(|open| Arc::ptr_eq(open, &channel)) {
                    *slot = None;
                }
                return Err(timed_out());
            }
        }
    }
    Err(last.map_or_else(timed_out, |error| {
        BrokerError::from_amqp(attempt, &objects.join(", "), error)
    }))
}

async fn channel_in(slot: &Mutex<Option<Arc<Channel>>>, session: &Session) -> lapin::Result<Arc<Channel>> {
    let mut slot = slot.lock().await;
    if let Some(channel) = slot.as_ref()
        && channel.status().connected()
    {
        return Ok(channel.clone());
    }
    let channel = Arc::new(session.connection.create_channel().await?);
    *slot = Some(channel.clone());
    Ok(channel)
}

/// Which of these objects a refusal is about; none, if it is about what else was asked on the same channel.
fn concerned<'a>(error: &lapin::Error, objects: &[&'a str]) -> Option<&'a str> {
    match refusal(error) {
        Refusal::NotFound(text) | Refusal::Precondition(text) | Refusal::Access(text) => objects
            .iter()
            .find(|object| text.contains(&format!("'{object}'")))
            .copied(),
        Refusal::Gone => None,
    }
}

/// Takes up to `max` messages from `queue`, each to be acknowledged; what is not returns.
pub(crate) async fn take(
    shared: &Arc<Shared>,
    session: &Session,
    queue: &str,
    max: usize,
) -> Result<Vec<Received>, BrokerError> {
    let attempt = || format!("taking messages from {queue}");
    let failed = |error: lapin::Error| BrokerError::from_amqp(attempt(), queue, error);
    let name = ShortString::try_new(queue).map_err(|_| BrokerError::Missing {
        object: queue.to_owned(),
    })?;
    let taking = async {
        let channel = Arc::new(session.connection.create_channel().await.map_err(failed)?);
        let (settle, answering) = Settle::to(channel.clone(), session.over.clone(), shared.unsent.clone());
        // Ends, and with it the channel, when the last acker is gone.
        shared.spawn(answering);
        let mut taken = Vec::new();
        while taken.len() < max {
            let got = channel.basic_get(name.clone(), BasicGetOptions { no_ack: false });
            let Some(message) = got.await.map_err(failed)? else {
                break;
            };
            let delivery = message.delivery;
            taken.push(Received {
                properties: from_amqp(&delivery.properties),
                body: bytes::Bytes::from(delivery.data),
                exchange: delivery.exchange.into(),
                routing_key: delivery.routing_key.into(),
                redelivered: delivery.redelivered,
                acker: Acker::new(settle.clone(), delivery.delivery_tag),
            });
        }
        Ok(taken)
    };
    timeout(DEADLINE, taking)
        .await
        .map_err(|_| BrokerError::TimedOut {
            attempt: attempt(),
            waited: DEADLINE,
        })?
}

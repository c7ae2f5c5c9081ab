//! Questions and declarations, apart from the flow of messages.
//!
//! Owns the connection for them, dialled when it is first needed, so that a refusal, which closes a channel, disturbs
//! neither consumers nor publishers. Guarantees an answer within a deadline, that questions never run out of channels
//! however many are refused, and that there are never more than [`LINES_MAX`] such connections.
//! Refuses to know which objects are Nuncio's.

mod line;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use crate::acker::{Acker, Settle};
use crate::broker::Shared;
use crate::convert::from_amqp;
use crate::dial::Address;
use crate::error::{AmqpError, BrokerError, Refusal, refusal};
use crate::link::Session;
use crate::message::Received;

use line::{Line, Slot};
pub(crate) use stream::read_stream;

/// Connections at the same time: the one in use, and one on which the last operations are ending.
const LINES_MAX: usize = 2;
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

/// Where operations are performed while a session lasts.
pub(crate) struct Desk {
    address: Address,
    line: Mutex<Option<Arc<Line>>>,
    places: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            line: Mutex::new(None),
            places: Arc::new(Semaphore::new(LINES_MAX)),
        }
    }

    /// Ends the connection, as the session's has ended.
    pub(crate) async fn close(&self) {
        if let Some(line) = self.line.lock().await.take() {
            line.cut();
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
        let timed_out = || BrokerError::TimedOut {
            attempt: attempt.to_owned(),
            waited: DEADLINE,
        };
        let lost = |source| BrokerError::Failed {
            attempt: attempt.to_owned(),
            source: AmqpError(source),
        };
        let mut last = None;
        for _ in 0..TRIES {
            let line = timeout(DEADLINE, self.line(session))
                .await
                .map_err(|_| timed_out())??;
            let slot = line.slot();
            let opened = timeout(DEADLINE, channel_in(slot, &line))
                .await
                .map_err(|_| timed_out())?;
            let channel = match opened {
                Ok(channel) => channel,
                Err(error) if line.connection.status().connected() => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(lost(error)),
            };
            match timeout(DEADLINE, operation(channel.clone())).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => {
                    line.refused();
                    if let Some(object) = concerned(&error, objects) {
                        return Err(BrokerError::from_amqp(attempt, object, error));
                    }
                    if !line.connection.status().connected() {
                        return Err(lost(error));
                    }
                    last = Some(error);
                }
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
        let asked = self.probe(
            session,
            "asking for the depth of",
            queue,
            |channel, name| async move { channel.queue_declare(name, options, FieldTable::default()).await },
        );
        Ok(asked.await?.map(|queue| QueueDepth {
            messages: queue.message_count(),
            consumers: queue.consumer_count(),
        }))
    }

    /// Whether an exchange of that name exists.
    pub(crate) async fn has_exchange(&self, session: &Session, exchange: &str) -> Result<bool, BrokerError> {
        let options = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let asked = self.probe(session, "looking for", exchange, |channel, name| async move {
            // Of a passive declaration nothing but the name counts.
            let kind = ExchangeKind::Direct;
            channel
                .exchange_declare(name, kind, options, FieldTable::default())
                .await
        });
        Ok(asked.await?.is_some())
    }

    /// Asks a question about `object` that a missing one answers by closing the channel: nothing, then.
    async fn probe<T, F>(
        &self,
        session: &Session,
        attempt: &str,
        object: &str,
        question: impl FnOnce(Arc<Channel>, ShortString) -> F,
    ) -> Result<Option<T>, BrokerError>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        let name = ShortString::try_new(object).map_err(|_| BrokerError::Missing {
            object: object.to_owned(),
        })?;
        let attempt = format!("{attempt} {object}");
        let failed = |error| BrokerError::from_amqp(attempt.clone(), object, error);
        let asking = async {
            let line = self.line(session).await?;
            let mut open = line.probe().lock().await;
            let channel = match open.take() {
                Some(channel) if channel.status().connected() => channel,
                _ => open_on(&line).await.map_err(failed)?,
            };
            let asked = question(channel.clone(), name).await;
            if asked.is_ok() {
                // Not kept after a refusal, which closes it, nor when this is cancelled.
                *open = Some(channel);
            } else {
                line.refused();
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
                attempt: attempt.clone(),
                waited: DEADLINE,
            })?;
        match asked {
            Ok(answer) => Ok(Some(answer)),
            Err(BrokerError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The connection to use now: a fresh one after many refusals. What is under way on the one before ends there.
    async fn line(&self, session: &Session) -> Result<Arc<Line>, BrokerError> {
        let over = || BrokerError::NotConnected {
            problem: "the connection was closed".to_owned(),
        };
        let mut current = self.line.lock().await;
        if session.over.is_cancelled() {
            return Err(over());
        }
        if let Some(line) = current.as_ref().filter(|line| line.is_usable()) {
            return Ok(line.clone());
        }
        *current = None;
        let opening = async {
            let place = self.places.clone().acquire_owned().await.map_err(|_| over())?;
            Line::open(&self.address, place).await.map(Arc::new)
        };
        let line = tokio::select! {
            () = session.over.cancelled() => return Err(over()),
            opened = opening => opened?,
        };
        *current = Some(line.clone());
        Ok(line)
    }
}

async fn channel_in(slot: &Slot, line: &Line) -> lapin::Result<Arc<Channel>> {
    let mut slot = slot.lock().await;
    if let Some(channel) = slot.as_ref()
        && channel.status().connected()
    {
        return Ok(channel.clone());
    }
    let channel = open_on(line).await?;
    *slot = Some(channel.clone());
    Ok(channel)
}

/// Another channel; a connection that has none left is left.
async fn open_on(line: &Line) -> lapin::Result<Arc<Channel>> {
    let opened = line.connection.create_channel().await;
    opened.map(Arc::new).inspect_err(|_| line.leave())
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
        let line = session.desk.line(session).await?;
        let channel = open_on(&line).await.map_err(failed)?;
        let (settle, answering) = Settle::to(channel.clone(), session.over.clone(), shared.unsent.clone(), 1);
        // Ends, and with it the channel, when the last acker is gone.
        let held = line.clone();
        shared.spawn(async move {
            answering.await;
            drop(held);
        });
        let mut taken = Vec::new();
        while taken.len() < max {
            let got = channel.basic_get(name.clone(), BasicGetOptions { no_ack: false });
            let Some(message) = got.await.inspect_err(|_| line.refused()).map_err(failed)? else {
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

//! Publishing, known to have arrived.
//!
//! Owns the wait for confirms, the resending and the bound on what is on its way. Guarantees that a publish is
//! reported as done only when the broker confirmed it and did not return it, that every wait has a deadline, and that
//! every resend carries the same message, which tells lanes that it may be there twice. Refuses to know what is published.

mod confirms;

use std::sync::Arc;
use std::time::Duration;

use nuncio_wire::headers;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

pub(crate) use confirms::{Confirms, InFlight};

use crate::broker::Shared;
use crate::convert::{short, to_amqp};
use crate::error::{PublishError, Refusal, refusal};
use crate::message::{Outgoing, Route};
use crate::state::LinkState;

/// The pause before a message that the broker refused with a nack is published again; it doubles.
const AFTER_NACK: Duration = Duration::from_millis(50);
const AFTER_NACK_MAX: Duration = Duration::from_secs(2);
/// The pause before a message whose channel broke is published again.
const AFTER_LOSS: Duration = Duration::from_millis(20);

/// Publishes on the process's one publishing connection. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
    window: Arc<Semaphore>,
}

/// One publish on its way.
pub(crate) struct Job {
    pub(crate) exchange: lapin::types::ShortString,
    pub(crate) routing_key: lapin::types::ShortString,
    pub(crate) properties: lapin::BasicProperties,
    pub(crate) body: bytes::Bytes,
    pub(crate) mandatory: bool,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What came of one publish.
#[derive(Debug)]
pub(crate) enum Answer {
    Confirmed,
    Nacked,
    Returned,
    /// The channel or connection ended first.
    Lost(lapin::Error),
}

/// What a caller learnt by waiting.
enum Heard {
    Answer(Answer),
    /// The connection ended without a word.
    Nothing,
    /// The connection is well, but no confirm came in time.
    Silence,
    /// No time is left.
    Deadline,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>, jobs: mpsc::UnboundedSender<Job>) -> Self {
        let window = shared.config.window.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            shared,
            jobs,
            window: Arc::new(Semaphore::new(window)),
        }
    }

    /// Publishes `message` to `to` and returns when the broker confirmed it.
    ///
    /// What is refused with a nack, lost with its connection, or not confirmed in time is published again until `deadline`
    /// passes: as it is, but for the header [`headers::AGAIN`] where it goes to lanes, whose senders then ask the record
    /// before they send it. Dropping the future does not take a message back.
    ///
    /// # Errors
    /// When no queue takes it although `to` says that one must; when the exchange does not exist or may not be written
    /// to; when a property is too long; when `deadline` passed without a confirm; when the process stops.
    pub async fn publish(
        &self,
        to: &Route<'_>,
        mut message: Outgoing,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let Ok(permit) = timeout_at(deadline, self.window.acquire()).await else {
            return Err(self.unconfirmed("too many publishes wait for their confirms"));
        };
        let _permit = permit.map_err(|_| PublishError::Stopped)?;
        let mut healed = false;
        let mut pause = AFTER_NACK;
        let mut last = "the broker has not answered";
        loop {
            let (reply, answer) = oneshot::channel();
            let job = job(to, &message, reply)?;
            self.jobs.send(job).map_err(|_| PublishError::Stopped)?;
            nuncio_failpoints::hit!("publisher::sent");
            match self.wait(answer, deadline).await {
                Heard::Answer(Answer::Confirmed) => {
                    nuncio_failpoints::hit!("publisher::confirmed");
                    self.shared.meters.confirmed.increment(1);
                    return Ok(());
                }
                Heard::Answer(Answer::Returned) => {
                    self.shared.meters.returned.increment(1);
                    // These have a queue each: it, or the way to it, is gone.
                    if !healed && self.shared.names.has_own_queue(to.exchange) && self.heal(to).await {
                        healed = true;
                        continue;
                    }
                    return Err(PublishError::Unroutable {
                        exchange: to.exchange.to_owned(),
                        routing_key: to.routing_key.to_owned(),
                    });
                }
                Heard::Answer(Answer::Nacked) => {
                    last = "the broker refuses the message for now";
                    self.shared.meters.nacked.increment(1);
                    self.pause(pause, deadline).await;
                    pause = (pause * 2).min(AFTER_NACK_MAX);
                }
                Heard::Answer(Answer::Lost(error)) => {
                    self.shared.meters.lost.increment(1);
                    last = "the connection was lost";
                    match blame(&error, to) {
                        Some(PublishError::NoExchange { .. }) if !healed && self.heal(to).await => {
                            healed = true
                        }
                        Some(error) => return Err(error),
                        None => self.pause(AFTER_LOSS, deadline).await,
                    }
                }
                Heard::Nothing => {
                    self.shared.meters.lost.increment(1);
                    last = "the connection was lost";
                }
                Heard::Silence => {
                    last = "the broker did not confirm in time";
                    self.shared.meters.timed_out.increment(1);
                }
                Heard::Deadline => {
                    self.shared.meters.failed.increment(1);
                    return Err(self.unconfirmed(last));
                }
            }
            if Instant::now() >= deadline {
                self.shared.meters.failed.increment(1);
                return Err(self.unconfirmed(last));
            }
            if to.exchange == self.shared.names.deliveries() {
                message.properties.put_int(headers::AGAIN, 1);
            }
        }
    }

    async fn wait(&self, mut answer: oneshot::Receiver<Answer>, deadline: Instant) -> Heard {
        loop {
            let patience = Instant::now() + self.shared.config.confirm_timeout;
            match timeout_at(patience.min(deadline), &mut answer).await {
                Ok(Ok(answer)) => return Heard::Answer(answer),
                Ok(Err(_)) => return Heard::Nothing,
                Err(_) if patience >= deadline => return Heard::Deadline,
                // A blocked broker still takes what was written once it is no longer blocked, and what waits for a
                // connection is written when there is one: another copy would only make a duplicate.
                Err(_) if self.shared.states.borrow().publishing != LinkState::Connected => {}
                Err(_) => return Heard::Silence,
            }
        }
    }

    async fn pause(&self, pause: Duration, deadline: Instant) {
        tokio::time::sleep_until((Instant::now() + pause).min(deadline)).await;
    }

    /// Declares what is missing, where that is Nuncio's and may be declared.
    async fn heal(&self, to: &Route<'_>) -> bool {
        if !self.shared.config.declare {
            return false;
        }
        // Boxed, because it is large and hardly ever needed.
        match Box::pin(self.shared.redeclare(to.exchange)).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, exchange = to.exchange, "a missing exchange could not be declared again");
                false
            }
        }
    }

    fn unconfirmed(&self, problem: &str) -> PublishError {
        let state = self.shared.states.borrow();
        PublishError::Unconfirmed {
            problem: match &state.publishing {
                LinkState::Connected | LinkState::Idle => problem.to_owned(),
                LinkState::Blocked { reason } => format!("blocked by RabbitMQ: {reason}"),
                LinkState::Connecting { last_error } => {
                    format!("not connected: {}", last_error.as_deref().unwrap_or("connecting"))
                }
            },
        }
    }
}

fn job(to: &Route<'_>, message: &Outgoing, reply: oneshot::Sender<Answer>) -> Result<Job, PublishError> {
    Ok(Job {
        exchange: short("the exchange's name", to.exchange)?,
        routing_key: short("the routing key", to.routing_key)?,
        properties: to_amqp(&message.properties, to.bcc, message.persistent)?,
        body: message.body.clone(),
        mandatory: to.mandatory,
        reply,
    })
}

/// Whether it was this publish that broke the channel. All that were on their way see the same error.
fn blame(error: &lapin::Error, to: &Route<'_>) -> Option<PublishError> {
    let names = |text: &str| text.contains(&format!("'{}'", to.exchange));
    match refusal(error) {
        Refusal::NotFound(text) if names(&text) => Some(PublishError::NoExchange {
            exchange: to.exchange.to_owned(),
        }),
        // With topic permissions the key matters too: "access to topic 'app.type' in exchange 'x' … refused".
        Refusal::Access(text)
            if names(&text)
                && (!text.contains("topic '") || text.contains(&format!("topic '{}'", to.routing_key))) =>
        {
            Some(PublishError::Refused {
                exchange: to.exchange.to_owned(),
                reason: text,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::ErrorKind;
    use lapin::protocol::{AMQPError, AMQPSoftError};

    use super::*;

    fn soft(kind: AMQPSoftError, text: &str) -> lapin::Error {
        ErrorKind::ProtocolError(AMQPError::new(kind.into(), text.into())).into()
    }

    #[test]
    fn only_the_publish_that_broke_the_channel_is_blamed() {
        let missing = soft(
            AMQPSoftError::NOTFOUND,
            "NOT_FOUND - no exchange 'a' in vhost '/'",
        );
        assert!(matches!(
            blame(&missing, &Route::to("a", "k")),
            Some(PublishError::NoExchange { .. })
        ));
        assert!(blame(&missing, &Route::to("b", "k")).is_none());
        let topic = soft(
            AMQPSoftError::ACCESSREFUSED,
            "ACCESS_REFUSED - write access to topic 'app_2.x' in exchange 'a' in vhost '/' refused for user 'u'",
        );
        assert!(matches!(
            blame(&topic, &Route::to("a", "app_2.x")),
            Some(PublishError::Refused { .. })
        ));
        assert!(blame(&topic, &Route::to("a", "app_1.x")).is_none());
        let gone: lapin::Error = ErrorKind::MissingHeartbeatError.into();
        assert!(blame(&gone, &Route::to("a", "k")).is_none());
    }
}

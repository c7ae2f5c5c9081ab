//! Consuming: a subscription that comes back.
//!
//! Owns subscribing, and subscribing again after whatever ended the subscription. Guarantees that what was received
//! but not handed out returns to its queue at once when a consumer goes, and is not handed out when its channel is gone.
//! Refuses to know what messages mean.

mod channels;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(crate) use channels::{ConsumeChannels, Seat};

use crate::acker::{Acker, Settle};
use crate::broker::Shared;
use crate::convert::from_amqp;
use crate::error::{AmqpError, BrokerError};
use crate::link::{Session, chain};
use crate::message::Received;
use crate::names::Queue;
use crate::reconnect::Reconnect;

/// How long subscribing or unsubscribing may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a queue that was deleted under a consumer stays deleted, so that whoever deleted it can say so first.
const GRACE: Duration = Duration::from_secs(1);

/// What to do when the queue to consume does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Declare it, as Nuncio declares it.
    Declare,
    /// Wait until it exists.
    Wait,
}

/// How to consume.
#[derive(Debug, Clone, Copy)]
pub struct ConsumeOptions {
    /// Messages handed out without being settled, at most.
    pub prefetch: u16,
    /// What to do when the queue does not exist, also when it is deleted later.
    pub on_missing: OnMissing,
}

/// The messages of one queue, as long as anybody listens.
pub struct Consumer {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    options: ConsumeOptions,
    state: State,
}

enum State {
    Subscribing(oneshot::Receiver<Subscription>),
    Subscribed(Subscription),
    Ended,
}

/// A subscription on one channel.
struct Subscription {
    deliveries: lapin::Consumer,
    seat: Seat,
    settle: Settle,
}

impl Consumer {
    pub(crate) fn new(shared: Arc<Shared>, queue: Queue, options: ConsumeOptions) -> Self {
        let queue = Arc::new(queue);
        let state = State::Subscribing(subscribing(&shared, &queue, options, Duration::ZERO));
        Self {
            shared,
            queue,
            options,
            state,
        }
    }

    /// The next message; nothing only after the process was told to stop. Safe to cancel.
    ///
    /// Whatever ends the subscription, it is made anew; what was received before it ended comes again.
    pub async fn recv(&mut self) -> Option<Received> {
        loop {
            match &mut self.state {
                State::Subscribing(subscription) => {
                    self.state = match subscription.await {
                        Ok(subscription) => State::Subscribed(subscription),
                        Err(_) => State::Ended,
                    };
                }
                State::Subscribed(subscription) => {
                    match subscription.deliveries.next().await {
                        // It was read from a channel that is gone, and is in its queue again: whoever works on it now does
                        // so beside its next consumer.
                        Some(Ok(_)) if !subscription.seat.is_open() => {}
                        Some(Ok(delivery)) => return Some(received(delivery, &subscription.settle)),
                        Some(Err(_)) => {}
                        // Without an error and on a channel that is up, the queue was deleted.
                        None => {
                            let deleted = subscription.seat.is_open();
                            let grace = if deleted { GRACE } else { Duration::ZERO };
                            let again = subscribing(&self.shared, &self.queue, self.options, grace);
                            self.state = State::Subscribing(again);
                        }
                    }
                }
                State::Ended => return None,
            }
        }
    }

    /// Stops consuming. What was received and not handed out returns to the queue before this returns.
    pub async fn cancel(mut self) {
        if let State::Subscribed(subscription) = std::mem::replace(&mut self.state, State::Ended) {
            retire(subscription).await;
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let State::Subscribed(subscription) = std::mem::replace(&mut self.state, State::Ended) {
            self.shared.spawn(retire(subscription));
        }
    }
}

fn received(delivery: Delivery, settle: &Settle) -> Received {
    let properties = from_amqp(&delivery.properties);
    Received {
        body: Bytes::from(delivery.data),
        properties,
        exchange: delivery.exchange.into(),
        routing_key: delivery.routing_key.into(),
        redelivered: delivery.redelivered,
        acker: Acker::new(settle.clone(), delivery.delivery_tag),
    }
}

/// Starts to subscribe; the task ends when it has, or when the process stops.
fn subscribing(
    shared: &Arc<Shared>,
    queue: &Arc<Queue>,
    options: ConsumeOptions,
    grace: Duration,
) -> oneshot::Receiver<Subscription> {
    let (here, there) = oneshot::channel();
    let (shared, queue, spawner) = (shared.clone(), queue.clone(), shared.clone());
    spawner.spawn(async move {
        let mut wanted = here;
        if let Some(subscription) = subscribe(&shared, &queue, options, grace, &mut wanted).await
            && let Err(unwanted) = wanted.send(subscription)
        {
            retire(unwanted).await;
        }
    });
    there
}

/// Subscribes as soon as that is possible; nothing once nobody wants it any more, or the process stops.
///
/// Only waiting is given up at once. A request under way is not: its answer would make a subscription that nobody
/// reads, and messages stuck in it.
async fn subscribe(
    shared: &Arc<Shared>,
    queue: &Queue,
    options: ConsumeOptions,
    grace: Duration,
    wanted: &mut oneshot::Sender<Subscription>,
) -> Option<Subscription> {
    let name = shared.names.queue(queue);
    let mut retry = Reconnect::new();
    let mut tries = 0_u32;
    let mut pause = grace;
    loop {
        let session = tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = wanted.closed() => return None,
            session = async {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                shared.consuming().await
            } => session?,
        };
        let _turn = tokio::select! {
            () = session.over.cancelled() => continue,
            () = wanted.closed() => return None,
            turn = session.channels.turn() => turn,
        };
        let subscribed = tokio::select! {
            () = session.over.cancelled() => continue,
            subscribed = subscribe_on(shared, &session, queue, &name, options) => subscribed,
        };
        let error = match subscribed {
            Ok(subscription) => return Some(subscription),
            Err(error) => error,
        };
        tries += 1;
        // One lost connection ends thousands of subscriptions: the link says so once.
        if !error.is_transient() && (tries <= 1 || tries.is_multiple_of(20)) {
            tracing::warn!(queue = %name, problem = chain(&error), "cannot consume");
        }
        pause = retry.next_delay();
    }
}

async fn subscribe_on(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    queue: &Queue,
    name: &str,
    options: ConsumeOptions,
) -> Result<Subscription, BrokerError> {
    let attempt = || format!("consuming {name}");
    // First: to consume a missing queue closes the channel, under all its consumers.
    shared.ensure(session, queue, options.on_missing).await?;
    let seat = session.channels.seat(shared, session, options.prefetch).await?;
    let tag = format!("c{}", shared.consumer_number());
    let consuming = seat.channel.channel.basic_consume(
        ShortString::from(name),
        ShortString::from(tag),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    match timeout(DEADLINE, consuming).await {
        Ok(Ok(deliveries)) => Ok(Subscription {
            deliveries,
            settle: seat.channel.settle.clone(),
            seat,
        }),
        Ok(Err(error)) if error.is_amqp_soft_error() => Err(BrokerError::from_amqp(attempt(), name, error)),
        Ok(Err(error)) => Err(BrokerError::Failed {
            attempt: attempt(),
            source: AmqpError(error),
        }),
        Err(_) => {
            // An answer that comes late would make a subscription that nobody reads: it goes with its channel.
            let closing = seat.channel.channel.close(200, ShortString::from("no answer"));
            drop(timeout(DEADLINE, closing).await);
            Err(BrokerError::TimedOut {
                attempt: attempt(),
                waited: DEADLINE,
            })
        }
    }
}

/// Unsubscribes, and returns what arrived in the meantime to the queue.
async fn retire(subscription: Subscription) {
    let Subscription {
        mut deliveries,
        seat,
        settle,
    } = subscription;
    let retired = timeout(DEADLINE, async {
        let cancel = seat
            .channel
            .channel
            .basic_cancel(deliveries.tag(), BasicCancelOptions::default());
        if let Err(error) = cancel.await {
            tracing::debug!(%error, "the subscription ended with its channel");
            return;
        }
        while let Some(Ok(delivery)) = deliveries.next().await {
            drop(Acker::new(settle.clone(), delivery.delivery_tag));
        }
    });
    if retired.await.is_err() {
        tracing::warn!("unsubscribing got no answer from RabbitMQ; its messages return with the connection");
    }
}

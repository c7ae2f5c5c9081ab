//! Declares every exchange and queue.
//!
//! Owns the order of declaring; what is declared is `plan`'s. Guarantees that declaring
//! again changes nothing, and that nothing can be dead-lettered before the exchange that catches the lost exists.
//! Refuses to know when to declare.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use nuncio_domain::EndpointId;

use crate::config::EndpointQueueType;
use crate::error::BrokerError;
use crate::link::Session;
use crate::names::Names;
use crate::plan::{self, QueuePlan, quorum};

/// The arguments in which classic and quorum lanes differ.
const LANE_TYPE_ARGUMENTS: [&str; 4] = [
    "'x-queue-type'",
    "'x-delivery-limit'",
    "'x-dead-letter-exchange'",
    "'x-dead-letter-routing-key'",
];
/// Rungs declared at the same time.
const RUNGS_AT_ONCE: usize = 8;

/// Declares everything but lanes.
pub(crate) async fn declare(session: &Session, names: &Names, rungs: &[Duration]) -> Result<(), BrokerError> {
    // What catches the lost comes first: a rung whose target is missing would stop for good.
    exchange(
        session,
        names.unroutable(),
        ExchangeKind::Fanout,
        FieldTable::default(),
    )
    .await?;
    queue(session, names.set_aside(), quorum(None)).await?;
    queue(session, names.unroutable(), quorum(Some(names))).await?;
    bind(session, names.unroutable(), names.unroutable(), "").await?;
    let catching = plan::deliveries(names);
    exchange(session, names.deliveries(), ExchangeKind::Direct, catching).await?;
    queue(session, names.ingest(), quorum(Some(names))).await?;
    queue(session, names.overflow(), quorum(Some(names))).await?;
    events(session, names).await?;
    exchange(
        session,
        names.operations(),
        ExchangeKind::Topic,
        FieldTable::default(),
    )
    .await?;
    for some in rungs.chunks(RUNGS_AT_ONCE) {
        try_join_all(some.iter().map(|delay| declare_rung(session, names, *delay))).await?;
    }
    Ok(())
}

/// Declares the rung of `delay`, unless that was done on this connection.
pub(crate) async fn declare_rung(
    session: &Session,
    names: &Names,
    delay: Duration,
) -> Result<(), BrokerError> {
    let millis = delay.as_millis();
    let declared = || {
        session
            .rungs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    if declared().contains(&millis) {
        return Ok(());
    }
    let name = names.rung(delay);
    exchange(session, &name, ExchangeKind::Fanout, FieldTable::default()).await?;
    queue(session, &name, plan::rung(names, delay)).await?;
    bind(session, &name, &name, "").await?;
    declared().insert(millis);
    Ok(())
}

/// Declares a rung that was found missing, whatever is remembered of it.
pub(crate) async fn redeclare_rung(
    session: &Session,
    names: &Names,
    delay: Duration,
) -> Result<(), BrokerError> {
    session
        .rungs
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .remove(&delay.as_millis());
    declare_rung(session, names, delay).await
}

/// Declares the lane of `endpoint`. A lane that exists as another type than the one configured is kept as it is: the
/// type is for new lanes.
pub(crate) async fn declare_endpoint(
    session: &Session,
    names: &Names,
    kind: EndpointQueueType,
    endpoint: &EndpointId,
) -> Result<(), BrokerError> {
    let QueuePlan { name, arguments } = plan::lane(names, kind, endpoint);
    let (name, key) = (short(&name)?, short(endpoint.as_str())?);
    let deliveries = short(names.deliveries())?;
    let objects = [name.as_str(), deliveries.as_str()];
    let declaring = |arguments: FieldTable, passive: bool| {
        let (name, key, deliveries) = (name.clone(), key.clone(), deliveries.clone());
        let operation = move |channel: Arc<Channel>| {
            let (name, key, deliveries) = (name.clone(), key.clone(), deliveries.clone());
            let arguments = arguments.clone();
            async move {
                let options = QueueDeclareOptions {
                    passive,
                    durable: true,
                    ..QueueDeclareOptions::default()
                };
                let declare = channel.queue_declare(name.clone(), options, arguments);
                let bind = channel.queue_bind(
                    name,
                    deliveries,
                    key,
                    QueueBindOptions::default(),
                    FieldTable::default(),
                );
                // Both are on their way before the first is answered; the channel keeps their order.
                futures_util::future::try_join(declare, bind).await.map(|_| ())
            }
        };
        session
            .desk
            .perform(session, "declaring a lane", &objects, operation)
    };
    match declaring(arguments, false).await {
        Err(BrokerError::Mismatch { difference, .. })
            if LANE_TYPE_ARGUMENTS.iter().any(|name| difference.contains(name)) =>
        {
            declaring(FieldTable::default(), true).await
        }
        declared => declared,
    }
}

/// Declares the queue whose absence later tells that the broker lost its data.
pub(crate) async fn declare_mark(session: &Session, names: &Names, mark: &str) -> Result<(), BrokerError> {
    queue(session, &names.mark(mark), quorum(None)).await
}

/// Declares the stream that configuration is told in.
pub(crate) async fn declare_journal(session: &Session, names: &Names) -> Result<(), BrokerError> {
    queue(session, names.journal(), plan::journal()).await
}

/// Deletes the lane of `endpoint` with what is in it. It may be gone already.
pub(crate) async fn delete_endpoint(
    session: &Session,
    names: &Names,
    endpoint: &EndpointId,
) -> Result<(), BrokerError> {
    let name = names.endpoint_queue(endpoint);
    let queue = short(&name)?;
    let objects = [name.as_str()];
    let deleting = session
        .desk
        .perform(session, "deleting a lane", &objects, |channel| {
            let queue = queue.clone();
            async move { channel.queue_delete(queue, QueueDeleteOptions::default()).await }
        });
    match deleting.await {
        Ok(_) | Err(BrokerError::Missing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn short(name: &str) -> Result<ShortString, BrokerError> {
    ShortString::try_new(name).map_err(|_| BrokerError::Mismatch {
        object: name.to_owned(),
        difference: "its name is longer than the 255 bytes that AMQP allows".to_owned(),
    })
}

async fn exchange(
    session: &Session,
    name: &str,
    kind: ExchangeKind,
    arguments: FieldTable,
) -> Result<(), BrokerError> {
    let exchange = short(name)?;
    let objects = [name];
    let declaring = session
        .desk
        .perform(session, "declaring an exchange", &objects, |channel| {
            let (exchange, kind, arguments) = (exchange.clone(), kind.clone(), arguments.clone());
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            async move { channel.exchange_declare(exchange, kind, options, arguments).await }
        });
    declaring.await
}

/// Declares the exchange of events and its way to the queue of events in one go: what is published between the two and is
/// not mandatory is dropped, so that there is no round trip between them.
async fn events(session: &Session, names: &Names) -> Result<(), BrokerError> {
    let (exchange, queue) = (short(names.events())?, short(names.ingest())?);
    let objects = [names.events(), names.ingest()];
    let operation = move |channel: Arc<Channel>| {
        let (exchange, queue) = (exchange.clone(), queue.clone());
        async move {
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let none = FieldTable::default;
            let declare = channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, none());
            let bind = channel.queue_bind(queue, exchange, "#".into(), QueueBindOptions::default(), none());
            // Both are on their way before the first is answered; the channel keeps their order.
            futures_util::future::try_join(declare, bind).await.map(|_| ())
        }
    };
    session
        .desk
        .perform(session, "declaring the exchange of events", &objects, operation)
        .await
}

async fn queue(session: &Session, name: &str, arguments: FieldTable) -> Result<(), BrokerError> {
    let queue = short(name)?;
    let objects = [name];
    let declaring = session
        .desk
        .perform(session, "declaring a queue", &objects, |channel| {
            let (queue, arguments) = (queue.clone(), arguments.clone());
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            async move { channel.queue_declare(queue, options, arguments).await.map(|_| ()) }
        });
    declaring.await
}

async fn bind(session: &Session, queue: &str, exchange: &str, key: &str) -> Result<(), BrokerError> {
    let (to, from, key) = (short(queue)?, short(exchange)?, short(key)?);
    let objects = [queue, exchange];
    let binding = session
        .desk
        .perform(session, "binding a queue", &objects, |channel| {
            let (to, from, key) = (to.clone(), from.clone(), key.clone());
            async move {
                channel
                    .queue_bind(to, from, key, QueueBindOptions::default(), FieldTable::default())
                    .await
            }
        });
    binding.await
}

//! How full the namespace's own queues are, as metrics, asked by every process that serves the API.
//!
//! Owns how often they are asked. Refuses to know the lanes of endpoints, which senders watch, and judges nothing: right
//! after a restart of RabbitMQ a queue may read as empty.

use std::time::Duration;

use nuncio_broker::Broker;
use nuncio_runtime::Lifecycle;
use nuncio_runtime::lifecycle::chain;
use tokio::time::MissedTickBehavior;

/// How often the queues are asked.
const EVERY: Duration = Duration::from_secs(15);

/// Asks until the process stops.
pub(super) fn watch(broker: Broker, rungs: Vec<Duration>, life: &Lifecycle) {
    let soft = life.soft.clone();
    life.tracker.spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = soft.cancelled() => return,
                asked = ask(&broker, &rungs) => if let Err(error) = asked {
                    tracing::debug!(error = chain(&error), "cannot tell how full the queues are");
                }
            }
        }
    });
}

async fn ask(broker: &Broker, rungs: &[Duration]) -> Result<(), nuncio_broker::BrokerError> {
    let names = broker.names();
    let queues = [
        ("ingest", names.ingest()),
        ("overflow", names.overflow()),
        ("set-aside", names.set_aside()),
        ("unroutable", names.unroutable()),
    ];
    for (label, queue) in queues {
        if let Some(depth) = broker.depth(queue).await? {
            metrics::gauge!("nuncio_queue_messages", "queue" => label).set(f64::from(depth.messages));
            metrics::gauge!("nuncio_queue_consumers", "queue" => label).set(f64::from(depth.consumers));
        }
    }
    for rung in rungs {
        if let Some(depth) = broker.depth(&names.rung(*rung)).await? {
            let delay = rung.as_secs_f64().to_string();
            metrics::gauge!("nuncio_retry_rung_messages", "delay_seconds" => delay)
                .set(f64::from(depth.messages));
        }
    }
    Ok(())
}

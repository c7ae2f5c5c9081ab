//! How fast one process publishes and consumes, and what that costs it.
//!
//! `cargo run --release -p nuncio-broker --example throughput -- amqp://guest:guest@127.0.0.1:5672/%2f 200000`

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use nuncio_broker::{Broker, BrokerConfig, ConsumeOptions, OnMissing, Outgoing, Queue, Route};
use nuncio_domain::EndpointId;
use nuncio_wire::Properties;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const AT_ONCE: usize = 2_000;
const BODY_BYTES: usize = 300;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("name RabbitMQ's address")?;
    let count: usize = arguments.next().context("name a number of messages")?.parse()?;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let config = BrokerConfig::new(vec![url], "throughput", "throughput");
    let broker = Broker::start(config, &tracker, stop.clone())?;
    broker.wait_ready(Duration::from_secs(30)).await?;
    let lane = EndpointId::parse("ep_throughput")?;
    broker.declare_endpoint(&lane).await?;

    for mandatory in [false, true] {
        let meter = Meter::start();
        let publisher = broker.publisher();
        stream::iter(0..count)
            .map(|number| {
                let (publisher, lane, broker) = (&publisher, &lane, &broker);
                async move {
                    let route = Route {
                        mandatory,
                        ..Route::to(broker.names().deliveries(), lane.as_str())
                    };
                    let mut properties = Properties {
                        message_id: Some(format!("msg_{number:027}")),
                        kind: Some("sync.user".to_owned()),
                        app_id: Some("app_throughput".to_owned()),
                        ..Properties::default()
                    };
                    properties.put_int("nuncio-attempt", 1);
                    properties.put_int("nuncio-created", 1_700_000_000_000);
                    let deadline = Instant::now() + Duration::from_secs(60);
                    let message = Outgoing::persistent(properties, vec![b'x'; BODY_BYTES]);
                    publisher.publish(&route, message, deadline).await
                }
            })
            .buffer_unordered(AT_ONCE)
            .for_each(|published| async move {
                if let Err(error) = published {
                    eprintln!("{error}");
                }
            })
            .await;
        meter.stop(
            if mandatory {
                "publish, mandatory"
            } else {
                "publish"
            },
            count,
        );
    }

    let options = ConsumeOptions {
        prefetch: 1_000,
        on_missing: OnMissing::Wait,
    };
    let meter = Meter::start();
    let mut consumer = broker.consume(Queue::Endpoint(lane.clone()), options);
    for _ in 0..count {
        consumer.recv().await.context("stopped")?.acker.ack();
    }
    meter.stop("consume and acknowledge, in order", count);
    let meter = Meter::start();
    let mut held = Vec::with_capacity(100);
    for _ in 0..count {
        held.push(consumer.recv().await.context("stopped")?.acker);
        if held.len() == 100 {
            // As senders do: one is slow, the rest overtake it.
            held.drain(1..).for_each(nuncio_broker::Acker::ack);
        }
    }
    held.drain(..).for_each(nuncio_broker::Acker::ack);
    meter.stop("consume and acknowledge, out of order", count);
    consumer.cancel().await;
    broker.delete_endpoint(&lane).await?;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(())
}

struct Meter {
    begun: Instant,
    ticks: u64,
}

impl Meter {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            ticks: ticks(),
        }
    }

    fn stop(self, what: &str, count: usize) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let processor = (ticks() - self.ticks) as f64 * 10_000.0 / count as f64;
        eprintln!(
            "{what}: {:.0}/s, {processor:.1} µs of processor each",
            count as f64 / seconds
        );
    }
}

/// Processor time of this process so far, in hundredths of a second.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let mut fields = after_name.split(' ').skip(11);
    let mut field = || {
        fields
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    field() + field()
}

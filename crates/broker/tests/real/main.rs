//! The broker crate on real RabbitMQ nodes: what it promises, under what goes wrong.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod consuming;
mod faults;
mod ladder;
mod publishing;
mod refusals;
mod scale;
mod topology;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nuncio_broker::{
    Broker, BrokerConfig, ConsumeOptions, Consumer, OnMissing, Outgoing, PublishError, Queue, Received, Route,
};
use nuncio_domain::EndpointId;
use nuncio_wire::Properties;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// As long as anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address of a node that tests share and do not harm.
async fn shared_url() -> String {
    static NODE: OnceCell<Option<e2e::Broker>> = OnceCell::const_new();
    if let Ok(url) = std::env::var("NUNCIO_TEST_AMQP_URL") {
        return url;
    }
    let node = NODE
        .get_or_init(|| async { Some(e2e::Broker::start().await.unwrap()) })
        .await;
    node.as_ref().unwrap().url().to_owned()
}

/// The crate under test, connected in a namespace of its own.
struct Rig {
    broker: Broker,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{number}", std::process::id())
}

fn config(url: &str) -> BrokerConfig {
    let mut config = BrokerConfig::new(vec![url.to_owned()], namespace(), "test");
    config.heartbeat = Duration::from_secs(2);
    config.confirm_timeout = Duration::from_secs(3);
    config
}

impl Rig {
    async fn start(config: BrokerConfig) -> Self {
        let rig = Self::connecting(config);
        rig.broker.wait_ready(PATIENCE).await.unwrap();
        rig
    }

    fn connecting(config: BrokerConfig) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let broker = Broker::start(config, &tracker, stop.clone()).unwrap();
        Self {
            broker,
            stop,
            tracker,
        }
    }

    /// On the shared node.
    async fn shared() -> Self {
        Self::start(config(&shared_url().await)).await
    }

    async fn lane(&self, number: usize) -> EndpointId {
        let endpoint = endpoint(number);
        self.broker.declare_endpoint(&endpoint).await.unwrap();
        endpoint
    }

    fn consume(&self, endpoint: &EndpointId, prefetch: u16) -> Consumer {
        let options = ConsumeOptions {
            prefetch,
            on_missing: OnMissing::Declare,
        };
        self.broker.consume(Queue::Endpoint(endpoint.clone()), options)
    }

    async fn publish(&self, route: &Route<'_>, id: &str) -> Result<(), PublishError> {
        let deadline = Instant::now() + PATIENCE;
        self.broker
            .publisher()
            .publish(route, message(id), deadline)
            .await
    }

    async fn deliver(&self, endpoint: &EndpointId, id: &str) {
        let route = Route::to(self.broker.names().deliveries(), endpoint.as_str());
        self.publish(&route, id).await.unwrap();
    }

    async fn depth(&self, queue: &str) -> Option<u32> {
        self.broker
            .depth(queue)
            .await
            .unwrap()
            .map(|depth| depth.messages)
    }

    /// Polls until somebody consumes a lane.
    async fn wait_consumed(&self, endpoint: &EndpointId) {
        let queue = self.broker.names().endpoint_queue(endpoint);
        while self
            .broker
            .depth(&queue)
            .await
            .unwrap()
            .is_none_or(|depth| depth.consumers == 0)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Polls until a queue holds so many messages.
    async fn wait_depth(&self, queue: &str, wanted: u32) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let depth = self.depth(queue).await;
            if depth == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{queue} holds {depth:?}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        timeout(PATIENCE, self.tracker.wait()).await.unwrap();
    }
}

fn endpoint(number: usize) -> EndpointId {
    EndpointId::parse(&format!("ep_{number}")).unwrap()
}

fn message(id: &str) -> Outgoing {
    let properties = Properties {
        message_id: Some(id.to_owned()),
        ..Properties::default()
    };
    Outgoing::persistent(properties, id.to_owned().into_bytes())
}

async fn next(consumer: &mut Consumer) -> Received {
    timeout(PATIENCE, consumer.recv())
        .await
        .expect("in time")
        .expect("not stopped")
}

fn id(received: &Received) -> String {
    received.properties.message_id.clone().unwrap()
}

/// A connection of an outsider.
async fn outsider(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

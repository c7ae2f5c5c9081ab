//! The stage on which tests of deliveries play: one deployment with one process of all roles, one app, one receiver.
//!
//! Owns what every such test would set up by itself, and the rules of waiting: until something happens, with an end, or
//! for a span in which nothing may. Refuses to know what is being tested.

use std::time::Duration;

use e2e::{ApiClient, Deployment, Event, Nuncio, Publisher, Received, Receiver, publisher::Taken};
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The delays between the four attempts of a [`Deployment`]'s own ladder, without jitter.
pub(crate) const LADDER: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// In which a whole ladder of a [`Deployment`] with its jitter has passed, and a busy machine has caught up.
pub(crate) const QUIET: Duration = Duration::from_millis(3_500);

/// A queue that collects operational events; see [`Operations`].
const OPERATIONS_QUEUE: &str = "seen-operations";

/// Everything that a test of deliveries needs.
pub(crate) struct Stage {
    pub(crate) deployment: Deployment,
    pub(crate) nuncio: Nuncio,
    pub(crate) api: ApiClient,
    pub(crate) publisher: Publisher,
    pub(crate) receiver: Receiver,
    pub(crate) app: String,
}

impl Stage {
    /// On the servers that tests share, with these settings.
    pub(crate) async fn set(settings: &[(&str, &str)]) -> Self {
        let shared = Deployment::shared()
            .await
            .expect("a deployment on the shared servers");
        let deployment = settings
            .iter()
            .fold(shared, |deployment, (key, value)| deployment.with(key, value));
        Self::on(deployment).await
    }

    /// In this deployment.
    pub(crate) async fn on(deployment: Deployment) -> Self {
        let nuncio = deployment.start("all").await.expect("a process of all roles");
        let api = nuncio.client().await.expect("a client of the API");
        let publisher = deployment.publisher().await.expect("a publisher");
        let receiver = Receiver::start().await.expect("a receiver");
        let app = api.create_app("Acme").await.expect("an app");
        Self {
            deployment,
            nuncio,
            api,
            publisher,
            receiver,
            app,
        }
    }

    /// An endpoint of the stage's app for all event types, at this path of the stage's receiver.
    pub(crate) async fn endpoint(&self, path: &str) -> String {
        let created = self
            .api
            .create_endpoint(&self.app, &self.receiver.url(path))
            .await;
        created.expect("an endpoint")
    }

    /// The signing secret of an endpoint of the stage's app.
    pub(crate) async fn secret(&self, endpoint: &str) -> String {
        self.api
            .endpoint_secret(&self.app, endpoint)
            .await
            .expect("an endpoint has a secret")
    }

    /// Publishes `sync.user` with [`user`]`(n)` to the stage's app.
    pub(crate) async fn publish_user(&self, n: usize) {
        let event = Event::new(&self.app, "sync.user", user(n));
        self.publisher.publish(&event).await.expect("the broker confirms");
    }

    /// Collects operational events from now on.
    pub(crate) async fn operations(&self) -> Operations<'_> {
        Operations::follow(&self.publisher, self.deployment.namespace()).await
    }
}

/// The body of a `sync.user` event, exactly as the first user of the product publishes it.
pub(crate) fn user(n: usize) -> String {
    format!(r#"{{"type":"sync.user","userId":"user_{n}"}}"#)
}

/// Holds `check` against the world for `span`, and panics as soon as it fails: for "and nothing more arrives".
pub(crate) async fn stays(what: &str, span: Duration, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + span;
    loop {
        assert!(check(), "no longer true: {what}");
        if Instant::now() >= end {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Panics unless each request came at least the delay before it after the last one, was signed anew under the same id,
/// and bore the same body.
pub(crate) fn assert_retries(requests: &[Received], delays: &[Duration]) {
    for (nth, pair) in requests.windows(2).enumerate() {
        let gap = pair[1].at - pair[0].at;
        let delay = delays[nth.min(delays.len() - 1)];
        assert!(
            gap >= delay,
            "attempt {} came {gap:?} after the last, which is early: {delay:?}",
            nth + 2
        );
        assert_eq!(
            pair[0].id(),
            pair[1].id(),
            "a retry has the id of the first attempt"
        );
        assert_eq!(
            pair[0].body, pair[1].body,
            "a retry has the body of the first attempt"
        );
        assert!(
            seconds(&pair[1]) >= seconds(&pair[0]),
            "a retry is signed at its own time"
        );
    }
}

/// The `webhook-timestamp`.
pub(crate) fn seconds(request: &Received) -> i64 {
    request
        .header("webhook-timestamp")
        .parse()
        .expect("the timestamp is a number of seconds")
}

/// The operational events of one namespace since [`Stage::operations`].
pub(crate) struct Operations<'stage> {
    publisher: &'stage Publisher,
    seen: Vec<(String, Value)>,
}

impl<'stage> Operations<'stage> {
    /// Binds a queue to `<ns>.operations` for all events.
    pub(crate) async fn follow(publisher: &'stage Publisher, namespace: &str) -> Self {
        let queue = format!("{namespace}.{OPERATIONS_QUEUE}");
        let exchange = format!("{namespace}.operations");
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let channel = publisher.channel();
        let declared = channel
            .queue_declare(queue.as_str().into(), durable, FieldTable::default())
            .await;
        declared.expect("a queue for operational events");
        let bind = QueueBindOptions::default();
        let bound = channel
            .queue_bind(
                queue.as_str().into(),
                exchange.as_str().into(),
                "#".into(),
                bind,
                FieldTable::default(),
            )
            .await;
        bound.expect("the exchange of operational events exists");
        Self {
            publisher,
            seen: Vec::new(),
        }
    }

    /// The bodies of all events of this type so far, in order; each says its own type.
    pub(crate) async fn of_type(&mut self, kind: &str) -> Vec<Value> {
        while let Some(taken) = self
            .publisher
            .take(OPERATIONS_QUEUE)
            .await
            .expect("the queue is there")
        {
            let Taken {
                body, routing_key, ..
            } = taken;
            let body: Value = serde_json::from_slice(&body).expect("operational events are JSON");
            assert_eq!(
                body["type"],
                routing_key.as_str(),
                "an operational event's type is its routing key"
            );
            self.seen.push((routing_key, body));
        }
        self.seen
            .iter()
            .filter(|(seen, _)| seen == kind)
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// The body of the first event of this type, waiting for it.
    pub(crate) async fn first(&mut self, kind: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            if let Some(body) = self.of_type(kind).await.first() {
                return body.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no {kind} within {within:?}, but {:?}",
                self.seen
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}

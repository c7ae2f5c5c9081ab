//! The producer: events in, confirms out.
//!
//! Owns the publishing connection of an application. Guarantees that a publish ends, in time, with success or an
//! error. Refuses to declare anything: an application needs no more than `write` on one exchange.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt, stream};
use nuncio_broker::{Broker, BrokerConfig, BrokerState, Route};
use nuncio_domain::limits::PAYLOAD_BYTES_MAX;
use nuncio_domain::{Event, MessageId, UnixMillis};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{ConnectError, PublishError};
use crate::operator::Operator;
use crate::publication::{Extras, Publication, Receipt};

/// The namespace unless another is named.
const NAMESPACE: &str = "nuncio";
/// How long an event may take from the call to its confirm, unless configured otherwise.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);
/// How long the first connection may take, unless configured otherwise.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Events of one batch on their way at the same time.
const PIPELINED: usize = 1_024;

/// Publishes events. Cheap to clone; all clones share one connection, which comes back by itself.
#[derive(Clone)]
pub struct Producer {
    broker: Broker,
    settings: Settings,
    /// Present where the producer made its own connection.
    own: Option<Arc<Own>>,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    confirm_within: Duration,
    payload_bytes_max: usize,
}

/// A connection that ends with its producer.
struct Own {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How to make a [`Producer`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ProducerBuilder {
    config: BrokerConfig,
    settings: Settings,
    connect_within: Duration,
}

impl ProducerBuilder {
    /// The namespace; `nuncio` unless set.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = namespace.into();
        self
    }

    /// A further RabbitMQ node, tried when those before it do not answer.
    pub fn or_url(mut self, url: impl Into<String>) -> Self {
        self.config.urls.push(url.into());
        self
    }

    /// How the connection is called in RabbitMQ's own listings.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.config.connection_name = name.into();
        self
    }

    /// How long an event may take to be confirmed, with all resending; 30 s unless set.
    pub fn confirm_within(mut self, patience: Duration) -> Self {
        self.settings.confirm_within = patience;
        self
    }

    /// How long the first connection may take; 30 s unless set.
    pub fn connect_within(mut self, patience: Duration) -> Self {
        self.connect_within = patience;
        self
    }

    /// Bytes that a payload may have, as the routers are configured; 256 KiB unless set.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.payload_bytes_max = bytes;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// When an address cannot be read, or RabbitMQ is not reached in time.
    pub async fn connect(self) -> Result<Producer, ConnectError> {
        let own = Own {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let broker =
            Broker::start(self.config, &own.tracker, own.stop.clone()).map_err(ConnectError::Address)?;
        broker
            .wait_ready(self.connect_within)
            .await
            .map_err(ConnectError::Unreachable)?;
        Ok(Producer {
            broker,
            settings: self.settings,
            own: Some(Arc::new(own)),
        })
    }
}

impl Producer {
    /// Connects to the RabbitMQ at `url`, `amqp://user:password@host:5672/vhost` or `amqps://…`, in the namespace
    /// `nuncio`.
    ///
    /// # Errors
    /// When the address cannot be read, or RabbitMQ is not reached within 30 s.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// For other settings.
    pub fn builder(url: impl Into<String>) -> ProducerBuilder {
        let mut config = BrokerConfig::new(vec![url.into()], NAMESPACE, "nuncio-producer");
        config.declare = false;
        ProducerBuilder {
            config,
            settings: Settings {
                confirm_within: CONFIRM_WITHIN,
                payload_bytes_max: PAYLOAD_BYTES_MAX,
            },
            connect_within: CONNECT_WITHIN,
        }
    }

    /// A producer on a connection that a process of Nuncio has already.
    #[must_use]
    pub fn on(broker: Broker, payload_bytes_max: usize, confirm_within: Duration) -> Self {
        Self {
            broker,
            settings: Settings {
                confirm_within,
                payload_bytes_max,
            },
            own: None,
        }
    }

    /// What operates queues on the same connection, for processes that may.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::on(self.broker.clone(), self.settings.confirm_within)
    }

    /// What the connection is at, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.broker.state()
    }

    /// Publishes `event` and returns when it is safe with RabbitMQ, with the id to find it by.
    ///
    /// Without an event id, an id is made; with one, a second event with it in the same app is not delivered again.
    /// Dropping the future does not take the event back.
    ///
    /// # Errors
    /// When the event would be set aside for its form; when it was not confirmed in time; when the exchange, its queue
    /// or the permission is missing.
    pub async fn publish(&self, event: Event) -> Result<Receipt, PublishError> {
        self.publish_with(event, Extras::default()).await
    }

    /// Publishes `event` under a message id that was made beforehand.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_as(&self, id: MessageId, event: Event) -> Result<(), PublishError> {
        let extras = Extras {
            message_id: Some(id),
            ..Extras::default()
        };
        self.publish_with(event, extras).await.map(drop)
    }

    /// Publishes `event` with what else may go with it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn publish_with(&self, event: Event, extras: Extras) -> Result<Receipt, PublishError> {
        let deadline = Instant::now() + self.settings.confirm_within;
        let bytes_max = self.settings.payload_bytes_max;
        let publication = Publication::of(event, extras, bytes_max, now(), &mut rand::rng())?;
        let route = Route::to(self.broker.names().events(), &publication.routing_key);
        let publisher = self.broker.publisher();
        publisher.publish(&route, publication.message, deadline).await?;
        Ok(publication.receipt)
    }

    /// Publishes many events, many at a time, and returns what became of each, in their order.
    pub async fn publish_all(
        &self,
        events: impl IntoIterator<Item = Event>,
    ) -> Vec<Result<Receipt, PublishError>> {
        self.publish_stream(stream::iter(events)).collect().await
    }

    /// Publishes events as they come, many at a time, and says what became of each, in their order.
    pub fn publish_stream<'a>(
        &'a self,
        events: impl Stream<Item = Event> + 'a,
    ) -> impl Stream<Item = Result<Receipt, PublishError>> + 'a {
        events.map(|event| self.publish(event)).buffered(PIPELINED)
    }

    /// Waits for confirms that are under way, then closes the connection for all clones. Without it the connection
    /// ends with the last clone.
    pub async fn close(self) {
        if let Some(own) = &self.own {
            own.stop.cancel();
            own.tracker.close();
            own.tracker.wait().await;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is an edge: applications have no clock of Nuncio's to hand in"
)]
fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

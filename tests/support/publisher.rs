//! A publisher as an application would write one: lapin and nothing else.
//!
//! Owns one connection and one channel with confirms. Guarantees that what it reports as published was confirmed.
//! Also looks into queues, as an operator would.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
    message::BasicGetMessage,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};

/// How many publishes may wait for their confirms at a time.
const WINDOW: usize = 512;

/// One event to publish; properties are whatever the test wants them to be.
#[derive(Debug, Clone)]
pub struct Event {
    /// Usually `<app>.<event type>`.
    pub routing_key: String,
    /// The payload, byte for byte.
    pub body: Bytes,
    /// Persistent and of JSON, unless changed.
    pub properties: BasicProperties,
}

impl Event {
    /// An event of this app and type, persistent, without a message id.
    #[must_use]
    pub fn new(app: &str, event_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            routing_key: format!("{app}.{event_type}"),
            body: body.into(),
            properties: BasicProperties::default()
                .with_delivery_mode(2)
                .with_content_type("application/json".into()),
        }
    }

    /// With an idempotency key.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.properties = self.properties.with_message_id(id.into());
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: AMQPValue) -> Self {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert(name.into(), value);
        self.properties = self.properties.with_headers(headers);
        self
    }
}

/// A message taken from a queue.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The exact bytes.
    pub body: Bytes,
    /// The routing key it came with.
    pub routing_key: String,
    /// Its properties.
    pub properties: BasicProperties,
}

impl Taken {
    /// A header as text, if it is there and text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            other => Some(format!("{other:?}")),
        }
    }
}

/// One connection to a broker, for one namespace.
#[derive(Debug)]
pub struct Publisher {
    // Kept, as the channel ends with it.
    _connection: Connection,
    channel: Channel,
    namespace: String,
}

impl Publisher {
    /// Connects; nothing is declared.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn connect(amqp_url: &str, namespace: &str) -> Result<Self> {
        crate::install_tls_provider();
        let options = ConnectionProperties::default().with_connection_name("e2e-publisher".into());
        let connection = Connection::connect(amqp_url, options)
            .await
            .context("failed to connect to RabbitMQ")?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self {
            _connection: connection,
            channel,
            namespace: namespace.to_owned(),
        })
    }

    /// The channel, for whatever is not wrapped here.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Publishes to `<ns>.events` and waits for the confirm.
    ///
    /// # Errors
    /// When the broker refuses or goes away.
    pub async fn publish(&self, event: &Event) -> Result<()> {
        confirmed(self.send(event).await?).await
    }

    /// Publishes many, with up to 512 waiting for their confirms; all are confirmed on return.
    ///
    /// # Errors
    /// At the first that is not confirmed.
    pub async fn publish_all(&self, events: impl IntoIterator<Item = Event>) -> Result<usize> {
        let (mut waiting, mut published) = (std::collections::VecDeque::new(), 0);
        for event in events {
            waiting.push_back(self.send(&event).await?);
            if waiting.len() >= WINDOW
                && let Some(oldest) = waiting.pop_front()
            {
                confirmed(oldest).await?;
                published += 1;
            }
        }
        for confirm in waiting {
            confirmed(confirm).await?;
            published += 1;
        }
        Ok(published)
    }

    async fn send(&self, event: &Event) -> Result<PublisherConfirm> {
        let exchange = format!("{}.events", self.namespace);
        // Without it, what no queue takes is confirmed, too.
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (key, properties) = (event.routing_key.as_str().into(), event.properties.clone());
        let sent = self
            .channel
            .basic_publish(exchange.into(), key, options, &event.body, properties);
        sent.await.context("failed to publish")
    }

    /// How many messages wait in `<ns>.<queue>`, e.g. `set-aside`. Not to be trusted just after a restart.
    ///
    /// # Errors
    /// When there is no such queue; the channel is gone then.
    pub async fn depth(&self, queue: &str) -> Result<u32> {
        let declared = self
            .channel
            .queue_declare(
                self.queue(queue),
                QueueDeclareOptions {
                    passive: true,
                    ..Default::default()
                },
                FieldTable::default(),
            )
            .await?;
        Ok(declared.message_count())
    }

    /// Takes one message from `<ns>.<queue>` for good, if there is one.
    ///
    /// # Errors
    /// When there is no such queue; the channel is gone then.
    pub async fn take(&self, queue: &str) -> Result<Option<Taken>> {
        let got = self
            .channel
            .basic_get(self.queue(queue), BasicGetOptions { no_ack: false })
            .await?;
        let Some(BasicGetMessage { delivery, .. }) = got else {
            return Ok(None);
        };
        ensure!(
            delivery.acker.ack(BasicAckOptions::default()).await?,
            "the broker does not know this delivery"
        );
        Ok(Some(Taken {
            body: delivery.data.into(),
            routing_key: delivery.routing_key.to_string(),
            properties: delivery.properties,
        }))
    }

    fn queue(&self, name: &str) -> ShortString {
        format!("{}.{name}", self.namespace).into()
    }
}

async fn confirmed(confirm: PublisherConfirm) -> Result<()> {
    match confirm.await.context("the confirm did not come")? {
        Confirmation::Ack(None) => Ok(()),
        other => anyhow::bail!("not confirmed: {other:?}"),
    }
}

//! A look at RabbitMQ as it is, for a person who asks what is wrong.
//!
//! Owns the questions: which version answers, whether each exchange and queue is as Nuncio declares it, whether a queue
//! has a leader, whether the user may do what Nuncio does. Guarantees that nothing is changed by asking: what is missing
//! stays missing, and a message that is looked at returns. Each question has a channel of its own and a deadline.
//! Refuses to judge, and to use RabbitMQ's management interface, which may not be there.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeUnbindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};
use nuncio_domain::EndpointId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::BrokerConfig;
use crate::dial::{Address, Socket, dial};
use crate::error::{AmqpError, BrokerError, Refusal, refusal};
use crate::names::Names;
use crate::plan::{self, ExchangePlan, QueuePlan};

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// What a client says first.
const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Bytes of the server's first frame that are read.
const GREETING_BYTES_MAX: usize = 4_096;
/// A routing key that nothing is bound by, and a queue that does not exist.
const NOWHERE: &str = "nuncio-doctor-nowhere";

/// What was found of an exchange or a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is as Nuncio declares it, and answers.
    Sound,
    /// It does not exist.
    Missing,
    /// It exists with other arguments.
    Different(String),
    /// The user may not declare, read or write it.
    Refused(String),
    /// It does not answer: a quorum queue without a leader, for one.
    Silent(Duration),
}

/// A connection to ask on.
pub struct Surveyor {
    connection: Connection,
    socket: Socket,
    names: Names,
    config: BrokerConfig,
    /// Which of the addresses answered, without user and password.
    pub address: String,
}

impl std::fmt::Debug for Surveyor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surveyor")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Surveyor {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// When none does: why the last one did not.
    pub async fn connect(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let mut last = BrokerError::Stopped;
        for address in Address::all(config)? {
            match dial(&address, "doctor").await {
                Ok((connection, socket)) => {
                    return Ok(Self {
                        connection,
                        socket,
                        names: Names::new(&config.namespace),
                        config: config.clone(),
                        address: address.plain(),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The version that the server at [`address`](Self::address) says it has; nothing when it is hidden behind TLS.
    pub async fn version(&self) -> Option<String> {
        timeout(DEADLINE, greeting(&self.address))
            .await
            .ok()?
            .ok()
            .and_then(|bytes| version_in(&bytes))
    }

    /// Every exchange, and what was found of it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn exchanges(&self) -> Result<Vec<(String, Found)>, BrokerError> {
        let mut all = Vec::new();
        for exchange in plan::exchanges(&self.names, &self.config.rungs) {
            let found = self.exchange(&exchange).await?;
            all.push((exchange.name, found));
        }
        Ok(all)
    }

    /// Every queue but the lanes, and what was found of it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn queues(&self) -> Result<Vec<(String, Found)>, BrokerError> {
        let mut all = Vec::new();
        for queue in plan::queues(&self.names, &self.config.rungs) {
            let found = self.queue(&queue).await?;
            all.push((queue.name, found));
        }
        Ok(all)
    }

    /// What was found of an endpoint's lane. A lane of the other type than the one configured counts as different.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn lane(&self, endpoint: &EndpointId) -> Result<Found, BrokerError> {
        self.queue(&plan::lane(
            &self.names,
            self.config.endpoint_queue_type,
            endpoint,
        ))
        .await
    }

    /// Whether the user may publish to a queue by its name, as is done to set events aside.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn default_exchange(&self) -> Result<Found, BrokerError> {
        self.ask(async |channel: Channel| {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let (exchange, key) = (ShortString::default(), ShortString::from(NOWHERE));
            let published = channel.basic_publish(exchange, key, options, b"", BasicProperties::default());
            published.await?.await.map(|_returned| ())
        })
        .await
    }

    async fn exchange(&self, exchange: &ExchangePlan) -> Result<Found, BrokerError> {
        let name = ShortString::from(exchange.name.as_str());
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declaring = |options, arguments: FieldTable| {
            let (name, kind) = (name.clone(), exchange.kind.clone());
            self.ask(async move |channel: Channel| {
                channel.exchange_declare(name, kind, options, arguments).await
            })
        };
        match declaring(passive, FieldTable::default()).await? {
            Found::Sound => {}
            found => return Ok(found),
        }
        match declaring(durable, exchange.arguments.clone()).await? {
            Found::Sound => {}
            found => return Ok(found),
        }
        // Takes away a binding that is not there; write is asked for before read, and only write is needed.
        let unbound = self
            .ask(async |channel: Channel| {
                let (to, from) = (name.clone(), name.clone());
                let options = ExchangeUnbindOptions::default();
                channel
                    .exchange_unbind(to, from, NOWHERE.into(), options, FieldTable::default())
                    .await
            })
            .await?;
        Ok(match unbound {
            Found::Refused(reason) if reason.contains("read access") => Found::Sound,
            found => found,
        })
    }

    async fn queue(&self, queue: &QueuePlan) -> Result<Found, BrokerError> {
        let name = ShortString::from(queue.name.as_str());
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declaring = |options, arguments: FieldTable| {
            let name = name.clone();
            self.ask(async move |channel: Channel| {
                channel
                    .queue_declare(name, options, arguments)
                    .await
                    .map(|_depth| ())
            })
        };
        match declaring(passive, FieldTable::default()).await? {
            Found::Sound => {}
            found => return Ok(found),
        }
        match declaring(durable, queue.arguments.clone()).await? {
            Found::Sound => {}
            found => return Ok(found),
        }
        // A queue without a leader may still be declared, but gives nothing. What it gives returns as the channel closes.
        self.ask(async |channel: Channel| {
            channel
                .basic_get(name.clone(), BasicGetOptions { no_ack: false })
                .await
                .map(|_message| ())
        })
        .await
    }

    /// One question on a channel of its own.
    async fn ask<F>(&self, question: F) -> Result<Found, BrokerError>
    where
        F: AsyncFnOnce(Channel) -> lapin::Result<()>,
    {
        let lost = |source| BrokerError::Failed {
            attempt: "asking RabbitMQ".to_owned(),
            source: AmqpError(source),
        };
        let asking = async {
            let channel = self.connection.create_channel().await?;
            question(channel.clone()).await?;
            channel.close(200, "asked".into()).await
        };
        match timeout(DEADLINE, asking).await {
            Ok(Ok(())) => Ok(Found::Sound),
            Err(_) => Ok(Found::Silent(DEADLINE)),
            Ok(Err(error)) => match refusal(&error) {
                Refusal::NotFound(_) => Ok(Found::Missing),
                Refusal::Precondition(text) => Ok(Found::Different(text)),
                Refusal::Access(text) => Ok(Found::Refused(text)),
                Refusal::Gone => Err(lost(error)),
            },
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        if timeout(DEADLINE, self.connection.close(200, "goodbye".into()))
            .await
            .is_err()
        {
            tracing::debug!("the connection did not close in time");
        }
        self.socket.cut();
    }
}

/// The first frame that a server sends; it names the product and its version.
async fn greeting(address: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(PROTOCOL_HEADER).await?;
    let mut bytes = Vec::with_capacity(GREETING_BYTES_MAX);
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    stream
        .take(size.min(GREETING_BYTES_MAX) as u64)
        .read_to_end(&mut bytes)
        .await?;
    Ok(bytes)
}

/// The property `version` among the server's properties: its name, the type `S`, a length, the text.
fn version_in(greeting: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\x07versionS";
    let at = greeting.windows(NAME.len()).position(|window| window == NAME)?;
    let rest = &greeting[at + NAME.len()..];
    let (length, text) = rest.split_first_chunk::<4>()?;
    let text = text.get(..u32::from_be_bytes(*length) as usize)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_among_the_servers_properties() {
        let greeting = b"\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x30\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS\x00\x00\x00\x06\x33.10.8";
        assert_eq!(version_in(greeting).as_deref(), Some("3.10.8"));
        assert_eq!(version_in(b"\x07versionS\x00\x00\x01\x003.1"), None);
        assert_eq!(version_in(b""), None);
    }
}

//! One try to connect.
//!
//! Owns addresses, deadlines of the handshake, and the socket beneath a connection. Guarantees that a try ends in time
//! and leaves nothing behind, also when the peer accepts and then says nothing. Refuses to try again.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_rs::Runtime;
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::types::LongString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use crate::config::BrokerConfig;
use crate::error::{AmqpError, BrokerError};
use crate::transport::{self, Kit, Transport};

/// How long a try may take, from the first packet to the open connection.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where to connect to, and as whom.
#[derive(Clone)]
pub(crate) struct Address {
    uri: AMQPUri,
    name: String,
}

impl Address {
    /// The addresses of a configuration, to be tried in turn.
    pub(crate) fn all(config: &BrokerConfig) -> Result<Vec<Self>, BrokerError> {
        let heartbeat = u16::try_from(config.heartbeat.as_secs().max(1)).unwrap_or(u16::MAX);
        let read = |(index, url): (usize, &String)| {
            let mut uri: AMQPUri = url.trim().parse().map_err(|problem| BrokerError::Address {
                position: index + 1,
                problem,
            })?;
            uri.query.heartbeat = Some(match uri.query.heartbeat {
                Some(asked) if asked > 0 => asked.min(heartbeat),
                _ => heartbeat,
            });
            Ok(Self {
                uri,
                name: config.connection_name.clone(),
            })
        };
        let addresses: Vec<_> = config
            .urls
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(BrokerError::Address {
                position: 1,
                problem: "there is none".to_owned(),
            });
        }
        Ok(addresses)
    }

    /// The address without user and password, for people.
    pub(crate) fn plain(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }
}

/// A second handle on a connection's socket, to end it when the protocol cannot.
#[derive(Clone, Default)]
pub(crate) struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn keep(&self, socket: TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    /// Ends the connection beneath lapin, whose thread then ends too.
    pub(crate) fn cut(&self) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(socket) = kept
            && let Err(error) = socket.shutdown(Shutdown::Both)
        {
            tracing::trace!(%error, "the socket was closed already");
        }
    }
}

/// Connects for `role`, or says why not.
pub(crate) async fn dial(address: &Address, role: &str) -> Result<(Connection, Socket), BrokerError> {
    let attempt = || format!("connecting to RabbitMQ at {}", address.plain());
    let failed = |source: lapin::Error| BrokerError::Failed {
        attempt: attempt(),
        source: AmqpError(source),
    };
    let runtime = lapin::runtime::default_runtime().map_err(failed)?;
    let socket = Socket::default();
    let kept = socket.clone();
    let properties = ConnectionProperties::default()
        .with_connection_name(LongString::from(format!("{} {role}", address.name)));
    let connect = async move |uri: AMQPUri, _: Runtime<Kit>| {
        let stream = tokio::time::timeout(DEADLINE, async {
            let plain = AMQPUri {
                scheme: AMQPScheme::AMQP,
                ..uri.clone()
            };
            let stream = plain.connect_async(&runtime).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                kept.keep(TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?));
            }
            match uri.scheme {
                AMQPScheme::AMQP => Ok(stream),
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, TLSConfig::default()).await,
            }
        });
        match stream.await {
            Ok(stream) => stream
                .map(|stream| AsyncTcpStream::Plain(Transport::from(stream)))
                .map_err(lapin::Error::from),
            Err(_) => Err(lapin::Error::from(std::io::Error::from(
                std::io::ErrorKind::TimedOut,
            ))),
        }
    };
    let opened = Connection::connector(address.uri.clone(), transport::runtime(), connect, properties);
    match tokio::time::timeout(DEADLINE, opened).await {
        Ok(Ok(connection)) => Ok((connection, socket)),
        Ok(Err(error)) => {
            socket.cut();
            Err(failed(error))
        }
        Err(_) => {
            socket.cut();
            Err(BrokerError::TimedOut {
                attempt: attempt(),
                waited: DEADLINE,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_all_read_and_a_bad_one_is_named_without_its_password() {
        let urls = vec![
            "amqp://u:hunter2@a:1/%2f".to_owned(),
            "redis://u:hunter2@b".to_owned(),
        ];
        let config = BrokerConfig::new(urls, "nuncio", "test");
        let error = Address::all(&config).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("address number 2"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_heartbeat_in_the_address_may_only_be_shorter() {
        let urls = vec![
            "amqp://a?heartbeat=60".to_owned(),
            "amqp://a?heartbeat=2".to_owned(),
        ];
        let addresses = Address::all(&BrokerConfig::new(urls, "nuncio", "test")).unwrap();
        let beats: Vec<_> = addresses
            .iter()
            .map(|address| address.uri.query.heartbeat)
            .collect();
        assert_eq!(beats, [Some(5), Some(2)]);
    }
}

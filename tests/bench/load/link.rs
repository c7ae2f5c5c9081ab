//! One way in: a channel with confirms, or the REST API.

use std::{future::Future, pin::Pin};

use anyhow::{Result, bail, ensure};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde::{Deserialize, Serialize};

/// How events get in.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Via {
    /// Published to an exchange; an empty name is the default exchange, whose keys are queues.
    Amqp { url: String, exchange: String },
    /// `POST …/msg`.
    Rest { base: String, token: String },
}

/// Resolves when the event was confirmed, or accepted.
pub(crate) type Confirm = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// An open way in.
pub(crate) enum Link {
    Amqp(Box<Amqp>),
    Rest {
        client: reqwest::Client,
        base: String,
        token: String,
    },
}

pub(crate) struct Amqp {
    // Kept, as the channel ends with it.
    _connection: Connection,
    channel: Channel,
    exchange: String,
}

impl Link {
    pub(crate) async fn open(via: &Via) -> Result<Self> {
        e2e::install_tls_provider();
        match via {
            Via::Amqp { url, exchange } => {
                let options = ConnectionProperties::default().with_connection_name("bench-load".into());
                let connection = Connection::connect(url, options).await?;
                let channel = connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                Ok(Self::Amqp(Box::new(Amqp {
                    _connection: connection,
                    channel,
                    exchange: exchange.clone(),
                })))
            }
            Via::Rest { base, token } => Ok(Self::Rest {
                client: reqwest::Client::builder().no_proxy().build()?,
                base: base.clone(),
                token: token.clone(),
            }),
        }
    }

    /// Sends `body` and returns what to wait for.
    pub(crate) async fn send(&self, target: &str, body: Vec<u8>) -> Result<Confirm> {
        match self {
            Self::Amqp(amqp) => {
                let properties = BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_content_type("application/json".into());
                let options = BasicPublishOptions::default();
                let (exchange, key) = (amqp.exchange.as_str().into(), target.into());
                let confirm = amqp
                    .channel
                    .basic_publish(exchange, key, options, &body, properties)
                    .await?;
                Ok(Box::pin(async move {
                    match confirm.await? {
                        Confirmation::Ack(None) => Ok(()),
                        other => bail!("{other:?}"),
                    }
                }))
            }
            Self::Rest { client, base, token } => {
                let text = format!(
                    r#"{{"eventType":"bench.tick","payload":{}}}"#,
                    std::str::from_utf8(&body)?
                );
                let request = client
                    .post(format!("{base}/api/v1/app/{target}/msg"))
                    .bearer_auth(token)
                    .header("content-type", "application/json")
                    .body(text);
                Ok(Box::pin(async move {
                    let response = request.send().await?;
                    let status = response.status();
                    let body = response.bytes().await?;
                    ensure!(
                        status.is_success(),
                        "{status}: {}",
                        String::from_utf8_lossy(&body[..body.len().min(200)])
                    );
                    Ok(())
                }))
            }
        }
    }
}

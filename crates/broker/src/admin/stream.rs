//! Reading a stream from its start.
//!
//! Owns how RabbitMQ wants a stream to be consumed: with a prefetch, acknowledged for credit, from a given offset.
//! Guarantees that a stream that falls silent is not waited for without end. Refuses to know what it holds.

use std::ops::ControlFlow;

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::timeout;

use super::{DEADLINE, open_on};
use crate::error::BrokerError;
use crate::link::Session;

/// Messages on their way.
const PREFETCH: u16 = 200;
/// How many are acknowledged at once.
const ACK_EVERY: u64 = 50;

/// Hands each message's body to `read`, from the first, until that has seen enough.
pub(crate) async fn read_stream(
    session: &Session,
    stream: &str,
    mut read: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), BrokerError> {
    let attempt = || format!("reading {stream}");
    let failed = |error: lapin::Error| BrokerError::from_amqp(attempt(), stream, error);
    let silent = || BrokerError::TimedOut {
        attempt: attempt(),
        waited: DEADLINE,
    };
    let ended = || BrokerError::NotConnected {
        problem: "the connection was lost while a stream was read".to_owned(),
    };
    let line = session.desk.line(session).await?;
    let channel = open_on(&line).await.map_err(failed)?;
    let subscribing = async {
        channel
            .basic_qos(PREFETCH, BasicQosOptions { global: false })
            .await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
        let options = BasicConsumeOptions::default();
        channel
            .basic_consume(ShortString::from(stream), "reader".into(), options, arguments)
            .await
    };
    let mut messages = timeout(DEADLINE, subscribing)
        .await
        .map_err(|_| silent())?
        .inspect_err(|_| line.refused())
        .map_err(failed)?;
    loop {
        let next = timeout(DEADLINE, messages.next()).await.map_err(|_| silent())?;
        let message = next.ok_or_else(ended)?.map_err(failed)?;
        if read(&message.data).is_break() {
            break;
        }
        if message.delivery_tag.is_multiple_of(ACK_EVERY) {
            let through = BasicAckOptions { multiple: true };
            channel
                .basic_ack(message.delivery_tag, through)
                .await
                .map_err(failed)?;
        }
    }
    match timeout(DEADLINE, channel.close(200, ShortString::from("read"))).await {
        Ok(closed) => closed.map_err(failed),
        Err(_) => Err(silent()),
    }
}

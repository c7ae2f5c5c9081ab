//! The overflow: where events go of an app that has too many waiting, so that those of others behind them are seen.
//!
//! Owns the judgement when that is so, the copy in `<ns>.overflow`, and its way back. Guarantees that the original is
//! acknowledged only after the copy was confirmed, and that what comes back is what was taken, once; after a crash
//! between the two it comes twice, as after any other, and its claim tells. Refuses to know what events mean.

use std::time::Duration;

use futures_util::stream::{StreamExt, poll_fn};
use nuncio_broker::{Outgoing, Received, Route};
use nuncio_runtime::lifecycle::chain;
use nuncio_wire::{HeaderValue, Properties, headers};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::{PUBLISH_PATIENCE, Shared};

/// Events that wait in memory before what comes for a busy app is moved. Less than is read ahead, or nothing could be.
const EVENTS: usize = 12_000;
/// The same for bytes of payloads.
const BYTES: usize = 16 * 1024 * 1024;
/// An app is busy when more than this part of what waits is its own.
const PART: usize = 16;
/// Events that are being moved at once: few enough for the publishes of what is routed meanwhile.
const AT_ONCE: usize = 256;
/// Bytes of their payloads: each is copied into its publish.
const BYTES_AT_ONCE: u32 = 4 * 1024 * 1024;
/// How long an event waits that could not be moved, before it returns.
const PAUSE: Duration = Duration::from_millis(500);

/// What waits in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) events: usize,
    /// Of their payloads.
    pub(crate) bytes: usize,
}

/// Whether another event of an app is too much, as `all` wait, and those `of_app` among them.
pub(crate) fn is_too_much(all: Load, of_app: Load) -> bool {
    let busy = |all: usize, of_app: usize, enough: usize| all > enough && of_app > all / PART;
    busy(all.events, of_app.events, EVENTS) || busy(all.bytes, of_app.bytes, BYTES)
}

/// Whether a copy says all that the original does: not where a header is of a type that nobody here can write.
pub(crate) fn can_move(received: &Received) -> bool {
    received.properties.headers.values().all(can_write)
}

fn can_write(value: &HeaderValue) -> bool {
    match value {
        HeaderValue::Text(_) | HeaderValue::Int(_) | HeaderValue::Bool(_) => true,
        HeaderValue::List(values) => values.iter().all(can_write),
        HeaderValue::Other => false,
    }
}

/// Moves what comes until nothing can come any more.
pub(crate) async fn run(shared: &Shared, mut taken: mpsc::UnboundedReceiver<Received>) {
    let room = Semaphore::new(BYTES_AT_ONCE as usize);
    poll_fn(|context| taken.poll_recv(context))
        .for_each_concurrent(AT_ONCE, async |received| {
            let bytes = u32::try_from(received.body.len()).unwrap_or(u32::MAX);
            // Never closed.
            let _taken = room.acquire_many(bytes.min(BYTES_AT_ONCE)).await;
            move_over(shared, received).await;
        })
        .await;
}

async fn move_over(shared: &Shared, received: Received) {
    let queue = shared.parts.broker.names().overflow();
    let message = Outgoing::persistent(marked(&received), received.body.clone());
    let deadline = Instant::now() + PUBLISH_PATIENCE;
    let route = Route::queue(queue);
    match shared.publisher.publish(&route, message, deadline).await {
        Ok(()) => {
            nuncio_failpoints::hit!("router::overflowed");
            metrics::counter!("nuncio_router_overflowed_total").increment(1);
            received.acker.ack();
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                queue,
                "an event could not be moved and is returned"
            );
            tokio::time::sleep(PAUSE).await;
            received.acker.requeue();
        }
    }
}

/// The properties of the copy, which also say what of the original is no property.
fn marked(received: &Received) -> Properties {
    let mut properties = received.copied();
    if received.redelivered {
        properties.put_int(headers::AGAIN, 1);
    }
    properties
}

/// The event that was moved, as it was; what acknowledges it is the copy's.
pub(crate) fn back(mut received: Received) -> Received {
    let headers = &mut received.properties.headers;
    let mut take = |name: &str| match headers.remove(name) {
        Some(HeaderValue::Text(text)) => Some(text),
        _ => None,
    };
    if let Some(exchange) = take(headers::ORIGINAL_EXCHANGE) {
        received.exchange = exchange;
    }
    if let Some(key) = take(headers::ORIGINAL_ROUTING_KEY) {
        received.routing_key = key;
    }
    received.redelivered |= headers.remove(headers::AGAIN).is_some();
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lose_part_of_a_header_is_not_moved() {
        let list = |value| HeaderValue::List(vec![HeaderValue::Text("a".into()), value]);
        assert!(can_write(&list(HeaderValue::Int(1))));
        assert!(!can_write(&HeaderValue::Other) && !can_write(&list(HeaderValue::Other)));
        assert!(!can_write(&list(list(HeaderValue::Other))));
    }

    #[test]
    fn a_busy_app_has_too_much_when_much_waits_and_no_other_ever_has() {
        let load = |events, bytes| Load { events, bytes };
        for (all, of_app, expected) in [
            (load(EVENTS, 0), load(EVENTS, 0), false),
            (load(EVENTS + 1, 0), load(EVENTS + 1, 0), true),
            (load(16_000, 0), load(1_000, 0), false),
            (load(16_000, 0), load(1_001, 0), true),
            (load(16_000, 0), load(0, 0), false),
            (load(100, BYTES), load(100, BYTES), false),
            (load(100, BYTES + 1), load(90, BYTES), true),
            (load(100, BYTES * 2), load(90, BYTES / 8), false),
        ] {
            assert_eq!(is_too_much(all, of_app), expected, "{of_app:?} of {all:?}");
        }
    }
}

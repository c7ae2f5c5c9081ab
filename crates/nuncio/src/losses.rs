//! What a process finds missing in RabbitMQ, written down in Redis before it is put back.
//!
//! Owns the way from the broker's notices to the store's list, which a router works off. Guarantees that a notice which
//! cannot be written down yet, because Redis is away, is written down as soon as it is back.
//! Refuses to know what follows from a loss.

use std::time::Duration;

use nuncio_broker::LossNotice;
use nuncio_runtime::lifecycle::chain;
use nuncio_store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between two tries while Redis is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Writes down what comes, until told to stop.
pub(crate) async fn note(
    mut notices: mpsc::UnboundedReceiver<LossNotice>,
    store: Store,
    stop: CancellationToken,
) {
    let mut waiting: Vec<LossNotice> = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(notice) = notices.recv() => waiting.push(notice),
            () = tokio::time::sleep(AGAIN), if !waiting.is_empty() => {}
        }
        while let Ok(notice) = notices.try_recv() {
            waiting.push(notice);
        }
        let losses: Vec<_> = waiting.iter().map(|notice| notice.loss.clone()).collect();
        match store.note_losses(&losses).await {
            Ok(()) => {
                for notice in waiting.drain(..) {
                    // Who could not wait has put it back already.
                    notice.noted.send(()).ok();
                }
            }
            Err(error) => tracing::debug!(
                error = chain(&error),
                losses = waiting.len(),
                "what RabbitMQ has lost is not written down yet"
            ),
        }
    }
    if !waiting.is_empty() {
        tracing::error!(
            losses = waiting.len(),
            "what RabbitMQ has lost was not written down: Redis stayed away"
        );
    }
}

//! The end of an event's way: marked as routed, then acknowledged, many at a time.
//!
//! Owns the order of these two, and that nothing waits for them: deliveries are on their way already. What comes alone is
//! finished at once, what comes right after it is gathered for a moment, for every mark costs a round trip and every
//! acknowledgement a write to the ingest queue's log. A crash before it leaves events that come again and are
//! recognised by their claims.

use std::time::Duration;

use nuncio_broker::Acker;
use nuncio_domain::{AppId, MessageId};
use nuncio_runtime::lifecycle::chain;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Shared;

/// Between the begins of two rounds, unless much has gathered.
const PACE: Duration = Duration::from_millis(4);
/// Events that do not wait for that.
const MANY: usize = 64;

/// An event whose whole fan-out was confirmed.
pub(crate) struct FannedOut {
    /// The message, if the record knows of it.
    pub(crate) claimed: Option<(AppId, MessageId)>,
    /// What acknowledges the event.
    pub(crate) acker: Acker,
}

/// Finishes what comes until nothing can come any more.
pub(crate) async fn run(shared: &Shared, mut fanned_out: mpsc::UnboundedReceiver<Vec<FannedOut>>) {
    let mut not_before = Instant::now();
    while let Some(mut round) = fanned_out.recv().await {
        let gathered = async {
            while round.len() < MANY {
                let Some(mut more) = fanned_out.recv().await else {
                    break;
                };
                round.append(&mut more);
            }
        };
        // Whatever gathered until then is in the round.
        tokio::time::timeout_at(not_before, gathered).await.ok();
        not_before = Instant::now() + PACE;
        finish(shared, round).await;
    }
}

async fn finish(shared: &Shared, round: Vec<FannedOut>) {
    let (claimed, ackers): (Vec<_>, Vec<_>) = round
        .into_iter()
        .map(|event| (event.claimed, event.acker))
        .unzip();
    let messages: Vec<(AppId, MessageId)> = claimed.into_iter().flatten().collect();
    if !messages.is_empty()
        && let Err(error) = shared.parts.store.mark_routed(&messages).await
    {
        // The fan-out is confirmed: an event that comes again is recognised by its claim as long as it was not lost.
        tracing::warn!(
            error = chain(&error),
            events = messages.len(),
            "routed events could not be marked as such"
        );
    }
    nuncio_failpoints::hit!("router::marked");
    for acker in ackers {
        acker.ack();
        nuncio_failpoints::hit!("router::acked");
    }
}

//! Membership: which senders are alive.
//!
//! Owns this sender's heartbeat and the list that assignment is computed from. While Redis is away the last list holds:
//! nobody gives up lanes because the record is away. A sender that is told to stop leaves at once, not when it has
//! finished: the others take its lanes over while it finishes what it had begun.

use std::sync::Arc;
use std::time::Duration;

use nuncio_domain::{SenderId, UnixMillis};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::Role;
use tokio::sync::watch;

use crate::SenderParts;

/// How often a sender says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After how long without a heartbeat a sender is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// The live senders, this one among them, in the order of their names.
pub(crate) type Members = watch::Receiver<Arc<[SenderId]>>;

/// Joins the senders and keeps saying so until told to stop; then leaves them.
pub(crate) async fn join(parts: &SenderParts) -> Members {
    let alone: Arc<[SenderId]> = Arc::from([parts.id.clone()]);
    let first = beat(parts).await.unwrap_or(alone);
    let (tell, members) = watch::channel(first);
    let parts_of_task = parts.clone();
    parts.life.tracker.spawn(async move {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = parts_of_task.life.soft.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if let Some(now) = beat(&parts_of_task).await {
                let changed = tell.send_if_modified(|members| {
                    let changed = **members != *now;
                    *members = now;
                    changed
                });
                if changed {
                    tracing::info!(senders = tell.borrow().len(), "the senders have changed");
                }
            }
            metrics::gauge!("nuncio_sender_members").set(tell.borrow().len() as f64);
        }
        // Only here, where no heartbeat can come after it.
        leave(&parts_of_task).await;
    });
    members
}

async fn leave(parts: &SenderParts) {
    if let Err(error) = parts.store.leave(Role::Sender, parts.id.as_str()).await {
        tracing::warn!(
            error = chain(&error),
            "could not leave the senders: the others will notice in some seconds"
        );
    }
}

/// One heartbeat, answered with the live senders; nothing when Redis is away.
async fn beat(parts: &SenderParts) -> Option<Arc<[SenderId]>> {
    let now = UnixMillis(parts.clock.now());
    match parts
        .store
        .heartbeat(Role::Sender, parts.id.as_str(), now, SILENCE_MAX)
        .await
    {
        Ok(names) => {
            let mut members: Vec<SenderId> = names.iter().map(|name| SenderId::new(name)).collect();
            if !members.contains(&parts.id) {
                members.push(parts.id.clone());
            }
            members.sort_unstable();
            Some(members.into())
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "a heartbeat failed: the last list of senders holds"
            );
            None
        }
    }
}

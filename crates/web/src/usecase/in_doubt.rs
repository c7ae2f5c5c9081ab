//! What a process left half made or half deleted when it died: noted before, settled by whoever is there.
//!
//! Guarantees that an endpoint and its queue are both there or both gone in the end, and that an app that was being deleted
//! is deleted. The record decides: what it knows was made, what it does not know is to be gone.

use std::sync::Arc;
use std::time::Duration;

use nuncio_runtime::lifecycle::chain;
use nuncio_store::InDoubt;

use super::refusal::Outcome;
use super::{UseCases, broker, store};

/// How long whoever noted a doubt may still be about to settle it: longer than any request may take.
const BEGUN_LONG_AGO: Duration = Duration::from_secs(75);
/// How often what is in doubt is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl UseCases {
    /// Notes what is going to be made or deleted.
    pub(crate) async fn begin(&self, doubts: &[InDoubt]) -> Outcome<()> {
        store(self.store.note_in_doubt(doubts, self.now()).await)
    }

    /// Strikes off what is made or deleted now. What stays on the list is looked at again, which changes nothing.
    pub(crate) async fn done(&self, doubts: &[InDoubt]) {
        if let Err(error) = self.store.strike_off_doubts(doubts).await {
            tracing::debug!(error = chain(&error), "what is no longer in doubt is still noted");
        }
    }

    /// Settles what other processes left in doubt, until this one stops.
    pub async fn look_after_doubts(self: Arc<Self>) {
        loop {
            if let Err(refusal) = self.settle_doubts().await {
                tracing::debug!(error = chain(&refusal), "what is in doubt stays so for now");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.life.soft.cancelled() => return,
            }
        }
    }

    async fn settle_doubts(&self) -> Outcome<()> {
        let before = self.now().minus(BEGUN_LONG_AGO);
        for doubt in store(self.store.in_doubt_since(before).await)? {
            match self.settle_doubt(&doubt).await {
                Ok(()) => self.done(&[doubt]).await,
                Err(refusal) => {
                    tracing::warn!(%doubt, error = chain(&refusal), "half made or deleted, and stays so for now");
                }
            }
        }
        Ok(())
    }

    async fn settle_doubt(&self, doubt: &InDoubt) -> Outcome<()> {
        let known = match &doubt.endpoint {
            Some(endpoint) => store(self.store.endpoint(&doubt.app, endpoint.as_str()).await)?.is_some(),
            None => store(self.store.app(doubt.app.as_str()).await)?.is_some(),
        };
        if known {
            return Ok(());
        }
        tracing::info!(%doubt, "what was begun by a process that is gone is deleted to its end");
        match &doubt.endpoint {
            Some(endpoint) => broker(self.operator.delete_endpoint(endpoint).await),
            None => store(self.store.delete_app(&doubt.app).await).map(drop),
        }
    }
}

//! What was found missing in RabbitMQ while Nuncio runs.
//!
//! Owns the telling. Guarantees that whoever follows losses hears of each before it is put back, and has time to write it
//! down, so that a crash in between hides nothing. Refuses to know what was in it: that is the record's.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nuncio_domain::Loss;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long whoever follows losses has to write one down. Lanes are worth more than the record of their loss: what cannot
/// be written down for so long is put back.
const PATIENCE: Duration = Duration::from_secs(5);

/// A loss, told before it is made good.
#[derive(Debug)]
pub struct LossNotice {
    /// What is missing.
    pub loss: Loss,
    /// To be told when the loss is written down.
    pub noted: oneshot::Sender<()>,
}

/// Where losses are told.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<Option<mpsc::UnboundedSender<LossNotice>>>);

impl Losses {
    /// The losses from now on; whoever followed them before hears of no more.
    pub(crate) fn follow(&self) -> mpsc::UnboundedReceiver<LossNotice> {
        let (tell, told) = mpsc::unbounded_channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
        told
    }

    fn follower(&self) -> Option<mpsc::UnboundedSender<LossNotice>> {
        let follower = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        follower.as_ref().filter(|tell| !tell.is_closed()).cloned()
    }

    /// Whether anybody wants to know.
    pub(crate) fn is_followed(&self) -> bool {
        self.follower().is_some()
    }

    /// Tells a loss, and waits until it is written down, for a while.
    pub(crate) async fn tell(&self, loss: Loss) {
        tracing::warn!(%loss, "something of ours is missing in RabbitMQ");
        let Some(follower) = self.follower() else { return };
        let (noted, written) = oneshot::channel();
        if follower.send(LossNotice { loss, noted }).is_ok() && timeout(PATIENCE, written).await.is_err() {
            tracing::warn!("a loss is not written down yet, and what is missing is put back nevertheless");
        }
    }
}

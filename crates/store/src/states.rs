//! Reading how deliveries stand, one by one for the caller, in batches for Redis.

use std::sync::Arc;

use nuncio_domain::{AppId, DeliveryId, DeliveryState};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Store, StoreError};

/// How many questions wait at most before those who ask wait too.
const WAITING_MAX: usize = 4_096;
/// How many questions go in one batch.
const BATCH_MAX: usize = 512;

type Answer = Result<Option<DeliveryState>, Arc<StoreError>>;
type Question = ((AppId, DeliveryId), oneshot::Sender<Answer>);

/// Asks how deliveries stand: everything that is asked while one batch is under way goes in the next. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateReader {
    questions: mpsc::Sender<Question>,
}

impl StateReader {
    /// A reader, until `stop`.
    #[must_use]
    pub fn start(store: Store, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let (questions, waiting) = mpsc::channel(WAITING_MAX);
        tracker.spawn(run(store, waiting, stop));
        Self { questions }
    }

    /// How a delivery stands; none when nothing is kept of it.
    ///
    /// # Errors
    /// When Redis is away, or the reader was stopped.
    pub async fn state(
        &self,
        app: AppId,
        delivery: DeliveryId,
    ) -> Result<Option<DeliveryState>, Arc<StoreError>> {
        let stopped = || {
            Arc::new(StoreError::timed_out(
                "read how a delivery stands: the reader was stopped",
            ))
        };
        let (answer, answered) = oneshot::channel();
        self.questions
            .send(((app, delivery), answer))
            .await
            .map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn run(store: Store, mut waiting: mpsc::Receiver<Question>, stop: CancellationToken) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = waiting.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
        }
        let (deliveries, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        match store.delivery_states(&deliveries).await {
            Ok(states) => {
                for (answer, state) in answers.into_iter().zip(states) {
                    // Who gave up waiting does not need the answer.
                    answer.send(Ok(state)).ok();
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    answer.send(Err(Arc::clone(&error))).ok();
                }
            }
        }
    }
}

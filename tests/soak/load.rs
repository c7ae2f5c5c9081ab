//! The load: an application that publishes at a steady rate and knows what was confirmed.
//!
//! Guarantees that what was not confirmed is published again, under the same message id, until it is.

use std::time::Duration;

use anyhow::Result;
use e2e::{Event, Publisher};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{ledger::Ledger, stage::body};

/// Between two batches.
const EVERY: Duration = Duration::from_millis(100);
/// How long a batch may take before it is published again over a new connection.
const PATIENCE: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(500);

/// Where to publish.
pub(crate) struct Target {
    pub(crate) amqp_url: String,
    pub(crate) namespace: String,
    pub(crate) app: String,
}

/// Publishes until told to stop; all that was begun is confirmed then.
pub(crate) async fn run(target: Target, per_second: usize, ledger: Ledger, stop: CancellationToken) {
    let batch = (per_second / 10).max(1);
    let (mut next, mut publisher) = (0, None);
    while !stop.is_cancelled() {
        let due = Instant::now() + EVERY;
        while publish(&target, &mut publisher, next..next + batch)
            .await
            .is_err()
        {
            publisher = None;
            sleep(AGAIN).await;
        }
        next += batch;
        ledger.confirmed(next);
        tokio::time::sleep_until(due).await;
    }
}

async fn publish(
    target: &Target,
    kept: &mut Option<Publisher>,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    let all = async {
        let publisher = match kept.take() {
            Some(publisher) => publisher,
            None => Publisher::connect(&target.amqp_url, &target.namespace).await?,
        };
        let event = |n: usize| Event::new(&target.app, "soak", body(n)).id(&format!("soak-{n}"));
        publisher.publish_all(numbers.map(event)).await?;
        *kept = Some(publisher);
        Ok(())
    };
    timeout(PATIENCE, all).await?
}

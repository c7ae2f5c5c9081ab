//! The sweep: what RabbitMQ held and lost is queued again from the record.
//!
//! Owns the watch over the broker's data: a queue marks it, and the record knows the mark. A broker that comes back
//! without that queue came back empty; one router then queues every unfinished delivery again and sets a new mark.
//! Also owns the watch over the topology, which somebody may delete piece by piece, and works off the list of losses that
//! the record keeps: of a lane, of a rung, of the exchange between them. Each delivery is queued again once; copies of
//! what was not lost after all are recognised by the sender, which asks the record first.
//! Refuses to guess from depths or times: a lane that is merely long loses nothing.

mod again;

use std::sync::Arc;
use std::time::Duration;

use nuncio_broker::{BrokerError, LinkState};
use nuncio_domain::{Loss, UnixMillis};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::StoreError;
use tokio::time::Instant;

use crate::Shared;
use crate::sweep::again::Sweep;

/// How long a router that sweeps keeps the task without saying so again.
const HOLD: Duration = Duration::from_secs(60);
/// Between two tries while either store is away, or while another router sweeps; between two looks at the losses.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the topology.
const MEND_EVERY: Duration = Duration::from_secs(5);

/// Why a sweep did not come to its end.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error("the record could not be asked")]
    Store(#[from] StoreError),
    #[error("the broker could not be asked")]
    Broker(#[from] BrokerError),
    #[error("a delivery could not be queued again")]
    Publish(#[from] nuncio_broker::PublishError),
    #[error("another router sweeps")]
    Elsewhere,
}

/// Looks after every new connection whether the broker still has its data, and then what it loses piece by piece, until
/// told to stop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let soft = shared.parts.life.soft.clone();
    let watch = async {
        let mut states = shared.parts.broker.state();
        loop {
            if states
                .wait_for(|state| state.consuming == LinkState::Connected)
                .await
                .is_err()
            {
                return;
            }
            while let Err(error) = check(&shared).await {
                tracing::warn!(
                    error = chain(&error),
                    "whether the broker kept its data is not known yet"
                );
                tokio::time::sleep(PAUSE).await;
            }
            tokio::select! {
                ended = states.wait_for(|state| state.consuming != LinkState::Connected) => {
                    if ended.is_err() {
                        return;
                    }
                }
                () = look_after(&shared) => {}
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = soft.cancelled() => {}
    }
}

/// Mends the topology and makes up for losses, for as long as nobody ends it.
async fn look_after(shared: &Shared) {
    let mut mended = Instant::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        if mended.elapsed() >= MEND_EVERY {
            if let Err(error) = shared.parts.broker.mend_topology().await {
                tracing::error!(error = chain(&error), "the topology cannot be looked after");
            }
            mended = Instant::now();
        }
        match make_up(shared).await {
            Ok(()) | Err(SweepError::Elsewhere) => {}
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "what RabbitMQ has lost is not made up for yet"
                );
            }
        }
    }
}

/// Compares the mark of the record with the broker; sweeps when the broker has lost it.
async fn check(shared: &Shared) -> Result<(), SweepError> {
    let parts = &shared.parts;
    let known = parts.store.broker_mark().await?;
    if let Some(mark) = &known {
        if parts
            .broker
            .depth(&parts.broker.names().mark(mark))
            .await?
            .is_some()
        {
            return Ok(());
        }
        if !parts.store.take_sweep(&parts.name, HOLD).await? {
            return Err(SweepError::Elsewhere);
        }
        tracing::error!("RabbitMQ has lost its data: unfinished deliveries are queued again from the record");
        metrics::counter!("nuncio_router_broker_losses_total").increment(1);
        // All that was missed before is missed because of this.
        let noted = parts.store.noted_losses().await?;
        Sweep::of(shared, &Loss::Everything).run().await?;
        for loss in &noted {
            parts.store.strike_off(loss).await?;
        }
    }
    let mark = parts
        .dice
        .with(|mut rng| nuncio_domain::MessageId::generate(UnixMillis(parts.clock.now()), &mut rng));
    let mark = mark.as_str().trim_start_matches("msg_");
    parts.broker.declare_mark(mark).await?;
    // False when another router was first, whose mark is as good.
    parts.store.replace_broker_mark(known.as_deref(), mark).await?;
    Ok(())
}

/// Queues again what was in that which the record's list says is lost.
async fn make_up(shared: &Shared) -> Result<(), SweepError> {
    let parts = &shared.parts;
    for noted in parts.store.noted_losses().await? {
        if !parts.store.take_sweep(&parts.name, HOLD).await? {
            return Err(SweepError::Elsewhere);
        }
        tracing::warn!(loss = %noted.loss, "RabbitMQ has lost something: what was in it is queued again from the record");
        Sweep::of(shared, &noted.loss).run().await?;
        parts.store.strike_off(&noted).await?;
    }
    Ok(())
}

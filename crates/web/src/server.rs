//! The listener of the web role.
//!
//! Guarantees that it stops taking connections when the process stops, answers what is under way, and that the catalogue
//! has its first event types.

mod connections;

use std::net::SocketAddr;
use std::time::Duration;

use nuncio_runtime::lifecycle::chain;
use nuncio_runtime::{Clock, Lifecycle};
use nuncio_store::Store;
use tokio::net::TcpListener;

use crate::{NoMainSecret, WebParts, router};

/// Between two tries to write the first event types.
const SEED_AGAIN: Duration = Duration::from_secs(1);

/// Why the web role does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It cannot be made.
    #[error(transparent)]
    Settings(#[from] NoMainSecret),
    /// The address cannot be listened on.
    #[error("failed to listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the web role until the process stops.
///
/// # Errors
/// When it cannot be made, or the address cannot be listened on.
pub async fn serve(parts: WebParts) -> Result<(), ServeError> {
    let address = parts.settings.listen;
    let (router, use_cases) = router(&parts)?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(address = %bound, "the API listens");
    let life = parts.lifecycle.clone();
    life.tracker
        .spawn(seed(parts.store.clone(), parts.clock.clone(), life.clone()));
    life.tracker.spawn(use_cases.clone().look_after_replays());
    life.tracker.spawn(use_cases.look_after_doubts());
    connections::serve(listener, router, &life).await;
    Ok(())
}

/// Writes the first event types, as soon as the store is there.
async fn seed(store: Store, clock: Clock, life: Lifecycle) {
    while let Err(error) = store
        .seed_event_types(nuncio_domain::UnixMillis(clock.now()))
        .await
    {
        tracing::warn!(
            error = chain(&error),
            "the first event types could not be written yet"
        );
        tokio::select! {
            () = tokio::time::sleep(SEED_AGAIN) => {}
            () = life.soft.cancelled() => return,
        }
    }
}

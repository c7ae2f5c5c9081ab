//! Following: the task that keeps the directory true.
//!
//! Owns the loop: learn the epoch, compare everything, then read changes until the connection is lost, the store turns out
//! to be emptied, or it is time to compare again.

use std::collections::HashMap;
use std::time::Duration;

use nuncio_domain::{AppId, EndpointId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::load::Told;
use super::{Directory, DirectoryStatus};
use crate::StoreError;
use crate::error::Cause;
use crate::link::Link;

const ACTION: &str = "follow the changes";
/// How long a read waits for changes. The epoch is looked at after each.
const BLOCK: Duration = Duration::from_millis(1_000);
/// How many changes are read at once.
const READ_MAX: usize = 1_000;
/// How often everything is compared although nothing seems to be missing.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// Between two tries while the store is away: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(directory: Directory, stop: CancellationToken) {
    let mut pause = RETRY_FIRST;
    while !stop.is_cancelled() {
        let followed = tokio::select! {
            () = stop.cancelled() => return,
            followed = follow(&directory, &mut pause) => followed,
        };
        let Err(error) = followed else { continue };
        let status = *directory.shared.status.borrow();
        let emptied = matches!(
            error,
            StoreError::Unavailable {
                source: Cause::Emptied,
                ..
            }
        );
        if status == DirectoryStatus::Following && !emptied {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::warn!(%error, cause, "the store is away: apps and endpoints stay as they were known last");
            directory.set_status(DirectoryStatus::Away);
        } else if status == DirectoryStatus::Loading {
            tracing::warn!(%error, "apps and endpoints cannot be loaded yet");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Follows until something is wrong, or it is time to compare everything again.
async fn follow(directory: &Directory, pause: &mut Duration) -> Result<(), StoreError> {
    let store = &directory.shared.store;
    directory.restore_if_emptied().await?;
    let mut link = store.dedicated(ACTION, BLOCK).await?;
    let mut cursor = last_change(directory).await?;
    let epoch = store.adopt_epoch().await?;
    let was = *directory.shared.status.borrow();
    directory.reconcile(&epoch).await?;
    if was != DirectoryStatus::Following {
        let known = directory.known();
        tracing::info!(
            apps = known.apps.len(),
            endpoints = known.endpoints.len(),
            "apps and endpoints are loaded"
        );
    }
    *pause = RETRY_FIRST;
    let compare_at = Instant::now() + COMPARE_EVERY;
    while Instant::now() < compare_at {
        for (app, told) in read_changes(directory, &mut link, &mut cursor).await? {
            directory.apply(&app, told).await?;
        }
        if store.epoch().await?.as_deref() != Some(epoch.as_str()) {
            return Ok(());
        }
    }
    Ok(())
}

/// The position of the last change: those after it are not in what is loaded from now on, or are in it already.
async fn last_change(directory: &Directory) -> Result<String, StoreError> {
    let store = &directory.shared.store;
    let mut cmd = redis::cmd("XREVRANGE");
    cmd.arg(store.keys().changes())
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1);
    let entries: Vec<(String, Vec<String>)> = store.one(ACTION, cmd).await?;
    Ok(entries
        .into_iter()
        .next()
        .map_or_else(|| "0-0".to_owned(), |(id, _)| id))
}

type Entries = Vec<(String, Vec<String>)>;

async fn read_changes(
    directory: &Directory,
    link: &mut Link,
    cursor: &mut String,
) -> Result<HashMap<AppId, Vec<Told>>, StoreError> {
    let mut cmd = redis::cmd("XREAD");
    cmd.arg("COUNT")
        .arg(READ_MAX)
        .arg("BLOCK")
        .arg(BLOCK.as_millis() as u64);
    cmd.arg("STREAMS")
        .arg(directory.shared.store.keys().changes())
        .arg(&*cursor);
    let patience = BLOCK + directory.shared.store.config().call_timeout;
    let read = tokio::time::timeout(patience, cmd.query_async::<Option<Vec<(String, Entries)>>>(link)).await;
    let streams = read
        .map_err(|_| StoreError::timed_out(ACTION))?
        .map_err(|error| StoreError::redis(ACTION, error))?;
    let mut changes: HashMap<AppId, Vec<Told>> = HashMap::new();
    for (id, fields) in streams
        .unwrap_or_default()
        .into_iter()
        .flat_map(|(_, entries)| entries)
    {
        *cursor = id;
        let field = |name: &str| {
            let at = fields.chunks_exact(2).find(|pair| pair[0] == name);
            at.map(|pair| pair[1].as_str())
        };
        let Some(app) = field("a").and_then(|app| AppId::parse(app).ok()) else {
            continue;
        };
        let version = field("v").and_then(|version| version.parse().ok()).unwrap_or(0);
        let endpoint = field("e").and_then(|endpoint| EndpointId::parse(endpoint).ok());
        changes.entry(app).or_default().push(Told { version, endpoint });
    }
    Ok(changes)
}

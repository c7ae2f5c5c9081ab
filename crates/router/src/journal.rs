//! The journal: configuration told a second time, to a stream in RabbitMQ, from which a Redis that lost everything is
//! filled again.
//!
//! Owns the writing. One router of many keeps the journal; it follows the same changes as every directory, so that it
//! does not matter who made a change, and compares versions, so that none is missed. It tells everything anew when it
//! takes the task over, and again long before RabbitMQ drops the oldest part of the stream.
//! Guarantees that a change which Redis still has is in the journal in the end. Refuses to read it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use nuncio_broker::{BrokerError, Outgoing, PublishError, Route};
use nuncio_domain::{AppId, MessageId, UnixMillis};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{DirectoryStatus, StoreError};
use nuncio_wire::Properties;
use nuncio_wire::journal::{EventTypeImages, JournalEntry};
use tokio::time::{Instant, timeout};

use crate::{PUBLISH_PATIENCE, Shared};

/// How long a router that keeps the journal has the task without saying so again.
const HOLD: Duration = Duration::from_secs(6);
/// How often it says so, and looks at what announces no change of its own.
const TICK: Duration = Duration::from_secs(1);
/// Between two tries to take the task.
const PAUSE: Duration = Duration::from_secs(1);
/// How many times as long as it took to look for news nobody looks again: with many apps a change a moment is not worth
/// a core, and what was changed meanwhile is found together.
const REST: u32 = 9;
/// Entries on their way at once.
const AT_ONCE: usize = 64;
/// Apps told before the task is taken again.
const APPS_A_TURN: usize = 1_000;
/// Everything is told anew after so many bytes: a sixteenth of what the stream keeps.
const ROUND_AFTER_BYTES: usize = 128 << 20;
/// A configuration larger than this would not fit the stream often enough for the above to hold.
const ROUND_BYTES_MAX: usize = 512 << 20;

/// Why the journal is not kept for a moment.
#[derive(Debug, thiserror::Error)]
enum JournalError {
    #[error("the record could not be asked")]
    Store(#[from] StoreError),
    #[error("the broker could not be asked")]
    Broker(#[from] BrokerError),
    #[error("an entry could not be written")]
    Publish(#[from] PublishError),
    #[error("the journal is gone, and is written anew")]
    Lost,
    #[error("another router keeps the journal")]
    Elsewhere,
}

/// What the journal says, as far as this router wrote it.
#[derive(Default)]
struct Told {
    apps: HashMap<AppId, u64>,
    event_types: EventTypeImages,
    /// Since everything was told.
    bytes: usize,
}

/// Keeps the journal whenever no other router does, until told to stop.
pub(crate) async fn run(shared: Arc<Shared>) {
    let soft = shared.parts.life.soft.clone();
    let keeping = async {
        loop {
            match keep(&shared).await {
                Ok(()) | Err(JournalError::Elsewhere) => {}
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "the journal of configuration is not kept for now"
                    );
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = keeping => {}
        () = soft.cancelled() => {}
    }
}

/// Keeps the journal if nobody else does, until that changes.
async fn keep(shared: &Shared) -> Result<(), JournalError> {
    let parts = &shared.parts;
    take(shared).await?;
    parts.broker.declare_journal().await?;
    let mut revision = parts.directory.revision();
    let mut told = tell_all(shared).await?;
    tracing::info!(
        apps = told.apps.len(),
        "this router keeps the journal of configuration"
    );
    let mut taken = Instant::now();
    loop {
        // Either way it is looked whether anything is new.
        drop(timeout(TICK, revision.changed()).await);
        if taken.elapsed() >= TICK {
            take(shared).await?;
            taken = Instant::now();
            // A broker that lost its data has lost the journal too: then it is begun anew.
            let journal = parts.broker.names().journal();
            if parts.broker.depth(journal).await?.is_none() {
                return Err(JournalError::Lost);
            }
            tell_event_types(shared, &mut told).await?;
        }
        // What an emptied store does not have was not deleted.
        if *parts.directory.status().borrow() != DirectoryStatus::Following {
            continue;
        }
        let looked = Instant::now();
        let (changed, gone) = news(&told.apps, &parts.directory.app_versions());
        let rest = (looked.elapsed() * REST).min(TICK);
        tell_apps(shared, &mut told, changed).await?;
        for (app, version) in gone {
            let entry = JournalEntry::AppGone {
                app: app.as_str().to_owned(),
                version,
            };
            told.bytes += write(shared, &entry).await?;
            told.apps.remove(&app);
        }
        if told.bytes >= ROUND_AFTER_BYTES {
            told = tell_all(shared).await?;
        }
        tokio::time::sleep(rest).await;
    }
}

async fn take(shared: &Shared) -> Result<(), JournalError> {
    let parts = &shared.parts;
    if parts.store.take_journal(&parts.name, HOLD).await? {
        Ok(())
    } else {
        Err(JournalError::Elsewhere)
    }
}

/// Tells everything anew.
async fn tell_all(shared: &Shared) -> Result<Told, JournalError> {
    let parts = &shared.parts;
    let round = parts
        .dice
        .with(|mut rng| MessageId::generate(UnixMillis(parts.clock.now()), &mut rng))
        .as_str()
        .to_owned();
    let mut told = Told::default();
    let mut following = parts.directory.status();
    // What is known while the store is emptied is what will be put back: but it may not be all.
    if following
        .wait_for(|status| *status == DirectoryStatus::Following)
        .await
        .is_err()
    {
        return Err(JournalError::Elsewhere);
    }
    write(shared, &JournalEntry::Begin { round: round.clone() }).await?;
    let apps: Vec<_> = parts.directory.app_versions().into_iter().collect();
    for some in apps.chunks(APPS_A_TURN) {
        take(shared).await?;
        tell_apps(shared, &mut told, some.to_vec()).await?;
    }
    tell_event_types(shared, &mut told).await?;
    take(shared).await?;
    write(shared, &JournalEntry::End { round }).await?;
    if told.bytes > ROUND_BYTES_MAX {
        tracing::error!(
            bytes = told.bytes,
            "the configuration is too large for its journal, from which it may not come back whole"
        );
    }
    told.bytes = 0;
    Ok(told)
}

async fn tell_apps(shared: &Shared, told: &mut Told, apps: Vec<(AppId, u64)>) -> Result<(), JournalError> {
    let written: Vec<(AppId, u64, usize)> = stream::iter(apps)
        .map(|(app, _)| async move {
            // Deleted meanwhile, it is told to be gone next.
            let Some(image) = shared.parts.directory.image(&app) else {
                return Ok(None);
            };
            let version = image.version;
            let bytes = write(shared, &JournalEntry::App(image)).await?;
            Ok::<_, JournalError>(Some((app, version, bytes)))
        })
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|written| std::future::ready(Ok(written)))
        .try_collect()
        .await?;
    for (app, version, bytes) in written {
        told.apps.insert(app, version);
        told.bytes += bytes;
    }
    Ok(())
}

async fn tell_event_types(shared: &Shared, told: &mut Told) -> Result<(), JournalError> {
    let types = shared.parts.store.event_type_images().await?;
    // There are always some, unless the store was emptied.
    if types.is_empty() || types == told.event_types {
        return Ok(());
    }
    let entry = JournalEntry::EventTypes { types: types.clone() };
    told.bytes += write(shared, &entry).await?;
    told.event_types = types;
    Ok(())
}

/// Writes one entry, and answers its length.
async fn write(shared: &Shared, entry: &JournalEntry) -> Result<usize, JournalError> {
    let body = entry.to_json();
    let bytes = body.len();
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        ..Properties::default()
    };
    let route = Route::queue(shared.parts.broker.names().journal());
    let deadline = Instant::now() + PUBLISH_PATIENCE;
    shared
        .publisher
        .publish(
            &route,
            Outgoing::persistent(properties, body.into_bytes()),
            deadline,
        )
        .await?;
    metrics::counter!("nuncio_router_journal_entries_total").increment(1);
    Ok(bytes)
}

/// Apps with the versions that they have, or had when they were told last.
type Versions = Vec<(AppId, u64)>;

/// What is to be told: the apps with another version than was told, and those that are gone.
fn news(told: &HashMap<AppId, u64>, known: &HashMap<AppId, u64>) -> (Versions, Versions) {
    let pair = |(app, version): (&AppId, &u64)| (app.clone(), *version);
    let changed = known
        .iter()
        .filter(|(app, version)| told.get(*app) != Some(*version));
    let gone = told.iter().filter(|(app, _)| !known.contains_key(*app));
    (changed.map(pair).collect(), gone.map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of: &[(&str, u64)]) -> HashMap<AppId, u64> {
        of.iter()
            .map(|(app, version)| (app.parse().unwrap(), *version))
            .collect()
    }

    #[test]
    fn what_is_new_what_changed_and_what_is_gone_is_told_and_nothing_else() {
        let told = versions(&[("app_same", 1), ("app_changed", 1), ("app_gone", 1)]);
        let known = versions(&[("app_same", 1), ("app_changed", 2), ("app_new", 1)]);
        let (changed, gone) = news(&told, &known);
        let changed: HashMap<_, _> = changed.into_iter().collect();
        assert_eq!(changed, versions(&[("app_changed", 2), ("app_new", 1)]));
        assert_eq!(gone, [("app_gone".parse().unwrap(), 1)]);
    }
}

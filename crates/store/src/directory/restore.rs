//! Restoring: putting apps, endpoints and secrets back into a store that was emptied under a process that knows them.
//!
//! Owns the decision that the store was emptied: its epoch does not descend from the one that is known. Guarantees that
//! exactly one process restores, and that what is deleted after a restoration does not come back by a process that
//! noticed late. Refuses to know how things are put back.

use std::time::Duration;

use nuncio_domain::AppId;
use nuncio_wire::journal::{AppImage, EndpointImage};

use super::{AppEntry, Directory, DirectoryStatus};
use crate::StoreError;
use crate::error::Cause;
use crate::life::{ACTION, APPS_A_BATCH, LOCK, PutBack, descends, word};

/// How often those who wait for another process look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What came of looking whether the store was emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It was not.
    NotEmptied,
    /// It was, and this process put everything back.
    Here,
    /// It was, and another process put everything back.
    Elsewhere,
}

impl AppEntry {
    /// The app with its endpoints as they are kept, secrets sealed.
    #[must_use]
    pub fn image(&self) -> AppImage {
        let endpoints = self.endpoints.iter().map(|entry| EndpointImage {
            id: entry.endpoint.id.as_str().to_owned(),
            uid: entry.endpoint.uid.as_ref().map(|uid| uid.as_str().to_owned()),
            record: entry.record.to_string(),
            sealed: entry.sealed.to_string(),
        });
        AppImage {
            id: self.app.id.as_str().to_owned(),
            uid: self.app.uid.as_ref().map(|uid| uid.as_str().to_owned()),
            version: self.version,
            record: self.record.to_string(),
            endpoints: endpoints.collect(),
        }
    }
}

impl Directory {
    /// The app as it is kept, if it is known.
    #[must_use]
    pub fn image(&self, app: &AppId) -> Option<AppImage> {
        self.known().apps.get(app).map(|entry| entry.image())
    }

    /// Puts everything that is known back into the store if it was emptied since. Of many processes that try, one does it;
    /// the others wait for it.
    ///
    /// # Errors
    /// When Redis is away, or nobody could restore in time.
    pub async fn restore_if_emptied(&self) -> Result<Restored, StoreError> {
        let store = &self.shared.store;
        let Some(known) = self.known().epoch.clone() else {
            return Ok(Restored::NotEmptied);
        };
        let found = store.epoch().await?;
        match found.as_deref() {
            Some(found) if found == known => return Ok(Restored::NotEmptied),
            Some(found) if descends(found, &known) => {
                self.settle(found).await?;
                return Ok(Restored::Elsewhere);
            }
            _ => {}
        }
        if *self.shared.status.borrow() != DirectoryStatus::Emptied {
            tracing::error!("the store was emptied: apps, endpoints and secrets are put back from memory");
            metrics::counter!("nuncio_store_emptied_total").increment(1);
            self.set_status(DirectoryStatus::Emptied);
        }
        let token = word();
        let deadline = tokio::time::Instant::now() + LOCK;
        while tokio::time::Instant::now() < deadline {
            if store.lock_life(&token).await? {
                let restored = self.restore(&known).await;
                store.unlock_life(&token).await?;
                let (epoch, how) = restored?;
                self.settle(&epoch).await?;
                return Ok(how);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(found) = store.epoch().await?.filter(|found| descends(found, &known)) {
                self.settle(&found).await?;
                return Ok(Restored::Elsewhere);
            }
        }
        Err(StoreError::Unavailable {
            action: ACTION,
            source: Cause::Emptied,
        })
    }

    /// Takes the new life of the store for the one that is known, and compares everything.
    async fn settle(&self, epoch: &str) -> Result<(), StoreError> {
        self.reconcile(epoch).await?;
        tracing::info!(
            endpoints = self.endpoint_count(),
            "the store has its apps and endpoints again"
        );
        Ok(())
    }

    async fn restore(&self, known: &str) -> Result<(String, Restored), StoreError> {
        let store = &self.shared.store;
        let found = store.epoch().await?;
        if let Some(found) = found.as_deref().filter(|found| descends(found, known)) {
            return Ok((found.to_owned(), Restored::Elsewhere));
        }
        let (apps, event_types) = {
            let known = self.known();
            (
                known.apps.values().cloned().collect::<Vec<_>>(),
                known.event_types.iter().cloned().collect(),
            )
        };
        for apps in apps.chunks(APPS_A_BATCH) {
            let images: Vec<AppImage> = apps.iter().map(|entry| entry.image()).collect();
            store.put_back_apps(&images, PutBack::Missing).await?;
        }
        store.put_back_event_types(&event_types).await?;
        let epoch = store
            .begin_life([found.as_deref().unwrap_or_default(), known])
            .await?;
        tracing::warn!(
            apps = apps.len(),
            "apps, endpoints and secrets were put back into the store"
        );
        Ok((epoch, Restored::Here))
    }
}

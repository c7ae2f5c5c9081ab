//! The directory: all apps and endpoints, in memory.
//!
//! Owns the view that routers and senders decide from. It is kept true by the stream of changes, read on a connection of
//! its own, and compared with the store after every gap and now and then.
//! Guarantees that looking up an app or endpoint costs the same however many there are; that a version it shows is never
//! newer than what it holds; that it keeps what it has while the store is away or was emptied, says so, and puts apps,
//! endpoints and secrets back into an emptied store, of many processes one.

mod follow;
mod load;
mod restore;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nuncio_domain::{App, AppId, Endpoint, EndpointId};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::seal::EndpointSecrets;
use crate::{Store, StoreError};

pub use restore::Restored;

/// How many changes wait for a slow listener, which is then told that it missed some.
const CHANGES_WAITING_MAX: usize = 4_096;

/// An app with its endpoints, as of one version.
#[derive(Debug, Clone)]
pub struct AppEntry {
    /// The app.
    pub app: App,
    /// The version of the app that this shows; what is shown may be newer, never older.
    pub version: u64,
    /// Its endpoints, in the order of their creation.
    pub endpoints: Vec<Arc<EndpointEntry>>,
    record: Box<str>,
}

/// An endpoint with its secrets.
#[derive(Debug, Clone)]
pub struct EndpointEntry {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its secrets, in a directory that has them; none also when no main secret opens them.
    pub secrets: Option<EndpointSecrets>,
    record: Box<str>,
    sealed: Box<str>,
}

/// A change that a listener may want to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An endpoint was added, changed or removed.
    Endpoint(EndpointId),
    /// Many may have changed.
    Reloaded,
}

/// How the directory stands to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryStatus {
    /// Nothing was loaded yet.
    Loading,
    /// It follows.
    Following,
    /// The store is away: what was known last is used.
    Away,
    /// The store was emptied, and what was known is not back in it yet.
    Emptied,
}

/// All apps and endpoints, in memory. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    with_secrets: bool,
    known: RwLock<Known>,
    changes: broadcast::Sender<Change>,
    status: watch::Sender<DirectoryStatus>,
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    apps: HashMap<AppId, Arc<AppEntry>>,
    uids: HashMap<String, AppId>,
    endpoints: HashMap<EndpointId, Arc<EndpointEntry>>,
    event_types: Vec<(String, String)>,
    epoch: Option<String>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.known();
        f.debug_struct("Directory")
            .field("apps", &known.apps.len())
            .field("endpoints", &known.endpoints.len())
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// A directory that follows the store until `stop`. Returns once everything is loaded, however long that takes, or on
    /// `stop`, with nothing then. Only a directory `with_secrets` opens them; all keep them sealed.
    pub async fn follow(
        store: Store,
        tracker: &TaskTracker,
        stop: CancellationToken,
        with_secrets: bool,
    ) -> Self {
        let directory = Self {
            shared: Arc::new(Shared {
                store,
                with_secrets,
                known: RwLock::default(),
                changes: broadcast::Sender::new(CHANGES_WAITING_MAX),
                status: watch::Sender::new(DirectoryStatus::Loading),
                revision: watch::Sender::new(0),
            }),
        };
        let mut status = directory.status();
        tracker.spawn(follow::run(directory.clone(), stop.clone()));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = status.wait_for(|status| *status == DirectoryStatus::Following) => {}
        }
        directory
    }

    /// The app with that id or uid, if it is known.
    #[must_use]
    pub fn app(&self, id_or_uid: &str) -> Option<Arc<AppEntry>> {
        let known = self.known();
        if let Ok(id) = AppId::parse(id_or_uid)
            && let Some(entry) = known.apps.get(&id)
        {
            return Some(Arc::clone(entry));
        }
        let id = known.uids.get(id_or_uid)?;
        known.apps.get(id).map(Arc::clone)
    }

    /// The app with that id or uid, asked of the store if it is not known.
    ///
    /// # Errors
    /// When Redis is away, or was emptied and could not be restored.
    pub async fn app_fresh(&self, id_or_uid: &str) -> Result<Option<Arc<AppEntry>>, StoreError> {
        if let Some(entry) = self.app(id_or_uid) {
            return Ok(Some(entry));
        }
        match self.shared.store.app_id(id_or_uid).await? {
            Some(id) => self.refresh(&id).await,
            None => {
                self.restore_if_emptied().await?;
                Ok(self.app(id_or_uid))
            }
        }
    }

    /// The app as the store has it now; none when it was deleted.
    ///
    /// # Errors
    /// When Redis is away, or was emptied and could not be restored.
    pub async fn refresh(&self, app: &AppId) -> Result<Option<Arc<AppEntry>>, StoreError> {
        let loaded = match self.load_app(app).await? {
            Some(entry) => Some(entry),
            // An app is gone when it was deleted, not when everything is gone.
            None => match self.restore_if_emptied().await? {
                Restored::NotEmptied => None,
                Restored::Here | Restored::Elsewhere => self.load_app(app).await?,
            },
        };
        Ok(match loaded {
            Some(entry) => Some(self.install(entry, false)),
            None => {
                self.remove(app);
                None
            }
        })
    }

    /// The endpoint of that id, if it is known.
    #[must_use]
    pub fn endpoint(&self, id: &EndpointId) -> Option<Arc<EndpointEntry>> {
        self.known().endpoints.get(id).map(Arc::clone)
    }

    /// The endpoint of that id, asked of the store if it is not known.
    ///
    /// # Errors
    /// When Redis is away, or was emptied and could not be restored.
    pub async fn endpoint_fresh(
        &self,
        app: &AppId,
        id: &EndpointId,
    ) -> Result<Option<Arc<EndpointEntry>>, StoreError> {
        if let Some(entry) = self.endpoint(id) {
            return Ok(Some(entry));
        }
        self.refresh(app).await?;
        Ok(self.endpoint(id))
    }

    /// The ids of all endpoints.
    #[must_use]
    pub fn endpoint_ids(&self) -> Vec<EndpointId> {
        self.known().endpoints.keys().cloned().collect()
    }

    /// The ids of all apps.
    #[must_use]
    pub fn app_ids(&self) -> Vec<AppId> {
        self.known().apps.keys().cloned().collect()
    }

    /// The versions of all apps.
    #[must_use]
    pub fn app_versions(&self) -> HashMap<AppId, u64> {
        let known = self.known();
        let versions = known.apps.iter().map(|(id, entry)| (id.clone(), entry.version));
        versions.collect()
    }

    /// A number that changes with whatever is known.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// How many endpoints are known.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        self.known().endpoints.len()
    }

    /// Changes from now on. They are told after the directory shows them.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// How the directory stands to the store, for health checks.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<DirectoryStatus> {
        self.shared.status.subscribe()
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.shared.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.shared.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_status(&self, status: DirectoryStatus) {
        self.shared.status.send_if_modified(|held| {
            let modified = *held != status;
            *held = status;
            modified
        });
    }

    fn tell(&self, changed: Vec<EndpointId>) {
        self.shared.revision.send_modify(|revision| *revision += 1);
        // Nobody may listen.
        if changed.len() > CHANGES_WAITING_MAX / 4 {
            self.shared.changes.send(Change::Reloaded).ok();
        } else {
            for id in changed {
                self.shared.changes.send(Change::Endpoint(id)).ok();
            }
        }
    }

    /// Puts an app in its place, unless a newer version is there; answers what is there then.
    fn install(&self, entry: AppEntry, whatever_version: bool) -> Arc<AppEntry> {
        let (entry, changed) = self.known_mut().install(entry, whatever_version);
        self.tell(changed);
        entry
    }

    fn remove(&self, app: &AppId) {
        let changed = self.known_mut().remove(app);
        self.tell(changed);
    }
}

impl Known {
    /// Puts an app in its place, unless a newer version is there; answers what is there then, and the endpoints changed.
    fn install(&mut self, entry: AppEntry, whatever_version: bool) -> (Arc<AppEntry>, Vec<EndpointId>) {
        let mut changed = Vec::new();
        if let Some(held) = self.apps.get(&entry.app.id) {
            if held.version > entry.version && !whatever_version {
                return (Arc::clone(held), changed);
            }
            if held.app.uid != entry.app.uid
                && let Some(uid) = &held.app.uid
                && self.uids.get(uid.as_str()) == Some(&entry.app.id)
            {
                self.uids.remove(uid.as_str());
            }
            let kept: std::collections::HashSet<&EndpointId> =
                entry.endpoints.iter().map(|entry| &entry.endpoint.id).collect();
            for gone in held
                .endpoints
                .iter()
                .map(|entry| &entry.endpoint.id)
                .filter(|id| !kept.contains(id))
            {
                self.endpoints.remove(gone);
                changed.push(gone.clone());
            }
        }
        for endpoint in &entry.endpoints {
            let held = self
                .endpoints
                .insert(endpoint.endpoint.id.clone(), Arc::clone(endpoint));
            if held.is_none_or(|held| !Arc::ptr_eq(&held, endpoint)) {
                changed.push(endpoint.endpoint.id.clone());
            }
        }
        if let Some(uid) = &entry.app.uid {
            self.uids.insert(uid.as_str().to_owned(), entry.app.id.clone());
        }
        let entry = Arc::new(entry);
        self.apps.insert(entry.app.id.clone(), Arc::clone(&entry));
        (entry, changed)
    }

    fn remove(&mut self, app: &AppId) -> Vec<EndpointId> {
        let Some(held) = self.apps.remove(app) else {
            return Vec::new();
        };
        if let Some(uid) = &held.app.uid
            && self.uids.get(uid.as_str()) == Some(app)
        {
            self.uids.remove(uid.as_str());
        }
        let gone: Vec<EndpointId> = held
            .endpoints
            .iter()
            .map(|entry| entry.endpoint.id.clone())
            .collect();
        for id in &gone {
            self.endpoints.remove(id);
        }
        gone
    }
}

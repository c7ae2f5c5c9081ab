//! Restoring: putting apps, endpoints and secrets back into a store that was emptied.
//!
//! Owns the epoch: a random word that names one life of the store, followed by the words of the lives whose contents were
//! put into it. Guarantees that exactly one process restores, that nothing which is in the store is overwritten, and that
//! what is deleted after a restoration does not come back by a process that noticed late.

use std::time::Duration;

use nuncio_domain::AppId;
use redis::Value;

use super::{AppEntry, Directory, DirectoryStatus};
use crate::error::Cause;
use crate::link::Lane;
use crate::script::{self, RESTORE_APP};
use crate::store::Group;
use crate::{Store, StoreError};

const ACTION: &str = "restore an emptied store";
/// How long one process may take before another one tries.
const LOCK: Duration = Duration::from_secs(15);
/// How often those who wait for it look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many apps are restored in one round trip.
const APPS_A_BATCH: usize = 50;
/// How many lives an epoch remembers.
const LIVES_MAX: usize = 8;

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

impl Directory {
    /// The store's epoch.
    pub(super) async fn epoch(&self) -> Result<Option<String>, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.shared.store.keys().epoch());
        self.shared.store.one(ACTION, cmd).await
    }

    /// The store's epoch; a new one if this is the first use of the store.
    pub(super) async fn adopt_epoch(&self) -> Result<String, StoreError> {
        let store = &self.shared.store;
        let mut begin = redis::cmd("SET");
        begin.arg(store.keys().epoch()).arg(word()).arg("NX");
        let mut get = redis::cmd("GET");
        get.arg(store.keys().epoch());
        let values = store.group(Lane::Calls, ACTION, vec![begin, get]).await?;
        crate::store::read(ACTION, values.into_iter().nth(1))
    }

    /// Puts everything that is known back into the store if it was emptied since. Of many processes that try, one does it;
    /// the others wait for it.
    ///
    /// # Errors
    /// When Redis is away, or nobody could restore in time.
    pub async fn restore_if_emptied(&self) -> Result<Restored, StoreError> {
        let Some(known) = self.known().epoch.clone() else {
            return Ok(Restored::NotEmptied);
        };
        let found = self.epoch().await?;
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
            if self.lock(&token).await? {
                let restored = self.restore(&known).await;
                self.unlock(&token).await?;
                let (epoch, how) = restored?;
                self.settle(&epoch).await?;
                return Ok(how);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(found) = self.epoch().await?.filter(|found| descends(found, &known)) {
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
        let found = self.epoch().await?;
        if let Some(found) = found.as_deref().filter(|found| descends(found, known)) {
            return Ok((found.to_owned(), Restored::Elsewhere));
        }
        let (apps, event_types) = {
            let known = self.known();
            (
                known.apps.values().cloned().collect::<Vec<_>>(),
                known.event_types.clone(),
            )
        };
        for apps in apps.chunks(APPS_A_BATCH) {
            let groups = apps.iter().map(|entry| vec![restore_cmd(store, entry)]).collect();
            store.groups(Lane::Calls, ACTION, groups).await?;
            let mut lists = Vec::with_capacity(2 * apps.len());
            for entry in apps {
                lists.extend(list_groups(
                    store,
                    &entry.app.id,
                    entry.app.uid.as_ref().map(AsRef::as_ref),
                ));
            }
            store.groups(Lane::Calls, ACTION, lists).await?;
        }
        let mut group = Group::new();
        for (name, text) in &event_types {
            let mut cmd = redis::cmd("HSETNX");
            cmd.arg(store.keys().event_types()).arg(name).arg(text);
            group.push(cmd);
        }
        store.group(Lane::Calls, ACTION, group).await?;
        let mut seeded = redis::cmd("SET");
        seeded.arg(store.keys().seeded()).arg("restored").arg("NX");
        store.one::<Value>(ACTION, seeded).await?;
        // Last, because it says that all of the above is there.
        let epoch = lives(&word(), [found.as_deref().unwrap_or_default(), known]);
        let mut cmd = redis::cmd("SET");
        cmd.arg(store.keys().epoch()).arg(&epoch);
        store.one::<Value>(ACTION, cmd).await?;
        tracing::warn!(
            apps = apps.len(),
            "apps, endpoints and secrets were put back into the store"
        );
        Ok((epoch, Restored::Here))
    }

    async fn lock(&self, token: &str) -> Result<bool, StoreError> {
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.shared.store.keys().restore_lock()).arg(token);
        cmd.arg("NX").arg("PX").arg(LOCK.as_millis() as u64);
        let taken: Option<String> = self.shared.store.one(ACTION, cmd).await?;
        Ok(taken.is_some())
    }

    async fn unlock(&self, token: &str) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let mut cmd = redis::cmd("GET");
        cmd.arg(store.keys().restore_lock());
        let held: Option<String> = store.one(ACTION, cmd).await?;
        if held.as_deref() == Some(token) {
            let mut cmd = redis::cmd("DEL");
            cmd.arg(store.keys().restore_lock());
            store.one::<Value>(ACTION, cmd).await?;
        }
        Ok(())
    }
}

fn restore_cmd(store: &Store, entry: &AppEntry) -> redis::Cmd {
    let keys = store.keys();
    let app = &entry.app.id;
    let names = [
        keys.app(app),
        keys.version(app),
        keys.endpoints(app),
        keys.endpoint_uids(app),
        keys.secrets(app),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut cmd = script::call(&RESTORE_APP, &names);
    cmd.arg(&*entry.record).arg(entry.version + 1);
    for endpoint in &entry.endpoints {
        cmd.arg(endpoint.endpoint.id.as_str()).arg(&*endpoint.record);
        cmd.arg(endpoint.endpoint.uid.as_ref().map_or("", |uid| uid.as_str()))
            .arg(&*endpoint.sealed);
    }
    cmd
}

fn list_groups(store: &Store, app: &AppId, uid: Option<&str>) -> Vec<Group> {
    let mut add = redis::cmd("ZADD");
    add.arg(store.keys().apps()).arg(0).arg(app.as_str());
    let mut groups = vec![vec![add]];
    if let Some(uid) = uid {
        let mut take = redis::cmd("HSETNX");
        take.arg(store.keys().app_uids()).arg(uid).arg(app.as_str());
        groups.push(vec![take]);
    }
    groups
}

fn word() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Whether the life `found` holds what the life `known` held.
fn descends(found: &str, known: &str) -> bool {
    let head = known.split(',').next();
    found.split(',').any(|life| Some(life) == head)
}

/// An epoch that begins a new life with what those lives held.
fn lives(new: &str, held: [&str; 2]) -> String {
    let mut all = vec![new];
    for life in held.into_iter().flat_map(|epoch| epoch.split(',')) {
        if !life.is_empty() && !all.contains(&life) && all.len() < LIVES_MAX {
            all.push(life);
        }
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_descends_from_those_that_were_put_into_it() {
        let second = lives("b", ["", "a"]);
        assert_eq!(second, "b,a");
        assert!(descends(&second, "a") && descends(&second, &second));
        assert!(
            !descends("c", "a"),
            "a store that began anew holds nothing of before"
        );
        let third = lives("d", ["c", &second]);
        assert!(
            ["a", "b,a", "c"].iter().all(|life| descends(&third, life)),
            "{third}"
        );
    }

    #[test]
    fn an_epoch_forgets_lives_that_are_long_past() {
        let mut epoch = "first".to_owned();
        for n in 0..20 {
            epoch = lives(&n.to_string(), ["", &epoch]);
        }
        assert_eq!(epoch.split(',').count(), LIVES_MAX);
    }
}

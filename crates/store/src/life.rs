//! The lives of a store: how one knows that it was emptied, and how apps, endpoints and secrets are put back.
//!
//! Owns the epoch: a random word that names one life of the store, followed by the words of the lives whose contents were
//! put into it; and the lock of whoever puts something back.
//! Guarantees that nothing which is in the store is overwritten unless that is asked for, and that an epoch is written only after what it speaks
//! for. Refuses to know where what is put back was remembered.

use std::time::Duration;

use nuncio_domain::AppId;
use nuncio_wire::journal::{AppImage, Configuration, EventTypeImages};
use redis::Value;

use crate::error::Cause;
use crate::link::Lane;
use crate::script::{self, RESTORE_APP};
use crate::store::Group;
use crate::{Restored, Store, StoreError};

pub(crate) const ACTION: &str = "restore an emptied store";
/// How long one process may take before another one tries.
pub(crate) const LOCK: Duration = Duration::from_secs(15);
/// How often those who wait for it look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many apps are restored in one round trip.
pub(crate) const APPS_A_BATCH: usize = 50;
/// How many lives an epoch remembers.
const LIVES_MAX: usize = 8;

/// What becomes of what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutBack {
    /// Nothing is done once anybody began a life of the store.
    IfBlank,
    /// An app that is there stays as it is, with all its endpoints.
    Missing,
    /// What is there stays as it is; endpoints that an app lacks are added.
    Merge,
    /// What is there is overwritten.
    Overwrite,
}

impl PutBack {
    /// How the script calls it.
    fn word(self) -> &'static str {
        match self {
            Self::IfBlank | Self::Missing => "missing",
            Self::Merge => "merge",
            Self::Overwrite => "overwrite",
        }
    }
}

impl Store {
    /// Whether nothing was ever kept here, or all of it was lost.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn is_blank(&self) -> Result<bool, StoreError> {
        Ok(self.epoch().await?.is_none())
    }

    /// Puts configuration back, and begins a new life of the store with it. Of many processes that try, one does it at a
    /// time. Tells `done` how many more apps were dealt with.
    ///
    /// # Errors
    /// When Redis is away, or another process takes too long.
    pub async fn put_back(
        &self,
        configuration: &Configuration,
        how: PutBack,
        done: impl FnMut(usize),
    ) -> Result<Restored, StoreError> {
        let token = word();
        let deadline = tokio::time::Instant::now() + LOCK;
        while tokio::time::Instant::now() < deadline {
            if how == PutBack::IfBlank && !self.is_blank().await? {
                return Ok(Restored::Elsewhere);
            }
            if self.lock_life(&token).await? {
                let put = self.put_back_locked(configuration, how, done).await;
                self.unlock_life(&token).await?;
                return put;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(StoreError::Unavailable {
            action: ACTION,
            source: Cause::Emptied,
        })
    }

    async fn put_back_locked(
        &self,
        configuration: &Configuration,
        how: PutBack,
        mut done: impl FnMut(usize),
    ) -> Result<Restored, StoreError> {
        let found = self.epoch().await?;
        if how == PutBack::IfBlank && found.is_some() {
            return Ok(Restored::Elsewhere);
        }
        for apps in configuration.apps.chunks(APPS_A_BATCH) {
            self.put_back_apps(apps, how).await?;
            done(apps.len());
        }
        self.put_back_event_types(&configuration.event_types).await?;
        self.begin_life([found.as_deref().unwrap_or_default(), ""])
            .await?;
        Ok(Restored::Here)
    }

    /// The store's epoch.
    pub(crate) async fn epoch(&self) -> Result<Option<String>, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().epoch());
        self.one(ACTION, cmd).await
    }

    /// The store's epoch; a new one if this is the first use of the store.
    pub(crate) async fn adopt_epoch(&self) -> Result<String, StoreError> {
        let mut begin = redis::cmd("SET");
        begin.arg(self.keys().epoch()).arg(word()).arg("NX");
        let mut get = redis::cmd("GET");
        get.arg(self.keys().epoch());
        let values = self.group(Lane::Calls, ACTION, vec![begin, get]).await?;
        crate::store::read(ACTION, values.into_iter().nth(1))
    }

    /// Puts apps back, with their endpoints and secrets.
    pub(crate) async fn put_back_apps(&self, apps: &[AppImage], how: PutBack) -> Result<(), StoreError> {
        let apps: Vec<(AppId, &AppImage)> = apps
            .iter()
            .filter_map(|image| Some((AppId::parse(&image.id).ok()?, image)))
            .collect();
        let mut lists = Vec::new();
        if how == PutBack::Overwrite {
            for (id, image) in &apps {
                let uid = self.app_record(id).await?.and_then(|(_, app)| app.uid);
                lists.extend(
                    uid.filter(|uid| Some(uid.as_str()) != image.uid.as_deref())
                        .map(|uid| {
                            let mut free = redis::cmd("HDEL");
                            free.arg(self.keys().app_uids()).arg(uid.as_str());
                            vec![free]
                        }),
                );
            }
        }
        let groups = apps
            .iter()
            .map(|(id, image)| vec![self.put_back_cmd(id, image, how)]);
        let answers = self.groups(Lane::Calls, ACTION, groups.collect()).await?;
        for ((id, image), mut answer) in apps.iter().zip(answers) {
            let (version, is_told): (u64, bool) = crate::store::read(ACTION, answer.pop())?;
            // Of an app that stays as it is, only the record tells its uid.
            lists.extend(self.list_groups(id, image.uid.as_deref().filter(|_| is_told)));
            if matches!(how, PutBack::Merge | PutBack::Overwrite) {
                lists.push(vec![self.change_entry(id, None, version)]);
            }
        }
        self.groups(Lane::Calls, ACTION, lists).await?;
        Ok(())
    }

    /// Puts back those event types that are missing; the ones of the start are not written after that.
    pub(crate) async fn put_back_event_types(&self, types: &EventTypeImages) -> Result<(), StoreError> {
        if types.is_empty() {
            return Ok(());
        }
        let group = types.iter().map(|(name, text)| {
            let mut cmd = redis::cmd("HSETNX");
            cmd.arg(self.keys().event_types()).arg(name).arg(text);
            cmd
        });
        self.group(Lane::Calls, ACTION, group.collect()).await?;
        self.mark_seeded().await
    }

    /// From now on, the event types of the start are not written any more.
    pub(crate) async fn mark_seeded(&self) -> Result<(), StoreError> {
        let mut seeded = redis::cmd("SET");
        seeded.arg(self.keys().seeded()).arg("restored").arg("NX");
        self.one::<Value>(ACTION, seeded).await?;
        Ok(())
    }

    /// Begins a new life with what those lives held. Last, because it says that all of it is there.
    pub(crate) async fn begin_life(&self, held: [&str; 2]) -> Result<String, StoreError> {
        let epoch = lives(&word(), held);
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.keys().epoch()).arg(&epoch);
        self.one::<Value>(ACTION, cmd).await?;
        Ok(epoch)
    }

    pub(crate) async fn lock_life(&self, token: &str) -> Result<bool, StoreError> {
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.keys().restore_lock()).arg(token);
        cmd.arg("NX").arg("PX").arg(LOCK.as_millis() as u64);
        let taken: Option<String> = self.one(ACTION, cmd).await?;
        Ok(taken.is_some())
    }

    pub(crate) async fn unlock_life(&self, token: &str) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().restore_lock());
        let held: Option<String> = self.one(ACTION, cmd).await?;
        if held.as_deref() == Some(token) {
            let mut cmd = redis::cmd("DEL");
            cmd.arg(self.keys().restore_lock());
            self.one::<Value>(ACTION, cmd).await?;
        }
        Ok(())
    }

    fn put_back_cmd(&self, app: &AppId, image: &AppImage, how: PutBack) -> redis::Cmd {
        let keys = self.keys();
        let names = [
            keys.app(app),
            keys.version(app),
            keys.endpoints(app),
            keys.endpoint_uids(app),
            keys.secrets(app),
        ];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut cmd = script::call(&RESTORE_APP, &names);
        cmd.arg(how.word()).arg(&image.record).arg(image.version);
        for endpoint in &image.endpoints {
            cmd.arg(&endpoint.id).arg(&endpoint.record);
            cmd.arg(endpoint.uid.as_deref().unwrap_or_default())
                .arg(&endpoint.sealed);
        }
        cmd
    }

    fn list_groups(&self, app: &AppId, uid: Option<&str>) -> Vec<Group> {
        let mut add = redis::cmd("ZADD");
        add.arg(self.keys().apps()).arg(0).arg(app.as_str());
        let mut groups = vec![vec![add]];
        if let Some(uid) = uid {
            let mut take = redis::cmd("HSETNX");
            take.arg(self.keys().app_uids()).arg(uid).arg(app.as_str());
            groups.push(vec![take]);
        }
        groups
    }
}

pub(crate) fn word() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Whether the life `found` holds what the life `known` held.
pub(crate) fn descends(found: &str, known: &str) -> bool {
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

//! Apps.
//!
//! Owns creation, change and deletion of apps, with their uids and the list. Guarantees that a crash between the steps of
//! a creation leaves nothing that anyone sees, and that no change overwrites another.

use nuncio_domain::{App, AppId, UnixMillis};
use nuncio_wire::journal::AppImage;
use nuncio_wire::record::AppRecord;
use redis::Value;

use crate::life::PutBack;
use crate::link::Lane;
use crate::page::{Page, PageRequest, Position};
use crate::script::{self, CHANGE_APP, TAKE_NAME};
use crate::store::{Group, read};
use crate::{Store, StoreError};

/// How often a change is tried again because others changed the same thing.
pub(crate) const ROUNDS_MAX: usize = 16;
/// How many messages of a deleted app are deleted at once; what is left of its history expires.
const PURGED_AT_ONCE: usize = 250;
/// How many rounds of that are made.
const PURGE_ROUNDS_MAX: usize = 40;

impl Store {
    /// Keeps a new app.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the uid is taken, naming the app that has it.
    pub async fn create_app(&self, app: &App) -> Result<(), StoreError> {
        const ACTION: &str = "create an app";
        if let Some(uid) = &app.uid {
            self.take_app_uid(ACTION, uid.as_str(), &app.id).await?;
        }
        let record = AppRecord::new(app).to_json();
        self.change_app(ACTION, &app.id, "", &record, true)
            .await?
            .ok_or(StoreError::Contended("app"))?;
        Ok(())
    }

    /// Keeps an app under an id that may have been here before, made again at `now`: its version is newer than any that an
    /// app of that id can have had, so that whoever remembers its deletion sees that it is there.
    ///
    /// # Errors
    /// As [`create_app`](Self::create_app).
    pub async fn create_app_again(&self, app: &App, now: UnixMillis) -> Result<(), StoreError> {
        let uid = app.uid.as_ref().map(|uid| uid.as_str().to_owned());
        if let Some(uid) = &uid {
            self.take_app_uid("import an app", uid, &app.id).await?;
        }
        let image = AppImage {
            id: app.id.as_str().to_owned(),
            uid,
            version: version_at(now),
            record: AppRecord::new(app).to_json(),
            endpoints: Vec::new(),
        };
        self.put_back_apps(&[image], PutBack::Merge).await
    }

    /// The app with that id or uid.
    ///
    /// # Errors
    /// When Redis is away or the record cannot be read.
    pub async fn app(&self, id_or_uid: &str) -> Result<Option<App>, StoreError> {
        let Some(id) = self.app_id(id_or_uid).await? else {
            return Ok(None);
        };
        Ok(self.app_record(&id).await?.map(|(_, app)| app))
    }

    /// The id of the app with that id or uid, if it may exist.
    pub(crate) async fn app_id(&self, id_or_uid: &str) -> Result<Option<AppId>, StoreError> {
        const ACTION: &str = "look an app's uid up";
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys().app_uids()).arg(id_or_uid);
        let parsed = AppId::parse(id_or_uid).ok();
        if let Some(id) = parsed {
            let mut exists = redis::cmd("EXISTS");
            exists.arg(self.keys().app(&id));
            let groups = self
                .groups(Lane::Calls, ACTION, vec![vec![exists], vec![cmd]])
                .await?;
            let mut values = groups.into_iter().flatten();
            if read::<bool>(ACTION, values.next())? {
                return Ok(Some(id));
            }
            let by_uid: Option<String> = read(ACTION, values.next())?;
            return Ok(by_uid.and_then(|text| AppId::parse(&text).ok()));
        }
        let by_uid: Option<String> = self.one(ACTION, cmd).await?;
        Ok(by_uid.and_then(|text| AppId::parse(&text).ok()))
    }

    /// Changes an app as `edit` says; it may be called again when others changed the app meanwhile.
    ///
    /// # Errors
    /// What `edit` refuses with; [`StoreError::NotFound`]; [`StoreError::Conflict`] when the new uid is taken.
    pub async fn update_app<E: From<StoreError>>(
        &self,
        id: &AppId,
        mut edit: impl FnMut(&mut App) -> Result<(), E>,
    ) -> Result<App, E> {
        const ACTION: &str = "change an app";
        for _ in 0..ROUNDS_MAX {
            let (held, before) = self.app_record(id).await?.ok_or(StoreError::NotFound("app"))?;
            let mut app = before.clone();
            edit(&mut app)?;
            app.id = id.clone();
            if let Some(uid) = app.uid.as_ref().filter(|uid| before.uid.as_ref() != Some(*uid)) {
                self.take_app_uid(ACTION, uid.as_str(), id).await?;
            }
            let record = AppRecord::parse(held.as_bytes())
                .map_err(StoreError::record(id.as_str()))?
                .updated(&app)
                .to_json();
            if self
                .change_app(ACTION, id, &held, &record, false)
                .await?
                .is_some()
            {
                if let Some(old) = before.uid.as_ref().filter(|old| app.uid.as_ref() != Some(*old)) {
                    self.free_app_uid(ACTION, old.as_str()).await?;
                }
                return Ok(app);
            }
        }
        Err(StoreError::Contended("app").into())
    }

    /// Deletes an app, its endpoints, their secrets, and what can be deleted of its history in reasonable time; the rest
    /// is out of reach and expires. Answers whether there was one.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn delete_app(&self, id: &AppId) -> Result<bool, StoreError> {
        const ACTION: &str = "delete an app";
        let keys = self.keys();
        let found = self.app_record(id).await?;
        let endpoints: Vec<String> = {
            let mut cmd = redis::cmd("HKEYS");
            cmd.arg(keys.endpoints(id));
            self.one(ACTION, cmd).await?
        };
        let mut unlist = redis::cmd("ZREM");
        unlist.arg(keys.apps()).arg(id.as_str());
        let mut delete = redis::cmd("DEL");
        delete
            .arg(keys.app(id))
            .arg(keys.endpoints(id))
            .arg(keys.endpoint_uids(id));
        delete
            .arg(keys.secrets(id))
            .arg(keys.version(id))
            .arg(keys.unfinished(id))
            .arg(keys.failing(id));
        let mut groups = vec![vec![delete], vec![unlist], vec![self.change_entry(id, None, 0)]];
        if let Some(uid) = found.as_ref().and_then(|(_, app)| app.uid.as_ref()) {
            let mut free = redis::cmd("HDEL");
            free.arg(keys.app_uids()).arg(uid.as_str());
            groups.push(vec![free]);
        }
        self.groups(Lane::Calls, ACTION, groups).await?;
        self.purge_history(id, &endpoints).await?;
        Ok(found.is_some())
    }

    async fn purge_history(&self, id: &AppId, endpoints: &[String]) -> Result<(), StoreError> {
        const ACTION: &str = "delete an app's history";
        let keys = self.keys();
        for _ in 0..PURGE_ROUNDS_MAX {
            let mut cmd = redis::cmd("XRANGE");
            cmd.arg(keys.messages(id))
                .arg("-")
                .arg("+")
                .arg("COUNT")
                .arg(PURGED_AT_ONCE);
            let entries: Vec<(String, Vec<String>)> = self.one(ACTION, cmd).await?;
            if entries.is_empty() {
                break;
            }
            let mut unlink = redis::cmd("UNLINK");
            let mut remove = redis::cmd("XDEL");
            remove.arg(keys.messages(id));
            for (position, fields) in &entries {
                remove.arg(position);
                if let Some(message) = fields.get(1) {
                    unlink.arg(format!("{}m:{message}", keys.app_prefix(id)));
                    unlink.arg(format!("{}p:{message}", keys.app_prefix(id)));
                }
            }
            self.group(Lane::Calls, ACTION, vec![unlink, remove]).await?;
        }
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(keys.messages(id));
        for endpoint in endpoints {
            for kind in ["a", "u", "x"] {
                unlink.arg(format!("{}{kind}:{endpoint}", keys.app_prefix(id)));
            }
        }
        self.group(Lane::Calls, ACTION, vec![unlink]).await?;
        Ok(())
    }

    /// A page of all apps, in the order of their creation or against it.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn list_apps(&self, request: &PageRequest) -> Result<Page<App>, StoreError> {
        const ACTION: &str = "list apps";
        let bound = match request.anchor() {
            None => if request.descending() { "+" } else { "-" }.to_owned(),
            Some(Position(text)) => format!("({}", AppId::parse(text).map_err(|_| StoreError::BadPosition)?),
        };
        let (name, end) = if request.descending() {
            ("ZREVRANGEBYLEX", "-")
        } else {
            ("ZRANGEBYLEX", "+")
        };
        let mut cmd = redis::cmd(name);
        cmd.arg(self.keys().apps()).arg(bound).arg(end);
        cmd.arg("LIMIT").arg(0).arg(request.limit.saturating_add(1));
        let mut ids: Vec<String> = self.one(ACTION, cmd).await?;
        let more = ids.len() > request.limit;
        ids.truncate(request.limit);
        let ids: Vec<AppId> = ids.iter().filter_map(|text| AppId::parse(text).ok()).collect();
        let position = |id: Option<&AppId>| id.map(|id| Position(id.as_str().to_owned()));
        let (first, last) = (position(ids.first()), position(ids.last()));
        let groups = ids.iter().map(|id| {
            let mut cmd = redis::cmd("GET");
            cmd.arg(self.keys().app(id));
            vec![cmd]
        });
        let values = self.groups(Lane::Calls, ACTION, groups.collect()).await?;
        let mut apps = Vec::with_capacity(ids.len());
        for (id, mut value) in ids.into_iter().zip(values) {
            // Listed but not kept: it is being created or deleted right now.
            let Some(text) = read::<Option<String>>(ACTION, value.pop())? else {
                continue;
            };
            apps.push(parse_app(id, &text)?);
        }
        Ok(Page::assemble(request, apps, first, last, more))
    }

    pub(crate) async fn app_record(&self, id: &AppId) -> Result<Option<(String, App)>, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().app(id));
        let text: Option<String> = self.one("read an app", cmd).await?;
        text.map(|text| {
            let app = parse_app(id.clone(), &text)?;
            Ok((text, app))
        })
        .transpose()
    }

    /// Writes the record if it is still the one that was read; answers the new version then.
    async fn change_app(
        &self,
        action: &'static str,
        id: &AppId,
        held: &str,
        record: &str,
        list: bool,
    ) -> Result<Option<u64>, StoreError> {
        let keys = self.keys();
        let mut cmd = script::call(&CHANGE_APP, &[&keys.app(id), &keys.version(id)]);
        cmd.arg(held).arg(record);
        let version: u64 = self.one(action, cmd).await?;
        if version == 0 {
            return Ok(None);
        }
        let mut groups = Vec::with_capacity(2);
        if list {
            let mut add = redis::cmd("ZADD");
            add.arg(keys.apps()).arg(0).arg(id.as_str());
            groups.push(vec![add]);
        }
        groups.push(vec![self.change_entry(id, None, version)]);
        self.groups(Lane::Calls, action, groups).await?;
        Ok(Some(version))
    }

    /// Takes a uid for the app. One whose app is not kept was left by a creation that did not end, and is free.
    async fn take_app_uid(&self, action: &'static str, uid: &str, id: &AppId) -> Result<(), StoreError> {
        for _ in 0..ROUNDS_MAX {
            let mut cmd = script::call(&TAKE_NAME, &[&self.keys().app_uids()]);
            cmd.arg(uid).arg(id.as_str());
            let owner: String = self.one(action, cmd).await?;
            if owner == id.as_str() {
                return Ok(());
            }
            let taken = match AppId::parse(&owner) {
                Ok(owner) => {
                    self.app_record(&owner)
                        .await?
                        .is_some_and(|(_, app)| app.uid.is_some_and(|held| held.as_str() == uid))
                        || self.is_fresh(&owner, id)
                }
                Err(_) => false,
            };
            if taken {
                return Err(StoreError::Conflict {
                    what: "uid of the app",
                    by: owner,
                });
            }
            self.free_app_uid(action, uid).await?;
        }
        Err(StoreError::Contended("uid of the app"))
    }

    /// Whether `owner` was made so shortly before `id` that its creation may still be under way.
    fn is_fresh(&self, owner: &AppId, id: &AppId) -> bool {
        let patience = 2 * self.inner.config.call_timeout;
        match (owner.made_at(), id.made_at()) {
            (Some(owner), Some(id)) => {
                UnixMillis(owner.0.max(id.0)).since(UnixMillis(owner.0.min(id.0))) < patience
            }
            _ => false,
        }
    }

    async fn free_app_uid(&self, action: &'static str, uid: &str) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(self.keys().app_uids()).arg(uid);
        self.one::<Value>(action, cmd).await?;
        Ok(())
    }

    /// The entry in the stream of changes that tells every process of the new version.
    pub(crate) fn change_entry(&self, app: &AppId, endpoint: Option<&str>, version: u64) -> redis::Cmd {
        let mut cmd = redis::cmd("XADD");
        cmd.arg(self.keys().changes())
            .arg("MAXLEN")
            .arg("~")
            .arg(CHANGES_MAX)
            .arg("*");
        cmd.arg("a").arg(app.as_str()).arg("v").arg(version);
        if let Some(endpoint) = endpoint {
            cmd.arg("e").arg(endpoint);
        }
        cmd
    }

    /// Tells every process of a change.
    pub(crate) async fn announce(
        &self,
        action: &'static str,
        app: &AppId,
        endpoint: Option<&str>,
        version: u64,
    ) -> Result<(), StoreError> {
        let group: Group = vec![self.change_entry(app, endpoint, version)];
        self.group(Lane::Calls, action, group).await?;
        Ok(())
    }
}

/// How many changes are kept; a process that is further behind loads everything again.
const CHANGES_MAX: usize = 100_000;

/// A version for an app that is made again at `now`. Versions grow by one with each change, and no app changes once a
/// millisecond for as long as there are apps.
#[must_use]
pub fn version_at(now: UnixMillis) -> u64 {
    u64::try_from(now.0).unwrap_or(0)
}

pub(crate) fn parse_app(id: AppId, text: &str) -> Result<App, StoreError> {
    let what = id.as_str().to_owned();
    AppRecord::parse(text.as_bytes())
        .and_then(|record| record.to_app(id))
        .map_err(StoreError::record(what))
}

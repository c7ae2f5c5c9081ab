//! Loading: from the store into memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use nuncio_domain::{AppId, EndpointId};
use redis::Value;

use super::{AppEntry, Directory, DirectoryStatus, EndpointEntry};
use crate::StoreError;
use crate::apps::parse_app;
use crate::endpoints::parse_endpoint;
use crate::error::Cause;
use crate::link::Lane;
use crate::store::read;

const ACTION: &str = "load apps and endpoints";
/// How many apps are loaded in one round trip.
const APPS_A_BATCH: usize = 250;

/// A change as the stream tells it.
pub(super) struct Told {
    pub(super) version: u64,
    pub(super) endpoint: Option<EndpointId>,
}

impl Directory {
    /// An app as the store has it now.
    pub(super) async fn load_app(&self, app: &AppId) -> Result<Option<AppEntry>, StoreError> {
        let values = self
            .shared
            .store
            .group(Lane::Calls, ACTION, self.shared.store.app_group(app))
            .await?;
        self.parse_app(app, values)
    }

    /// Brings everything in line with the store: loads what is new or has another version, removes what is gone.
    pub(super) async fn reconcile(&self, epoch: &str) -> Result<(), StoreError> {
        let store = &self.shared.store;
        let listed = store.app_ids().await?;
        let versions = self.versions(&listed).await?;
        let stale: Vec<AppId> = {
            let known = self.known();
            let differs = |(app, version): &(&AppId, Option<u64>)| {
                known.apps.get(*app).map(|entry| entry.version) != Some(version.unwrap_or(0))
            };
            let pairs = listed.iter().zip(versions);
            pairs.filter(differs).map(|(app, _)| app.clone()).collect()
        };
        let mut loaded = Vec::with_capacity(stale.len());
        for apps in stale.chunks(APPS_A_BATCH) {
            let groups = apps.iter().map(|app| store.app_group(app)).collect();
            let answers = store.groups(Lane::Calls, ACTION, groups).await?;
            for (app, values) in apps.iter().zip(answers) {
                loaded.extend(self.parse_app(app, values)?);
            }
        }
        let event_types = store.event_type_texts().await?;
        // What is missing was deleted only if the store is still the one that was asked first.
        if store.epoch().await?.as_deref() != Some(epoch) {
            return Err(StoreError::Unavailable {
                action: ACTION,
                source: Cause::Emptied,
            });
        }
        let listed: HashSet<AppId> = listed.into_iter().collect();
        let changed = {
            let mut known = self.known_mut();
            let gone: Vec<AppId> = known
                .apps
                .keys()
                .filter(|app| !listed.contains(app))
                .cloned()
                .collect();
            let mut changed: Vec<EndpointId> = gone.iter().flat_map(|app| known.remove(app)).collect();
            for entry in loaded {
                changed.extend(known.install(entry, true).1);
            }
            known.event_types = event_types;
            known.epoch = Some(epoch.to_owned());
            changed
        };
        metrics::gauge!("nuncio_store_directory_endpoints").set(self.endpoint_count() as f64);
        self.set_status(DirectoryStatus::Following);
        self.tell(changed);
        Ok(())
    }

    /// Applies what the stream told of one app. Endpoints are loaded alone where no change before them is missing.
    pub(super) async fn apply(&self, app: &AppId, mut told: Vec<Told>) -> Result<(), StoreError> {
        told.sort_by_key(|change| change.version);
        let held = self.app(app.as_str());
        let deleted = told.first().is_some_and(|change| change.version == 0);
        if let (Some(held), false) = (held, deleted) {
            told.retain(|change| change.version > held.version);
            told.dedup_by_key(|change| change.version);
            let Some(last) = told.last().map(|change| change.version) else {
                return Ok(());
            };
            let contiguous = last - held.version == told.len() as u64;
            let endpoints: Option<BTreeSet<EndpointId>> =
                told.into_iter().map(|change| change.endpoint).collect();
            if let (true, Some(endpoints)) = (contiguous, endpoints) {
                let entry = self.with_endpoints(&held, last, endpoints).await?;
                self.install(entry, false);
                return Ok(());
            }
        }
        self.refresh(app).await?;
        Ok(())
    }

    /// The app as of `version`, some of its endpoints loaded anew.
    async fn with_endpoints(
        &self,
        held: &AppEntry,
        version: u64,
        ids: BTreeSet<EndpointId>,
    ) -> Result<AppEntry, StoreError> {
        let store = &self.shared.store;
        let app = &held.app.id;
        let names: Vec<&str> = ids.iter().map(EndpointId::as_str).collect();
        let read_from = |key: String| {
            let mut cmd = redis::cmd("HMGET");
            cmd.arg(key).arg(&names);
            cmd
        };
        let group = vec![
            read_from(store.keys().endpoints(app)),
            read_from(store.keys().secrets(app)),
        ];
        let mut values = store.group(Lane::Calls, ACTION, group).await?.into_iter();
        let records: Vec<Option<String>> = read(ACTION, values.next())?;
        let sealed: Vec<Option<String>> = read(ACTION, values.next())?;
        let mut endpoints: Vec<_> = held
            .endpoints
            .iter()
            .filter(|entry| !ids.contains(&entry.endpoint.id))
            .cloned()
            .collect();
        for ((id, record), sealed) in ids.into_iter().zip(records).zip(sealed) {
            if let Some(record) = record {
                endpoints.extend(self.endpoint_entry(app, id, record, sealed.unwrap_or_default()));
            }
        }
        endpoints.sort_unstable_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
        Ok(AppEntry {
            endpoints,
            version,
            ..held.clone()
        })
    }

    fn parse_app(&self, id: &AppId, values: Vec<Value>) -> Result<Option<AppEntry>, StoreError> {
        let mut values = values.into_iter();
        let version: Option<u64> = read(ACTION, values.next())?;
        let record: Option<String> = read(ACTION, values.next())?;
        let endpoints: Vec<(String, String)> = read(ACTION, values.next())?;
        let mut secrets: HashMap<String, String> = read(ACTION, values.next())?;
        let Some(record) = record else { return Ok(None) };
        let app = match parse_app(id.clone(), &record) {
            Ok(app) => app,
            Err(error) => {
                complain(&error);
                return Ok(self.app(id.as_str()).map(|held| AppEntry::clone(&held)));
            }
        };
        let mut entries = Vec::with_capacity(endpoints.len());
        for (name, text) in endpoints {
            let Ok(endpoint) = EndpointId::parse(&name) else {
                continue;
            };
            let sealed = secrets.remove(&name).unwrap_or_default();
            entries.extend(self.endpoint_entry(id, endpoint, text, sealed));
        }
        entries.sort_unstable_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
        Ok(Some(AppEntry {
            app,
            version: version.unwrap_or(0),
            endpoints: entries,
            record: record.into_boxed_str(),
        }))
    }

    /// The entry of an endpoint; the one that is there if nothing of it changed, so that listeners see that, or if what is
    /// kept cannot be read: one unreadable record must not keep all others from being known.
    fn endpoint_entry(
        &self,
        app: &AppId,
        id: EndpointId,
        record: String,
        sealed: String,
    ) -> Option<Arc<EndpointEntry>> {
        let held = self.endpoint(&id);
        let same = |held: &Arc<EndpointEntry>| *held.record == *record && *held.sealed == *sealed;
        if held.as_ref().is_some_and(same) {
            return held;
        }
        let endpoint = match parse_endpoint(app.clone(), id.clone(), &record) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                complain(&error);
                return held;
            }
        };
        let sealer = &self.shared.store.inner.sealer;
        let secrets = if self.shared.with_secrets && !sealed.is_empty() {
            sealer.open(app, &id, &sealed).inspect_err(complain).ok()
        } else {
            None
        };
        Some(Arc::new(EndpointEntry {
            endpoint,
            secrets,
            record: record.into_boxed_str(),
            sealed: sealed.into_boxed_str(),
        }))
    }

    async fn versions(&self, apps: &[AppId]) -> Result<Vec<Option<u64>>, StoreError> {
        let store = &self.shared.store;
        let mut versions = Vec::with_capacity(apps.len());
        for apps in apps.chunks(4 * APPS_A_BATCH) {
            let groups = apps.iter().map(|app| {
                let mut cmd = redis::cmd("GET");
                cmd.arg(store.keys().version(app));
                vec![cmd]
            });
            for mut answer in store.groups(Lane::Calls, ACTION, groups.collect()).await? {
                versions.push(read(ACTION, answer.pop())?);
            }
        }
        Ok(versions)
    }
}

fn complain(error: &StoreError) {
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(%error, cause, "a record is left as it was known last");
}

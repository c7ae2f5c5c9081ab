//! How what is to be put back stands to what is kept.
//!
//! Owns the comparison, part by part: records by what they say, secrets by what they open to. Guarantees that what is
//! the same is told so whoever sealed or wrote it. Refuses to decide what follows.

use std::collections::{HashMap, HashSet};

use nuncio_domain::{AppId, EndpointId, EventTypeName, UnixMillis};
use nuncio_wire::journal::{AppImage, EndpointImage, EventTypeImages};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::seal::EndpointSecrets;
use crate::{Store, StoreError};

/// How one thing stands to what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// There is none.
    Missing,
    /// It is there like that.
    Same,
    /// It is there, otherwise.
    Differs {
        /// Whether what is kept was changed later than what is to be put back.
        newer: bool,
    },
    /// There is none, but something else has its uid.
    Taken {
        /// The id of what has it.
        by: String,
    },
}

/// How an app and its endpoints stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppStands {
    /// The app itself.
    pub app: Stands,
    /// Its endpoints, in the order that they were given in.
    pub endpoints: Vec<Stands>,
}

/// How an event type stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTypeStands {
    /// How. One that is there from the start, and that nobody changed, counts as missing.
    pub stands: Stands,
    /// The record that is kept; empty when there is none.
    held: String,
}

impl Store {
    /// How these apps stand to what is kept.
    ///
    /// # Errors
    /// When Redis is away, or an id is none.
    pub async fn compare_apps(&self, told: &[AppImage]) -> Result<Vec<AppStands>, StoreError> {
        let ids: Vec<AppId> = told.iter().filter_map(|app| AppId::parse(&app.id).ok()).collect();
        if ids.len() != told.len() {
            return Err(StoreError::Settings("an id of an app is none"));
        }
        let held = self.app_images(&ids).await?;
        let mut stands = Vec::with_capacity(told.len());
        for ((id, told), held) in ids.iter().zip(told).zip(held) {
            let mut app = compare_records(held.as_ref().map(|app| &app.record), &told.record);
            let has_uid = held.as_ref().is_some_and(|held| held.uid == told.uid);
            if !has_uid && let Some(by) = self.owner_of(told.uid.as_deref(), id).await? {
                app = Stands::Taken { by };
            }
            let held = held.map(|app| app.endpoints).unwrap_or_default();
            let endpoints = self.compare_endpoints(id, &told.endpoints, &held);
            stands.push(AppStands { app, endpoints });
        }
        Ok(stands)
    }

    /// The app other than `id` that has the uid.
    async fn owner_of(&self, uid: Option<&str>, id: &AppId) -> Result<Option<String>, StoreError> {
        let Some(uid) = uid else { return Ok(None) };
        let found = self.app(uid).await?;
        let other =
            found.filter(|app| app.id != *id && app.uid.as_ref().is_some_and(|held| held.as_str() == uid));
        Ok(other.map(|app| app.id.as_str().to_owned()))
    }

    fn compare_endpoints(&self, app: &AppId, told: &[EndpointImage], held: &[EndpointImage]) -> Vec<Stands> {
        let by_id: HashMap<&str, &EndpointImage> = held.iter().map(|one| (one.id.as_str(), one)).collect();
        // What is to be put back over itself gives its uid up for what it is to have.
        let put_back: HashSet<&str> = told.iter().map(|one| one.id.as_str()).collect();
        let owners: HashMap<&str, &str> = held
            .iter()
            .filter(|one| !put_back.contains(one.id.as_str()))
            .filter_map(|one| Some((one.uid.as_deref()?, one.id.as_str())))
            .collect();
        let stands = told.iter().map(|told| {
            let held = by_id.get(told.id.as_str());
            let owner = told.uid.as_deref().and_then(|uid| owners.get(uid));
            match (held, owner) {
                (_, Some(by)) => Stands::Taken { by: (*by).to_owned() },
                (Some(held), None) if !self.same_secrets(app, told, held) => Stands::Differs {
                    newer: is_newer(&held.record, &told.record),
                },
                (held, None) => compare_records(held.map(|held| &held.record), &told.record),
            }
        });
        stands.collect()
    }

    fn same_secrets(&self, app: &AppId, told: &EndpointImage, held: &EndpointImage) -> bool {
        if told.sealed == held.sealed {
            return true;
        }
        let Ok(id) = EndpointId::parse(&told.id) else {
            return false;
        };
        let open = |sealed: &str| self.open_secrets(app, &id, sealed).ok();
        match (open(&told.sealed), open(&held.sealed)) {
            (Some(told), Some(held)) => exposed(&told) == exposed(&held),
            _ => false,
        }
    }

    /// How these event types stand to what is kept.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn compare_event_types(
        &self,
        told: &EventTypeImages,
    ) -> Result<Vec<(String, EventTypeStands)>, StoreError> {
        let mut held = self.event_type_images().await?;
        let stands = told.iter().map(|(name, told)| {
            let held = held.remove(name).unwrap_or_default();
            let found = Some(&held).filter(|held| !held.is_empty());
            let mut stands = compare_records(found, told);
            if matches!(stands, Stands::Differs { .. }) && crate::event_types::is_untouched_seed(name, &held)
            {
                stands = Stands::Missing;
            }
            (name.clone(), EventTypeStands { stands, held })
        });
        Ok(stands.collect())
    }

    /// Puts an event type back in place of what was found. Answers whether it did: not when others changed it since.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn put_back_event_type(
        &self,
        name: &EventTypeName,
        told: &str,
        found: &EventTypeStands,
    ) -> Result<bool, StoreError> {
        self.mark_seeded().await?;
        self.change_event_type("put an event type back", name, &found.held, told)
            .await
    }
}

fn exposed(secrets: &EndpointSecrets) -> (&str, Vec<(&str, UnixMillis)>) {
    let old = secrets
        .old
        .iter()
        .map(|(secret, until)| (secret.expose_secret(), *until));
    (secrets.current.expose_secret(), old.collect())
}

fn compare_records(held: Option<&String>, told: &str) -> Stands {
    match held {
        None => Stands::Missing,
        Some(held) if held == told || value(held).is_some_and(|held| Some(held) == value(told)) => {
            Stands::Same
        }
        Some(held) => Stands::Differs {
            newer: is_newer(held, told),
        },
    }
}

fn value(record: &str) -> Option<Value> {
    serde_json::from_str(record).ok()
}

/// Whether what is kept was changed later.
fn is_newer(held: &str, told: &str) -> bool {
    let changed = |record| value(record)?.get("updatedAt")?.as_i64();
    changed(held) > changed(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_compared_by_what_they_say() {
        fn compared(held: &str, told: &str) -> Stands {
            compare_records(Some(&held.to_owned()), told)
        }
        assert_eq!(compare_records(None, "{}"), Stands::Missing);
        assert_eq!(compared(r#"{"a":1,"b":2}"#, r#"{ "b":2, "a":1 }"#), Stands::Same);
        assert_eq!(compared("no JSON", "no JSON"), Stands::Same);
        let changed = |at: i64, name: &str| format!(r#"{{"updatedAt":{at},"name":"{name}"}}"#);
        for (held, newer) in [(6, true), (5, false), (4, false)] {
            assert_eq!(
                compared(&changed(held, "a"), &changed(5, "b")),
                Stands::Differs { newer }
            );
        }
    }
}

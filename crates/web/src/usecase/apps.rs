//! Apps: created with their projects, found by id or uid.
//!
//! Guarantees that a uid belongs to one app, and that with an app everything that is its own goes: endpoints, their
//! queues, history.

use std::collections::BTreeMap;

use nuncio_domain::{App, AppId, Endpoint, Uid};
use nuncio_producer::EndpointChange;
use nuncio_store::{InDoubt, Page, PageRequest};

use super::occasion::Occasion;
use super::refusal::{Complaints, Noun, Outcome, Refusal};
use super::{UseCases, check, store};

/// Where Svix has its public test receiver.
const PLAY: &str = "https://play.svix.com/";

/// An app as a caller describes it.
#[derive(Debug, Clone, Default)]
pub struct AppDraft {
    /// A name for people.
    pub name: String,
    /// The caller's own id.
    pub uid: Option<String>,
    /// Messages a second.
    pub throttle_rate: Option<u64>,
    /// The same under its older name; the newer one goes before it.
    pub rate_limit: Option<u64>,
    /// The caller's own keys and values.
    pub metadata: BTreeMap<String, String>,
}

/// What to change of an app; an inner nothing takes the field away.
#[derive(Debug, Clone, Default)]
pub struct AppPatch {
    /// A name for people.
    pub name: Option<String>,
    /// The caller's own id.
    pub uid: Option<Option<String>>,
    /// Messages a second.
    pub throttle_rate: Option<Option<u64>>,
    /// The same under its older name; the newer one goes before it.
    pub rate_limit: Option<Option<u64>>,
    /// The caller's own keys and values.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Which apps are left out of a list, by their endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without {
    /// Those that have none.
    pub endpoints: bool,
    /// Those that have some, all of them disabled.
    pub enabled_endpoints: bool,
    /// Those that have some, all of them at Svix's public test receiver.
    pub real_endpoints: bool,
}

impl Without {
    /// Whether an app with these endpoints, whether disabled and where, is left out.
    fn leaves_out<'a>(self, endpoints: impl Iterator<Item = (bool, &'a str)> + Clone) -> bool {
        let mut disabled = endpoints.clone().map(|(disabled, _)| disabled);
        let mut urls = endpoints.clone().map(|(_, url)| url);
        if endpoints.clone().next().is_none() {
            return self.endpoints;
        }
        (self.enabled_endpoints && disabled.all(|disabled| disabled))
            || (self.real_endpoints && urls.all(|url| url.starts_with(PLAY)))
    }
}

/// Whether something was made or was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upserted<T> {
    /// It is new.
    Created(T),
    /// It was there; perhaps it was changed.
    Found(T),
}

pub(super) struct Checked {
    pub(super) name: String,
    pub(super) uid: Option<Uid>,
    pub(super) throttle_rate: Option<u32>,
    pub(super) metadata: BTreeMap<String, String>,
}

impl AppDraft {
    pub(super) fn check(self) -> Outcome<Checked> {
        let mut complaints = Complaints::new();
        let checked = self.check_into(&mut complaints);
        complaints.or(Some(checked))
    }

    fn check_into(self, complaints: &mut Complaints) -> Checked {
        check::text(complaints, "name", &self.name, false);
        check::metadata(complaints, "metadata", &self.metadata);
        Checked {
            uid: check::uid(complaints, "uid", self.uid.as_deref(), AppId::PREFIX),
            throttle_rate: check::rates(complaints, self.throttle_rate, self.rate_limit),
            name: self.name,
            metadata: self.metadata,
        }
    }
}

impl UseCases {
    /// One page of all apps, and on it those that are not left out.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list_apps(&self, without: Without, page: &PageRequest) -> Outcome<Page<App>> {
        let mut list = store(self.store.list_apps(page).await)?;
        if without != Without::default() {
            list.items.retain(|app| {
                let known = self.directory.app(app.id.as_str());
                let endpoints = known.iter().flat_map(|known| &known.endpoints);
                let told = endpoints.map(|entry| (entry.endpoint.is_disabled(), entry.endpoint.url.as_str()));
                !without.leaves_out(told)
            });
        }
        Ok(list)
    }

    /// The app with that id or uid.
    ///
    /// # Errors
    /// When there is none.
    pub async fn app(&self, id_or_uid: &str) -> Outcome<App> {
        store(self.store.app(id_or_uid).await)?.ok_or(Refusal::NotFound(Noun::App))
    }

    /// Makes an app. With `get_if_exists`, an app that has the uid already is the answer.
    ///
    /// # Errors
    /// When fields cannot be accepted, or the uid is taken.
    pub async fn create_app(
        &self,
        draft: AppDraft,
        get_if_exists: bool,
        occasion: &Occasion,
    ) -> Outcome<Upserted<App>> {
        let checked = draft.check()?;
        self.make_app(checked, get_if_exists, occasion).await
    }

    async fn make_app(
        &self,
        checked: Checked,
        get_if_exists: bool,
        occasion: &Occasion,
    ) -> Outcome<Upserted<App>> {
        let now = occasion.at;
        let id = occasion.dice.with(|mut rng| AppId::generate(now, &mut rng));
        if occasion.again
            && let Some(made) = store(self.store.app(id.as_str()).await)?
        {
            return Ok(Upserted::Created(made));
        }
        let app = App {
            id,
            uid: checked.uid,
            name: checked.name,
            throttle_rate: checked.throttle_rate,
            metadata: checked.metadata,
            created_at: now,
            updated_at: now,
        };
        match store(self.store.create_app(&app).await) {
            Ok(()) => Ok(Upserted::Created(app)),
            Err(Refusal::Conflict { .. }) if get_if_exists => {
                let uid = app.uid.as_ref().map(Uid::as_str).unwrap_or_default();
                self.app(uid).await.map(Upserted::Found)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Replaces the app with that id or uid, or makes one under the uid.
    ///
    /// # Errors
    /// When fields cannot be accepted, the uid is taken, or an id names nothing.
    pub async fn replace_app(&self, id_or_uid: &str, mut draft: AppDraft) -> Outcome<Upserted<App>> {
        match self.app(id_or_uid).await {
            Ok(_) => {}
            Err(Refusal::NotFound(_)) if !id_or_uid.starts_with(AppId::PREFIX) => {
                draft.uid.get_or_insert_with(|| id_or_uid.to_owned());
                return self.create_app(draft, false, &self.occasion()).await;
            }
            Err(refusal) => return Err(refusal),
        }
        let checked = draft.check()?;
        let change = |app: &mut App| {
            app.name.clone_from(&checked.name);
            app.uid.clone_from(&checked.uid);
            app.throttle_rate = checked.throttle_rate;
            app.metadata.clone_from(&checked.metadata);
        };
        self.change_app(id_or_uid, change).await.map(Upserted::Found)
    }

    /// Changes some fields of the app with that id or uid.
    ///
    /// # Errors
    /// When there is none, fields cannot be accepted, or the uid is taken.
    pub async fn patch_app(&self, id_or_uid: &str, patch: AppPatch) -> Outcome<App> {
        let mut complaints = Complaints::new();
        if let Some(name) = &patch.name {
            check::text(&mut complaints, "name", name, false);
        }
        if let Some(metadata) = &patch.metadata {
            check::metadata(&mut complaints, "metadata", metadata);
        }
        let uid = patch
            .uid
            .map(|uid| check::uid(&mut complaints, "uid", uid.as_deref(), AppId::PREFIX));
        let rate = check::rate_patches(&mut complaints, patch.throttle_rate, patch.rate_limit);
        complaints.or(Some(()))?;
        let change = |app: &mut App| {
            if let Some(name) = &patch.name {
                app.name.clone_from(name);
            }
            if let Some(uid) = &uid {
                app.uid.clone_from(uid);
            }
            if let Some(rate) = rate {
                app.throttle_rate = rate;
            }
            if let Some(metadata) = &patch.metadata {
                app.metadata.clone_from(metadata);
            }
        };
        self.change_app(id_or_uid, change).await
    }

    async fn change_app(&self, id_or_uid: &str, change: impl Fn(&mut App)) -> Outcome<App> {
        let id = self.app(id_or_uid).await?.id;
        let now = self.now();
        self.store
            .update_app(&id, |app| {
                change(app);
                app.updated_at = now;
                Ok::<_, Refusal>(())
            })
            .await
    }

    /// Deletes the app with that id or uid and everything that is its own.
    ///
    /// # Errors
    /// When there is none, or the store is away. What is half done then is done to its end later.
    pub async fn delete_app(&self, id_or_uid: &str) -> Outcome<()> {
        let app = self.app(id_or_uid).await?;
        let endpoints = store(self.store.endpoints(&app.id).await)?;
        let whole = [InDoubt::app(&app.id)];
        let in_doubt = |endpoint: &Endpoint| InDoubt::endpoint(&app.id, &endpoint.id);
        let lanes: Vec<_> = endpoints.iter().map(in_doubt).collect();
        self.begin(&[&whole, lanes.as_slice()].concat()).await?;
        store(self.store.delete_app(&app.id).await)?;
        nuncio_failpoints::hit!("api::app-gone");
        self.done(&whole).await;
        self.forget_app(&app.id).await;
        self.drop_lanes(&lanes).await;
        for endpoint in &endpoints {
            self.tell(&app, endpoint, EndpointChange::Deleted).await;
        }
        Ok(())
    }

    /// The app with that id or uid, made from `draft` where there is none.
    ///
    /// # Errors
    /// When there is none and no draft, or the draft's uid is not the one that was asked for.
    pub(crate) async fn app_or_new(
        &self,
        id_or_uid: &str,
        draft: Option<AppDraft>,
        occasion: &Occasion,
    ) -> Outcome<App> {
        let draft = match (self.app(id_or_uid).await, draft) {
            (Ok(app), _) => return Ok(app),
            (Err(Refusal::NotFound(_)), Some(draft)) if !id_or_uid.starts_with(AppId::PREFIX) => draft,
            (Err(refusal), _) => return Err(refusal),
        };
        let mut complaints = Complaints::new();
        let checked = complaints.within("application", |complaints| {
            // Another app than the one in the path cannot be made under it.
            if draft.uid.as_deref() != Some(id_or_uid) {
                complaints.add("uid", "value_error", "must be the uid in the path");
            }
            draft.check_into(complaints)
        });
        let checked = complaints.or(Some(checked))?;
        match self.make_app(checked, true, occasion).await? {
            Upserted::Created(app) | Upserted::Found(app) => Ok(app),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_left_out_by_what_all_their_endpoints_have_in_common() {
        const PLAYED: &str = "https://play.svix.com/in/e_1/";
        const OWN: &str = "https://play.svix.com.example.com/";
        let [endpoints, enabled, real] = [(1, 0, 0), (0, 1, 0), (0, 0, 1)].map(|(a, b, c)| Without {
            endpoints: a == 1,
            enabled_endpoints: b == 1,
            real_endpoints: c == 1,
        });
        let cases = [
            (vec![], [true, false, false]),
            (vec![(true, OWN)], [false, true, false]),
            (vec![(true, OWN), (false, OWN)], [false, false, false]),
            (vec![(false, PLAYED)], [false, false, true]),
            (vec![(true, PLAYED), (true, OWN)], [false, true, false]),
        ];
        for (app, expected) in cases {
            let found = [endpoints, enabled, real].map(|without| without.leaves_out(app.iter().copied()));
            assert_eq!(found, expected, "{app:?}");
            assert!(!Without::default().leaves_out(app.iter().copied()));
        }
    }
}

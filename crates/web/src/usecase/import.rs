//! Importing: apps, endpoints and event types under the ids, secrets and times that they had elsewhere.
//!
//! Owns what becomes of something that is here already: what was changed here later is never overwritten, and a secret
//! only if that is asked for. Guarantees that what comes in keeps to the same rules as what customers write, and that
//! importing twice is importing once. Refuses to know where it comes from.

use nuncio_domain::{App, AppId, Endpoint, EndpointId, UnixMillis};
use nuncio_egress::UrlRules;
use nuncio_producer::{EndpointChange, Operator};
use nuncio_signing::Secret;
use nuncio_store::Store;
use secrecy::SecretString;

use super::apps::AppDraft;
use super::endpoints::{self, EndpointDraft};
use super::event_types::{self, EventTypeDraft};
use super::refusal::{Complaints, Outcome, Refusal};
use super::secrets::OVERLAP;
use super::{broker, store};

/// Imports into one installation.
pub struct Importer {
    /// The record.
    pub store: Store,
    /// The way to the broker; without one nothing is changed, and only told what would be.
    pub operator: Option<Operator>,
    /// What an endpoint's URL must keep to.
    pub urls: UrlRules,
    /// Whether a secret that is another one here is replaced; the one that was here signs beside it for a day.
    pub take_secrets: bool,
    /// The present.
    pub now: UnixMillis,
}

/// When something was made and last changed elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// When it was made.
    pub created: UnixMillis,
    /// When it was last changed.
    pub updated: UnixMillis,
}

/// An endpoint as it was elsewhere.
pub struct Foreign {
    /// Its id.
    pub id: String,
    /// All else.
    pub draft: EndpointDraft,
    /// Its times.
    pub times: Times,
    /// Names of headers whose values could not be read: those that are set here stay.
    pub hidden_headers: Vec<String>,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It is new.
    Created,
    /// It was here, and is now as it is elsewhere.
    Updated,
    /// It was here like that.
    Same,
    /// It was changed here later, and stays as it is.
    Kept,
}

/// What became of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedEndpoint {
    /// Of its fields.
    pub what: Imported,
    /// Whether it keeps a secret that is another one than elsewhere.
    pub other_secret: bool,
    /// Headers that it should have and whose values are not known.
    pub lacking_headers: Vec<String>,
}

impl Importer {
    /// Imports an app.
    ///
    /// # Errors
    /// When the id or a field cannot be accepted, or another app has the uid.
    pub async fn app(&self, id: &str, draft: AppDraft, times: Times) -> Outcome<(App, Imported)> {
        let id: AppId = parsed(id.parse())?;
        let checked = draft.check()?;
        let wanted = App {
            id,
            uid: checked.uid,
            name: checked.name,
            throttle_rate: checked.throttle_rate,
            metadata: checked.metadata,
            created_at: times.created,
            updated_at: times.updated,
        };
        let found = store(self.store.app(wanted.id.as_str()).await)?;
        let Some(held) = found.filter(|held| held.id == wanted.id) else {
            match self.operator {
                Some(_) => store(self.store.create_app_again(&wanted, self.now).await)?,
                None => self.check_uid(&wanted).await?,
            }
            return Ok((wanted, Imported::Created));
        };
        let same = App {
            created_at: held.created_at,
            updated_at: held.updated_at,
            ..wanted.clone()
        } == held;
        let what = fate(same, held.updated_at, times);
        if what == Imported::Updated && self.operator.is_some() {
            self.store
                .update_app(&wanted.id, |app| {
                    app.clone_from(&wanted);
                    Ok::<_, Refusal>(())
                })
                .await?;
        }
        Ok((wanted, what))
    }

    /// That no other app has the uid, as far as can be told without taking it.
    async fn check_uid(&self, wanted: &App) -> Outcome<()> {
        let Some(uid) = &wanted.uid else { return Ok(()) };
        match store(self.store.app(uid.as_str()).await)? {
            Some(other) if other.id != wanted.id => Err(Refusal::Conflict {
                code: "conflict",
                detail: format!("the uid of the app is taken by {}", other.id),
            }),
            _ => Ok(()),
        }
    }

    /// Imports an endpoint of an app that is here.
    ///
    /// # Errors
    /// When the id or a field cannot be accepted, another endpoint has the uid, or the app has as many as it may have.
    pub async fn endpoint(&self, app: &App, foreign: Foreign) -> Outcome<ImportedEndpoint> {
        let id: EndpointId = parsed(foreign.id.parse())?;
        let mut checked = foreign.draft.check(&self.urls)?;
        let secret = checked.secret.take().ok_or_else(|| Refusal::Impossible {
            code: "no_secret",
            detail: "its secret is not known".to_owned(),
        })?;
        let times = foreign.times;
        let found = store(self.store.endpoint(&app.id, id.as_str()).await)?.filter(|held| held.id == id);
        let base = found
            .clone()
            .unwrap_or_else(|| Endpoint::blank(app.id.clone(), id, times.created));
        let mut wanted = base.clone();
        checked.apply(&mut wanted, times.updated);
        let lacking_headers = keep_hidden(&base, &mut wanted, foreign.hidden_headers);
        let Some(held) = found else {
            self.create(app, &wanted, &secret).await?;
            return Ok(ImportedEndpoint {
                what: Imported::Created,
                other_secret: false,
                lacking_headers,
            });
        };
        let same = Endpoint {
            created_at: held.created_at,
            updated_at: held.updated_at,
            ..wanted.clone()
        } == held;
        let what = fate(same, held.updated_at, times);
        if what == Imported::Updated {
            self.update(app, &held, &wanted).await?;
        }
        let other_secret = !self.settle_secret(&held, &secret).await?;
        Ok(ImportedEndpoint {
            what: match what {
                Imported::Same if self.take_secrets && other_secret => Imported::Updated,
                what => what,
            },
            other_secret: other_secret && !self.take_secrets,
            lacking_headers,
        })
    }

    async fn create(&self, app: &App, wanted: &Endpoint, secret: &Secret) -> Outcome<()> {
        let Some(operator) = &self.operator else {
            return Ok(());
        };
        broker(operator.declare_endpoint(&wanted.id).await)?;
        let text = SecretString::from(secret.expose().as_str());
        store(self.store.create_endpoint(wanted, &text).await)?;
        endpoints::tell(operator, app, wanted, EndpointChange::Created).await;
        Ok(())
    }

    async fn update(&self, app: &App, held: &Endpoint, wanted: &Endpoint) -> Outcome<()> {
        let Some(operator) = &self.operator else {
            return Ok(());
        };
        broker(operator.declare_endpoint(&held.id).await)?;
        self.store
            .update_endpoint(&app.id, &held.id, |endpoint| {
                endpoint.clone_from(wanted);
                Ok::<_, Refusal>(())
            })
            .await?;
        endpoints::tell(operator, app, wanted, EndpointChange::Updated).await;
        Ok(())
    }

    /// Whether the secret signs already; where it does not, it is made to if that is asked for.
    async fn settle_secret(&self, held: &Endpoint, secret: &Secret) -> Outcome<bool> {
        let text = SecretString::from(secret.expose().as_str());
        let secrets = store(self.store.secrets(&held.app_id, &held.id).await)?;
        if secrets.signs_with(&text, self.now) {
            return Ok(true);
        }
        if self.take_secrets && self.operator.is_some() {
            let until = self.now.plus(OVERLAP);
            let rotated = self
                .store
                .rotate_secret(&held.app_id, &held.id, &text, until, self.now);
            store(rotated.await)?;
        }
        Ok(false)
    }

    /// Imports an event type.
    ///
    /// # Errors
    /// When the name or a field cannot be accepted.
    pub async fn event_type(&self, name: &str, draft: EventTypeDraft, times: Times) -> Outcome<Imported> {
        let mut complaints = Complaints::new();
        let name = complaints.keep("name", "value_error", name.parse());
        event_types::check_draft(&mut complaints, &draft);
        let mut wanted = event_types::blank(complaints.or(name)?, times.created);
        event_types::apply(&event_types::all_of(draft), &mut wanted);
        wanted.updated_at = times.updated;
        let Some(held) = store(self.store.event_type(&wanted.name).await)? else {
            if self.operator.is_some() {
                store(self.store.create_event_type(&wanted).await)?;
            }
            return Ok(Imported::Created);
        };
        // Elsewhere it is not said whether payloads must fit.
        wanted.enforce_schema = held.enforce_schema;
        let same = nuncio_store::EventType {
            created_at: held.created_at,
            updated_at: held.updated_at,
            ..wanted.clone()
        } == held;
        let what = match fate(same, held.updated_at, times) {
            Imported::Kept if held.is_untouched_seed() => Imported::Updated,
            what => what,
        };
        if what == Imported::Updated && self.operator.is_some() {
            self.store
                .update_event_type(&wanted.name, |event_type| {
                    event_type.clone_from(&wanted);
                    Ok::<_, Refusal>(())
                })
                .await?;
        }
        Ok(what)
    }
}

/// What becomes of something that is here.
fn fate(same: bool, held_updated: UnixMillis, times: Times) -> Imported {
    if same {
        Imported::Same
    } else if held_updated > times.updated {
        Imported::Kept
    } else {
        Imported::Updated
    }
}

/// Lets headers whose values are not known stay as they are here; answers those that are not here.
fn keep_hidden(held: &Endpoint, wanted: &mut Endpoint, hidden: Vec<String>) -> Vec<String> {
    let mut lacking = Vec::new();
    for name in hidden {
        let known = held
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(&name));
        match known {
            Some((name, value)) => {
                wanted.headers.insert(name.clone(), value.clone());
            }
            None => lacking.push(name),
        }
    }
    lacking
}

fn parsed<T, E: std::fmt::Display>(id: Result<T, E>) -> Outcome<T> {
    id.map_err(|error| Refusal::Impossible {
        code: "invalid_id",
        detail: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_here_later_is_never_overwritten() {
        let times = Times {
            created: UnixMillis(1),
            updated: UnixMillis(10),
        };
        for (same, held, expected) in [
            (true, 11, Imported::Same),
            (true, 9, Imported::Same),
            (false, 11, Imported::Kept),
            (false, 10, Imported::Updated),
            (false, 9, Imported::Updated),
        ] {
            assert_eq!(fate(same, UnixMillis(held), times), expected, "{same} {held}");
        }
    }
}

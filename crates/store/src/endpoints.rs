//! Endpoints and their secrets.
//!
//! Owns creation, change, deletion and lists of endpoints. Guarantees that a change, its uid and its secrets are written
//! together or not at all, that no change overwrites another, and that every process is told.

use nuncio_domain::{AppId, DisabledReason, Endpoint, EndpointId, EndpointState, UnixMillis};
use nuncio_wire::record::EndpointRecord;
use redis::Value;
use secrecy::SecretString;

use crate::apps::ROUNDS_MAX;
use crate::link::Lane;
use crate::page::{Page, PageRequest, Position};
use crate::script::{self, CHANGE_ENDPOINT};
use crate::seal::EndpointSecrets;
use crate::store::read;
use crate::{Store, StoreError};

/// A change to one endpoint, as the script takes it. Empty texts mean none.
#[derive(Default)]
struct Change<'a> {
    held: &'a str,
    record: &'a str,
    held_uid: &'a str,
    uid: &'a str,
    sealed: &'a str,
    held_sealed: &'a str,
}

impl Store {
    /// Keeps a new endpoint with its secret.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the app is not there, [`StoreError::Conflict`] when the uid is taken in the app,
    /// [`StoreError::TooManyEndpoints`].
    pub async fn create_endpoint(
        &self,
        endpoint: &Endpoint,
        secret: &SecretString,
    ) -> Result<(), StoreError> {
        let secrets = EndpointSecrets::only(secret.clone());
        let record = EndpointRecord::new(endpoint).to_json();
        let change = Change {
            record: &record,
            uid: endpoint.uid.as_ref().map_or("", |uid| uid.as_str()),
            sealed: &self.inner.sealer.seal(&endpoint.app_id, &endpoint.id, &secrets),
            ..Change::default()
        };
        if self
            .change_endpoint("create an endpoint", &endpoint.app_id, &endpoint.id, &change)
            .await?
        {
            Ok(())
        } else {
            Err(StoreError::Contended("endpoint"))
        }
    }

    /// The endpoint with that id or uid.
    ///
    /// # Errors
    /// When Redis is away or the record cannot be read.
    pub async fn endpoint(&self, app: &AppId, id_or_uid: &str) -> Result<Option<Endpoint>, StoreError> {
        const ACTION: &str = "read an endpoint";
        if let Ok(id) = EndpointId::parse(id_or_uid)
            && let Some((_, endpoint)) = self.endpoint_record(app, &id).await?
        {
            return Ok(Some(endpoint));
        }
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys().endpoint_uids(app)).arg(id_or_uid);
        let id: Option<String> = self.one(ACTION, cmd).await?;
        match id.and_then(|text| EndpointId::parse(&text).ok()) {
            Some(id) => Ok(self
                .endpoint_record(app, &id)
                .await?
                .map(|(_, endpoint)| endpoint)),
            None => Ok(None),
        }
    }

    /// Changes an endpoint as `edit` says; it may be called again when others changed the endpoint meanwhile.
    ///
    /// # Errors
    /// What `edit` refuses with; [`StoreError::NotFound`]; [`StoreError::Conflict`] when the new uid is taken.
    pub async fn update_endpoint<E: From<StoreError>>(
        &self,
        app: &AppId,
        id: &EndpointId,
        mut edit: impl FnMut(&mut Endpoint) -> Result<(), E>,
    ) -> Result<Endpoint, E> {
        for _ in 0..ROUNDS_MAX {
            let found = self.endpoint_record(app, id).await?;
            let (held, before) = found.ok_or(StoreError::NotFound("endpoint"))?;
            let mut endpoint = before.clone();
            edit(&mut endpoint)?;
            endpoint.id = id.clone();
            endpoint.app_id = app.clone();
            if endpoint == before {
                return Ok(endpoint);
            }
            let record = EndpointRecord::parse(held.as_bytes())
                .map_err(StoreError::record(id.as_str()))?
                .updated(&endpoint)
                .to_json();
            let change = Change {
                held: &held,
                record: &record,
                held_uid: before.uid.as_ref().map_or("", |uid| uid.as_str()),
                uid: endpoint.uid.as_ref().map_or("", |uid| uid.as_str()),
                ..Change::default()
            };
            if self
                .change_endpoint("change an endpoint", app, id, &change)
                .await?
            {
                return Ok(endpoint);
            }
        }
        Err(StoreError::Contended("endpoint").into())
    }

    /// Deletes an endpoint and its secrets; its history expires. Answers whether there was one.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn delete_endpoint(&self, app: &AppId, id: &EndpointId) -> Result<bool, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let Some((held, endpoint)) = self.endpoint_record(app, id).await? else {
                return Ok(false);
            };
            let change = Change {
                held: &held,
                held_uid: endpoint.uid.as_ref().map_or("", |uid| uid.as_str()),
                ..Change::default()
            };
            match self.change_endpoint("delete an endpoint", app, id, &change).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(StoreError::NotFound(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended("endpoint"))
    }

    /// A page of an app's endpoints, in the order of their creation or against it.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn list_endpoints(
        &self,
        app: &AppId,
        request: &PageRequest,
    ) -> Result<Page<Endpoint>, StoreError> {
        let mut endpoints = self.endpoints(app).await?;
        endpoints.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        if request.descending() {
            endpoints.reverse();
        }
        if let Some(Position(anchor)) = request.anchor() {
            let anchor = EndpointId::parse(anchor).map_err(|_| StoreError::BadPosition)?;
            let descending = request.descending();
            endpoints.retain(|endpoint| {
                if descending {
                    endpoint.id < anchor
                } else {
                    endpoint.id > anchor
                }
            });
        }
        let more = endpoints.len() > request.limit;
        endpoints.truncate(request.limit);
        let position = |endpoint: Option<&Endpoint>| endpoint.map(|e| Position(e.id.as_str().to_owned()));
        let (first, last) = (position(endpoints.first()), position(endpoints.last()));
        Ok(Page::assemble(request, endpoints, first, last, more))
    }

    /// All endpoints of an app.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn endpoints(&self, app: &AppId) -> Result<Vec<Endpoint>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().endpoints(app));
        let records: Vec<(String, String)> = self.one("list endpoints", cmd).await?;
        records
            .into_iter()
            .filter_map(|(id, text)| Some((EndpointId::parse(&id).ok()?, text)))
            .map(|(id, text)| parse_endpoint(app.clone(), id, &text))
            .collect()
    }

    /// Puts an endpoint into a state; answers it as it is then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when Redis is away.
    pub async fn set_endpoint_state(
        &self,
        app: &AppId,
        id: &EndpointId,
        state: EndpointState,
        now: UnixMillis,
    ) -> Result<Endpoint, StoreError> {
        self.update_endpoint(app, id, |endpoint| {
            if endpoint.state != state {
                endpoint.state = state;
                endpoint.updated_at = now;
            }
            Ok(())
        })
        .await
    }

    /// Disables an endpoint. Answers whether this call did it: of several that try, one is told so, and none when the
    /// endpoint is disabled already or gone.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn disable_endpoint(
        &self,
        app: &AppId,
        id: &EndpointId,
        reason: DisabledReason,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        let mut done = false;
        let changed = self
            .update_endpoint(app, id, |endpoint| {
                done = !endpoint.is_disabled();
                if done {
                    endpoint.state = EndpointState::Disabled { since: now, reason };
                    endpoint.updated_at = now;
                }
                Ok(())
            })
            .await;
        match changed {
            Ok(_) => Ok(done),
            Err(StoreError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An endpoint's secrets.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Sealed`] when no main secret opens them.
    pub async fn secrets(&self, app: &AppId, id: &EndpointId) -> Result<EndpointSecrets, StoreError> {
        let sealed = self.sealed_secrets(app, id).await?;
        self.inner.sealer.open(app, id, &sealed)
    }

    /// Lets `new` sign from now on, and the current secret beside it until `overlap_until`. Nothing changes where it is
    /// the current one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Sealed`] when no main secret opens the current ones.
    pub async fn rotate_secret(
        &self,
        app: &AppId,
        id: &EndpointId,
        new: &SecretString,
        overlap_until: UnixMillis,
        now: UnixMillis,
    ) -> Result<EndpointSecrets, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let sealed = self.sealed_secrets(app, id).await?;
            let current = self.inner.sealer.open(app, id, &sealed)?;
            if current.is_current(new) {
                return Ok(current);
            }
            let rotated = current.rotated(new.clone(), overlap_until, now);
            if self
                .replace_secrets("rotate a secret", app, id, &sealed, &rotated)
                .await?
            {
                return Ok(rotated);
            }
        }
        Err(StoreError::Contended("secret of the endpoint"))
    }

    /// Seals an endpoint's secrets under the first main secret, if another one sealed them. Answers whether it did.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Sealed`] when no main secret opens them.
    pub async fn rewrap_secrets(&self, app: &AppId, id: &EndpointId) -> Result<bool, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let sealed = self.sealed_secrets(app, id).await?;
            let opened = self.inner.sealer.try_open(app, id, &sealed);
            let (secrets, by_first) = opened.ok_or_else(|| StoreError::Sealed(id.clone()))?;
            if by_first {
                return Ok(false);
            }
            if self
                .replace_secrets("seal a secret anew", app, id, &sealed, &secrets)
                .await?
            {
                return Ok(true);
            }
        }
        Err(StoreError::Contended("secret of the endpoint"))
    }

    async fn sealed_secrets(&self, app: &AppId, id: &EndpointId) -> Result<String, StoreError> {
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys().secrets(app)).arg(id.as_str());
        let sealed: Option<String> = self.one("read an endpoint's secrets", cmd).await?;
        sealed.ok_or(StoreError::NotFound("endpoint"))
    }

    async fn replace_secrets(
        &self,
        action: &'static str,
        app: &AppId,
        id: &EndpointId,
        held_sealed: &str,
        secrets: &EndpointSecrets,
    ) -> Result<bool, StoreError> {
        let found = self.endpoint_record(app, id).await?;
        let (held, endpoint) = found.ok_or(StoreError::NotFound("endpoint"))?;
        let uid = endpoint.uid.as_ref().map_or("", |uid| uid.as_str());
        let change = Change {
            held: &held,
            record: &held,
            held_uid: uid,
            uid,
            sealed: &self.inner.sealer.seal(app, id, secrets),
            held_sealed,
        };
        self.change_endpoint(action, app, id, &change).await
    }

    pub(crate) async fn endpoint_record(
        &self,
        app: &AppId,
        id: &EndpointId,
    ) -> Result<Option<(String, Endpoint)>, StoreError> {
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys().endpoints(app)).arg(id.as_str());
        let text: Option<String> = self.one("read an endpoint", cmd).await?;
        text.map(|text| {
            let endpoint = parse_endpoint(app.clone(), id.clone(), &text)?;
            Ok((text, endpoint))
        })
        .transpose()
    }

    /// Writes a change and announces it; answers false when others changed the endpoint since it was read.
    async fn change_endpoint(
        &self,
        action: &'static str,
        app: &AppId,
        id: &EndpointId,
        change: &Change<'_>,
    ) -> Result<bool, StoreError> {
        let keys = self.keys();
        let mut cmd = script::call(
            &CHANGE_ENDPOINT,
            &[
                &keys.app(app),
                &keys.endpoints(app),
                &keys.endpoint_uids(app),
                &keys.secrets(app),
                &keys.version(app),
                &keys.failing(app),
            ],
        );
        cmd.arg(id.as_str()).arg(change.held).arg(change.record);
        cmd.arg(change.held_uid)
            .arg(change.uid)
            .arg(change.sealed)
            .arg(change.held_sealed);
        cmd.arg(self.inner.config.endpoints_per_app_max);
        let answer: Vec<Value> = self.one(action, cmd).await?;
        let mut answer = answer.into_iter();
        let kind: String = read(action, answer.next())?;
        match kind.as_str() {
            "V" => {
                let version = read(action, answer.next())?;
                self.announce(action, app, Some(id.as_str()), version).await?;
                Ok(true)
            }
            "U" => Err(StoreError::Conflict {
                what: "uid of the endpoint",
                by: read(action, answer.next())?,
            }),
            "M" => Err(StoreError::TooManyEndpoints(read(action, answer.next())?)),
            "A" => Err(StoreError::NotFound("app")),
            _ => Ok(false),
        }
    }

    /// Since when an endpoint has only failed; none when it is well, or nothing is known of it.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn failing_since(
        &self,
        app: &AppId,
        id: &EndpointId,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys().failing(app)).arg(id.as_str());
        let since: Option<i64> = self.one("read since when an endpoint fails", cmd).await?;
        Ok(since.map(UnixMillis))
    }

    /// The endpoints of an app that have only failed, and since when.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn failing(&self, app: &AppId) -> Result<Vec<(EndpointId, UnixMillis)>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().failing(app));
        let failing: Vec<(String, i64)> = self.one("read which endpoints fail", cmd).await?;
        let known = failing
            .into_iter()
            .filter_map(|(id, since)| Some((EndpointId::parse(&id).ok()?, UnixMillis(since))));
        Ok(known.collect())
    }

    /// Forgets that an endpoint fails, for example because it was enabled again.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn forget_failing(&self, app: &AppId, id: &EndpointId) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(self.keys().failing(app)).arg(id.as_str());
        self.group(Lane::Calls, "forget that an endpoint fails", vec![cmd])
            .await?;
        Ok(())
    }
}

pub(crate) fn parse_endpoint(app: AppId, id: EndpointId, text: &str) -> Result<Endpoint, StoreError> {
    let what = id.as_str().to_owned();
    EndpointRecord::parse(text.as_bytes())
        .and_then(|record| record.to_endpoint(app, id))
        .map_err(StoreError::record(what))
}

//! Endpoints: added, edited and deleted by customers.
//!
//! Guarantees that an endpoint's queue is there before the endpoint can be routed to, that its URL and headers are ones
//! that may be sent to, and that every change is told to whoever listens to operational events.

use std::collections::{BTreeMap, BTreeSet};

use nuncio_domain::limits::CHANNELS_MAX;
use nuncio_domain::{
    App, Channel, DisabledReason, Endpoint, EndpointId, EndpointState, EventTypeName, Uid, UnixMillis,
};
use nuncio_egress::{EndpointUrl, UrlRules, endpoint_headers};
use nuncio_producer::{EndpointChange, Operator};
use nuncio_signing::Secret;
use nuncio_store::{InDoubt, Page, PageRequest};
use secrecy::SecretString;

use super::apps::Upserted;
use super::occasion::Occasion;
use super::refusal::{Complaints, Noun, Outcome, Refusal};
use super::secrets::new_secret;
use super::{UseCases, broker, check, store};

const VALUE: &str = "value_error";

/// An endpoint as a caller describes it.
#[derive(Clone, Default)]
pub struct EndpointDraft {
    /// Where to post.
    pub url: String,
    /// A description for people.
    pub description: String,
    /// The caller's own id.
    pub uid: Option<String>,
    /// Whether it is disabled; as it is when nothing is said.
    pub disabled: Option<bool>,
    /// The event types that it wants.
    pub event_types: Option<Vec<String>>,
    /// The same under its older name; the newer one goes before it.
    pub filter_types: Option<Vec<String>>,
    /// The channels that it listens to.
    pub channels: Option<Vec<String>>,
    /// Messages a second.
    pub throttle_rate: Option<u64>,
    /// The same under its older name; the newer one goes before it.
    pub rate_limit: Option<u64>,
    /// The caller's number.
    pub version: Option<u64>,
    /// The caller's own keys and values.
    pub metadata: BTreeMap<String, String>,
    /// Its own request headers; as they are when nothing is said.
    pub headers: Option<BTreeMap<String, String>>,
    /// Its secret; a new one is made when nothing is said.
    pub secret: Option<String>,
}

/// What to change of an endpoint; an inner nothing takes the field away.
#[derive(Clone, Default)]
pub struct EndpointPatch {
    /// Where to post.
    pub url: Option<String>,
    /// A description for people.
    pub description: Option<String>,
    /// The caller's own id.
    pub uid: Option<Option<String>>,
    /// Whether it is disabled.
    pub disabled: Option<bool>,
    /// The event types that it wants.
    pub event_types: Option<Option<Vec<String>>>,
    /// The same under its older name; the newer one goes before it.
    pub filter_types: Option<Option<Vec<String>>>,
    /// The channels that it listens to.
    pub channels: Option<Option<Vec<String>>>,
    /// Messages a second.
    pub throttle_rate: Option<Option<u64>>,
    /// The same under its older name; the newer one goes before it.
    pub rate_limit: Option<Option<u64>>,
    /// The caller's number.
    pub version: Option<u64>,
    /// The caller's own keys and values.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Its own request headers.
    pub headers: Option<BTreeMap<String, String>>,
    /// Its secret from now on.
    pub secret: Option<String>,
}

/// Fields that were checked; an outer nothing leaves the field as it is.
#[derive(Clone, Default)]
pub(super) struct Checked {
    url: Option<String>,
    description: Option<String>,
    uid: Option<Option<Uid>>,
    disabled: Option<bool>,
    event_types: Option<Option<BTreeSet<EventTypeName>>>,
    channels: Option<Option<BTreeSet<Channel>>>,
    throttle_rate: Option<Option<u32>>,
    version: Option<u32>,
    metadata: Option<BTreeMap<String, String>>,
    headers: Option<BTreeMap<String, String>>,
    pub(super) secret: Option<Secret>,
}

impl Checked {
    pub(super) fn apply(&self, endpoint: &mut Endpoint, now: UnixMillis) {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut endpoint.url, self.url.as_ref());
        set(&mut endpoint.description, self.description.as_ref());
        set(&mut endpoint.uid, self.uid.as_ref());
        set(&mut endpoint.event_types, self.event_types.as_ref());
        set(&mut endpoint.channels, self.channels.as_ref());
        set(&mut endpoint.throttle_rate, self.throttle_rate.as_ref());
        set(&mut endpoint.version, self.version.as_ref());
        set(&mut endpoint.metadata, self.metadata.as_ref());
        set(&mut endpoint.headers, self.headers.as_ref());
        endpoint.state = match (self.disabled, endpoint.state) {
            (Some(true), state @ EndpointState::Disabled { .. }) => state,
            (Some(true), _) => EndpointState::Disabled {
                since: now,
                reason: DisabledReason::Manual,
            },
            (Some(false), EndpointState::Disabled { .. }) => EndpointState::Active,
            (_, state) => state,
        };
        endpoint.updated_at = now;
    }
}

impl UseCases {
    /// One page of an app's endpoints.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list_endpoints(&self, app: &App, page: &PageRequest) -> Outcome<Page<Endpoint>> {
        store(self.store.list_endpoints(&app.id, page).await)
    }

    /// The app's endpoint with that id or uid.
    ///
    /// # Errors
    /// When there is none.
    pub async fn endpoint(&self, app: &App, id_or_uid: &str) -> Outcome<Endpoint> {
        store(self.store.endpoint(&app.id, id_or_uid).await)?.ok_or(Refusal::NotFound(Noun::Endpoint))
    }

    /// Whether an endpoint could be added or changed like this, as far as its fields tell.
    ///
    /// # Errors
    /// When fields cannot be accepted.
    pub fn check_endpoint(&self, draft: EndpointDraft) -> Outcome<()> {
        draft.check(&self.rules.urls).map(drop)
    }

    /// Adds an endpoint to the app.
    ///
    /// # Errors
    /// When fields cannot be accepted, the uid is taken, or the app has as many endpoints as it may have.
    pub async fn create_endpoint(
        &self,
        app: &App,
        draft: EndpointDraft,
        occasion: &Occasion,
    ) -> Outcome<Endpoint> {
        let checked = draft.check(&self.rules.urls)?;
        let now = occasion.at;
        let id = occasion.dice.with(|mut rng| EndpointId::generate(now, &mut rng));
        if occasion.again
            && let Some(made) = store(self.store.endpoint(&app.id, id.as_str()).await)?
        {
            // Whether anybody was told is not known.
            self.tell(app, &made, EndpointChange::Created).await;
            return Ok(made);
        }
        let mut endpoint = Endpoint::blank(app.id.clone(), id, now);
        checked.apply(&mut endpoint, now);
        let secret = checked.secret.unwrap_or_else(|| new_secret(&occasion.dice));
        let doubts = [InDoubt::endpoint(&app.id, &endpoint.id)];
        self.begin(&doubts).await?;
        self.declare_lane(&endpoint.id).await?;
        nuncio_failpoints::hit!("api::lane-declared");
        let text = SecretString::from(secret.expose().as_str());
        let created = self.store.create_endpoint(&endpoint, &text).await;
        if let Err(refusal) = store(created) {
            // The call, or one before it, may have had its effect: it then stays in doubt.
            if !matches!(refusal, Refusal::Unavailable { .. }) && !occasion.again {
                self.drop_lanes(&doubts).await;
            }
            return Err(refusal);
        }
        nuncio_failpoints::hit!("api::endpoint-kept");
        self.done(&doubts).await;
        self.tell(app, &endpoint, EndpointChange::Created).await;
        if endpoint.is_disabled() {
            self.tell(app, &endpoint, EndpointChange::Disabled).await;
        }
        Ok(endpoint)
    }

    /// Replaces the endpoint with that id or uid, or makes one under the uid. Its secret and headers stay.
    ///
    /// # Errors
    /// When fields cannot be accepted, the uid is taken, or an id names nothing.
    pub async fn replace_endpoint(
        &self,
        app: &App,
        id_or_uid: &str,
        mut draft: EndpointDraft,
    ) -> Outcome<Upserted<Endpoint>> {
        match self.endpoint(app, id_or_uid).await {
            Ok(endpoint) => {
                // A replacement that leaves them out takes optional fields away, but for the version.
                draft.disabled.get_or_insert(false);
                let checked = draft.check(&self.rules.urls)?;
                self.change_endpoint(app, endpoint, checked)
                    .await
                    .map(Upserted::Found)
            }
            Err(Refusal::NotFound(_)) if !id_or_uid.starts_with(EndpointId::PREFIX) => {
                draft.uid.get_or_insert_with(|| id_or_uid.to_owned());
                self.create_endpoint(app, draft, &self.occasion())
                    .await
                    .map(Upserted::Created)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Changes some fields of the endpoint with that id or uid.
    ///
    /// # Errors
    /// When there is none, fields cannot be accepted, or the uid is taken.
    pub async fn patch_endpoint(
        &self,
        app: &App,
        id_or_uid: &str,
        patch: EndpointPatch,
    ) -> Outcome<Endpoint> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let checked = patch.check(&self.rules.urls)?;
        self.change_endpoint(app, endpoint, checked).await
    }

    async fn change_endpoint(&self, app: &App, before: Endpoint, checked: Checked) -> Outcome<Endpoint> {
        let now = self.now();
        if checked.disabled == Some(false) {
            // Its queue may be gone since it was disabled; nothing may be routed to it before it is back.
            self.declare_lane(&before.id).await?;
        }
        let after = self
            .store
            .update_endpoint(&app.id, &before.id, |endpoint| {
                checked.apply(endpoint, now);
                Ok::<_, Refusal>(())
            })
            .await?;
        if let Some(secret) = &checked.secret {
            self.use_secret(&after, secret, now).await?;
        }
        self.tell(app, &after, EndpointChange::Updated).await;
        match (before.is_disabled(), after.is_disabled()) {
            (false, true) => self.tell(app, &after, EndpointChange::Disabled).await,
            (true, false) => self.tell(app, &after, EndpointChange::Enabled).await,
            _ => {}
        }
        Ok(after)
    }

    /// Deletes the endpoint with that id or uid, then its queue: what waits in it ends as deleted.
    ///
    /// # Errors
    /// When there is none, or the store is away.
    pub async fn delete_endpoint(&self, app: &App, id_or_uid: &str) -> Outcome<()> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let doubts = [InDoubt::endpoint(&app.id, &endpoint.id)];
        self.begin(&doubts).await?;
        store(self.store.delete_endpoint(&app.id, &endpoint.id).await)?;
        nuncio_failpoints::hit!("api::endpoint-gone");
        self.drop_lanes(&doubts).await;
        self.tell(app, &endpoint, EndpointChange::Deleted).await;
        Ok(())
    }

    /// Replaces all of an endpoint's own request headers.
    ///
    /// # Errors
    /// When there is no such endpoint, or a header cannot be sent.
    pub async fn replace_headers(
        &self,
        app: &App,
        id_or_uid: &str,
        headers: BTreeMap<String, String>,
    ) -> Outcome<Endpoint> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let mut complaints = Complaints::new();
        check_headers(&mut complaints, &headers);
        let checked = complaints.or(Some(Checked {
            headers: Some(headers),
            ..Checked::default()
        }))?;
        self.change_endpoint(app, endpoint, checked).await
    }

    /// Sets some of an endpoint's own request headers, and takes away those that are null.
    ///
    /// # Errors
    /// When there is no such endpoint, or a header cannot be sent.
    pub async fn patch_headers(
        &self,
        app: &App,
        id_or_uid: &str,
        changes: BTreeMap<String, Option<String>>,
    ) -> Outcome<Endpoint> {
        let mut headers = self.endpoint(app, id_or_uid).await?.headers;
        for (name, value) in changes {
            headers.retain(|known, _| !known.eq_ignore_ascii_case(&name));
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        self.replace_headers(app, id_or_uid, headers).await
    }

    pub(crate) async fn declare_lane(&self, endpoint: &EndpointId) -> Outcome<()> {
        broker(self.operator.declare_endpoint(endpoint).await)
    }

    /// Tells what happened to an endpoint. What happened, happened: a broker that is away does not undo it.
    pub(crate) async fn tell(&self, app: &App, endpoint: &Endpoint, change: EndpointChange) {
        tell(&self.operator, app, endpoint, change).await;
    }
}

impl EndpointDraft {
    /// The fields, checked.
    pub(super) fn check(self, urls: &UrlRules) -> Outcome<Checked> {
        let patch = EndpointPatch {
            url: Some(self.url),
            description: Some(self.description),
            uid: Some(self.uid),
            disabled: self.disabled,
            event_types: self.event_types.map(Some),
            filter_types: Some(self.filter_types),
            channels: Some(self.channels),
            throttle_rate: self.throttle_rate.map(Some),
            rate_limit: Some(self.rate_limit),
            version: self.version,
            metadata: Some(self.metadata),
            headers: self.headers,
            secret: self.secret,
        };
        patch.check(urls)
    }
}

impl EndpointPatch {
    fn check(self, urls: &UrlRules) -> Outcome<Checked> {
        let mut complaints = Complaints::new();
        let checked = self.check_into(&mut complaints, urls);
        complaints.or(Some(checked))
    }

    fn check_into(self, complaints: &mut Complaints, urls: &UrlRules) -> Checked {
        let url = self.url.and_then(|url| match EndpointUrl::parse(&url, urls) {
            Ok(url) => Some(url.as_str().to_owned()),
            Err(error) => {
                complaints.add("url", error.kind(), error);
                None
            }
        });
        if let Some(description) = &self.description {
            check::text(complaints, "description", description, true);
        }
        if let Some(metadata) = &self.metadata {
            check::metadata(complaints, "metadata", metadata);
        }
        let version = self.version.and_then(|version| {
            let version = u16::try_from(version).ok().filter(|version| *version > 0);
            if version.is_none() {
                complaints.add("version", VALUE, "must be from 1 to 65535");
            }
            version.map(u32::from)
        });
        if let Some(headers) = &self.headers {
            check_headers(complaints, headers);
        }
        let most = check::FILTER_TYPES_MAX;
        let types = self
            .event_types
            .map(|types| check::names(complaints, "eventTypes", types.as_deref(), most));
        let older_types = self
            .filter_types
            .map(|types| check::names(complaints, "filterTypes", types.as_deref(), most));
        Checked {
            url,
            version,
            description: self.description,
            uid: self
                .uid
                .map(|uid| check::uid(complaints, "uid", uid.as_deref(), EndpointId::PREFIX)),
            disabled: self.disabled,
            event_types: types.or(older_types),
            channels: self
                .channels
                .map(|channels| check::names(complaints, "channels", channels.as_deref(), CHANNELS_MAX)),
            throttle_rate: check::rate_patches(complaints, self.throttle_rate, self.rate_limit),
            metadata: self.metadata,
            headers: self.headers,
            secret: self
                .secret
                .and_then(|secret| complaints.keep("secret", VALUE, Secret::parse(&secret))),
        }
    }
}

/// Tells what happened to an endpoint.
pub(super) async fn tell(operator: &Operator, app: &App, endpoint: &Endpoint, change: EndpointChange) {
    let trigger = match change {
        EndpointChange::Disabled => Some(DisabledReason::Manual.as_str()),
        _ => None,
    };
    let event = change.event(app, endpoint, None, trigger);
    if let Err(error) = operator.announce(event.kind, event.body.into()).await {
        tracing::warn!(
            endpoint = %endpoint.id,
            kind = change.kind(),
            error = nuncio_runtime::lifecycle::chain(&error),
            "an operational event could not be published"
        );
    }
}

fn check_headers(complaints: &mut Complaints, headers: &BTreeMap<String, String>) {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for error in endpoint_headers(pairs).err().unwrap_or_default() {
        match error.name() {
            Some(name) => complaints.add_at(&["headers", name], VALUE, &error),
            None => complaints.add("headers", VALUE, &error),
        }
    }
}

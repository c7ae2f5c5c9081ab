//! An endpoint made ready for sending: everything that is the same for each of its deliveries, computed once.
//!
//! Owns the checked URL, the header map and the signing keys with the times until which each set is valid.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use nuncio_domain::{Outcome, Reason, UnixMillis};
use nuncio_egress::{EndpointUrl, UrlError, UrlRules, endpoint_headers};
use nuncio_signing::{Secret, SigningKeys};
use nuncio_store::EndpointEntry;
use nuncio_wire::{DeliveryEnvelope, TraceContext};
use secrecy::ExposeSecret;

use crate::{SenderSettings, SignatureHeaders};

const WEBHOOK: [HeaderName; 3] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("webhook-signature"),
];
const SVIX: [HeaderName; 3] = [
    HeaderName::from_static("svix-id"),
    HeaderName::from_static("svix-timestamp"),
    HeaderName::from_static("svix-signature"),
];
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// An endpoint, ready to be posted to.
pub(crate) struct Prepared {
    /// What it was made from.
    pub(crate) entry: Arc<EndpointEntry>,
    target: Result<Target, Reason>,
}

struct Target {
    url: EndpointUrl,
    headers: HeaderMap,
    /// Sets of keys with the time until which each is to be used, soonest first; the last is for ever.
    keys: Vec<(UnixMillis, SigningKeys)>,
    families: SignatureHeaders,
}

/// A request but for the body.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a EndpointUrl,
    pub(crate) headers: HeaderMap,
}

impl Prepared {
    /// Prepares an endpoint; what makes it unusable becomes the outcome of every attempt, so that its customer sees it.
    pub(crate) fn new(entry: Arc<EndpointEntry>, settings: &SenderSettings) -> Self {
        let target = target(&entry, &settings.url_rules, settings.signature_headers);
        if let Err(reason) = &target {
            tracing::warn!(endpoint = %entry.endpoint.id, %reason, "an endpoint cannot be posted to");
        }
        Self { entry, target }
    }

    /// Whom it is posted to, if its URL can be used.
    pub(crate) fn host(&self) -> Option<(&str, u16)> {
        let url = self.target.as_ref().ok()?.url.as_url();
        url.host_str().zip(url.port_or_known_default())
    }

    /// The signed request of one delivery, which carries the trace on.
    ///
    /// # Errors
    /// The outcome that the attempt has instead.
    pub(crate) fn request(
        &self,
        envelope: &DeliveryEnvelope,
        trace: &TraceContext,
        body: &Bytes,
        now: UnixMillis,
    ) -> Result<Request<'_>, Outcome> {
        let target = self
            .target
            .as_ref()
            .map_err(|reason| Outcome::Unreachable(reason.clone()))?;
        let invalid = |_| Outcome::Unreachable(Reason::InvalidRequest);
        let id = HeaderValue::from_str(envelope.message_id.as_str()).map_err(invalid)?;
        let timestamp = HeaderValue::from(now.seconds());
        let mut signature = String::with_capacity(64);
        target
            .keys(now)
            .write_header(envelope.message_id.as_str(), now.seconds(), body, &mut signature);
        let signature = HeaderValue::try_from(signature).map_err(invalid)?;
        let mut headers = target.headers.clone();
        if target.families != SignatureHeaders::Svix {
            put(&mut headers, WEBHOOK, [&id, &timestamp, &signature]);
        }
        if target.families != SignatureHeaders::Webhook {
            put(&mut headers, SVIX, [&id, &timestamp, &signature]);
        }
        if let Some(parent) = &trace.parent {
            headers.insert(
                TRACEPARENT,
                HeaderValue::try_from(parent.to_string()).map_err(invalid)?,
            );
        }
        if let Some(state) = &trace.state {
            headers.insert(
                TRACESTATE,
                HeaderValue::from_str(state.as_str()).map_err(invalid)?,
            );
        }
        Ok(Request {
            url: &target.url,
            headers,
        })
    }
}

impl Target {
    fn keys(&self, now: UnixMillis) -> &SigningKeys {
        let valid = self
            .keys
            .iter()
            .find(|(until, _)| *until > now)
            .or(self.keys.last());
        &valid.expect("there is always a last set of keys").1
    }
}

fn put(headers: &mut HeaderMap, names: [HeaderName; 3], values: [&HeaderValue; 3]) {
    for (name, value) in names.into_iter().zip(values) {
        headers.insert(name, value.clone());
    }
}

fn target(entry: &EndpointEntry, rules: &UrlRules, families: SignatureHeaders) -> Result<Target, Reason> {
    let endpoint = &entry.endpoint;
    let url = EndpointUrl::parse(&endpoint.url, rules).map_err(|error| match error {
        UrlError::PrivateAddress(refused) => Reason::AddressRefused(Some(refused.address)),
        UrlError::OwnAddress => Reason::AddressRefused(None),
        _ => Reason::InvalidRequest,
    })?;
    let own = endpoint
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut headers = endpoint_headers(own).map_err(|_| Reason::InvalidRequest)?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Target {
        url,
        headers,
        keys: keys(entry)?,
        families,
    })
}

/// The sets of keys: all secrets until the first old one expires, then without it, at last the current one alone.
fn keys(entry: &EndpointEntry) -> Result<Vec<(UnixMillis, SigningKeys)>, Reason> {
    let unusable = |_| Reason::Other("the endpoint's signing secret cannot be read".to_owned());
    let secrets = entry.secrets.as_ref().ok_or(()).map_err(unusable)?;
    let parse = |text: &secrecy::SecretString| {
        Secret::parse(text.expose_secret())
            .map_err(|_| ())
            .map_err(unusable)
    };
    let current = parse(&secrets.current)?;
    let mut old = Vec::with_capacity(secrets.old.len());
    for (text, until) in &secrets.old {
        old.push((*until, parse(text)?));
    }
    old.sort_by_key(|(until, _)| *until);
    let mut sets: Vec<_> = (0..old.len())
        .map(|n| {
            let valid = std::iter::once(&current).chain(old[n..].iter().rev().map(|(_, secret)| secret));
            (old[n].0, SigningKeys::new(valid))
        })
        .collect();
    sets.push((UnixMillis(i64::MAX), SigningKeys::new([&current])));
    Ok(sets)
}

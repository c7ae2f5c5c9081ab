//! The same request again is the same answer.
//!
//! Owns `Idempotency-Key` of every POST but the sending of messages, which has a cheaper way. Guarantees that within
//! 12 hours the same caller, key and request get the same answer, also where a client's retry has lost the body, that
//! another request under the key is refused, and that answers, which may hold secrets, are kept sealed. What did not succeed is not kept: it can be tried again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use nuncio_runtime::Dice;
use nuncio_store::{Begun, RequestOnce, Store, StoredResponse};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use super::Api;
use super::error::{ApiError, Part};
use crate::token::{Verified, derive_key};
use crate::usecase::messages::RequestKey;
use crate::usecase::refusal::{Complaint, Outcome, Refusal};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_BYTES_MAX: usize = 256;
/// Answers and requests larger than this are never seen here: bodies are limited before.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const NONCE_BYTES: usize = 24;
/// How long a request waits for another one under its key.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Answers a POST with a known key as it was answered before.
pub(crate) async fn remember(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let of_messages = request.uri().path().ends_with("/msg");
    if request.method() != Method::POST || of_messages || !request.headers().contains_key(HEADER) {
        return next.run(request).await;
    }
    match answer(&api, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(api: &Api, request: Request, next: Next) -> Result<Response, ApiError> {
    let key = key(request.headers())?.unwrap_or_default().to_owned();
    let caller = caller(&request).to_owned();
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(_too_long) => {
            return Err(ApiError::from(Refusal::TooLarge {
                what: "the request's body",
                bytes_max: BODY_BYTES_MAX,
            }));
        }
    };
    let name = [parts.uri.path(), parts.uri.query().unwrap_or_default()].join("?");
    let given = body.clone();
    let once = RequestOnce {
        name: &name,
        body: &given,
    };
    let store = &api.use_cases.store;
    if let Some(stored) = begin(store, &caller, &key, once).await? {
        return api.answers.open(&caller, &key, &stored).map_err(ApiError::from);
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    nuncio_failpoints::hit!("api::request-done");
    if !response.status().is_success() {
        store
            .abandon_request(&caller, &key)
            .await
            .unwrap_or_else(|error| warn("an idempotency key could not be freed", &error));
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| Refusal::Broken {
            what: "an answer could not be read",
            source: Box::new(error),
        })?;
    let stored = api
        .answers
        .seal(&caller, &key, parts.status, &body, &api.use_cases.dice);
    store
        .finish_request(&caller, &key, once, &stored)
        .await
        .unwrap_or_else(|error| warn("an answer could not be kept for its idempotency key", &error));
    nuncio_failpoints::hit!("api::request-kept");
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn warn(what: &'static str, error: &nuncio_store::StoreError) {
    tracing::warn!(error = nuncio_runtime::lifecycle::chain(error), "{what}");
}

/// Begins the request, waiting for another one under its key; the answer that is known, if one is.
async fn begin(
    store: &Store,
    caller: &str,
    key: &str,
    once: RequestOnce<'_>,
) -> Outcome<Option<StoredResponse>> {
    let begun = tokio::time::timeout(PATIENCE, async {
        loop {
            match store.begin_request(caller, key, once).await {
                Ok(Begun::UnderWay) => tokio::time::sleep(LOOK_AGAIN).await,
                begun => return begun,
            }
        }
    });
    match begun.await {
        Ok(Ok(Begun::New)) => Ok(None),
        Ok(Ok(Begun::Answered(stored))) => Ok(Some(stored)),
        Ok(Ok(Begun::Mismatch)) => Err(reused()),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(Begun::UnderWay)) | Err(_) => Err(Refusal::Conflict {
            code: "idempotency_key_in_use",
            detail: "a request under this idempotency key is still being answered".to_owned(),
        }),
    }
}

pub(crate) fn reused() -> Refusal {
    Refusal::Conflict {
        code: "idempotency_key_reused",
        detail: "the idempotency key was used for another request".to_owned(),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .ok()
        .filter(|text| (1..=KEY_BYTES_MAX).contains(&text.len()))
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    match text {
        Some(text) => Ok(Some(text)),
        None => {
            let complaint = Complaint {
                field: vec![HEADER.to_string()],
                message: format!("must have from 1 to {KEY_BYTES_MAX} visible ASCII characters"),
                kind: "value_error",
            };
            Err(ApiError::about(Part::Header, Refusal::Invalid(vec![complaint])))
        }
    }
}

fn caller(request: &Request) -> &str {
    let caller = request.extensions().get::<Arc<Verified>>();
    caller.map_or("", |caller| caller.id.as_str())
}

/// The key of a request that sends a message to `app`, if it has one.
pub(crate) fn request_key(
    headers: &HeaderMap,
    caller: &Verified,
    app: &str,
) -> Result<Option<RequestKey>, ApiError> {
    let Some(key) = key(headers)? else {
        return Ok(None);
    };
    let mut digest = Sha256::new();
    for part in [caller.id.as_str(), app, key] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    Ok(Some(RequestKey {
        digest: BASE64.encode(&digest.finalize()[..18]),
    }))
}

/// Seals answers before they are kept.
pub(crate) struct Answers {
    ciphers: Vec<XChaCha20Poly1305>,
}

impl Answers {
    pub(crate) fn new(main_secrets: &[SecretString]) -> Self {
        let ciphers = main_secrets.iter().map(|secret| {
            let key = derive_key::<32>(secret, b"nuncio idempotent answer v1");
            XChaCha20Poly1305::new(key.as_slice().try_into().expect("the key has 32 bytes"))
        });
        Self {
            ciphers: ciphers.collect(),
        }
    }

    fn seal(&self, caller: &str, key: &str, status: StatusCode, body: &Bytes, dice: &Dice) -> StoredResponse {
        let mut nonce = [0; NONCE_BYTES];
        dice.fill(&mut nonce);
        let aad = context(caller, key);
        let payload = Payload {
            msg: body,
            aad: aad.as_bytes(),
        };
        let sealed = self.ciphers[0]
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a body of a few MiB can be sealed");
        StoredResponse {
            status: status.as_u16(),
            body: BASE64.encode([nonce.as_slice(), &sealed].concat()),
        }
    }

    fn open(&self, caller: &str, key: &str, stored: &StoredResponse) -> Outcome<Response> {
        let body = self
            .try_open(caller, key, stored)
            .ok_or_else(|| Refusal::Conflict {
                code: "idempotency_key_in_use",
                detail: "the answer under this idempotency key cannot be read any more: use another key"
                    .to_owned(),
            })?;
        let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
        let mut response = (status, body.clone()).into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        if !body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        Ok(response)
    }

    fn try_open(&self, caller: &str, key: &str, stored: &StoredResponse) -> Option<Vec<u8>> {
        let bytes = BASE64.decode(&stored.body).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let aad = context(caller, key);
        self.ciphers.iter().find_map(|cipher| {
            let payload = Payload {
                msg: sealed,
                aad: aad.as_bytes(),
            };
            cipher.decrypt(&XNonce::from(*nonce), payload).ok()
        })
    }
}

fn context(caller: &str, key: &str) -> String {
    format!("{}:{caller}:{key}", caller.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(secrets: &[&str]) -> Answers {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|text| SecretString::from(text.repeat(8)))
            .collect();
        Answers::new(&secrets)
    }

    #[test]
    fn an_answer_opens_for_its_caller_and_key_alone_and_is_not_kept_in_the_clear() {
        let ours = answers(&["one"]);
        let body = Bytes::from_static(br#"{"key":"whsec_canary"}"#);
        let stored = ours.seal("caller", "key", StatusCode::CREATED, &body, &Dice::seeded(1));
        assert!(!stored.body.contains("canary"));
        assert_eq!(
            ours.try_open("caller", "key", &stored).as_deref(),
            Some(&body[..])
        );
        assert_eq!(
            answers(&["two", "one"])
                .try_open("caller", "key", &stored)
                .as_deref(),
            Some(&body[..])
        );
        assert_eq!(ours.try_open("caller", "other", &stored), None);
        assert_eq!(ours.try_open("callerk", "ey", &stored), None);
        assert_eq!(answers(&["two"]).try_open("caller", "key", &stored), None);
        let response = ours.open("caller", "key", &stored).unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }

    #[test]
    fn keys_are_short_visible_text() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
            key(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(with(b"auto_1").unwrap().as_deref(), Some("auto_1"));
        assert!(with(b"").is_err());
        assert!(with(&[b'x'; 257]).is_err());
        assert!(with("é".as_bytes()).is_err());
        assert!(with(b"a b").is_err());
    }
}

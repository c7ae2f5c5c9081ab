//! The same request again is the same answer.
//!
//! Owns `Idempotency-Key` of every POST but the sending of messages, which has a cheaper way. Guarantees that within
//! 12 hours the same caller, key and request get the same answer, also where a client's retry has lost the body; that a
//! request whose process died, or that failed half-way, is done again on the occasion of its first time, so that it makes
//! nothing twice; that another request under the key is refused; and that what is kept, which may hold secrets, is sealed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use nuncio_store::{Begun, REQUEST_LEASE, RequestOnce, Store, StoredResponse};
use sha2::{Digest, Sha256};

use super::Api;
use super::error::{ApiError, Part};
use crate::token::Verified;
use crate::usecase::messages::RequestKey;
use crate::usecase::occasion::Occasion;
use crate::usecase::refusal::{Complaint, Outcome, Refusal};

mod draft;
mod sealed;

use draft::Draft;
use sealed::Of;
pub(crate) use sealed::Sealed;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const KEY_BYTES_MAX: usize = 1024;
/// Answers and requests larger than this are never seen here: bodies are limited before.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const WORKER_BYTES: usize = 12;
/// How long a request waits for another one under its key: longer than a dead process seems to work on it.
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
    let (mut parts, body) = request.into_parts();
    let body = whole(body).await?;
    let name = [parts.uri.path(), parts.uri.query().unwrap_or_default()].join("?");
    let use_cases = &api.use_cases;
    let mut worker = [0; WORKER_BYTES];
    use_cases.dice.fill(&mut worker);
    let once = RequestOnce {
        caller: &caller,
        key: &key,
        name: &name,
        body: &body,
        worker: &BASE64.encode(worker),
    };
    let of = Of {
        caller: &caller,
        key: &key,
    };
    let draft = Draft::new(use_cases.now(), body.clone(), &use_cases.dice);
    let sealed = api.sealed.draft(of, &draft, &use_cases.dice);
    let (draft, again) = match begin(&use_cases.store, once, &sealed).await? {
        Start::New => (draft, false),
        Start::Again(sealed) => (api.sealed.open_draft(of, &sealed)?, true),
        Start::Answered(stored) => return api.sealed.open_answer(of, &stored).map_err(ApiError::from),
    };
    parts.extensions.insert(draft.occasion(again));
    let work = next.run(Request::from_parts(parts, Body::from(draft.body)));
    let response = holding(&use_cases.store, once, work).await;
    nuncio_failpoints::hit!("api::request-done");
    if !response.status().is_success() {
        let had_effect = again || response.status().is_server_error();
        end_unanswered(&use_cases.store, once, had_effect).await;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| Refusal::Broken {
            what: "an answer could not be read",
            source: Box::new(error),
        })?;
    let stored = api.sealed.answer(of, parts.status, &body, &use_cases.dice);
    use_cases
        .store
        .finish_request(once, &stored)
        .await
        .unwrap_or_else(|error| warn("an answer could not be kept for its idempotency key", &error));
    nuncio_failpoints::hit!("api::request-kept");
    Ok(Response::from_parts(parts, Body::from(body)))
}

async fn whole(body: Body) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_too_long| {
            ApiError::from(Refusal::TooLarge {
                what: "the request's body",
                bytes_max: BODY_BYTES_MAX,
            })
        })
}

/// Works on the request and holds on to it meanwhile: a process that dies holds on no more.
async fn holding(store: &Store, once: RequestOnce<'_>, work: impl Future<Output = Response>) -> Response {
    let hold = async {
        loop {
            tokio::time::sleep(REQUEST_LEASE / 3).await;
            if let Err(error) = store.renew_request(once).await {
                warn("an idempotency key could not be held", &error);
            }
        }
    };
    tokio::select! {
        response = work => response,
        () = hold => unreachable!("it holds on until the work is done"),
    }
}

/// What came to nothing may be asked for in other words; what may have had its effect may only be asked for again.
async fn end_unanswered(store: &Store, once: RequestOnce<'_>, had_effect: bool) {
    let ended = match had_effect {
        true => store.release_request(once).await,
        false => store.forget_request(once).await,
    };
    ended.unwrap_or_else(|error| warn("an idempotency key could not be freed", &error));
}

fn warn(what: &'static str, error: &nuncio_store::StoreError) {
    tracing::warn!(error = nuncio_runtime::lifecycle::chain(error), "{what}");
}

/// How a request begins.
enum Start {
    New,
    /// With the draft of the first time.
    Again(String),
    Answered(StoredResponse),
}

/// Begins the request, waiting for another one under its key.
async fn begin(store: &Store, once: RequestOnce<'_>, draft: &str) -> Outcome<Start> {
    let begun = tokio::time::timeout(PATIENCE, async {
        loop {
            match store.begin_request(once, draft).await {
                Ok(Begun::UnderWay) => tokio::time::sleep(LOOK_AGAIN).await,
                begun => return begun,
            }
        }
    });
    match begun.await {
        Ok(Ok(Begun::New)) => Ok(Start::New),
        Ok(Ok(Begun::Again(draft))) => Ok(Start::Again(draft)),
        Ok(Ok(Begun::Answered(stored))) => Ok(Start::Answered(stored)),
        Ok(Ok(Begun::Mismatch)) => Err(reused()),
        Ok(Err(error)) => Err(error.into()),
        Ok(Ok(Begun::UnderWay)) | Err(_) => Err(Refusal::Conflict {
            code: "idempotency_key_in_use",
            detail: "a request under this idempotency key is still being answered".to_owned(),
        }),
    }
}

impl FromRequestParts<Arc<Api>> for Occasion {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Infallible> {
        let kept = parts.extensions.get::<Self>().cloned();
        Ok(kept.unwrap_or_else(|| api.use_cases.occasion()))
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
        .map(|text| text.trim_matches(' '))
        .filter(|text| (1..=KEY_BYTES_MAX).contains(&text.len()))
        .filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    match text {
        Some(text) => Ok(Some(text)),
        None => {
            let complaint = Complaint {
                field: vec![HEADER.to_string()],
                message: format!("must have from 1 to {KEY_BYTES_MAX} printable ASCII characters"),
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn keys_are_printable_text() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
            key(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(with(b"auto_1").unwrap().as_deref(), Some("auto_1"));
        assert!(with(b"").is_err());
        assert!(with(b" ").is_err());
        assert!(with(&[b'x'; 1_025]).is_err());
        assert!(with("é".as_bytes()).is_err());
        assert!(with(b"a\tb").is_err());
        assert_eq!(with(b" order 123 ").unwrap().as_deref(), Some("order 123"));
    }
}

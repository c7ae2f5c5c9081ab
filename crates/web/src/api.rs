//! The REST API: that of Svix, version 1, and some more.
//!
//! Owns routes, bodies, errors, pages, who may do what, idempotency and the OpenAPI document, all made from one source.
//! Guarantees that paths do not mind slashes and that every answer that is an error is JSON.
//! Refuses to decide anything: that is for the use cases.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::token::Tokens;
use crate::usecase::apps::Upserted;
use crate::usecase::event_types::Catalogue;
use crate::usecase::{Rules, UseCases};
use crate::{NoMainSecret, WebParts};

mod access;
mod app;
mod attempt;
pub(crate) mod auth;
mod body;
mod document_page;
pub(crate) mod endpoint;
mod error;
mod event_type;
mod gate;
mod health;
mod idempotency;
mod insight;
mod message;
mod openapi;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod query;
mod replay;
pub mod throttle;
pub(crate) mod time;

use error::ApiError;

/// How long a request may take as a whole.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two readings.
const READ_AGAIN: Duration = Duration::from_millis(100);
/// How long a browser may remember what it asked before a request of another origin.
const PREFLIGHT_KEPT: Duration = Duration::from_secs(600);
/// Bytes of a body beside the payload in it.
const BODY_BYTES_BESIDE: usize = 256 * 1024;

/// What the routes share.
pub(crate) struct Api {
    pub(crate) use_cases: Arc<UseCases>,
    pub(crate) tokens: Tokens,
    pub(crate) iterators: page::Iterators,
    sealed: idempotency::Sealed,
    pub(crate) throttle: throttle::Throttle,
    gate: gate::Gate,
    public_url: String,
}

impl Api {
    pub(crate) fn new(parts: &WebParts) -> Result<Self, NoMainSecret> {
        let settings = &parts.settings;
        let secrets = &settings.main_secrets;
        let tokens = Tokens::new(secrets, &settings.namespace).map_err(|_no_secret| NoMainSecret)?;
        let use_cases = UseCases {
            store: parts.store.clone(),
            directory: parts.directory.clone(),
            producer: parts.producer.clone(),
            operator: parts.producer.operator(),
            clock: parts.clock.clone(),
            dice: parts.dice.clone(),
            tracer: parts.tracer.clone(),
            rules: Rules {
                urls: settings.urls.clone(),
                payload_bytes_max: settings.payload_bytes_max,
                retention: settings.retention,
            },
            life: parts.lifecycle.clone(),
            catalogue: Catalogue::default(),
        };
        Ok(Self {
            use_cases: Arc::new(use_cases),
            tokens,
            iterators: page::Iterators::new(secrets),
            sealed: idempotency::Sealed::new(secrets),
            throttle: throttle::Throttle::new(settings.rates),
            gate: gate::Gate::new(settings.requests_at_once),
            public_url: settings.public_url.clone(),
        })
    }
}

/// What a route answers.
type Answer<T> = Result<T, ApiError>;

/// 201 with what was created, or 200 with what was there.
struct Upsert<T>(Upserted<T>);

impl<T> Upsert<T> {
    fn show<U>(upserted: Upserted<U>, show: impl FnOnce(U) -> T) -> Self {
        Self(match upserted {
            Upserted::Created(item) => Upserted::Created(show(item)),
            Upserted::Found(item) => Upserted::Found(show(item)),
        })
    }
}

impl<T: Serialize> IntoResponse for Upsert<T> {
    fn into_response(self) -> Response {
        match self.0 {
            Upserted::Created(item) => (StatusCode::CREATED, Json(item)).into_response(),
            Upserted::Found(item) => (StatusCode::OK, Json(item)).into_response(),
        }
    }
}

fn guarded() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(app::routes())
        .merge(endpoint::routes())
        .merge(message::routes())
        .merge(attempt::routes())
        .merge(replay::routes())
        .merge(insight::routes())
        .merge(event_type::routes())
        .merge(access::routes())
}

/// The OpenAPI document.
#[must_use]
pub fn document() -> serde_json::Value {
    let (_, paths) = guarded().merge(health::routes()).split_for_parts();
    openapi::complete(paths)
}

/// Everything that is answered.
pub(crate) fn router(api: &Arc<Api>, pages: Router<Arc<Api>>, payload_bytes_max: usize) -> Router {
    let (guarded, _) = guarded().split_for_parts();
    let (open, _) = health::routes().split_for_parts();
    let guarded = guarded
        .layer(from_fn_with_state(Arc::clone(api), idempotency::remember))
        .layer(from_fn(read_again))
        .layer(from_fn_with_state(Arc::clone(api), auth::authenticate));
    let inner = guarded
        .merge(open)
        // Before the layer, which answers `OPTIONS` in its place.
        .method_not_allowed_fallback(path::wrong_verb)
        .layer(from_anywhere())
        .merge(document_page::routes(&document()))
        .merge(pages)
        .fallback(path::nowhere)
        .method_not_allowed_fallback(path::wrong_verb)
        .layer(DefaultBodyLimit::max(
            payload_bytes_max
                .saturating_mul(2)
                .saturating_add(BODY_BYTES_BESIDE),
        ))
        .layer(from_fn_with_state(Arc::clone(api), observe))
        .layer(CatchPanicLayer::custom(
            |_panic: Box<dyn std::any::Any + Send>| {
                tracing::error!("a request panicked");
                error::plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "server_error",
                    "This is a mistake of ours",
                )
            },
        ))
        .with_state(Arc::clone(api));
    // Routing happens inside, after the path was tidied up.
    let tidied = ServiceBuilder::new()
        .layer(map_request(|request| async { path::normalise(request) }))
        .service(inner);
    Router::new().fallback_service(tidied)
}

/// Pages of any origin may call the API: who may do what is told by the token, which no browser sends by itself.
fn from_anywhere() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_KEPT)
}

/// Reads once more where the first reading met a store or a broker that was away for a moment: nothing was changed.
async fn read_again(request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (parts, _no_body) = request.into_parts();
    let again = Request::from_parts(parts.clone(), Body::empty());
    let first = next.clone().run(Request::from_parts(parts, Body::empty())).await;
    if first.status() != StatusCode::SERVICE_UNAVAILABLE {
        return first;
    }
    tokio::time::sleep(READ_AGAIN).await;
    next.run(again).await
}

/// Answers within the time for a request.
async fn answered(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_elapsed| {
        error::plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The request took too long; it may have had its effect",
        )
    })
}

/// Measures and bounds every request, and keeps answers out of caches.
async fn observe(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let mut response = match api.gate.enter().await {
        Some(_admitted) => answered(request, next).await,
        None => gate::overloaded(),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let status = response.status().as_u16().to_string();
    let labels = [("method", method), ("route", route), ("status", status)];
    metrics::counter!("nuncio_http_requests_total", &labels).increment(1);
    metrics::histogram!("nuncio_http_request_duration_seconds", &labels).record(begun.elapsed());
    response
}

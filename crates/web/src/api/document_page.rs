//! The OpenAPI document and a page that reads it out, without anything from elsewhere.

use axum::Router;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::Value;

const CONTENT_SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes<S: Clone + Send + Sync + 'static>(document: &Value) -> Router<S> {
    let json = Bytes::from(serde_json::to_vec(document).expect("the document is plain data"));
    let page = Bytes::from(page::render(document));
    Router::new()
        .route(
            "/api/v1/openapi.json",
            get(move || async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() }),
        )
        .route(
            "/docs",
            get(move || async move {
                let policy = HeaderValue::from_static(CONTENT_SECURITY);
                ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
            }),
        )
}

mod page;

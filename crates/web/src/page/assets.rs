//! The files that pages load: one style sheet, one script, an icon; and the style sheet of an accent colour.
//!
//! Guarantees that their addresses change with their content, so that browsers may keep them for good.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::accent::{self, Colour};

const STYLE: &str = include_str!("../../assets/nuncio.css");
const SCRIPT: &str = include_str!("../../assets/nuncio.js");
const ICON: &str = include_str!("../../assets/icon.svg");

static STYLE_AT: LazyLock<String> = LazyLock::new(|| address("nuncio.css", STYLE));
static SCRIPT_AT: LazyLock<String> = LazyLock::new(|| address("nuncio.js", SCRIPT));

/// Where the style sheet is.
pub(crate) fn style() -> &'static str {
    &STYLE_AT
}

/// Where the script is.
pub(crate) fn script() -> &'static str {
    &SCRIPT_AT
}

fn address(name: &str, content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let version: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("/assets/{name}?v={version}")
}

pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            "/assets/nuncio.css",
            get(|| async { file("text/css; charset=utf-8", STYLE.to_owned()) }),
        )
        .route(
            "/assets/nuncio.js",
            get(|| async { file("text/javascript; charset=utf-8", SCRIPT.to_owned()) }),
        )
        .route(
            "/assets/icon.svg",
            get(|| async { file("image/svg+xml", ICON.to_owned()) }),
        )
        .route("/assets/accent/{colour}", get(accent_style))
}

async fn accent_style(Path(colour): Path<String>) -> Response {
    match Colour::parse(&colour) {
        Some(colour) => file("text/css; charset=utf-8", accent::style(colour)),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file(kind: &'static str, content: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'"),
        ),
    ];
    (headers, content).into_response()
}

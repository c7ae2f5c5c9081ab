//! What the pages of the portal and of the console share: sessions, forms, the shell around every page, the look.
//!
//! Guarantees that every page leaves under a strict content security policy, that no change happens without a session
//! and its token, and that a refusal is a page for people. Refuses to know what a page is about.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use tower_http::compression::CompressionLayer;

use crate::api::Api;
use crate::{NoMainSecret, WebParts, console, portal};

pub(crate) mod accent;
pub(crate) mod assets;
pub(crate) mod chart;
pub(crate) mod failure;
pub(crate) mod form;
pub(crate) mod origin;
pub(crate) mod part;
pub(crate) mod pretty;
pub(crate) mod session;
pub(crate) mod shell;

use failure::Failure;
use session::Sessions;
use shell::{Frame, Place};

/// The sets of headers that a signature is found in, as code that verifies it is to read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignaturePrefix {
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    #[default]
    Webhook,
    /// The same under `svix-`.
    Svix,
}

impl SignaturePrefix {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Svix => "svix",
        }
    }
}

/// What the pages need to be told.
#[derive(Debug, Clone, Default)]
pub struct PageSettings {
    /// The delays of the retry ladder, for the console.
    pub rungs: Vec<Duration>,
    /// Which headers the code that customers copy reads.
    pub signature_prefix: SignaturePrefix,
    /// Origins beside our own that may show the portal in a frame, such as `https://app.example.com`.
    pub frame_ancestors: Vec<String>,
}

/// What all pages share.
pub(crate) struct Web {
    pub(crate) api: Arc<Api>,
    pub(crate) sessions: Sessions,
    pub(crate) settings: PageSettings,
    /// Scheme and authority of the public URL.
    pub(crate) origin: String,
    portal_policy: HeaderValue,
    console_policy: HeaderValue,
}

/// What a page's handler answers.
pub(crate) type Answer = Result<Response, Failure>;

impl Web {
    fn new(api: Arc<Api>, parts: &WebParts) -> Result<Self, NoMainSecret> {
        let settings = &parts.settings;
        let origin = origin::of(&settings.public_url);
        Ok(Self {
            api,
            sessions: Sessions::new(
                &settings.main_secrets,
                &settings.namespace,
                settings.public_url.starts_with("https://"),
                !settings.pages.frame_ancestors.is_empty(),
            )?,
            settings: settings.pages.clone(),
            origin,
            portal_policy: policy(&settings.pages.frame_ancestors),
            console_policy: policy(&[]),
        })
    }
}

/// What browsers may load and do on a page: our own files, pictures written into the page, nothing else.
fn policy(ancestors: &[String]) -> HeaderValue {
    let mut text = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
        .to_owned();
    for ancestor in ancestors {
        text.push(' ');
        text.push_str(ancestor);
    }
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The pages, without what stands before them.
///
/// # Errors
/// When there is no main secret.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(
    api: &Arc<Api>,
    parts: &WebParts,
) -> Result<Router<S>, NoMainSecret> {
    let web = Arc::new(Web::new(Arc::clone(api), parts)?);
    let portal = portal::routes().layer(from_fn_with_state((Arc::clone(&web), Place::Portal), dress));
    let console = console::routes().layer(from_fn_with_state((Arc::clone(&web), Place::Console), dress));
    let pages = portal.merge(console).merge(assets::routes());
    Ok(pages.layer(CompressionLayer::new()).with_state(web))
}

/// Renders what failed, and sets the headers that every page has.
async fn dress(State((web, place)): State<(Arc<Web>, Place)>, mut request: Request, next: Next) -> Response {
    let frame = Frame::default();
    request.extensions_mut().insert(frame.clone());
    let mut response = next.run(request).await;
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        response = failure.page(place, &frame);
    }
    let policy = match place {
        Place::Portal => &web.portal_policy,
        Place::Console => &web.console_policy,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page or a part of one.
pub(crate) fn show(template: &impl Template) -> Answer {
    match template.render() {
        Ok(text) => Ok(Html(text).into_response()),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            Err(Failure::ours())
        }
    }
}

/// Sends the browser on to another page of ours.
pub(crate) fn go(to: &str) -> Response {
    axum::response::Redirect::to(to).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_inline_and_nothing_from_elsewhere_may_run() {
        let policy = policy(&["https://app.example.com".to_owned()]);
        let text = policy.to_str().unwrap();
        assert!(!text.contains("unsafe"), "{text}");
        assert!(text.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(text.ends_with("frame-ancestors 'self' https://app.example.com"));
    }
}

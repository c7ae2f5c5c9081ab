//! Opening the portal: a link's token becomes a session.
//!
//! Guarantees that the token travels in a body alone, once per opening, that a link may be opened until it expires, and
//! that leaving ends the session and not the link.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::visitor::Visitor;
use crate::api::auth::peer;
use crate::page::failure::Failure;
use crate::page::form::{Change, Fields};
use crate::page::shell::{Place, Shell};
use crate::page::{Answer, Web, go, origin, show};
use crate::token::Scope;
use crate::usecase::refusal::Refusal;

/// Bytes of a request with a token.
const BODY_BYTES_MAX: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "portal/open.html")]
struct OpenPage {
    shell: Shell,
}

#[derive(Template)]
#[template(path = "portal/left.html")]
struct LeftPage {
    shell: Shell,
}

/// The page that a link leads to: its script hands the fragment over.
pub(super) async fn open() -> Answer {
    show(&OpenPage {
        shell: Shell::bare(Place::Portal, "Opening…"),
    })
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Serialize)]
struct Opened {
    to: &'static str,
}

/// Takes a token, from the script or from the form of those without scripts, and begins a session.
pub(super) async fn exchange(State(web): State<Arc<Web>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    if !origin::is_ours(&parts.headers, &web.origin, false) {
        return Err(Failure::foreign());
    }
    let body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_too_large_or_cut| Failure::unreadable())?;
    let from_script = is_json(&parts.headers);
    let token = if from_script {
        serde_json::from_slice::<Token>(&body)
            .map(|body| body.token)
            .map_err(|_no_token| Failure::unreadable())?
    } else {
        Fields::parse(&body).text("link").to_owned()
    };
    let begun = begin(&web, token_in(&token)).await;
    let cookie = match begun {
        Ok(cookie) => cookie,
        Err(failure) => {
            if failure.status == StatusCode::UNAUTHORIZED {
                let wait = web.api.throttle.wrong(peer(&parts.extensions));
                wait.map_err(|retry_after| Refusal::TooMany { retry_after })?;
            }
            return Err(failure);
        }
    };
    let to = Place::Portal.home();
    let answer: Response = if from_script {
        Json(Opened { to }).into_response()
    } else {
        go(to)
    };
    Ok(([(header::SET_COOKIE, cookie)], answer).into_response())
}

async fn begin(web: &Web, token: &str) -> Result<http::HeaderValue, Failure> {
    let use_cases = &web.api.use_cases;
    let now = use_cases.now();
    let link = web
        .api
        .tokens
        .verify(token, now)
        .map_err(|_not_valid| Failure::signed_out())?;
    let Scope::App(grant) = &link.scope else {
        return Err(Failure::signed_out());
    };
    use_cases.check_session(grant, &link).await?;
    let lifetime = link.expires_at.since(now);
    let session = use_cases.dice.with(|rng| {
        web.sessions
            .tokens(Place::Portal)
            .mint(&link.scope, now, lifetime, rng)
    });
    Ok(web.sessions.cookie(Place::Portal, Some(&session), lifetime))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// The token in a text that is one, or a whole link.
fn token_in(text: &str) -> &str {
    let text = text.trim();
    let fragment = text.split_once('#').map_or(text, |(_, fragment)| fragment);
    fragment
        .split('&')
        .find_map(|part| part.strip_prefix("token="))
        .unwrap_or(fragment)
}

/// Ends the session.
pub(super) async fn leave(State(web): State<Arc<Web>>, change: Change<Visitor>) -> Answer {
    let visitor = change.session;
    web.api
        .use_cases
        .logout(&visitor.grant, &visitor.verified)
        .await?;
    let cookie = web
        .sessions
        .cookie(Place::Portal, None, std::time::Duration::ZERO);
    let page = show(&LeftPage {
        shell: Shell::bare(Place::Portal, "You have left"),
    })?;
    Ok(([(header::SET_COOKIE, cookie)], page).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_a_link_or_by_itself() {
        for text in [
            "a.b.c",
            " a.b.c\n",
            "https://x/portal#token=a.b.c",
            "https://x/portal#accent=red&token=a.b.c&more=1",
            "token=a.b.c",
        ] {
            assert_eq!(token_in(text), "a.b.c", "{text:?}");
        }
    }

    #[test]
    fn the_page_that_a_link_leads_to_works_without_scripts() {
        let page = OpenPage {
            shell: Shell::bare(Place::Portal, "x"),
        }
        .render()
        .unwrap();
        assert!(
            page.contains("<noscript>") && page.contains("action=\"/portal/session\""),
            "{page}"
        );
        assert!(
            !page.contains("<style") && !page.contains("onload="),
            "nothing inline"
        );
    }
}

//! Signing in with an admin's token, and leaving.

use std::sync::Arc;

use askama::Template;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use http::{StatusCode, header};

use super::operator::Operator;
use crate::api::auth::peer;
use crate::page::failure::Failure;
use crate::page::form::{Change, Fields};
use crate::page::session::CONSOLE_LIFETIME;
use crate::page::shell::{Place, Shell};
use crate::page::{Answer, Web, go, origin, show};
use crate::token::Scope;
use crate::usecase::refusal::Refusal;

/// Bytes of a form with a token.
const FORM_BYTES_MAX: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignInPage {
    shell: Shell,
    mistake: &'static str,
}

fn page(mistake: &'static str) -> Answer {
    show(&SignInPage {
        shell: Shell::bare(Place::Console, "Sign in"),
        mistake,
    })
}

/// To the projects, or to the door.
pub(super) async fn enter(operator: Result<Operator, Failure>) -> Answer {
    Ok(go(match operator {
        Ok(_) => "/console/projects",
        Err(_) => "/console/sign-in",
    }))
}

pub(super) async fn ask() -> Answer {
    page("")
}

pub(super) async fn sign_in(State(web): State<Arc<Web>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    if !origin::is_ours(&parts.headers, &web.origin, true) {
        return Err(Failure::foreign());
    }
    let body = to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_too_large_or_cut| Failure::unreadable())?;
    let fields = Fields::parse(&body);
    let use_cases = &web.api.use_cases;
    let now = use_cases.now();
    let verified = web.api.tokens.verify(fields.text("token"), now);
    let Some(verified) = verified.ok().filter(|verified| verified.scope == Scope::Admin) else {
        let wait = web.api.throttle.wrong(peer(&parts.extensions));
        wait.map_err(|retry_after| Refusal::TooMany { retry_after })?;
        let mistake = "This is not an admin’s token, or it has expired. Make one with “nuncio token”.";
        return Ok((StatusCode::UNAUTHORIZED, page(mistake)?).into_response());
    };
    let lifetime = verified.expires_at.since(now).min(CONSOLE_LIFETIME);
    let session = use_cases.dice.with(|rng| {
        web.sessions
            .tokens(Place::Console)
            .mint(&Scope::Admin, now, lifetime, rng)
    });
    let cookie = web.sessions.cookie(Place::Console, Some(&session), lifetime);
    Ok(([(header::SET_COOKIE, cookie)], go("/console/projects")).into_response())
}

pub(super) async fn leave(State(web): State<Arc<Web>>, _: Change<Operator>) -> Answer {
    let cookie = web
        .sessions
        .cookie(Place::Console, None, std::time::Duration::ZERO);
    Ok(([(header::SET_COOKIE, cookie)], go("/console/sign-in")).into_response())
}

//! Who calls, and whether they may.
//!
//! Owns the bearer token's way into a request and the two gates behind it: [`Admin`], and [`InApp`] with what it
//! [`Need`]s. Guarantees that a gate opens before a body is read, and that another's app looks like none at all.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, header};
use nuncio_domain::App;

use super::Api;
use super::error::ApiError;
use crate::token::{Capability, Scope, TokenError, Verified};
use crate::usecase::refusal::{Noun, Outcome, Refusal};

/// Lets in who has a valid token, and notes who it is.
pub(crate) async fn authenticate(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let from = address(&request);
    let token = bearer(request.headers()).map(str::to_owned);
    match verify(&api, token, from).await {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(refusal) => ApiError::from(refusal).into_response(),
    }
}

async fn verify(api: &Api, token: Outcome<String>, from: IpAddr) -> Outcome<Verified> {
    let caller = match token.and_then(|token| check(api, &token)) {
        Ok(caller) => caller,
        Err(refusal) => {
            let too_many = |retry_after| Refusal::TooMany { retry_after };
            api.throttle.wrong(from).map_err(too_many)?;
            return Err(refusal);
        }
    };
    let within_rate = match &caller.scope {
        Scope::Admin => api.throttle.admin(&caller.id),
        Scope::App(_) => api.throttle.app(&caller.id),
    };
    within_rate.map_err(|retry_after| Refusal::TooMany { retry_after })?;
    if let Scope::App(grant) = &caller.scope {
        api.use_cases.check_session(grant, &caller).await?;
    }
    Ok(caller)
}

fn bearer(headers: &HeaderMap) -> Outcome<&str> {
    let missing = Refusal::Unauthenticated("an `Authorization: Bearer` token is needed");
    let value = headers.get(header::AUTHORIZATION).ok_or(missing)?;
    let (scheme, token) =
        value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or(Refusal::Unauthenticated(
                "the `Authorization` header is malformed",
            ))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Unauthenticated(
            "the `Authorization` header is not of the kind `Bearer`",
        ));
    }
    Ok(token.trim())
}

fn check(api: &Api, token: &str) -> Outcome<Verified> {
    let now = api.use_cases.now();
    api.tokens.verify(token, now).map_err(|error| {
        Refusal::Unauthenticated(match error {
            TokenError::Expired => "the token has expired",
            TokenError::Malformed | TokenError::Signature | TokenError::Foreign => "invalid token",
        })
    })
}

fn address(request: &Request) -> IpAddr {
    peer(request.extensions())
}

/// The address at the other end.
pub(crate) fn peer(extensions: &http::Extensions) -> IpAddr {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

/// Who calls.
pub(crate) struct Caller(pub(crate) Arc<Verified>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Arc<Verified>>().cloned();
        Ok(Self(
            caller.expect("routes with callers stand behind `authenticate`"),
        ))
    }
}

/// Whoever has an admin's token.
pub(crate) struct Admin;

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let Ok(Caller(caller)) = Caller::from_request_parts(parts, state).await;
        match caller.scope {
            Scope::Admin => Ok(Self),
            Scope::App(_) => Err(refuse(Refusal::Forbidden(
                "an application's token does not allow this",
            ))),
        }
    }
}

/// What a route in an app needs.
pub(crate) trait Need: Send {
    /// The capability that a customer needs; nothing where only admins may.
    const CAPABILITY: Option<Capability>;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident: $capability:expr;)*) => {
        $($(#[$doc])* pub(crate) enum $name {}
        impl Need for $name {
            const CAPABILITY: Option<Capability> = $capability;
        })*
    };
}

needs! {
    /// Looking at what is not secret.
    Look: Some(Capability::ViewBase);
    /// Seeing secrets.
    SeeSecret: Some(Capability::ViewEndpointSecret);
    /// Rotating secrets.
    Rotate: Some(Capability::ManageEndpointSecret);
    /// Changing endpoints.
    Manage: Some(Capability::ManageEndpoint);
    /// Having messages sent again.
    Resend: Some(Capability::CreateAttempts);
    /// What no customer may.
    Operate: None;
}

/// The app in the path, for whoever may do in it what the route needs.
pub(crate) struct InApp<N: Need> {
    pub(crate) app: App,
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<Arc<Api>> for InApp<N> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Response> {
        let Ok(Caller(caller)) = Caller::from_request_parts(parts, api).await;
        if let Scope::App(grant) = &caller.scope {
            let allowed = N::CAPABILITY.is_some_and(|need| grant.capabilities.allow(need));
            if !allowed {
                return Err(refuse(Refusal::Forbidden("the token does not allow this")));
            }
        }
        let id = path_param(parts, api, "app_id").await?;
        let app = api.use_cases.app(&id).await.map_err(refuse)?;
        match &caller.scope {
            Scope::App(grant) if grant.app != app.id => Err(refuse(Refusal::NotFound(Noun::App))),
            _ => Ok(Self {
                app,
                need: PhantomData,
            }),
        }
    }
}

async fn path_param(parts: &mut Parts, api: &Arc<Api>, name: &str) -> Result<String, Response> {
    let params = RawPathParams::from_request_parts(parts, api)
        .await
        .map_err(|_not_utf8| refuse(Refusal::NotFound(Noun::App)))?;
    let value = params.iter().find(|(key, _)| *key == name);
    Ok(value.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

fn refuse(refusal: Refusal) -> Response {
    ApiError::from(refusal).into_response()
}

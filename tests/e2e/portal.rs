//! The portal as a browser without scripts uses it: pages read, forms sent, and what must not be possible.
//!
//! The walk through a real browser, with its pictures, is `make screenshots`.

use std::time::Duration;

use e2e::{Answer, SHORT, eventually};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE};
use reqwest::{Client, Method, Response, StatusCode, redirect::Policy};
use serde_json::{Value, json};

use crate::delivery_stage::Stage;

/// Markup that must never come back as markup.
const MARKUP: &str = "\"><svg onload=alert(1)>";

/// How a browser sends forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// One browser: it keeps the session's cookie and follows nothing by itself.
pub(crate) struct Browser {
    http: Client,
    base: String,
    cookie: String,
}

pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) to: String,
    /// The first part of a cookie that came with it, or nothing.
    pub(crate) cookie: String,
    pub(crate) retry_after: String,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn at(base: String) -> Self {
        let http = Client::builder().no_proxy().redirect(Policy::none()).build();
        Self {
            http: http.expect("a client"),
            base,
            cookie: String::new(),
        }
    }

    /// A browser that opened a link.
    pub(crate) async fn opened(base: String, token: &str) -> Self {
        let mut browser = Self::at(base);
        let page = browser.exchange(token).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        browser
    }

    async fn exchange(&mut self, token: &str) -> Page {
        let body = json!({ "token": token }).to_string();
        let page = self
            .offer(&self.base, "/portal/session", "application/json", body)
            .await;
        self.cookie.clone_from(&page.cookie);
        page
    }

    /// A browser in which an operator signed in to the console.
    pub(crate) async fn signed_in(base: String, token: &str) -> Self {
        let mut browser = Self::at(base);
        let body = form(&[("token", token)]);
        let page = browser.offer(&browser.base, "/console/sign-in", FORM, body).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        browser.cookie = page.cookie;
        browser
    }

    /// Sends a body from a page of `origin`, without a session.
    pub(crate) async fn offer(&self, origin: &str, path: &str, kind: &str, body: String) -> Page {
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header(ORIGIN, origin)
            .header("content-type", kind)
            .body(body);
        page(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn see(&self, path: &str) -> Page {
        let request = self.http.get(format!("{}{path}", self.base));
        page(
            request
                .header(COOKIE, &self.cookie)
                .send()
                .await
                .expect("an answer"),
        )
        .await
    }

    /// The token that the forms of the portal carry.
    async fn csrf(&self) -> String {
        self.csrf_of("/portal/endpoints").await
    }

    /// The token that the forms of a page carry.
    pub(crate) async fn csrf_of(&self, path: &str) -> String {
        let page = self.see(path).await;
        let (_, rest) = page
            .text
            .split_once("name=\"csrf\" value=\"")
            .expect("a form with a token");
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    pub(crate) async fn send_as(
        &self,
        origin: &str,
        csrf: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Page {
        let mut all = vec![("csrf", csrf)];
        all.extend_from_slice(fields);
        let request = self
            .http
            .request(Method::POST, format!("{}{path}", self.base))
            .header(COOKIE, &self.cookie)
            .header(ORIGIN, origin)
            .header("content-type", FORM)
            .body(form(&all));
        page(request.send().await.expect("an answer")).await
    }

    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf().await;
        self.send_as(&self.base, &csrf, path, fields).await
    }
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

async fn page(response: Response) -> Page {
    let header = |name| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let policy = header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy:?}"
    );
    assert_eq!(
        ["x-content-type-options", "referrer-policy", "cache-control"].map(header),
        ["nosniff", "no-referrer", "no-store"]
    );
    let cookie = header(SET_COOKIE.as_str());
    if !cookie.is_empty() {
        let site = match cookie.starts_with("nuncio-console=") {
            true => "; SameSite=Strict",
            false => "; SameSite=Lax",
        };
        assert!(cookie.contains("; HttpOnly") && cookie.contains(site), "{cookie}");
    }
    Page {
        status: response.status(),
        to: header(LOCATION.as_str()),
        cookie: cookie.split(';').next().unwrap_or_default().to_owned(),
        retry_after: header(RETRY_AFTER.as_str()),
        text: response.text().await.expect("text"),
    }
}

pub(crate) async fn link(stage: &Stage, app: &str, draft: &Value) -> String {
    let made = stage
        .api
        .post(&format!("/api/v1/auth/app-portal-access/{app}"), draft)
        .await;
    let made = made.expect("a link");
    let (before, token) = made["url"]
        .as_str()
        .and_then(|url| url.split_once("#token="))
        .expect("a fragment");
    assert!(
        before.ends_with("/portal"),
        "the token is in the fragment alone: {before}"
    );
    token.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_without_scripts_adds_tests_rotates_pauses_and_deletes_an_endpoint() {
    let stage = Stage::set(&[]).await;
    let token = link(&stage, &stage.app, &json!({})).await;
    let browser = Browser::opened(stage.nuncio.api_url(), &token).await;
    assert!(
        browser
            .see("/portal/endpoints")
            .await
            .text
            .contains("Nothing receives your events yet")
    );

    let refused = browser
        .send(
            "/portal/endpoints",
            &[("url", "ftp://x"), ("description", MARKUP), ("rate", "fast")],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.text.contains("ftp://x") && !refused.text.contains("<svg onload"),
        "what was typed is kept, as text"
    );
    assert!(
        refused.text.contains("Must be a whole number"),
        "the mistake stands beside its field"
    );

    let url = stage.receiver.url("/hook");
    let added = browser
        .send(
            "/portal/endpoints",
            &[("url", &url), ("description", MARKUP), ("headers", "x-own: 1")],
        )
        .await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let path = added.to.split('?').next().unwrap_or_default().to_owned();
    let endpoint = path.rsplit('/').next().unwrap_or_default().to_owned();

    let tested = browser
        .send(&format!("{path}/test"), &[("type", "sync.user")])
        .await;
    assert_eq!(tested.status, StatusCode::SEE_OTHER, "{}", tested.text);
    let received = stage.receiver.wait_for("/hook", 1, SHORT).await;
    assert_eq!(received[0].header("x-own"), "1");
    let test = tested
        .to
        .split("test=")
        .nth(1)
        .expect("the message's id")
        .to_owned();
    eventually("the test's result on the page", SHORT, || async {
        let live = browser.see(&format!("{path}/live?test={test}")).await;
        (live.text.contains("The test event was delivered") && !live.text.contains("<html")).then_some(())
    })
    .await;

    let secret = stage.secret(&endpoint).await;
    let hidden = browser.see(&format!("{path}/settings")).await;
    assert!(
        !hidden.text.contains(&secret),
        "a secret is hidden until it is asked for"
    );
    assert!(
        browser
            .send(&format!("{path}/secret"), &[])
            .await
            .text
            .contains(&secret)
    );
    let rotated = browser
        .send(&format!("{path}/rotate"), &[("overlap", "3600")])
        .await;
    assert_eq!(rotated.status, StatusCode::SEE_OTHER, "{}", rotated.text);
    let resent = browser
        .send(
            &format!("{path}/resend"),
            &[("message", &test), ("back", "message")],
        )
        .await;
    assert!(
        resent.to.starts_with(&format!("/portal/messages/{test}")),
        "{}",
        resent.to
    );
    let both = stage.receiver.wait_for("/hook", 2, SHORT).await;
    assert!(both[1].is_signed_by(&secret) && both[1].is_signed_by(&stage.secret(&endpoint).await));

    stage.receiver.answer("/hook", [Answer::status(500).body(MARKUP)]);
    let failed = browser
        .send(&format!("{path}/test"), &[("type", "sync.user")])
        .await;
    assert_eq!(failed.status, StatusCode::SEE_OTHER);
    let failed = failed
        .to
        .split("test=")
        .nth(1)
        .expect("the message's id")
        .to_owned();
    let shown = eventually("the failure on the message's page", SHORT, || async {
        let page = browser.see(&format!("/portal/messages/{failed}")).await;
        page.text.contains("Your server failed").then_some(page.text)
    })
    .await;
    assert!(
        !shown.contains("<svg onload") && shown.contains("alert(1)"),
        "a response is text"
    );

    for (to, state) in [
        ("pause", "Paused"),
        ("resume", "Active"),
        ("disable", "Disabled"),
        ("enable", "Active"),
    ] {
        let done = browser.send(&format!("{path}/state"), &[("to", to)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{to}: {}", done.text);
        let list = browser.see("/portal/endpoints").await.text;
        assert!(
            list.contains(state) && !list.contains("<svg onload"),
            "after {to}"
        );
    }
    assert!(
        browser.see(&format!("{path}/delete")).await.text.contains(&url),
        "the question names the URL"
    );
    assert_eq!(
        browser.send(&format!("{path}/delete"), &[]).await.to,
        "/portal/endpoints?done=deleted"
    );
    assert_eq!(browser.see(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opens_nothing_that_its_link_does_not() {
    let stage = Stage::set(&[]).await;
    let base = stage.nuncio.api_url();
    let other = stage.api.create_app("Other").await.expect("an app");
    let foreign = stage
        .api
        .create_endpoint(&other, &stage.receiver.url("/other"))
        .await
        .expect("an endpoint");
    let own = stage.endpoint("/own").await;
    let token = link(&stage, &stage.app, &json!({})).await;
    let browser = Browser::opened(base.clone(), &token).await;

    for page in ["", "/settings", "/edit", "/delete", "/verify", "/live"] {
        let seen = browser.see(&format!("/portal/endpoints/{foreign}{page}")).await;
        assert_eq!(seen.status, StatusCode::NOT_FOUND, "{page}");
    }
    let deleted = browser
        .send(&format!("/portal/endpoints/{foreign}/delete"), &[])
        .await;
    assert_eq!(deleted.status, StatusCode::NOT_FOUND);

    let csrf = browser.csrf().await;
    let path = format!("/portal/endpoints/{own}/delete");
    for (origin, csrf) in [
        ("https://evil.example", csrf.as_str()),
        (&base, ""),
        (&base, "bm90IG91cnM"),
    ] {
        let refused = browser.send_as(origin, csrf, &path, &[]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin} {csrf}");
    }
    let second = Browser::opened(base.clone(), &token).await;
    let crossed = second.send_as(&base, &csrf, &path, &[]).await;
    assert_eq!(crossed.status, StatusCode::FORBIDDEN, "a form of another session");
    assert_eq!(
        browser.see(&format!("/portal/endpoints/{own}")).await.status,
        StatusCode::OK,
        "nothing was deleted"
    );

    let looking = link(&stage, &stage.app, &json!({ "readOnly": true })).await;
    let looking = Browser::opened(base.clone(), &looking).await;
    assert!(
        !looking
            .see(&format!("/portal/endpoints/{own}/settings"))
            .await
            .text
            .contains("Delete")
    );
    for (path, fields) in [
        ("delete", [("x", "")]),
        ("secret", [("x", "")]),
        ("state", [("to", "pause")]),
        ("test", [("type", "a")]),
    ] {
        let refused = looking
            .send(&format!("/portal/endpoints/{own}/{path}"), &fields)
            .await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opens_often_and_leaving_ends_the_session_alone() {
    let stage = Stage::set(&[]).await;
    let base = stage.nuncio.api_url();
    let token = link(&stage, &stage.app, &json!({})).await;
    let (first, second) = (
        Browser::opened(base.clone(), &token).await,
        Browser::opened(base.clone(), &token).await,
    );
    let left = first.send("/portal/leave", &[]).await;
    assert_eq!(left.status, StatusCode::OK);
    let ended = first.see("/portal/endpoints").await;
    assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    assert!(
        ended.text.contains("open the webhook settings again"),
        "it says how to get a new link"
    );
    assert_eq!(second.see("/portal/endpoints").await.status, StatusCode::OK);
    let mut third = Browser::at(base.clone());
    assert_eq!(
        third.exchange(&token).await.status,
        StatusCode::OK,
        "the link is still good"
    );

    let path = format!("/api/v1/auth/app/{}/expire-all", stage.app);
    tokio::time::sleep(Duration::from_millis(5)).await;
    stage.api.post(&path, &json!({})).await.expect("an end");
    assert_eq!(
        second.see("/portal/endpoints").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        Browser::at(base.clone()).exchange(&token).await.status,
        StatusCode::UNAUTHORIZED
    );

    let session = second.cookie.split_once('=').map_or("", |(_, session)| session);
    let as_bearer = stage
        .api
        .with_token(session)
        .call(Method::GET, &format!("/api/v1/app/{}", stage.app), None)
        .await;
    assert_eq!(
        as_bearer.expect("an answer").status,
        StatusCode::UNAUTHORIZED,
        "a session is no API token"
    );
    let log = stage.nuncio.log().expect("a log");
    assert!(
        !log.contains(&token) && !log.contains(session),
        "neither is in a log"
    );
}

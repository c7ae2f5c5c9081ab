//! An endpoint's settings in the portal: what is never shown, what is asked before it is done, and what is not claimed.

use e2e::{SHORT, eventually};
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    delivery_stage::Stage,
    portal::{Browser, link},
};

/// The value of a header with a credential.
const CREDENTIAL: &str = "Bearer shibboleth";

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_shown_to_nobody_and_stays_when_it_is_left_blank() {
    let stage = Stage::set(&[]).await;
    let base = stage.nuncio.api_url();
    let token = link(&stage, &stage.app, &json!({})).await;
    let browser = Browser::opened(base.clone(), &token).await;
    let looking = link(&stage, &stage.app, &json!({ "readOnly": true })).await;
    let looking = Browser::opened(base, &looking).await;

    let headers = format!("Authorization: {CREDENTIAL}\nx-team: blue");
    let url = stage.receiver.url("/before");
    let added = browser
        .send("/portal/endpoints", &[("url", &url), ("headers", &headers)])
        .await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let path = added.to.split('?').next().unwrap_or_default().to_owned();
    for (who, visitor, page) in [
        ("a read-only link", &looking, "/settings"),
        ("a full link", &browser, "/settings"),
        ("a full link", &browser, "/edit"),
    ] {
        let seen = visitor.see(&format!("{path}{page}")).await.text.to_lowercase();
        assert!(
            seen.contains("authorization") && seen.contains("blue"),
            "{who} sees at {page} that it is there"
        );
        assert!(
            !seen.contains("shibboleth"),
            "{who} does not see its value at {page}"
        );
    }

    let url = stage.receiver.url("/after");
    let fields = [
        ("url", url.as_str()),
        ("headers", "Authorization:\nx-team: green"),
    ];
    let saved = browser.send(&format!("{path}/edit"), &fields).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text);
    let request = eventually("a request with what was saved", SHORT, || async {
        let sent = browser
            .send(&format!("{path}/test"), &[("type", "sync.user")])
            .await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
        stage.receiver.requests("/after").into_iter().next()
    })
    .await;
    assert_eq!(
        (request.header("authorization"), request.header("x-team")),
        (CREDENTIAL, "green")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leads_back_and_nothing_is_claimed_that_was_not_done() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/hook").await;
    let token = link(&stage, &stage.app, &json!({})).await;
    let browser = Browser::opened(stage.nuncio.api_url(), &token).await;
    let path = format!("/portal/endpoints/{endpoint}");

    for (page, back) in [
        ("secret", "/settings"),
        ("rotate", "/settings"),
        ("state", "/settings"),
        ("test", ""),
        ("replay", ""),
        ("resend", ""),
    ] {
        let seen = browser.see(&format!("{path}/{page}")).await;
        assert_eq!(
            (seen.status, seen.to),
            (StatusCode::SEE_OTHER, format!("{path}{back}")),
            "{page}"
        );
    }

    let lost = browser.see("/portal/nowhere").await;
    assert!(
        lost.status == StatusCode::NOT_FOUND && lost.text.contains("Sign out"),
        "what is not there is said within the session: {}",
        lost.text
    );

    for (which, done, text) in [
        ("failed", "none-failed", "Nothing failed in that time"),
        ("missing", "none-missing", "Nothing is missing of that time"),
    ] {
        let fields = [("which", which), ("since", "1h")];
        let sent = browser.send(&format!("{path}/replay"), &fields).await;
        assert_eq!(sent.to, format!("{path}?done={done}"), "{}", sent.text);
        assert!(browser.see(&sent.to).await.text.contains(text), "{which}");
    }

    let secret = stage.secret(&endpoint).await;
    let rotate = format!("{path}/rotate");
    let asked = browser.send(&rotate, &[("overlap", "0")]).await;
    assert!(
        asked.status == StatusCode::OK && asked.text.contains("Rotate without an overlap?"),
        "{}",
        asked.text
    );
    let refused = browser
        .send(
            &rotate,
            &[("overlap", "0"), ("secret", "no-secret"), ("sure", "yes")],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    for kept in [
        "value=\"no-secret\"",
        "value=\"0\" selected",
        "aria-invalid=\"true\"",
    ] {
        assert!(refused.text.contains(kept), "{kept}: {}", refused.text);
    }
    assert_eq!(stage.secret(&endpoint).await, secret, "nothing was rotated yet");
    let done = browser.send(&rotate, &[("overlap", "0"), ("sure", "yes")]).await;
    assert_eq!(done.to, format!("{path}/settings?done=replaced"), "{}", done.text);
    assert_ne!(stage.secret(&endpoint).await, secret);

    let asked = browser.see(&format!("{path}/disable")).await;
    assert!(
        asked.text.contains("Disable this endpoint?") && asked.text.contains("/hook"),
        "{}",
        asked.text
    );
}

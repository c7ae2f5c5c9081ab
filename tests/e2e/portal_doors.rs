//! The doors of the portal and of the console: what opens a session, from where, and how often it may be tried.

use reqwest::StatusCode;
use serde_json::json;

use crate::{
    delivery_stage::Stage,
    portal::{Browser, FORM, form, link},
};

/// The site of somebody else.
const ELSEWHERE: &str = "https://evil.example";

#[tokio::test(flavor = "multi_thread")]
async fn the_bare_address_leads_to_the_console() {
    let stage = Stage::set(&[]).await;
    let opened = reqwest::get(stage.nuncio.api_url()).await.expect("an answer");
    assert_eq!(
        (opened.status(), opened.url().path()),
        (StatusCode::OK, "/console/sign-in")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_neither_opens_a_session_nor_uses_one() {
    let stage = Stage::set(&[]).await;
    let base = stage.nuncio.api_url();
    let token = link(&stage, &stage.app, &json!({})).await;
    let admin = stage.deployment.token(&[]).await.expect("a token");
    let stranger = Browser::at(base.clone());
    let from_script = json!({ "token": &token }).to_string();
    for (path, kind, body) in [
        ("/portal/session", "application/json", from_script),
        ("/portal/session", FORM, form(&[("link", &token)])),
        ("/console/sign-in", FORM, form(&[("token", &admin)])),
    ] {
        let refused = stranger.offer(ELSEWHERE, path, kind, body.clone()).await;
        assert_eq!(
            (refused.status, refused.cookie.as_str()),
            (StatusCode::FORBIDDEN, ""),
            "{path} as {kind}"
        );
        let ours = stranger.offer(&base, path, kind, body).await;
        assert!(
            !ours.status.is_client_error() && !ours.cookie.is_empty(),
            "{path} as {kind}: {}",
            ours.status
        );
    }

    let operator = Browser::signed_in(base.clone(), &admin).await;
    let csrf = operator.csrf_of("/console/projects/new").await;
    let fields = [("name", "Made from elsewhere")];
    let refused = operator
        .send_as(ELSEWHERE, &csrf, "/console/projects", &fields)
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let apps = stage.api.list("/api/v1/app").await.expect("a list");
    assert!(apps.iter().all(|app| app["name"] != fields[0].1), "{apps:?}");
    let made = operator.send_as(&base, &csrf, "/console/projects", &fields).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_links_is_stopped_and_who_has_one_is_not() {
    let stage = Stage::set(&[]).await;
    let base = stage.nuncio.api_url();
    let token = link(&stage, &stage.app, &json!({})).await;
    let guesser = Browser::at(base.clone());
    let guess = json!({ "token": "guess" }).to_string();
    let guesses =
        (0..300).map(|_| guesser.offer(&base, "/portal/session", "application/json", guess.clone()));
    let pages = futures_util::future::join_all(guesses).await;
    let (stopped, wrong): (Vec<_>, Vec<_>) = pages
        .iter()
        .partition(|page| page.status == StatusCode::TOO_MANY_REQUESTS);
    assert!(
        !stopped.is_empty() && !wrong.is_empty(),
        "{} of 300 were stopped",
        stopped.len()
    );
    assert!(wrong.iter().all(|page| page.status == StatusCode::UNAUTHORIZED));
    for page in stopped {
        let seconds: u64 = page.retry_after.parse().expect("when to come again");
        assert!(seconds >= 1);
    }
    Browser::opened(base, &token).await;
}

//! An endpoint that changes while a delivery waits on the ladder: what happens when its time is up is what the endpoint
//! says then, not what it said when the delivery was begun.

use e2e::{Answer, LONG, eventually};
use serde_json::json;

use crate::{
    delivery_stage::{QUIET, Stage, stays},
    portal::{Browser, link},
    retry_ladder::SLOW_LADDER,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_delivery_goes_by_what_its_endpoint_is_when_its_time_is_up() {
    let stage = Stage::set(&SLOW_LADDER).await;
    for path in ["/disabled", "/deleted", "/old"] {
        stage.receiver.answer(path, [Answer::status(500)]);
    }
    stage
        .receiver
        .answer("/rotated", [Answer::status(500), Answer::ok()]);
    let disabled = stage.endpoint("/disabled").await;
    let deleted = stage.endpoint("/deleted").await;
    let moved = stage.endpoint("/old").await;
    let rotated = stage.endpoint("/rotated").await;
    let old_secret = stage.secret(&rotated).await;
    stage.publish_user(1).await;
    stage
        .receiver
        .wait_until("a first attempt of each", LONG, || stage.receiver.total() >= 4)
        .await;

    let at = |endpoint: &str| format!("/api/v1/app/{}/endpoint/{endpoint}", stage.app);
    let api = &stage.api;
    let off = json!({ "disabled": true });
    api.patch(&at(&disabled), &off).await.unwrap();
    api.delete(&at(&deleted)).await.unwrap();
    let new_url = json!({ "url": stage.receiver.url("/new") });
    api.patch(&at(&moved), &new_url).await.unwrap();
    let rotate = format!("{}/secret/rotate", at(&rotated));
    api.post(&rotate, &json!({})).await.unwrap();
    assert_eq!(stage.receiver.total(), 4, "all of them still wait");

    let first = stage.receiver.requests("/old").remove(0);
    let second = stage.receiver.wait_for("/new", 1, LONG).await.remove(0);
    assert_eq!((second.id(), &second.body), (first.id(), &first.body));

    let signed = stage.receiver.wait_for("/rotated", 2, LONG).await;
    let new_secret = stage.secret(&rotated).await;
    let signatures = |nth: usize| signed[nth].header("webhook-signature").split(' ').count();
    assert_eq!((signatures(0), signatures(1)), (1, 2));
    assert!(signed[0].is_signed_by(&old_secret) && !signed[0].is_signed_by(&new_secret));
    assert!(signed[1].is_signed_by(&old_secret) && signed[1].is_signed_by(&new_secret));

    let message = format!("/api/v1/app/{}/msg/{}", stage.app, first.id());
    eventually("both others have ended", LONG, || async {
        let routing = api.read(&format!("{message}/routing")).await.ok()?;
        let ended = |endpoint: &str| {
            let mut all = routing["endpoints"].as_array().into_iter().flatten();
            all.any(|of| of["endpointId"] == endpoint && of["statusText"] == "fail")
        };
        (ended(&disabled) && ended(&deleted)).then_some(())
    })
    .await;
    let token = link(&stage, &stage.app, &json!({})).await;
    let browser = Browser::opened(stage.nuncio.api_url(), &token).await;
    let told = browser
        .see(&format!("/portal/messages/{}/live", first.id()))
        .await
        .text;
    for why in [
        "The endpoint was disabled before it could be delivered",
        "The endpoint was deleted",
    ] {
        assert!(told.contains(why), "{why}: {told}");
    }
    let attempts = api.attempts_by_endpoint(&stage.app, &disabled).await.unwrap();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    stays("nobody else gets another attempt", QUIET, || {
        stage.receiver.total() == 6
    })
    .await;
}

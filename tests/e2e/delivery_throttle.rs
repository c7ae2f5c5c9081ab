//! Rates: what an app or an endpoint may be sent in a second.

use std::time::Duration;

use e2e::{Event, LONG, eventually};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::delivery_stage::{Stage, user};

/// Messages a second.
const RATE: usize = 20;
/// To each of two endpoints.
const EVENTS: usize = 25;

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_rate_holds_for_all_its_endpoints_and_all_senders_together() {
    let stage = Stage::set(&[]).await;
    let _second = stage.deployment.start("sender").await.unwrap();
    let path = format!("/api/v1/app/{}", stage.app);
    let rate = json!({ "throttleRate": RATE });
    let patched = stage.api.call(Method::PATCH, &path, Some(&rate)).await.unwrap();
    assert_eq!(patched.body["throttleRate"], rate["throttleRate"]);
    for path in ["/a", "/b"] {
        stage.endpoint(path).await;
    }

    let begun = Instant::now();
    let events = (0..EVENTS).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    let mut last = begun;
    for path in ["/a", "/b"] {
        let requests = stage.receiver.wait_for(path, EVENTS, LONG).await;
        last = requests.iter().map(|request| request.at).max().unwrap().max(last);
    }

    // The first may come at once, and one may make up for having been late.
    let least = Duration::from_secs_f64((2 * EVENTS - 2) as f64 / RATE as f64) * 9 / 10;
    let took = last - begun;
    assert!(
        took >= least,
        "all came within {took:?}, no less than {least:?} is allowed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_goes_where_the_endpoint_is_by_then() {
    const RATE: usize = 4;
    const EVENTS: usize = 16;
    const BEFORE: usize = 5;
    let stage = Stage::set(&[]).await;
    let app = format!("/api/v1/app/{}", stage.app);
    let rate = json!({ "throttleRate": RATE });
    stage.api.patch(&app, &rate).await.unwrap();
    let endpoint = stage.endpoint("/old").await;
    let events = (0..EVENTS).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    // By then the endpoint is known to answer, and several deliveries wait for their turn.
    stage.receiver.wait_for("/old", BEFORE, LONG).await;
    let url = json!({ "url": stage.receiver.url("/new") });
    let path = format!("{app}/endpoint/{endpoint}");
    stage.api.patch(&path, &url).await.unwrap();
    let sent = || stage.receiver.count("/old") + stage.receiver.count("/new");
    eventually("all are sent", LONG, async || (sent() == EVENTS).then_some(())).await;
    // One may have been on its way, and another while the senders were told.
    let old = stage.receiver.count("/old");
    assert!(old <= BEFORE + 2, "{old} went to the old address");
}

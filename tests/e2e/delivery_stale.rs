//! Processes that are late to know: what others changed a moment ago decides, not what they remember.
//!
//! A proxy keeps Redis at a distance from the one process that is to be late, so that events overtake the news.

use std::time::Duration;

use e2e::{Answer, Deployment, Event, FaultProxy, LONG, Mode, Receiver, eventually};
use serde_json::json;

use crate::{
    delivery_stage::{QUIET, stays, user},
    scale_load::counted,
};

/// Each way: news and the answers to questions come later than deliveries, and soon enough not to be given up.
const DISTANCE: Duration = Duration::from_millis(80);

/// The deployment as a process sees it that is far from Redis.
async fn far_from_redis(deployment: &Deployment) -> (FaultProxy, Deployment) {
    let (proxy, url) = FaultProxy::before(deployment.setting("NUNCIO_REDIS_URL"))
        .await
        .expect("a proxy");
    (proxy, deployment.clone().with("NUNCIO_REDIS_URL", &url))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_late_to_know_that_an_endpoint_was_enabled_delivers_to_it() {
    let deployment = Deployment::shared().await.unwrap();
    let (proxy, far) = far_from_redis(&deployment).await;
    let (nuncio, _router, sender) = tokio::try_join!(
        deployment.start("api"),
        deployment.start("router"),
        far.start("sender")
    )
    .unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let app = api.create_app("Late").await.unwrap();
    let mut endpoints = Vec::new();
    for n in 0..10 {
        let url = receiver.url(&format!("/{n}"));
        let body = json!({ "url": url, "disabled": true, "eventTypes": [format!("late.{n}")] });
        endpoints.push(api.create_endpoint_with(&app, &body).await.unwrap());
    }
    let lanes = || async { (counted(&sender, "nuncio_sender_lanes").await == 10.0).then_some(()) };
    eventually(
        "the sender knows the endpoints, disabled as they are",
        LONG,
        lanes,
    )
    .await;

    proxy.set(Mode::Delay(DISTANCE));
    for (n, endpoint) in endpoints.iter().enumerate() {
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
        api.patch(&path, &json!({ "disabled": false })).await.unwrap();
        publisher
            .publish(&Event::new(&app, &format!("late.{n}"), user(n)))
            .await
            .unwrap();
    }
    receiver
        .wait_until("a delivery at each", LONG, || receiver.total() >= 10)
        .await;
    stays("one delivery at each", QUIET, || receiver.total() == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_late_to_know_that_an_endpoint_was_deleted_does_not_bring_its_queue_back() {
    let shared = Deployment::shared().await.unwrap();
    let deployment = shared
        .with("NUNCIO_RETRY_FIRST", "100ms")
        .with("NUNCIO_RETRY_JITTER", "0");
    let (proxy, far) = far_from_redis(&deployment).await;
    let (nuncio, router, _sender) = tokio::try_join!(
        deployment.start("api"),
        far.start("router"),
        deployment.start("sender")
    )
    .unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let app = api.create_app("Late").await.unwrap();
    proxy.set(Mode::Delay(DISTANCE));
    for n in 0..5 {
        let path = format!("/{n}");
        receiver.answer(&path, [Answer::status(500)]);
        let endpoint = api.create_endpoint(&app, &receiver.url(&path)).await.unwrap();
        publisher
            .publish(&Event::new(&app, "sync.user", user(n)))
            .await
            .unwrap();
        receiver.wait_for(&path, 1, LONG).await;
        api.delete(&format!("/api/v1/app/{app}/endpoint/{endpoint}"))
            .await
            .unwrap();
        let ended =
            || async { (counted(&router, "nuncio_router_deleted_total").await > n as f64).then_some(()) };
        eventually("the delivery that waited ends as deleted", LONG, ended).await;
        let looking = deployment.publisher().await.unwrap();
        assert!(
            looking.depth(&format!("endpoint.{endpoint}")).await.is_err(),
            "the queue is gone for good"
        );
    }
}

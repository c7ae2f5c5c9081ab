//! Whose events are routed next: a quiet app's are not behind a busy app's many.

use std::time::Duration;

use e2e::{Deployment, Event, LONG, Receiver, eventually};

use crate::delivery_stage::user;

/// Events of the busy app that wait to be routed: a multiple of what is read at first.
const BUSY: usize = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_apps_event_overtakes_what_a_busy_app_has_waiting() {
    let deployment = Deployment::shared().await.expect("a deployment");
    let api = deployment.start("api").await.expect("the API");
    let mut router = deployment.start("router").await.expect("a router");
    let client = api.client().await.expect("a client");
    let receiver = Receiver::start().await.expect("a receiver");
    let busy = client.create_app("Busy").await.expect("an app");
    let quiet = client.create_app("Quiet").await.expect("an app");
    for app in [&busy, &quiet] {
        let url = receiver.url("/");
        client.create_endpoint(app, &url).await.expect("an endpoint");
    }
    router
        .terminate(Duration::from_secs(60))
        .await
        .expect("it was told to");

    let publisher = deployment.publisher().await.expect("a publisher");
    let named = |app: &str, n: usize| Event::new(app, "sync.user", user(n)).id(&format!("event-{n}"));
    let confirmed = publisher.publish_all((0..BUSY).map(|n| named(&busy, n))).await;
    assert_eq!(confirmed.expect("confirms"), BUSY);
    publisher.publish(&named(&quiet, BUSY)).await.expect("a confirm");

    let _router = deployment.start("router").await.expect("a router");
    let last_of_busy = format!("/api/v1/app/{busy}/msg/event-{}", BUSY - 1);
    let of_quiet = format!("/api/v1/app/{quiet}/msg/event-{BUSY}");
    eventually("the quiet app's event is routed", LONG, || async {
        client.read(&of_quiet).await.ok()
    })
    .await;
    assert!(
        client.read(&last_of_busy).await.is_err(),
        "all of the busy app's {BUSY} events were routed before the quiet app's one"
    );
    eventually("the busy app's last event is routed", LONG, || async {
        client.read(&last_of_busy).await.ok()
    })
    .await;
}

//! Whose events are routed next: a quiet app's are not behind a busy app's many.

use std::time::Duration;

use e2e::{ApiClient, Deployment, Event, LONG, Nuncio, Publisher, Receiver, eventually};

use crate::crash_points::dies;
use crate::delivery_stage::user;

/// Events of the busy app that wait to be routed: a multiple of what is read at first.
const BUSY: usize = 4_000;

/// A busy app and a quiet one, with an endpoint each, and no router.
struct Stage {
    deployment: Deployment,
    _api: Nuncio,
    client: ApiClient,
    publisher: Publisher,
    receiver: Receiver,
    busy: String,
    quiet: String,
}

impl Stage {
    async fn open(deployment: Deployment) -> Self {
        let api = deployment.start("api").await.expect("the API");
        // Declares what events are published to.
        let mut router = deployment.start("router").await.expect("a router");
        let client = api.client().await.expect("a client");
        let receiver = Receiver::start().await.expect("a receiver");
        let busy = client.create_app("Busy").await.expect("an app");
        let quiet = client.create_app("Quiet").await.expect("an app");
        for (app, path) in [(&busy, "/busy"), (&quiet, "/quiet")] {
            let url = receiver.url(path);
            client.create_endpoint(app, &url).await.expect("an endpoint");
        }
        router
            .terminate(Duration::from_secs(60))
            .await
            .expect("it was told to");
        Self {
            publisher: deployment.publisher().await.expect("a publisher"),
            deployment,
            _api: api,
            client,
            receiver,
            busy,
            quiet,
        }
    }

    /// Publishes so many events of the busy app, and then one of the quiet app.
    async fn publish(&self, many: usize, body: impl Fn(usize) -> String) {
        let named = |app: &str, n: usize| Event::new(app, "sync.user", body(n)).id(&format!("event-{n}"));
        let events = (0..many).map(|n| named(&self.busy, n));
        let confirmed = self.publisher.publish_all(events).await;
        assert_eq!(confirmed.expect("confirms"), many);
        let last = named(&self.quiet, many);
        self.publisher.publish(&last).await.expect("a confirm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_apps_event_overtakes_what_a_busy_app_has_waiting() {
    let deployment = Deployment::shared().await.expect("a deployment");
    let stage = Stage::open(deployment).await;
    stage.publish(BUSY, user).await;

    let (client, busy, quiet) = (&stage.client, &stage.busy, &stage.quiet);
    let _router = stage.deployment.start("router").await.expect("a router");
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

/// More than a router lets wait in its memory: what is behind it can be seen only if it makes way. The first router dies
/// when it has moved some and not acknowledged them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_router_does_not_hold_in_memory_makes_way_and_comes_back_as_it_was() {
    const EVENTS: usize = 800;
    const PADDING: usize = 60_000;
    let deployment = Deployment::shared().await.expect("a deployment");
    let deployment = deployment.crashing().await.expect("a binary with crash points");
    let stage = Stage::open(deployment).await;
    let (deployment, receiver) = (&stage.deployment, &stage.receiver);
    let body = |n: usize| format!("{{\"n\":{n},\"padding\":\"{}\"}}", "x".repeat(PADDING));
    stage.publish(EVENTS, body).await;

    let doomed = deployment.clone().with("FAILPOINTS", "router::overflowed=20");
    let doomed = doomed.start("router").await.expect("a router");
    dies(doomed, "router::overflowed").await;
    let router = deployment.start("router").await.expect("a router");
    let _sender = deployment.start("sender").await.expect("a sender");
    receiver.wait_for("/quiet", 1, LONG).await;
    let before = receiver.count("/busy");
    assert!(before < EVENTS, "the quiet app's event arrived behind all others");
    let arrived = || receiver.times_by_id("/busy").len();
    receiver
        .wait_until("all of the busy app's events arrive", LONG, || {
            arrived() == EVENTS
        })
        .await;
    let moved = router.metric("nuncio_router_overflowed_total").await;
    assert!(moved.expect("metrics") > Some(0.0), "nothing made way");
    let arrived = receiver.requests("/busy");
    let mut bodies: Vec<String> = arrived.iter().map(|request| request.text().to_owned()).collect();
    bodies.sort_unstable();
    let mut published: Vec<String> = (0..EVENTS).map(body).collect();
    published.sort_unstable();
    assert!(bodies == published, "each arrives once, as it was published");
    for queue in ["ingest", "overflow", "set-aside"] {
        let empty = async || (stage.publisher.depth(queue).await.ok()? == 0).then_some(());
        eventually(&format!("nothing is left in {queue}"), LONG, empty).await;
    }
}

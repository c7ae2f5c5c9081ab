//! Who gets an event: every endpoint of its app that wants it, and nobody else.

use std::collections::HashSet;

use e2e::{Deployment, Event, LONG, Receiver, SHORT, eventually};
use http::Method;
use lapin::{
    options::QueueDeleteOptions,
    types::{AMQPValue, FieldArray, LongString},
};
use serde_json::{Value, json};

use crate::delivery_stage::{QUIET, Stage, stays, user};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_one_three_and_a_hundred_endpoints_of_its_app_and_no_other() {
    let stage = Stage::set(&[]).await;
    let mut apps = Vec::new();
    for endpoints in [1, 3, 100] {
        let app = stage.api.create_app(&format!("with {endpoints}")).await.unwrap();
        for n in 0..endpoints {
            let url = stage.receiver.url(&format!("/{endpoints}/{n}"));
            stage.api.create_endpoint(&app, &url).await.unwrap();
        }
        apps.push((app, endpoints));
    }
    // The stage's own app has an endpoint, too, and gets nothing.
    stage.endpoint("/bystander").await;

    for (app, endpoints) in &apps {
        stage
            .publisher
            .publish(&Event::new(app, "sync.user", user(*endpoints)))
            .await
            .unwrap();
    }
    stage
        .receiver
        .wait_until("104 deliveries", LONG, || stage.receiver.total() >= 104)
        .await;
    stays("104 deliveries", QUIET, || stage.receiver.total() == 104).await;

    for (_, endpoints) in apps {
        let requests: Vec<_> = (0..endpoints)
            .flat_map(|n| stage.receiver.requests(&format!("/{endpoints}/{n}")))
            .collect();
        assert_eq!(requests.len(), endpoints, "one delivery for each endpoint");
        let ids: HashSet<&str> = requests.iter().map(|request| request.id()).collect();
        assert_eq!(ids.len(), 1, "all endpoints get one and the same message");
        assert!(requests.iter().all(|request| request.text() == user(endpoints)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_the_event_types_and_channels_that_it_asked_for() {
    let stage = Stage::set(&[]).await;
    let filters = [
        ("/all", json!({})),
        ("/users", json!({ "eventTypes": ["sync.user"] })),
        ("/organizations", json!({ "eventTypes": ["sync.organization"] })),
        (
            "/both",
            json!({ "eventTypes": ["sync.organization", "sync.user"] }),
        ),
        ("/eu", json!({ "channels": ["eu"] })),
        (
            "/eu-users",
            json!({ "eventTypes": ["sync.user"], "channels": ["eu", "us"] }),
        ),
    ];
    for (path, filter) in filters {
        let mut body = filter;
        body["url"] = stage.receiver.url(path).into();
        stage.api.create_endpoint_with(&stage.app, &body).await.unwrap();
    }
    let channels = |names: &[&str]| {
        let names: Vec<_> = names
            .iter()
            .map(|name| AMQPValue::LongString(LongString::from(*name)))
            .collect();
        AMQPValue::FieldArray(FieldArray::from(names))
    };
    let events = [
        Event::new(&stage.app, "sync.user", "1"),
        Event::new(&stage.app, "sync.organization", "2"),
        Event::new(&stage.app, "invoice.paid", "3"),
        Event::new(&stage.app, "sync.user", "4").header("nuncio-channels", channels(&["us"])),
        Event::new(&stage.app, "sync.organization", "5").header("nuncio-channels", channels(&["eu", "us"])),
    ];
    assert_eq!(stage.publisher.publish_all(events).await.unwrap(), 5);

    let expected = [
        ("/all", "12345"),
        ("/users", "14"),
        ("/organizations", "25"),
        ("/both", "1245"),
        ("/eu", "5"),
        ("/eu-users", "4"),
    ];
    let arrived = |path: &str| {
        let mut bodies: Vec<_> = stage
            .receiver
            .requests(path)
            .iter()
            .map(|request| request.text().to_owned())
            .collect();
        bodies.sort_unstable();
        bodies.concat()
    };
    let total = expected.iter().map(|(_, bodies)| bodies.len()).sum();
    stage
        .receiver
        .wait_until("every wanted event", LONG, || stage.receiver.total() >= total)
        .await;
    stays("nothing else arrives", QUIET, || stage.receiver.total() == total).await;
    for (path, bodies) in expected {
        assert_eq!(arrived(path), bodies, "at {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_found_by_id_uid_and_property_and_a_property_names_the_event_type() {
    let stage = Stage::set(&[]).await;
    let body = json!({ "name": "Found", "uid": "project_7f" });
    let app = stage.api.post("/api/v1/app", &body).await.unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let endpoint = json!({ "url": stage.receiver.url("/found"), "eventTypes": ["sync.user"] });
    stage.api.create_endpoint_with(&app, &endpoint).await.unwrap();

    let mut by_properties = Event::new("nobody", "nothing", "3");
    by_properties.properties = by_properties
        .properties
        .with_app_id("project_7f".into())
        .with_type("sync.user".into());
    let mut without_dots = Event::new("", "", "4");
    without_dots.routing_key = String::new();
    without_dots.properties = without_dots
        .properties
        .with_app_id(app.as_str().into())
        .with_type("sync.user".into());
    let mut other_type = Event::new(&app, "sync.user", "5");
    other_type.properties = other_type.properties.with_type("sync.organization".into());
    let events = [
        Event::new(&app, "sync.user", "1"),
        Event::new("project_7f", "sync.user", "2"),
        by_properties,
        without_dots,
    ];
    stage
        .publisher
        .publish_all(events.into_iter().chain([other_type]))
        .await
        .unwrap();

    stage.receiver.wait_for("/found", 4, LONG).await;
    stays("the event of another type is not delivered", QUIET, || {
        stage.receiver.count("/found") == 4
    })
    .await;
    let mut bodies: Vec<_> = stage
        .receiver
        .requests("/found")
        .iter()
        .map(|request| request.text().to_owned())
        .collect();
    bodies.sort_unstable();
    assert_eq!(bodies.concat(), "1234");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_endpoint_gets_nothing_until_it_is_enabled() {
    let stage = Stage::set(&[]).await;
    let disabled = json!({ "url": stage.receiver.url("/off"), "disabled": true });
    let endpoint = stage
        .api
        .create_endpoint_with(&stage.app, &disabled)
        .await
        .unwrap();
    stage.endpoint("/on").await;

    stage.publish_user(1).await;
    stage.receiver.wait_for("/on", 1, LONG).await;
    stays("nothing for the disabled endpoint", QUIET, || {
        stage.receiver.count("/off") == 0
    })
    .await;

    let path = format!("/api/v1/app/{}/endpoint/{endpoint}", stage.app);
    stage
        .api
        .patch(&path, &json!({ "disabled": false }))
        .await
        .unwrap();
    stage.publish_user(2).await;
    stage.receiver.wait_for("/off", 1, LONG).await;
    stage.receiver.wait_for("/on", 2, LONG).await;
    stays("the event from before does not come", QUIET, || {
        stage.receiver.count("/off") == 1
    })
    .await;
    assert_eq!(stage.receiver.requests("/off")[0].text(), user(2));

    stage
        .api
        .patch(&path, &json!({ "disabled": true }))
        .await
        .unwrap();
    stage.publish_user(3).await;
    stage.receiver.wait_for("/on", 3, LONG).await;
    stays("nothing once it is disabled again", QUIET, || {
        stage.receiver.count("/off") == 1
    })
    .await;
}

/// Roles of their own: what one process wrote, others must not be late to know.
async fn apart(deployment: &Deployment) -> [e2e::Nuncio; 3] {
    let (api, router, sender) = tokio::try_join!(
        deployment.start("api"),
        deployment.start("router"),
        deployment.start("sender")
    )
    .expect("three processes");
    [api, router, sender]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_created_and_published_to_at_once_is_never_missed() {
    let deployment = Deployment::shared().await.unwrap();
    let [nuncio, _router, _sender] = apart(&deployment).await;
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let mut app = String::new();
    for n in 0..50 {
        // Every tenth app is as new as its endpoint; in the others, routers know an older list of endpoints.
        if n % 10 == 0 {
            app = api.create_app("Brand new").await.unwrap();
        }
        let body = json!({ "url": receiver.url(&format!("/{n}")), "eventTypes": [format!("new.{n}")] });
        api.create_endpoint_with(&app, &body).await.unwrap();
        publisher
            .publish(&Event::new(&app, &format!("new.{n}"), user(n)))
            .await
            .unwrap();
    }
    receiver
        .wait_until("one delivery at each new endpoint", LONG, || {
            receiver.total() >= 50
        })
        .await;
    for n in 0..50 {
        assert_eq!(receiver.count(&format!("/{n}")), 1, "at the {n}th new endpoint");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_enabled_and_published_to_at_once_is_never_missed() {
    let deployment = Deployment::shared().await.unwrap();
    let [nuncio, _router, _sender] = apart(&deployment).await;
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let app = api.create_app("Back and forth").await.unwrap();
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    let path = format!("/api/v1/app/{app}/endpoint/{endpoint}");
    for n in 1..=20 {
        api.patch(&path, &json!({ "disabled": true })).await.unwrap();
        api.patch(&path, &json!({ "disabled": false })).await.unwrap();
        publisher
            .publish(&Event::new(&app, "sync.user", user(n)))
            .await
            .unwrap();
        receiver.wait_for("/a", n, SHORT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_queue_is_missing_gets_it_back_with_its_deliveries() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    stage.publish_user(0).await;
    stage.receiver.wait_for("/a", 1, LONG).await;

    let queue = format!("{}.endpoint.{endpoint}", stage.deployment.namespace());
    let deleted = stage
        .publisher
        .channel()
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
        .await;
    deleted.unwrap();
    for n in 1..=20 {
        stage.publish_user(n).await;
    }
    stage.receiver.wait_for("/a", 21, LONG).await;
    stays("each arrives once", QUIET, || stage.receiver.count("/a") == 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_posted_to_the_api_takes_the_same_way() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    let payload = json!({ "type": "sync.user", "userId": "user_1" });
    let message = stage
        .api
        .create_message(&stage.app, "sync.user", &payload)
        .await
        .unwrap();
    let requests = stage.receiver.wait_for("/a", 1, LONG).await;
    assert_eq!(
        (requests[0].id(), requests[0].json()),
        (message.as_str(), payload)
    );
    assert!(requests[0].is_signed_by(&stage.secret(&endpoint).await));

    let path = format!("/api/v1/app/{}/msg/{message}", stage.app);
    let read = eventually("the message can be read", SHORT, || async {
        let reply = stage.api.call(Method::GET, &path, None).await.unwrap();
        reply.success().ok()
    });
    let read: Value = read.await;
    assert_eq!(read["eventType"], "sync.user");
    stays("it arrives once", QUIET, || stage.receiver.count("/a") == 1).await;
}

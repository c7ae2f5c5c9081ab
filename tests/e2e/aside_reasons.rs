//! What cannot be read is set aside, whole and with the reason, and holds up nobody.

use e2e::{Event, LONG, SHORT, eventually, publisher::Taken};
use lapin::{
    BasicProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldArray, FieldTable, LongString},
};
use nuncio_runtime::Clock;

use crate::delivery_stage::{QUIET, Stage, stays, user};

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

/// The one event that was set aside.
async fn set_aside(stage: &Stage) -> Taken {
    let taken = || async { stage.publisher.take("set-aside").await.expect("there is a queue") };
    eventually("an event is set aside", SHORT, taken).await
}

/// An event that would be delivered, but for its routing key.
fn keyed(routing_key: &str) -> Event {
    Event {
        routing_key: routing_key.to_owned(),
        ..Event::new("", "", user(1))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_event_is_set_aside_with_its_reason_body_and_key() {
    let stage = Stage::set(&[("NUNCIO_MAX_PAYLOAD", "1KiB")]).await;
    stage.endpoint("/a").await;
    let app = stage.app.clone();
    let event = |body: &[u8]| Event::new(&app, "sync.user", body.to_vec());
    let plain = || event(user(1).as_bytes());
    let with_type = |kind: &str| {
        let mut event = plain();
        event.properties = event.properties.with_type(kind.into());
        event
    };
    let with_app = |id: &str| {
        let mut event = plain();
        event.properties = event.properties.with_app_id(id.into());
        event
    };
    let channels = |names: Vec<AMQPValue>| AMQPValue::FieldArray(FieldArray::from(names));
    let cases = [
        ("invalid_json", event(b"{")),
        ("invalid_json", event(b"")),
        ("invalid_json", event(b"user_1")),
        ("invalid_json", event(b"{} {}")),
        ("invalid_json", event(b"\"\xff\"")),
        ("invalid_json", event(b"{'a':1}")),
        ("invalid_json", event("[".repeat(500).as_bytes())),
        (
            "too_large",
            event(format!("\"{}\"", "x".repeat(1_023)).as_bytes()),
        ),
        (
            "unknown_app",
            Event::new("app_2x0000000000000000000000000", "sync.user", user(1)),
        ),
        ("unknown_app", Event::new("no-such-uid", "sync.user", user(1))),
        ("unknown_app", with_app("no-such-uid")),
        ("bad_routing_key", keyed("sync")),
        ("bad_routing_key", keyed("")),
        ("bad_routing_key", keyed(".sync.user")),
        ("bad_routing_key", keyed(&format!("{app}."))),
        ("bad_routing_key", keyed(&format!("{app}.sync user"))),
        ("bad_routing_key", keyed("a*b.sync.user")),
        ("bad_headers", with_type("sync user")),
        ("bad_headers", with_type("")),
        ("bad_headers", with_app("a b")),
        (
            "bad_headers",
            plain().header("nuncio-channels", AMQPValue::LongInt(7)),
        ),
        (
            "bad_headers",
            plain().header("nuncio-channels", channels(vec![AMQPValue::Boolean(true)])),
        ),
        (
            "bad_headers",
            plain().header("nuncio-channels", channels(vec![text("e u")])),
        ),
        (
            "bad_headers",
            plain().header(
                "nuncio-channels",
                channels((0..11).map(|n| text(&n.to_string())).collect()),
            ),
        ),
        (
            "bad_headers",
            plain().header("nuncio-channels", AMQPValue::FieldTable(FieldTable::default())),
        ),
        ("bad_id", plain().id("")),
        ("bad_id", plain().id("a\u{7}b")),
    ];
    for (reason, event) in &cases {
        let mut event = event.clone().header("x-mine", text("kept"));
        event.properties = event.properties.with_timestamp(1_700_000_000);
        stage.publisher.publish(&event).await.unwrap();
        let aside = set_aside(&stage).await;
        let case = format!(
            "{reason}: {:?} under {:?}",
            String::from_utf8_lossy(&event.body),
            event.routing_key
        );
        assert_eq!(
            aside.header("nuncio-reason").as_deref(),
            Some(*reason),
            "{case}: {aside:?}"
        );
        assert_eq!(aside.body, event.body, "{case}");
        assert_eq!(
            aside.header("nuncio-original-routing-key").as_ref(),
            Some(&event.routing_key),
            "{case}"
        );
        let exchange = format!("{}.events", stage.deployment.namespace());
        assert_eq!(aside.header("nuncio-original-exchange"), Some(exchange), "{case}");
        assert_eq!(aside.header("x-mine").as_deref(), Some("kept"), "{case}");
        assert_eq!(aside.properties.timestamp(), &Some(1_700_000_000), "{case}");
        assert_eq!(
            aside.properties.message_id(),
            event.properties.message_id(),
            "{case}"
        );
        assert_eq!(aside.properties.kind(), event.properties.kind(), "{case}");
        assert_eq!(aside.properties.app_id(), event.properties.app_id(), "{case}");
        assert!(
            aside
                .header("nuncio-detail")
                .is_some_and(|detail| !detail.is_empty()),
            "{case}"
        );
        let at = aside
            .properties
            .headers()
            .as_ref()
            .and_then(|headers| headers.inner().get("nuncio-set-aside-at"));
        let Some(AMQPValue::LongLongInt(at)) = at else {
            panic!("{case}: set aside at {at:?}")
        };
        assert!(
            (Clock::system().now() - at).abs() < 600_000,
            "{case}: set aside at {at}"
        );
    }
    // The router is none the worse for it.
    stage.publish_user(2).await;
    stage.receiver.wait_for("/a", 1, LONG).await;
    stays("nothing else is delivered", QUIET, || stage.receiver.total() == 1).await;
    assert!(
        stage.publisher.take("set-aside").await.unwrap().is_none(),
        "each was set aside once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_message_id_with_another_body_or_type_is_a_conflict() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let first = Event::new(&stage.app, "sync.user", user(1)).id("order-1");
    stage.publisher.publish(&first).await.unwrap();
    let delivered = stage.receiver.wait_for("/a", 1, LONG).await.remove(0);

    let other_body = Event::new(&stage.app, "sync.user", user(2)).id("order-1");
    let other_type = Event::new(&stage.app, "sync.organization", user(1)).id("order-1");
    for event in [other_body, other_type] {
        stage.publisher.publish(&event).await.unwrap();
        let aside = set_aside(&stage).await;
        assert_eq!(aside.header("nuncio-reason").as_deref(), Some("conflict"));
        assert_eq!(aside.body, event.body);
        assert_eq!(
            aside.header("nuncio-original-routing-key"),
            Some(event.routing_key)
        );
        assert_eq!(
            aside.properties.message_id().as_ref().map(|id| id.as_str()),
            Some("order-1")
        );
    }

    // Two at once, in one batch: one of them is delivered and the other set aside, whichever came first.
    let rivals = [3, 4].map(|n| Event::new(&stage.app, "sync.user", user(n)).id("order-2"));
    stage.publisher.publish_all(rivals).await.unwrap();
    let aside = set_aside(&stage).await;
    assert_eq!(aside.header("nuncio-reason").as_deref(), Some("conflict"));
    let requests = stage.receiver.wait_for("/a", 2, LONG).await;
    assert_ne!(requests[1].body, aside.body);
    stays("a conflict delivers nothing", QUIET, || {
        stage.receiver.total() == 2
    })
    .await;
    assert_eq!(delivered.text(), user(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nuncio_did_not_put_into_an_endpoints_queue_is_set_aside_and_the_lane_goes_on() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    let exchange = format!("{}.deliveries", stage.deployment.namespace());
    let foreign = BasicProperties::default().with_delivery_mode(2);
    for key in [endpoint.as_str(), "nobodys-queue"] {
        let sent = stage.publisher.channel().basic_publish(
            exchange.as_str().into(),
            key.into(),
            BasicPublishOptions::default(),
            b"foreign",
            foreign.clone(),
        );
        sent.await.unwrap().await.unwrap();
        let aside = set_aside(&stage).await;
        assert_eq!(aside.body.as_ref(), b"foreign");
        assert_eq!(aside.header("nuncio-reason").as_deref(), Some("bad_headers"));
        assert_eq!(aside.header("nuncio-original-routing-key").as_deref(), Some(key));
    }
    stage.publish_user(1).await;
    stage.receiver.wait_for("/a", 1, LONG).await;
    stays("only the event is delivered", QUIET, || {
        stage.receiver.total() == 1
    })
    .await;
}

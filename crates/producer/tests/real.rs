//! The producer and the operator on a real RabbitMQ.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nuncio_broker::{Broker, BrokerConfig, Outgoing, Received, Route};
use nuncio_domain::{AppId, Channel, EndpointId, Event, EventTypeName, MessageId, UnixMillis};
use nuncio_producer::{
    Change, ConnectError, DeliveryEnvelope, Operator, Producer, PublishError, Receipt, SetAsideReason,
    TraceContext,
};
use nuncio_wire::{HeaderValue, IncomingEvent, Properties, headers};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(60);

async fn node() -> &'static e2e::Broker {
    static NODE: OnceCell<e2e::Broker> = OnceCell::const_new();
    NODE.get_or_init(|| async { e2e::Broker::start().await.unwrap() })
        .await
}

fn namespace() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("p{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// What routers and the API have: a connection that declares.
async fn declaring(namespace: &str) -> Broker {
    let config = BrokerConfig::new(vec![node().await.url().to_owned()], namespace, "test");
    let broker = Broker::start(config, &TaskTracker::new(), CancellationToken::new()).unwrap();
    broker.wait_ready(PATIENCE).await.unwrap();
    broker
}

async fn producer(namespace: &str) -> Producer {
    let builder = Producer::builder(node().await.url()).namespace(namespace);
    builder
        .confirm_within(Duration::from_secs(20))
        .connect()
        .await
        .unwrap()
}

fn event(app: &str, payload: &str) -> Event {
    Event {
        app: app.to_owned(),
        event_type: EventTypeName::parse("order.paid").unwrap(),
        payload: payload.as_bytes().to_vec(),
        event_id: None,
        channels: Vec::new(),
    }
}

fn read(received: &Received) -> IncomingEvent {
    IncomingEvent::read(
        &received.routing_key,
        &received.properties,
        &received.body,
        256 * 1024,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_six_changes_arrive_in_ingest_byte_for_byte() {
    let namespace = namespace();
    let broker = declaring(&namespace).await;
    let producer = producer(&namespace).await;
    let mut ids = Vec::new();
    for name in Change::NAMES {
        let change = Change::named(name, "some_1").unwrap();
        let Receipt::Message(id) = producer.publish(change.of("app_1")).await.unwrap() else {
            panic!("an event without an id gets one");
        };
        ids.push(id);
    }
    let taken = broker.take(broker.names().ingest(), 10).await.unwrap();
    let bodies: Vec<_> = taken
        .iter()
        .map(|t| String::from_utf8(t.body.to_vec()).unwrap())
        .collect();
    let user = r#"{"type":"sync.user","userId":"some_1"}"#;
    let organization = r#"{"type":"sync.organization","organizationId":"some_1"}"#;
    assert_eq!(
        bodies,
        [user, user, user, organization, organization, organization]
    );
    let read: Vec<_> = taken
        .iter()
        .map(|taken| read(taken).message_id.unwrap())
        .collect();
    assert_eq!(read, ids);
    assert_eq!(taken[0].routing_key, "app_1.sync.user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_pipelined_and_every_event_has_its_result_in_order() {
    let namespace = namespace();
    let broker = declaring(&namespace).await;
    let producer = producer(&namespace).await;
    let events = (0..3_000).map(|number| Event {
        event_id: Some(format!("order-{number}")),
        channels: vec![Channel::parse("project_1").unwrap()],
        ..event("acme.staging", if number % 1_000 == 500 { "{" } else { "{}" })
    });
    let results = producer.publish_all(events).await;
    for (number, result) in results.iter().enumerate() {
        match result {
            Ok(receipt) => assert_eq!(receipt, &Receipt::Event(format!("order-{number}"))),
            Err(PublishError::Invalid { reason, .. }) => {
                assert_eq!((number % 1_000, *reason), (500, SetAsideReason::InvalidJson));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 2_997);
    let taken = broker.take(broker.names().ingest(), 1).await.unwrap();
    let first = read(&taken[0]);
    assert_eq!(
        (first.app.as_str(), first.event_type.as_str()),
        ("acme.staging", "order.paid")
    );
    assert_eq!(first.event_id.as_deref(), Some("order-0"));
    assert_eq!(first.channels, [Channel::parse("project_1").unwrap()]);
    drop(taken);
    let depth = producer_depth(&broker).await;
    assert_eq!(depth, 2_997);
}

async fn producer_depth(broker: &Broker) -> u32 {
    let operator = Operator::on(broker.clone(), PATIENCE);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let depth = operator.ingest_depth().await.unwrap().unwrap().messages;
        // What was taken and dropped is on its way back.
        if depth == 2_997 || Instant::now() > deadline {
            return depth;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_on_the_broker_is_an_error_that_says_what_to_do() {
    let namespace = namespace();
    let producer = producer(&namespace).await;
    let error = producer.publish(event("app_1", "{}")).await.unwrap_err();
    assert!(matches!(error, PublishError::NoExchange { .. }), "{error}");
    assert!(error.to_string().contains("start a Nuncio router"), "{error}");

    // An exchange without its queue confirms what it drops.
    let broker = declaring(&namespace).await;
    producer.publish(event("app_1", "{}")).await.unwrap();
    let (names, vhost) = (broker.names(), "/");
    node()
        .await
        .ctl(&["delete_queue", names.ingest(), "--vhost", vhost])
        .await
        .unwrap();
    let error = producer.publish(event("app_1", "{}")).await.unwrap_err();
    assert!(matches!(error, PublishError::NoQueue { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_needs_to_write_one_exchange_and_can_be_tied_to_one_app() {
    let namespace = namespace();
    let broker = declaring(&namespace).await;
    let node = node().await;
    let events = broker.names().events();
    let only = format!("^{}$", events.replace('.', "\\."));
    node.ctl(&["add_user", "application", "secret"]).await.unwrap();
    node.ctl(&["set_permissions", "application", "^$", &only, "^$"])
        .await
        .unwrap();
    node.ctl(&["set_topic_permissions", "application", events, "^app_1\\.", "^$"])
        .await
        .unwrap();
    let url = node.url().replace("guest:guest", "application:secret");
    let application = Producer::builder(&url)
        .namespace(&namespace)
        .connect()
        .await
        .unwrap();
    let publishes = (0..200).map(|number| event(if number == 100 { "app_2" } else { "app_1" }, "{}"));
    let results = application.publish_all(publishes).await;
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(_) => assert_ne!(number, 100),
            Err(error @ PublishError::Refused { .. }) => {
                assert_eq!(number, 100, "{error}");
                assert!(error.to_string().contains("grant"), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let wrong = node.url().replace("guest:guest", "application:wrong");
    let refused = Producer::builder(&wrong)
        .connect_within(Duration::from_secs(3))
        .connect()
        .await;
    let Err(ConnectError::Unreachable(source)) = refused else {
        panic!("connected with a wrong password");
    };
    let source = source.to_string();
    assert!(source.contains("ACCESS_REFUSED"), "{source}");
    assert!(!source.contains("wrong"), "{source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_producer_says_so() {
    let namespace = namespace();
    let _broker = declaring(&namespace).await;
    let producer = producer(&namespace).await;
    let clone = producer.clone();
    producer.publish(event("app_1", "{}")).await.unwrap();
    producer.close().await;
    let error = clone.publish(event("app_1", "{}")).await.unwrap_err();
    assert!(matches!(error, PublishError::Closed), "{error}");
}

fn envelope() -> DeliveryEnvelope {
    DeliveryEnvelope::first(
        AppId::parse("app_1").unwrap(),
        MessageId::parse("msg_1").unwrap(),
        EventTypeName::parse("order.paid").unwrap(),
        UnixMillis(1_700_000_000_123),
        TraceContext::default(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_lanes_fills_them_and_removes_them() {
    let broker = declaring(&namespace()).await;
    let operator = Operator::on(broker.clone(), PATIENCE);
    let lane = EndpointId::parse("ep_1").unwrap();
    assert_eq!(operator.backlog(&lane).await.unwrap(), None);
    operator.declare_endpoint(&lane).await.unwrap();
    let deliveries = (0..20).map(|_| (lane.clone(), envelope(), "{}".into()));
    let results = operator.deliver_all(deliveries).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(operator.backlog(&lane).await.unwrap().unwrap().messages, 20);
    let taken = broker
        .take(&broker.names().endpoint_queue(&lane), 1)
        .await
        .unwrap();
    let received = taken.into_iter().next().unwrap();
    assert_eq!(DeliveryEnvelope::read(&received.properties).unwrap(), envelope());
    received.acker.ack();
    operator.delete_endpoint(&lane).await.unwrap();
    assert_eq!(operator.backlog(&lane).await.unwrap(), None);
    // Nothing is lost for want of a lane.
    operator.deliver(&lane, &envelope(), "{}".into()).await.unwrap();
    assert_eq!(operator.unroutable_depth().await.unwrap().unwrap().messages, 1);
    operator.announce("endpoint.deleted", "{}".into()).await.unwrap();
    let rung = Duration::from_secs(5);
    assert_eq!(operator.ladder_depths(&[rung]).await.unwrap(), [(rung, None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_set_aside_are_looked_at_replayed_as_they_were_or_discarded() {
    let broker = declaring(&namespace()).await;
    let operator = Operator::on(broker.clone(), PATIENCE);
    let names = broker.names();
    for id in ["order-1", "order-2"] {
        let mut properties = Properties {
            message_id: Some(id.to_owned()),
            kind: Some("order.paid".to_owned()),
            ..Properties::default()
        };
        properties.put_text("theirs", "kept");
        properties.put_text(headers::REASON, "unknown_app");
        properties.put_text(headers::DETAIL, "no such app");
        properties.put_text(headers::ORIGINAL_EXCHANGE, names.events());
        properties.put_text(headers::ORIGINAL_ROUTING_KEY, "acme.order.paid");
        properties.put_int(headers::SET_ASIDE_AT, 1_700_000_000_123);
        let message = Outgoing::persistent(properties, "{}");
        let route = Route::queue(names.set_aside());
        let deadline = Instant::now() + PATIENCE;
        broker
            .publisher()
            .publish(&route, message, deadline)
            .await
            .unwrap();
    }
    let looked_at = operator.set_aside(10).await.unwrap();
    assert_eq!(looked_at.len(), 2);
    assert_eq!(
        (looked_at[0].reason.as_str(), looked_at[0].detail.as_deref()),
        ("unknown_app", Some("no such app"))
    );
    assert_eq!(looked_at[0].at, Some(UnixMillis(1_700_000_000_123)));
    drop(looked_at);
    let mut taken = Vec::new();
    while taken.len() < 2 {
        drop(std::mem::take(&mut taken));
        taken = operator.set_aside(10).await.unwrap();
    }
    let (first, second) = (taken.remove(0), taken.remove(0));
    assert_eq!(
        first.message_id.as_deref(),
        Some("order-1"),
        "looking does not change the order"
    );
    second.discard();
    operator.replay(first).await.unwrap();
    let replayed = broker.take(names.ingest(), 10).await.unwrap();
    assert_eq!(replayed.len(), 1);
    assert_eq!(replayed[0].routing_key, "acme.order.paid");
    // Those with `x-` are RabbitMQ's.
    let headers = replayed[0].properties.headers.iter();
    let kept: Vec<_> = headers.filter(|(name, _)| !name.starts_with("x-")).collect();
    assert_eq!(kept, [(&"theirs".to_owned(), &HeaderValue::Text("kept".into()))]);
    assert_eq!(replayed[0].properties.message_id.as_deref(), Some("order-1"));
    let deadline = Instant::now() + Duration::from_secs(10);
    while operator.set_aside_depth().await.unwrap().unwrap().messages > 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(operator.set_aside(10).await.unwrap().is_empty());
}

//! What a publisher is told is true.

use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::ExchangeDeleteOptions;
use nuncio_broker::{PublishError, Queue, Route};
use nuncio_wire::HeaderValue;
use tokio::time::Instant;

use crate::{PATIENCE, Rig, config, endpoint, id, message, next, outsider, shared_url};

#[tokio::test(flavor = "multi_thread")]
async fn one_publish_reaches_all_its_lanes_and_tells_none_of_the_others() {
    let rig = Rig::shared().await;
    let lanes = [rig.lane(1).await, rig.lane(2).await, rig.lane(3).await];
    let mut outgoing = message("msg_1");
    outgoing.properties.kind = Some("sync.user".into());
    outgoing.properties.app_id = Some("app_1".into());
    outgoing.properties.timestamp = Some(1_700_000_000);
    outgoing.properties.put_int("nuncio-attempt", 1);
    outgoing.properties.put_text("traceparent", "00-1-1-01");
    let route = Route {
        exchange: rig.broker.names().deliveries(),
        routing_key: lanes[0].as_str(),
        bcc: &lanes[1..],
        mandatory: true,
    };
    let deadline = Instant::now() + PATIENCE;
    rig.broker
        .publisher()
        .publish(&route, outgoing.clone(), deadline)
        .await
        .unwrap();
    for lane in &lanes {
        let received = next(&mut rig.consume(lane, 1)).await;
        assert_eq!(received.properties, outgoing.properties, "and no BCC");
        assert_eq!(received.body, outgoing.body);
        assert_eq!(received.routing_key, lanes[0].as_str());
        assert!(!received.redelivered);
        received.acker.ack();
    }
}

/// RabbitMQ confirms many publishes with one frame, and lapin then hands a returned message to any one of them.
#[tokio::test(flavor = "multi_thread")]
async fn among_many_confirmed_at_once_exactly_the_unroutable_are_told_so() {
    let rig = Rig::shared().await;
    rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&endpoint(1));
    let missing = format!("{queue}.missing");
    for round in 0..5 {
        let publishes = (0..2_000_u32).map(|number| {
            let unroutable = number.wrapping_mul(2_654_435_761) % 7 == 0;
            let route = Route::queue(if unroutable { &missing } else { &queue });
            let rig = &rig;
            async move {
                (
                    unroutable,
                    rig.publish(&route, &format!("{round}-{number}")).await,
                )
            }
        });
        for (unroutable, result) in join_all(publishes).await {
            match result {
                Ok(()) => assert!(!unroutable, "an unroutable message was taken for published"),
                Err(PublishError::Unroutable { .. }) => {
                    assert!(unroutable, "a good message was called unroutable")
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_to_a_missing_exchange_fails_alone() {
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    let publishes = (0..500).map(|number| {
        let (rig, lane) = (&rig, &lane);
        async move {
            if number % 100 == 50 {
                let error = rig
                    .publish(&Route::to("no-such-exchange", "k"), "guilty")
                    .await
                    .unwrap_err();
                assert!(matches!(error, PublishError::NoExchange { .. }), "{error}");
            } else {
                rig.deliver(lane, &format!("innocent-{number}")).await;
            }
        }
    });
    join_all(publishes).await;
    // Those on their way when the channel was closed were published again: some may be there twice.
    let depth = rig
        .depth(&rig.broker.names().endpoint_queue(&lane))
        .await
        .unwrap();
    assert!(depth >= 495, "{depth}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_exchange_of_nuncios_is_declared_again_by_who_may() {
    let url = shared_url().await;
    let rig = Rig::start(config(&url)).await;
    let names = rig.broker.names().clone();
    let (_connection, channel) = outsider(&url).await;
    channel
        .exchange_delete(names.events().into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    rig.publish(&Route::to(names.events(), "app_1.sync.user"), "msg_1")
        .await
        .unwrap();
    assert_eq!(rig.depth(names.ingest()).await, Some(1));

    let mut publisher_only = config(&url);
    publisher_only.namespace = names.namespace().to_owned();
    publisher_only.declare = false;
    let application = Rig::start(publisher_only).await;
    application
        .publish(&Route::to(names.events(), "app_1.sync.user"), "msg_2")
        .await
        .unwrap();
    channel
        .exchange_delete(names.events().into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    let error = application
        .publish(&Route::to(names.events(), "app_1.sync.user"), "msg_3")
        .await
        .unwrap_err();
    assert!(matches!(error, PublishError::NoExchange { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_any_neutral_type_survives_the_broker() {
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    let mut outgoing = message("msg_1");
    let headers = [
        (
            "list",
            HeaderValue::List(vec![HeaderValue::Text("a".into()), HeaderValue::Int(-1)]),
        ),
        ("truth", HeaderValue::Bool(true)),
        ("number", HeaderValue::Int(i64::MIN)),
        ("text", HeaderValue::Text("ünïcode \u{1F980}".into())),
    ];
    outgoing.properties.headers = headers.map(|(name, value)| (name.to_owned(), value)).into();
    let route = Route::to(rig.broker.names().deliveries(), lane.as_str());
    let deadline = Instant::now() + PATIENCE;
    rig.broker
        .publisher()
        .publish(&route, outgoing.clone(), deadline)
        .await
        .unwrap();
    let received = next(&mut rig.consume(&lane, 1)).await;
    assert_eq!(received.properties.headers, outgoing.properties.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_a_publish_ends_at_its_deadline_and_readiness_says_why() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let rig = Rig::connecting(config(&format!("amqp://guest:guest@{free}/%2f")));
    let deadline = Instant::now() + Duration::from_secs(2);
    let published = rig
        .broker
        .publisher()
        .publish(&Route::to("any", "k"), message("msg_1"), deadline)
        .await;
    assert!(
        matches!(published, Err(PublishError::Unconfirmed { .. })),
        "{published:?}"
    );
    assert!(Instant::now() < deadline + Duration::from_secs(2));
    let problem = rig.broker.state().borrow().problem().unwrap();
    assert!(problem.contains("refused"), "{problem}");
    assert!(!problem.contains("guest"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_is_tried_when_the_first_does_not_answer() {
    let mut config = config("amqp://127.0.0.1:1/%2f");
    config.urls.push(shared_url().await);
    let rig = Rig::start(config).await;
    let lane = rig.lane(1).await;
    rig.deliver(&lane, "msg_1").await;
    let mut consumer = rig.broker.consume(
        Queue::Endpoint(lane),
        nuncio_broker::ConsumeOptions {
            prefetch: 1,
            on_missing: nuncio_broker::OnMissing::Wait,
        },
    );
    assert_eq!(id(&next(&mut consumer).await), "msg_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_just_before_the_end_does_not_come_again() {
    let url = shared_url().await;
    let config = config(&url);
    let rig = Rig::start(config.clone()).await;
    let lane = rig.lane(1).await;
    join_all((0..500).map(|number| {
        let (rig, lane) = (&rig, &lane);
        async move { rig.deliver(lane, &number.to_string()).await }
    }))
    .await;
    let mut consumer = rig.consume(&lane, 500);
    for _ in 0..500 {
        next(&mut consumer).await.acker.ack();
    }
    rig.stop().await;
    assert!(consumer.recv().await.is_none());
    let again = Rig::start(config).await;
    let queue = again.broker.names().endpoint_queue(&lane);
    again.wait_depth(&queue, 0).await;
    let taken = again.broker.take(&queue, 1).await.unwrap();
    assert!(taken.is_empty());
}

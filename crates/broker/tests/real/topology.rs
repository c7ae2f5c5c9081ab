//! Declaring: harmless twice, loud about differences.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use nuncio_broker::{BrokerError, EndpointQueueType, Route};

use crate::{Rig, config, id, next, outsider, shared_url};

#[tokio::test(flavor = "multi_thread")]
async fn declaring_again_and_from_several_processes_at_once_changes_nothing() {
    let mut config = config(&shared_url().await);
    config.rungs = vec![Duration::from_secs(5), Duration::from_secs(20)];
    let rigs = futures_util::future::join_all((0..4).map(|_| Rig::start(config.clone()))).await;
    let names = rigs[0].broker.names().clone();
    rigs[0]
        .publish(&Route::to(names.events(), "a.b"), "msg_1")
        .await
        .unwrap();
    for rig in &rigs {
        rig.broker.declare_topology().await.unwrap();
        rig.broker
            .declare_rung(Duration::from_millis(5_250))
            .await
            .unwrap();
        rig.broker
            .declare_rung(Duration::from_millis(5_250))
            .await
            .unwrap();
    }
    assert_eq!(rigs[0].depth(names.ingest()).await, Some(1));
    for rung in [5_000, 20_000, 5_250] {
        assert_eq!(
            rigs[0].depth(&names.rung(Duration::from_millis(rung))).await,
            Some(0)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_differs_is_named_with_the_difference() {
    let url = shared_url().await;
    let rig = Rig::start(config(&url)).await;
    let names = rig.broker.names();
    let (_connection, channel) = outsider(&url).await;
    let delay = Duration::from_millis(7_777);
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(1));
    channel
        .queue_declare(
            names.rung(delay).as_str().into(),
            QueueDeclareOptions::durable(),
            arguments,
        )
        .await
        .unwrap();
    let error = rig.broker.declare_rung(delay).await.unwrap_err();
    let BrokerError::Mismatch { object, difference } = &error else {
        panic!("{error}");
    };
    assert_eq!(object, &names.rung(delay));
    assert!(difference.contains("inequivalent arg"), "{difference}");
    // Neither this nor other declarations suffer.
    rig.broker
        .declare_rung(Duration::from_millis(8_888))
        .await
        .unwrap();

    let mut other = config(&url);
    other.namespace = format!("{}x", names.namespace());
    let events = format!("{}.events", other.namespace);
    channel
        .exchange_declare(
            events.as_str().into(),
            ExchangeKind::Direct,
            ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            },
            FieldTable::default(),
        )
        .await
        .unwrap();
    let rig = Rig::connecting(other);
    let error = rig
        .broker
        .wait_ready(Duration::from_secs(5))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&events) && error.contains("inequivalent arg 'type'"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_of_the_other_queue_type_keeps_its_type_and_its_messages() {
    let url = shared_url().await;
    let classic = config(&url);
    let mut quorum = classic.clone();
    quorum.endpoint_queue_type = EndpointQueueType::Quorum;
    let before = Rig::start(classic).await;
    let lane = before.lane(1).await;
    before.deliver(&lane, "msg_1").await;
    let after = Rig::start(quorum).await;
    after.broker.declare_endpoint(&lane).await.unwrap();
    let second = after.lane(2).await;
    after.deliver(&second, "msg_2").await;
    assert_eq!(id(&next(&mut after.consume(&lane, 1)).await), "msg_1");
    assert_eq!(id(&next(&mut after.consume(&second, 1)).await), "msg_2");
    assert_eq!(id(&next(&mut before.consume(&second, 1)).await), "msg_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_does_not_exist_has_no_depth() {
    let rig = Rig::shared().await;
    let asked = (0..50).map(|number| {
        let rig = &rig;
        async move { rig.depth(&format!("no-such-queue-{number}")).await }
    });
    let depths = futures_util::future::join_all(asked).await;
    assert!(depths.iter().all(Option::is_none));
    assert_eq!(rig.depth(rig.broker.names().ingest()).await, Some(0));
}

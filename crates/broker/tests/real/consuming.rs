//! A consumer keeps consuming, and what it does not settle returns.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{FaultProxy, Mode};
use lapin::options::{BasicConsumeOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use nuncio_broker::{ConsumeOptions, LinkState, LossNotice, OnMissing, Queue, Route};
use nuncio_domain::Loss;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout};

use crate::{PATIENCE, Rig, config, id, next, outsider, shared_url};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_is_dropped_returns_and_says_that_it_was_seen() {
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    rig.deliver(&lane, "msg_1").await;
    let mut consumer = rig.consume(&lane, 1);
    let first = next(&mut consumer).await;
    assert!(!first.redelivered);
    drop(first);
    let second = next(&mut consumer).await;
    assert!(second.redelivered);
    second.acker.requeue();
    let third = next(&mut consumer).await;
    third.acker.ack();
    consumer.cancel().await;
    assert_eq!(
        rig.depth(&rig.broker.names().endpoint_queue(&lane)).await,
        Some(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_consumer_holds_unread_returns_at_once_and_what_was_handed_out_can_still_be_settled()
{
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&lane);
    for number in 0..50 {
        rig.deliver(&lane, &number.to_string()).await;
    }
    let mut consumer = rig.consume(&lane, 50);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(next(&mut consumer).await);
    }
    rig.wait_depth(&queue, 0).await;
    consumer.cancel().await;
    rig.wait_depth(&queue, 40).await;
    for received in held.drain(..4) {
        received.acker.ack();
    }
    drop(held);
    rig.wait_depth(&queue, 46).await;

    // Dropping a consumer is as good as cancelling it.
    let mut consumer = rig.consume(&lane, 50);
    next(&mut consumer).await.acker.ack();
    drop(consumer);
    rig.wait_depth(&queue, 45).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_unread_when_its_channel_ends_is_not_handed_out_besides_coming_again() {
    const MESSAGES: usize = 20;
    let (proxy, url) = FaultProxy::before(&shared_url().await).await.unwrap();
    let rig = Rig::start(config(&url)).await;
    let lane = rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&lane);
    for number in 0..MESSAGES {
        rig.deliver(&lane, &number.to_string()).await;
    }
    let mut consumer = rig.consume(&lane, 50);
    next(&mut consumer).await.acker.ack();
    // All have left the queue, so that all are on their way to the consumer, which does not look.
    rig.wait_depth(&queue, 0).await;
    let mut states = rig.broker.state();
    proxy.set(Mode::Refuse);
    proxy.reset_all();
    let lost = states.wait_for(|state| matches!(state.consuming, LinkState::Connecting { .. }));
    timeout(PATIENCE, lost).await.unwrap().unwrap();
    proxy.set(Mode::Pass);

    let mut times = BTreeMap::<String, usize>::new();
    while times.len() < MESSAGES - 1 {
        let received = next(&mut consumer).await;
        assert!(
            received.redelivered,
            "{} is from the channel that is gone",
            id(&received)
        );
        *times.entry(id(&received)).or_default() += 1;
        received.acker.ack();
    }
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_deleted_under_its_consumer_is_declared_again_after_a_while() {
    let url = shared_url().await;
    let rig = Rig::start(config(&url)).await;
    let lane = rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&lane);
    let mut consumer = rig.consume(&lane, 5);
    rig.deliver(&lane, "before").await;
    next(&mut consumer).await.acker.ack();
    let (_connection, channel) = outsider(&url).await;
    let deleted_at = Instant::now();
    channel
        .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let listening = tokio::time::timeout(Duration::from_millis(500), consumer.recv()).await;
    assert!(listening.is_err(), "nothing to receive");
    assert_eq!(
        rig.depth(&queue).await,
        None,
        "whoever deleted it has a moment to say so"
    );
    let (received, ()) = tokio::join!(next(&mut consumer), async {
        while rig.depth(&queue).await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        rig.deliver(&lane, "after").await;
    });
    assert_eq!(id(&received), "after");
    assert!(deleted_at.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_consumer_is_cancelled_in_time_stays_deleted() {
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&lane);
    let mut consumer = rig.consume(&lane, 5);
    rig.deliver(&lane, "before").await;
    next(&mut consumer).await.acker.ack();
    rig.broker.delete_endpoint(&lane).await.unwrap();
    let listening = timeout(Duration::from_millis(200), consumer.recv()).await;
    assert!(listening.is_err());
    consumer.cancel().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.depth(&queue).await, None);
    // Deleting what is gone is no error.
    rig.broker.delete_endpoint(&lane).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_waits_for_its_queue_finds_it_when_it_is_there() {
    let rig = Rig::shared().await;
    let lane = crate::endpoint(1);
    let queue = Queue::Named(rig.broker.names().endpoint_queue(&lane));
    let mut consumer = rig.broker.consume(
        queue,
        ConsumeOptions {
            prefetch: 5,
            on_missing: OnMissing::Wait,
        },
    );
    let waiting = timeout(Duration::from_millis(500), consumer.recv()).await;
    assert!(waiting.is_err());
    rig.lane(1).await;
    rig.deliver(&lane, "msg_1").await;
    assert_eq!(id(&next(&mut consumer).await), "msg_1");
}

/// A queue in exclusive use refuses a second consumer and closes the channel, with all other consumers on it.
#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_a_channel_that_is_closed_by_an_error_go_on_on_another() {
    let url = shared_url().await;
    let rig = Rig::start(config(&url)).await;
    let (good, bad) = (rig.lane(1).await, rig.lane(2).await);
    let (_connection, channel) = outsider(&url).await;
    let exclusive = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let theirs = channel
        .basic_consume(
            rig.broker.names().endpoint_queue(&bad).as_str().into(),
            "theirs".into(),
            exclusive,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let mut consumer = rig.consume(&good, 5);
    rig.deliver(&good, "1").await;
    let held = next(&mut consumer).await;
    // The same prefetch, so the same channel.
    let mut refused = rig.consume(&bad, 5);
    let listening = timeout(Duration::from_secs(2), refused.recv()).await;
    assert!(listening.is_err());
    // Its channel may be gone: to settle it is harmless, and the message may come again.
    held.acker.ack();
    rig.deliver(&good, "2").await;
    loop {
        let received = next(&mut consumer).await;
        let number = id(&received);
        received.acker.ack();
        if number == "2" {
            break;
        }
    }
    drop(theirs);
    channel
        .basic_cancel("theirs".into(), lapin::options::BasicCancelOptions::default())
        .await
        .unwrap();
    rig.deliver(&bad, "3").await;
    assert_eq!(id(&next(&mut refused).await), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_taken_without_consuming_are_settled_one_by_one() {
    let rig = Rig::shared().await;
    let lane = rig.lane(1).await;
    let queue = rig.broker.names().endpoint_queue(&lane);
    for number in 0..5 {
        rig.deliver(&lane, &number.to_string()).await;
    }
    let mut taken = rig.broker.take(&queue, 3).await.unwrap();
    let order: Vec<_> = taken.iter().map(id).collect();
    assert_eq!(order, ["0", "1", "2"]);
    taken.remove(1).acker.ack();
    drop(taken);
    rig.wait_depth(&queue, 4).await;
    let missing = rig.broker.take("no-such-queue", 1).await;
    assert!(
        matches!(missing, Err(nuncio_broker::BrokerError::Missing { .. })),
        "{missing:?}"
    );
}

/// The next loss, which is this one.
async fn loses(losses: &mut UnboundedReceiver<LossNotice>, expected: Loss) -> LossNotice {
    let notice = timeout(PATIENCE, losses.recv()).await.unwrap().unwrap();
    assert_eq!(notice.loss, expected);
    notice
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_told_before_it_is_made_good() {
    let url = shared_url().await;
    let mut config = config(&url);
    config.rungs = vec![Duration::from_secs(60)];
    let rig = Rig::start(config).await;
    let names = rig.broker.names().clone();
    let lane = rig.lane(1).await;
    let mut losses = rig.broker.losses();
    let (_connection, channel) = outsider(&url).await;
    let delete = async |queue: &str| {
        let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    };

    let queue = names.endpoint_queue(&lane);
    let mut consumer = rig.consume(&lane, 10);
    rig.wait_consumed(&lane).await;
    assert!(losses.try_recv().is_err(), "a lane that is there is no loss");
    delete(&queue).await;
    let telling = async {
        let notice = loses(&mut losses, Loss::Lane(lane.clone())).await;
        assert_eq!(rig.depth(&queue).await, None, "not yet");
        notice.noted.send(()).unwrap();
        rig.wait_consumed(&lane).await;
    };
    tokio::select! {
        () = telling => {}
        _ = consumer.recv() => panic!("there is nothing to receive"),
    }
    drop(consumer);

    let rung = names.rung(Duration::from_secs(60));
    delete(&rung).await;
    let note = async { loses(&mut losses, Loss::Rungs).await.noted.send(()).unwrap() };
    let (mended, ()) = tokio::join!(rig.broker.mend_topology(), note);
    mended.unwrap();
    assert_eq!(rig.depth(&rung).await, Some(0));

    // Who publishes there finds it out, too, and the message is not lost.
    delete(&rung).await;
    let note = async { loses(&mut losses, Loss::Rungs).await.noted.send(()).unwrap() };
    let route = Route::to(&rung, lane.as_str());
    let (published, ()) = tokio::join!(rig.publish(&route, "m1"), note);
    published.unwrap();
    rig.wait_depth(&rung, 1).await;

    let deleted = channel.exchange_delete(names.deliveries().into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    let note = async { loses(&mut losses, Loss::Bindings).await.noted.send(()).unwrap() };
    let (mended, ()) = tokio::join!(rig.broker.mend_topology(), note);
    mended.unwrap();
    rig.broker.declare_endpoint(&lane).await.unwrap();
    rig.deliver(&lane, "m2").await;
}

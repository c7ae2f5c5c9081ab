//! Thousands of consumers, tens of thousands of messages.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::{PATIENCE, Rig, endpoint, id, next};

const LANES: usize = 5_000;

/// What ends a test that would wait for ever: no measurement.
const DECLARING_MAX: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_consumers_subscribe_and_each_gets_its_message() {
    let rig = Rig::shared().await;
    let consumers: Vec<_> = (0..LANES)
        .map(|number| rig.consume(&endpoint(number), 5))
        .collect();
    let mut listening = JoinSet::new();
    for mut consumer in consumers {
        // How long thousands of declarations take is the machine's affair: only the last steps below have a deadline.
        listening.spawn(async move {
            let received = consumer.recv().await.expect("not stopped");
            let id = id(&received);
            received.acker.ack();
            // Kept, so that all are there at the same time.
            (id, consumer)
        });
    }
    // The last first: to ask for the depth of a queue that does not exist yet costs a channel.
    stream::iter((0..LANES).rev())
        .for_each_concurrent(1, |number| {
            let rig = &rig;
            async move {
                let lane = endpoint(number);
                // A queue exists before it is bound, but is consumed only afterwards.
                timeout(DECLARING_MAX, rig.wait_consumed(&lane))
                    .await
                    .expect("consumed");
                rig.deliver(&lane, lane.as_str()).await;
            }
        })
        .await;
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    // Every message is with RabbitMQ: none of the lanes may keep its own for long.
    while let Some(received) = timeout(PATIENCE, listening.join_next()).await.expect("in time") {
        let (id, consumer) = received.unwrap();
        assert!(seen.insert(id));
        kept.push(consumer);
    }
    assert_eq!(seen.len(), LANES);
    let cancelled = kept.into_iter().map(nuncio_broker::Consumer::cancel);
    timeout(DECLARING_MAX, futures_util::future::join_all(cancelled))
        .await
        .expect("cancelled");
    stream::iter(0..LANES)
        .for_each_concurrent(64, |number| {
            let rig = &rig;
            async move { rig.broker.delete_endpoint(&endpoint(number)).await.unwrap() }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_messages_pass_once_each_through_a_small_window() {
    let mut config = crate::config(&crate::shared_url().await);
    config.window = 256;
    let rig = Rig::start(config).await;
    let lane = rig.lane(1).await;
    let mut consumer = rig.consume(&lane, 500);
    let consuming = async {
        let mut seen = HashSet::new();
        let mut out_of_order = Vec::new();
        while seen.len() < 20_000 {
            let received = next(&mut consumer).await;
            assert!(seen.insert(id(&received)), "a duplicate without a fault");
            // Settled out of order, as senders do.
            out_of_order.push(received.acker);
            if out_of_order.len() >= 100 {
                out_of_order.reverse();
                for acker in out_of_order.drain(..) {
                    acker.ack();
                }
            }
        }
        for acker in out_of_order {
            acker.ack();
        }
    };
    let publishing = stream::iter(0..20_000).for_each_concurrent(2_000, |number| {
        let (rig, lane) = (&rig, &lane);
        async move { rig.deliver(lane, &format!("m{number}")).await }
    });
    let begun = Instant::now();
    tokio::join!(consuming, publishing);
    eprintln!(
        "20,000 published, confirmed, consumed and acknowledged in {:?}",
        begun.elapsed()
    );
    drop(consumer);
    let queue = rig.broker.names().endpoint_queue(&lane);
    rig.wait_depth(&queue, 0).await;
}

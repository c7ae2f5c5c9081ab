//! Either store lost with all it held, under load: the other one has what it takes to go on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Answer, ApiClient, Broker, Deployment, LONG, Receiver, Redis, eventually};
use serde_json::json;

use crate::{
    crash_broker::publish_until_confirmed,
    scale_ledger::{Ledger, body, deliveries, event, lane_path, lane_type, turn},
    scale_load::Load,
};

const LANES: usize = 4;

/// Deliveries of each endpoint that fail at first.
const WAITING_A_LANE: usize = 3;

/// RabbitMQ counts what is in a queue every five seconds: a count before that may be an old one.
const COUNTED: Duration = Duration::from_secs(6);

/// Waits until the journal tells of one app with all its endpoints and so many event types.
async fn journaled(deployment: &Deployment, event_types: usize) {
    let told = format!("holds 1 apps with {LANES} endpoints and {event_types} event types");
    eventually("the journal has the configuration", LONG, || async {
        let output = deployment.run(&["restore", "--journal"]).await.ok()?;
        String::from_utf8_lossy(&output.stdout)
            .contains(&told)
            .then_some(())
    })
    .await;
}

/// Every endpoint of the app with its secret.
async fn secrets(api: &ApiClient, app: &str) -> Vec<(String, String)> {
    let mut secrets = Vec::new();
    let endpoints = api.list(&format!("/api/v1/app/{app}/endpoint")).await;
    for endpoint in endpoints.expect("endpoints") {
        let id = endpoint["id"].as_str().expect("an endpoint has an id").to_owned();
        let secret = api.endpoint_secret(app, &id).await.expect("a secret");
        secrets.push((id, secret));
    }
    secrets.sort();
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_lost_together_with_every_process_is_filled_from_the_journal_and_nothing_confirmed_is_lost() {
    const EVENTS: usize = 2_000;
    let _turn = turn().await;
    let mut redis = Redis::start().await.unwrap();
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_REDIS_URL", redis.url())
        .with("NUNCIO_RETRY_FIRST", "8s")
        .with("NUNCIO_RETRY_CEILING", "8s");
    let mut nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let ledger = Ledger::default();
    let app = api.create_app("Load").await.unwrap();
    for lane in 0..LANES {
        let path = lane_path(lane);
        // A few wait on the ladder meanwhile; with more, an endpoint would count as failing and be tried at a trickle.
        let failures = AtomicUsize::new(0);
        ledger.watch_with(&receiver, &path, move |nth| {
            if nth == 1 && failures.fetch_add(1, Ordering::Relaxed) < WAITING_A_LANE {
                Answer::status(503)
            } else {
                Answer::ok()
            }
        });
        let endpoint = json!({ "url": receiver.url(&path), "eventTypes": [lane_type(lane)] });
        api.create_endpoint_with(&app, &endpoint).await.unwrap();
    }
    let custom = json!({ "name": "load.custom", "description": "kept too" });
    api.post("/api/v1/event-type", &custom).await.unwrap();
    let before = secrets(&api, &app).await;
    // The two of the start, and the one above.
    journaled(&deployment, 3).await;

    let publishing = async {
        for lot in 0..EVENTS / 100 {
            let events = (lot * 100..(lot + 1) * 100).map(|n| event(&app, n, LANES));
            publish_until_confirmed(&deployment, events.collect()).await;
        }
    };
    let losing = async {
        ledger.wait_for(300).await;
        nuncio.kill().unwrap();
        redis.kill().await.unwrap();
        redis.wipe().unwrap();
        redis.restart().await.unwrap();
        let delivered = ledger.distinct();
        let (one, other) = tokio::try_join!(deployment.start("all"), deployment.start("all")).unwrap();
        (delivered, one, other)
    };
    let ((), (delivered, again, _other)) = tokio::join!(publishing, losing);
    assert!(delivered < EVENTS, "all was lost in the middle");
    let api = again.client().await.unwrap();
    assert_eq!(
        secrets(&api, &app).await,
        before,
        "endpoints are back with their secrets"
    );
    let custom = api.read("/api/v1/event-type/load.custom").await.unwrap();
    assert_eq!(custom["description"], "kept too");
    let twice = ledger.settle(deliveries(EVENTS, LANES)).await;
    eprintln!(
        "Redis lost after {delivered} deliveries; {} came more than once",
        twice.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rabbitmq_that_lost_its_data_loses_no_delivery_that_redis_knows() {
    const CLAIMED: usize = 1_500;
    const EVENTS: usize = 2_500;
    let _turn = turn().await;
    let (mut broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let deployment = Deployment::on(&broker, &redis).await.unwrap();
    let load = Load::prepare(deployment.clone(), LANES, Duration::from_millis(2)).await;
    let _routers = load.start("router", 1).await;
    load.publish(0, CLAIMED).await;
    eventually("a router has claimed them all", LONG, || async {
        (known(&load).await.len() == CLAIMED).then_some(())
    })
    .await;
    let _senders = load.start("sender", 1).await;

    let publishing = async {
        for lot in CLAIMED / 100..EVENTS / 100 {
            let events = (lot * 100..(lot + 1) * 100).map(|n| event(&load.app, n, LANES));
            publish_until_confirmed(&deployment, events.collect()).await;
        }
    };
    let losing = async {
        load.ledger.wait_for(200).await;
        broker.kill().await.unwrap();
        broker.wipe().unwrap();
        let delivered = load.ledger.distinct();
        broker.restart().await.unwrap();
        delivered
    };
    let ((), delivered) = tokio::join!(publishing, losing);
    assert!(delivered < CLAIMED, "RabbitMQ was lost in the middle");
    // All are confirmed. Those that no router had taken from RabbitMQ yet are nowhere: the window that only a replicated
    // RabbitMQ closes.
    let ingest = format!("{}.ingest\t0", deployment.namespace());
    eventually(
        "what is left in RabbitMQ is claimed and acknowledged",
        LONG,
        || async {
            let before = known(&load).await.len();
            tokio::time::sleep(COUNTED).await;
            let queues = broker
                .ctl(&["-q", "list_queues", "name", "messages"])
                .await
                .ok()?;
            let empty = queues.lines().any(|line| line == ingest);
            (empty && known(&load).await.len() == before).then_some(())
        },
    )
    .await;
    let known = known(&load).await;
    let lost: Vec<usize> = (0..EVENTS).filter(|n| !known.contains(n)).collect();
    assert!(
        lost.iter().all(|n| *n >= CLAIMED),
        "claimed and yet unknown: {lost:?}"
    );
    let expected = known.iter().map(|n| (lane_path(n % LANES), body(*n)));
    let twice = load.ledger.settle(expected).await;
    eprintln!(
        "RabbitMQ lost after {delivered} deliveries; {} were confirmed and not claimed; {} came twice",
        lost.len(),
        twice.len()
    );
    journaled(&deployment, 2).await;
}

/// The numbers of the events that Nuncio has a record of.
async fn known(load: &Load) -> HashSet<usize> {
    let api = load.api.client().await.expect("a client");
    let messages = api.list(&format!("/api/v1/app/{}/msg", load.app)).await;
    messages
        .expect("messages")
        .iter()
        .filter_map(|message| message["eventId"].as_str()?.strip_prefix("load-")?.parse().ok())
        .collect()
}

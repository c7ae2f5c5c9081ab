//! Many processes, many messages, many endpoints: the work is shared, and nothing is lost or done twice.

use std::time::Duration;

use e2e::{ApiClient, Deployment, Event, LONG, Receiver, eventually};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    delivery_stage::{QUIET, stays},
    scale_ledger::{VERY_LONG, turn},
    scale_load::{Load, counted},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_routers_and_three_senders_share_ten_thousand_messages_without_loss_or_duplicate() {
    let _turn = turn().await;
    let load = Load::prepare(Deployment::shared().await.unwrap(), 12, Duration::ZERO).await;
    let (routers, senders) = (load.start("router", 2).await, load.start("sender", 3).await);
    // All know of each other before there is work.
    for sender in &senders {
        let members = || async { (counted(sender, "nuncio_sender_members").await == 3.0).then_some(()) };
        eventually("the senders know of each other", LONG, members).await;
    }
    load.publish(0, 10_000).await;
    let twice = load.ledger.settle(load.expected(10_000)).await;
    assert!(
        twice.is_empty(),
        "{} deliveries came twice, such as {:?}",
        twice.len(),
        twice[0]
    );

    let (mut routed, mut sent) = (0.0, 0.0);
    for router in &routers {
        let events = counted(router, "nuncio_router_events_total").await;
        assert!(events > 0.0, "each router has its share");
        routed += events;
    }
    for sender in &senders {
        let attempts = counted(sender, "nuncio_sender_attempts_total").await;
        assert!(attempts > 0.0, "each sender has its share");
        sent += attempts;
    }
    assert_eq!((routed, sent), (10_000.0, 10_000.0));
    assert_eq!(load.publisher.depth("set-aside").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_under_load_loses_nothing_and_repeats_nothing() {
    let _turn = turn().await;
    let load = Load::prepare(Deployment::shared().await.unwrap(), 4, Duration::from_millis(50)).await;
    let mut router = load.start("router", 1).await.remove(0);
    let mut sender = load.start("sender", 1).await.remove(0);

    let stopping = async {
        load.ledger.wait_for(300).await;
        let ended = sender.terminate(LONG).await.unwrap();
        assert!(ended.success(), "the sender ended with {ended}");
        load.ledger.distinct()
    };
    let ((), delivered) = tokio::join!(load.publish(0, 2_000), stopping);
    assert!(delivered < 2_000, "the sender was stopped in the middle");
    stays(
        "a stopped sender delivers nothing",
        Duration::from_secs(1),
        || load.ledger.distinct() == delivered,
    )
    .await;
    let _next_sender = load.start("sender", 1).await;

    load.publish(2_000, 5_000).await;
    let ended = router.terminate(LONG).await.unwrap();
    assert!(ended.success(), "the router ended with {ended}");
    let next_router = load.start("router", 1).await.remove(0);

    let twice = load.ledger.settle(load.expected(5_000)).await;
    let again = counted(&next_router, "nuncio_router_duplicates_total").await;
    eprintln!("the next router recognised {again} events that the last one had routed");
    assert!(
        twice.is_empty(),
        "{} deliveries came twice, such as {:?}",
        twice.len(),
        twice[0]
    );
}

const APPS: usize = 10;
const ENDPOINTS_PER_APP: usize = 100;

async fn create_app_with_endpoints(
    api: &ApiClient,
    receiver: &Receiver,
    nth: usize,
) -> anyhow::Result<String> {
    let app = api.create_app(&format!("with many, {nth}")).await?;
    for n in 0..ENDPOINTS_PER_APP {
        api.create_endpoint(&app, &receiver.url(&format!("/{nth}/{n}")))
            .await?;
    }
    Ok(app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_a_thousand_endpoints_starts_consumes_them_all_and_stops() {
    let _turn = turn().await;
    let deployment = Deployment::shared().await.unwrap();
    let (nuncio, _router) = tokio::try_join!(deployment.start("api"), deployment.start("router")).unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let apps: Vec<String> =
        stream::iter((0..APPS).map(|nth| create_app_with_endpoints(&api, &receiver, nth)))
            .buffer_unordered(APPS)
            .try_collect()
            .await
            .unwrap();

    let mut sender = deployment.start("sender").await.unwrap();
    let lanes = || async { (counted(&sender, "nuncio_sender_lanes").await == 1_000.0).then_some(()) };
    eventually("every endpoint has its lane", LONG, lanes).await;
    let events = apps.iter().map(|app| Event::new(app, "sync.user", "{}"));
    publisher.publish_all(events).await.unwrap();
    receiver
        .wait_until("a thousand deliveries", VERY_LONG, || receiver.total() >= 1_000)
        .await;
    stays("each arrives once", QUIET, || receiver.total() == 1_000).await;
    assert!((0..APPS).all(|nth| (0..ENDPOINTS_PER_APP).all(|n| receiver.count(&format!("/{nth}/{n}")) == 1)));
    let ended = sender.terminate(LONG).await.unwrap();
    assert!(ended.success(), "the sender ended with {ended}");

    for app in &apps {
        api.delete(&format!("/api/v1/app/{app}")).await.unwrap();
    }
}

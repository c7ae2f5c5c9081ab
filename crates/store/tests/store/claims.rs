//! Claims, and messages that the API accepts.

use nuncio_domain::{DeliveryState, Routing, UnixMillis};
use nuncio_store::{Acceptance, Claim, Claimed, DeliveryRecord, StoreError};

use crate::support::{self, claim, kept_app, kept_endpoint, message, version_with};

#[tokio::test]
async fn a_new_message_is_written_whole_with_its_payload_listing_and_deliveries() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let wanted = kept_endpoint(&store, &app.id).await;
    let unwanted = kept_endpoint(&store, &app.id).await;
    let paused = kept_endpoint(&store, &app.id).await;
    let mut message = message(&app.id, Some("order-1"));
    message.channels = vec!["a".parse().unwrap(), "b".parse().unwrap()];
    let mut claim = claim(&message, version_with(3), &[&wanted]);
    claim.routes.push((unwanted.id.clone(), Routing::OtherEventTypes));
    claim.routes.push((paused.id.clone(), Routing::Buffered));
    assert_eq!(store.claim(&[claim]).await.unwrap(), [Claimed::New]);

    let kept = store
        .message(&app.id, message.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&kept.message, kept.routed), (&message, false));
    assert_eq!(store.message(&app.id, "order-1").await.unwrap().unwrap(), kept);
    let of = |id| {
        kept.deliveries
            .iter()
            .find(|(endpoint, _)| endpoint == id)
            .map(|(_, record)| record)
            .unwrap()
    };
    let routed = |buffered| DeliveryRecord::Routed {
        state: DeliveryState::PENDING,
        buffered,
        attempts: vec![],
    };
    assert_eq!(of(&wanted.id), &routed(false));
    assert_eq!(of(&paused.id), &routed(true));
    assert_eq!(
        of(&unwanted.id),
        &DeliveryRecord::NotRouted(Routing::OtherEventTypes)
    );
    let payload = store.payload(&app.id, &message.id).await.unwrap().unwrap();
    assert_eq!(payload, br#"{"type":"sync.user","userId":"user_1"}"#);
    let unfinished = store
        .unfinished_before(&app.id, UnixMillis(i64::MAX), 10)
        .await
        .unwrap();
    assert_eq!(unfinished.len(), 2);

    store
        .mark_routed(&[(app.id.clone(), message.id.clone())])
        .await
        .unwrap();
    assert!(store.message(&app.id, "order-1").await.unwrap().unwrap().routed);
}

#[tokio::test]
async fn a_claim_is_judged_by_who_claims_what_and_how_often() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let message = message(&app.id, Some("event"));
    let first = claim(&message, version_with(1), &[&endpoint]);
    let ask = |claim: Claim| {
        let store = &store;
        async move { store.claim(&[claim]).await.unwrap().remove(0) }
    };
    let again = || Claimed::Again(message.id.clone());
    assert_eq!(ask(first.clone()).await, Claimed::New);
    assert_eq!(ask(first.clone()).await, again(), "its answer was lost");

    let mut copy = claim(
        &support::message(&app.id, Some("event")),
        version_with(1),
        &[&endpoint],
    );
    assert_eq!(
        ask(copy.clone()).await,
        Claimed::Duplicate,
        "another router has it"
    );
    copy.body_hash = [8; 16];
    assert_eq!(
        ask(copy.clone()).await,
        Claimed::Conflict,
        "the same id with another body"
    );
    copy.body_hash = first.body_hash;
    copy.redelivered = true;
    assert_eq!(ask(copy.clone()).await, again(), "the one that had it crashed");
    assert_eq!(ask(first.clone()).await, Claimed::Duplicate, "it was taken over");

    store
        .mark_routed(&[(app.id.clone(), message.id.clone())])
        .await
        .unwrap();
    assert_eq!(ask(copy.clone()).await, Claimed::Duplicate, "routed");
    assert_eq!(ask(first).await, Claimed::Duplicate, "routed");
    copy.body_hash = [8; 16];
    assert_eq!(ask(copy).await, Claimed::Conflict);
}

#[tokio::test]
async fn a_claim_from_an_older_version_of_the_app_writes_nothing() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let message = message(&app.id, Some("event"));
    let stale = claim(&message, version_with(0), &[]);
    let version = version_with(1);
    assert_eq!(store.claim(&[stale]).await.unwrap(), [Claimed::Stale { version }]);
    assert_eq!(store.message(&app.id, message.id.as_str()).await.unwrap(), None);
    assert_eq!(store.message(&app.id, "event").await.unwrap(), None);
    let fresh = claim(&message, version, &[&endpoint]);
    assert_eq!(store.claim(&[fresh]).await.unwrap(), [Claimed::New]);
}

#[tokio::test]
async fn a_claim_that_is_taken_over_adds_endpoints_and_forgets_none() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let (a, b) = (
        kept_endpoint(&store, &app.id).await,
        kept_endpoint(&store, &app.id).await,
    );
    let message = message(&app.id, None);
    let mut first = claim(&message, version_with(2), &[&a]);
    first.routes.push((b.id.clone(), Routing::Disabled));
    store.claim(&[first.clone()]).await.unwrap();
    let mut second = claim(&message, version_with(2), &[&b]);
    second.redelivered = true;
    assert_eq!(
        store.claim(&[second]).await.unwrap(),
        [Claimed::Again(message.id.clone())]
    );
    let kept = store
        .message(&app.id, message.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert!(
        kept.deliveries
            .iter()
            .all(|(_, record)| record.state() == Some(DeliveryState::PENDING))
    );
    assert_eq!(kept.deliveries.len(), 2);
}

#[tokio::test]
async fn a_message_that_the_api_accepted_is_not_yet_claimed() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let message = message(&app.id, Some("event"));
    let accept = |message: nuncio_domain::Message, hash| {
        let store = &store;
        async move { store.accept_message(&message, b"{}", &hash, None).await.unwrap() }
    };
    assert_eq!(accept(message.clone(), [7; 16]).await, Acceptance::Accepted);
    assert_eq!(
        accept(message.clone(), [7; 16]).await,
        Acceptance::Accepted,
        "its answer was lost"
    );
    let other = || support::message(&app.id, Some("event"));
    assert_eq!(
        accept(other(), [7; 16]).await,
        Acceptance::Unpublished(message.id.clone())
    );
    assert_eq!(
        accept(other(), [8; 16]).await,
        Acceptance::EventIdTaken(message.id.clone())
    );
    store.mark_queued(&app.id, &message.id).await.unwrap();
    assert_eq!(
        accept(other(), [7; 16]).await,
        Acceptance::EventIdTaken(message.id.clone())
    );

    // The router knows the message by its id, or by its event id alone.
    let by_event_id = claim(&other(), version_with(1), &[&endpoint]);
    assert_eq!(
        store.claim(&[by_event_id]).await.unwrap(),
        [Claimed::Again(message.id.clone())]
    );
    store.forget_message(&message).await.unwrap();
    let kept = store.message(&app.id, "event").await.unwrap().unwrap();
    assert_eq!(
        (kept.message.id, kept.deliveries.len()),
        (message.id.clone(), 1),
        "a claimed message stays"
    );
}

#[tokio::test]
async fn a_message_that_could_not_be_published_leaves_its_event_id_free() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let message = message(&app.id, Some("event"));
    store
        .accept_message(&message, b"{}", &[7; 16], None)
        .await
        .unwrap();
    store.forget_message(&message).await.unwrap();
    assert_eq!(store.message(&app.id, "event").await.unwrap(), None);
    let again = support::message(&app.id, Some("event"));
    let accepted = store.accept_message(&again, b"{}", &[9; 16], None).await.unwrap();
    assert_eq!(accepted, Acceptance::Accepted);
    let listed = store
        .list_messages(
            &app.id,
            &Default::default(),
            &nuncio_store::PageRequest::first(10),
        )
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test]
async fn a_batch_of_claims_across_apps_is_answered_one_by_one() {
    let store = support::store().await;
    let mut claims = Vec::new();
    for n in 0..40_u64 {
        let app = kept_app(&store).await;
        let endpoint = kept_endpoint(&store, &app.id).await;
        claims.push(claim(&message(&app.id, None), version_with(n % 2), &[&endpoint]));
    }
    let claimed = store.claim(&claims).await.unwrap();
    for (n, claimed) in claimed.iter().enumerate() {
        let version = version_with(1);
        let expected = if n % 2 == 1 {
            Claimed::New
        } else {
            Claimed::Stale { version }
        };
        assert_eq!(*claimed, expected);
    }
}

#[tokio::test]
async fn scripts_come_back_after_the_server_forgot_them() {
    let redis = support::Redis::start().await;
    let store = support::store_at(&redis.url());
    for _ in 0..3 {
        redis.command(&["SCRIPT", "FLUSH"]).await;
        let app = kept_app(&store).await;
        let endpoint = kept_endpoint(&store, &app.id).await;
        redis.command(&["SCRIPT", "FLUSH"]).await;
        let claims: Vec<_> = (0..10)
            .map(|_| claim(&message(&app.id, None), version_with(1), &[&endpoint]))
            .collect();
        let claimed = store.claim(&claims).await.unwrap();
        assert!(
            claimed.iter().all(|claimed| *claimed == Claimed::New),
            "{claimed:?}"
        );
    }
}

#[tokio::test]
async fn everything_of_a_message_expires() {
    let redis = support::Redis::start().await;
    let mut config = support::config(&redis.url());
    config.retention = std::time::Duration::from_secs(100);
    let store = nuncio_store::Store::connect(config.clone()).unwrap();
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let message = message(&app.id, Some("event"));
    let mut claim = claim(&message, version_with(1), &[&endpoint]);
    claim.payload_retention = Some(std::time::Duration::from_secs(10));
    let short = support::message(&app.id, None);
    store
        .claim(&[support::claim(&short, version_with(1), &[&endpoint])])
        .await
        .unwrap();
    let keys = format!("{:?}", redis.command(&["KEYS", "*:p:*"]).await);
    assert!(
        !keys.contains(short.id.as_str()),
        "a short payload has no key of its own"
    );
    assert!(store.payload(&app.id, &short.id).await.unwrap().is_some());
    store.claim(&[claim]).await.unwrap();
    let prefix = format!("{}:{{{}}}:", config.namespace, app.id);
    let id = &message.id;
    for (key, seconds) in [
        (format!("m:{id}"), 100),
        (format!("p:{id}"), 10),
        ("uid:event".to_owned(), 100),
        ("ms".to_owned(), 100),
    ] {
        let left = redis.command(&["TTL", &format!("{prefix}{key}")]).await;
        let redis::Value::Int(left) = left else {
            panic!("{key}: {left:?}")
        };
        assert!((1..=seconds).contains(&left), "{key} has {left} s left");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_at_once() {
    let refused = nuncio_store::Store::connect(support::config("http://example.com"));
    assert!(matches!(refused, Err(StoreError::Address(_))));
}

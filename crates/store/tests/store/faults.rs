//! A store that is away, frozen, slow, full or read-only.

use std::time::Duration;

use nuncio_domain::{Endpoint, Message};
use nuncio_store::{
    AttemptFilter, Directory, DirectoryStatus, PageRequest, Recorded, Recorder, Store, StoreConfig,
};
use tokio::time::Instant;

use crate::support::{
    self, Life, Redis, claim, eventually, kept_app, kept_endpoint, message, record, version_with,
};

async fn routed(store: &Store) -> (Message, Endpoint) {
    let app = kept_app(store).await;
    let endpoint = kept_endpoint(store, &app.id).await;
    let message = message(&app.id, None);
    store
        .claim(&[claim(&message, version_with(1), &[&endpoint])])
        .await
        .unwrap();
    (message, endpoint)
}

async fn attempts(store: &Store, message: &Message, endpoint: &Endpoint) -> usize {
    let filter = AttemptFilter::default();
    let request = PageRequest::first(400);
    store
        .attempts_of_endpoint(&message.app_id, &endpoint.id, &filter, &request)
        .await
        .unwrap()
        .items
        .len()
}

#[tokio::test]
async fn a_store_that_is_down_at_the_start_is_used_once_it_is_up() {
    let mut redis = Redis::prepare(support::free_port(), &[]);
    let store = support::store_at(&redis.url());
    assert!(store.ping().await.unwrap_err().is_unavailable());
    let life = Life::new();
    let (directory, ()) = tokio::join!(
        Directory::follow(store.clone(), &life.tracker, life.stop.clone(), true),
        redis.resume()
    );
    assert_eq!(*directory.status().borrow(), DirectoryStatus::Following);
    store.ping().await.unwrap();
    life.end().await;
}

#[tokio::test]
async fn a_directory_that_never_loaded_ends_when_told_to() {
    let store = support::store_at("redis://127.0.0.1:1/0");
    let life = Life::new();
    life.stop.cancel();
    let directory = Directory::follow(store, &life.tracker, life.stop.clone(), true).await;
    assert_eq!(directory.endpoint_count(), 0);
    life.end().await;
}

#[tokio::test]
async fn no_call_outlives_its_time_on_a_frozen_server_and_all_succeed_after_it_thaws() {
    let redis = Redis::start().await;
    let store = support::store_at(&redis.url());
    let (message, endpoint) = routed(&store).await;
    let life = Life::new();
    let directory = Directory::follow(store.clone(), &life.tracker, life.stop.clone(), true).await;
    redis.signal("-STOP");
    let started = Instant::now();
    let calls = (0..50).map(|_| store.ping());
    for answer in futures_util::future::join_all(calls).await {
        assert!(answer.unwrap_err().is_unavailable());
    }
    assert!(
        store
            .claim(&[claim(&message, 0, &[&endpoint])])
            .await
            .unwrap_err()
            .is_unavailable()
    );
    let patience = 3 * store.config().call_timeout;
    assert!(started.elapsed() < patience, "{:?}", started.elapsed());
    eventually("the directory says so", || async {
        *directory.status().borrow() == DirectoryStatus::Away
    })
    .await;
    assert!(directory.endpoint(&endpoint.id).is_some());
    redis.signal("-CONT");
    eventually("the store answers", || async { store.ping().await.is_ok() }).await;
    eventually("the directory follows", || async {
        *directory.status().borrow() == DirectoryStatus::Following
    })
    .await;
    life.end().await;
}

#[tokio::test]
async fn records_wait_while_the_store_is_away_and_are_written_once_when_it_is_back() {
    let mut redis = Redis::start().await;
    let store = support::store_at(&redis.url());
    let (message, endpoint) = routed(&store).await;
    let life = Life::new();
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    assert_eq!(
        recorder.record(record(&message, &endpoint, 1, 500)).await,
        Recorded::Saved
    );
    redis.kill();
    for number in 2..=40 {
        let recorded = recorder.record(record(&message, &endpoint, number, 500)).await;
        assert_eq!(recorded, Recorded::Deferred);
    }
    assert!(recorder.is_away());
    assert_eq!(recorder.buffered(), 39);
    redis.resume().await;
    assert!(recorder.flush(Duration::from_secs(20)).await);
    assert_eq!(attempts(&store, &message, &endpoint).await, 40);
    eventually("it knows that the store is back", || async {
        !recorder.is_away()
    })
    .await;
    assert_eq!(
        recorder.record(record(&message, &endpoint, 41, 500)).await,
        Recorded::Saved
    );
    life.end().await;
}

#[tokio::test]
async fn a_flush_whose_answer_was_lost_is_repeated_without_doubling_records() {
    let redis = Redis::start().await;
    let store = support::store_at(&redis.url());
    let (message, endpoint) = routed(&store).await;
    let life = Life::new();
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    recorder.record(record(&message, &endpoint, 1, 500)).await;
    // The kernel takes what is sent to a frozen server, which does it all when it thaws.
    redis.signal("-STOP");
    for number in 2..=20 {
        recorder.record(record(&message, &endpoint, number, 500)).await;
    }
    redis.signal("-CONT");
    assert!(recorder.flush(Duration::from_secs(20)).await);
    assert_eq!(attempts(&store, &message, &endpoint).await, 20);
    life.end().await;
}

#[tokio::test]
async fn a_full_or_read_only_server_and_one_that_cannot_save_count_as_away() {
    let redis = Redis::start().await;
    redis.fail_to_save().await;
    let store = support::store_at(&redis.url());
    let (message, endpoint) = routed(&store).await;
    let life = Life::new();
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    let new_app = support::app(None);
    for (spoil, heal) in [
        (
            ["CONFIG", "SET", "maxmemory", "1"],
            ["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            ["REPLICAOF", "127.0.0.1", "1", ""],
            ["REPLICAOF", "NO", "ONE", ""],
        ),
        // MISCONF: the snapshot failed.
        (
            ["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"],
            ["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"],
        ),
    ] {
        let words = |words: [&'static str; 4]| {
            words
                .into_iter()
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
        };
        redis.command(&words(spoil)).await;
        let error = store.create_app(&new_app).await.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        let claimed = store
            .claim(&[claim(
                &support::message(&message.app_id, None),
                version_with(1),
                &[&endpoint],
            )])
            .await;
        let error = claimed.unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
        let number = attempts(&store, &message, &endpoint).await as u16 + 1;
        assert_eq!(
            recorder.record(record(&message, &endpoint, number, 500)).await,
            Recorded::Deferred
        );
        redis.command(&words(heal)).await;
        assert!(recorder.flush(Duration::from_secs(20)).await, "{spoil:?}");
        assert_eq!(attempts(&store, &message, &endpoint).await, usize::from(number));
    }
    store.create_app(&new_app).await.unwrap();
    life.end().await;
}

#[tokio::test]
async fn what_is_left_is_written_after_the_stop_and_giving_up_is_bounded() {
    let mut redis = Redis::start().await;
    let store = support::store_at(&redis.url());
    let (message, endpoint) = routed(&store).await;
    let life = Life::new();
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    let records = (1..=300).map(|number| recorder.record(record(&message, &endpoint, number, 500)));
    let (_, ()) = tokio::join!(futures_util::future::join_all(records), async {
        life.stop.cancel()
    });
    life.end().await;
    assert_eq!(attempts(&store, &message, &endpoint).await, 300);

    let life = Life::new();
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    redis.kill();
    assert_eq!(
        recorder.record(record(&message, &endpoint, 301, 500)).await,
        Recorded::Deferred
    );
    life.end().await;
}

#[tokio::test]
async fn connections_heal_after_each_restart_whatever_they_were_used_for() {
    let mut redis = Redis::start().await;
    let store = support::store_at(&redis.url());
    let life = Life::new();
    let directory = Directory::follow(store.clone(), &life.tracker, life.stop.clone(), true).await;
    for _ in 0..3 {
        redis.kill();
        redis.resume().await;
        let app = support::app(None);
        eventually("the store answers", || async {
            store.create_app(&app).await.is_ok()
        })
        .await;
        let endpoint = kept_endpoint(&store, &app.id).await;
        let message = message(&app.id, None);
        eventually("claims are answered", || async {
            store
                .claim(&[claim(&message, version_with(1), &[&endpoint])])
                .await
                .is_ok()
        })
        .await;
        eventually("the directory follows", || async {
            directory.endpoint(&endpoint.id).is_some()
        })
        .await;
    }
    life.end().await;
}

#[tokio::test]
async fn a_slow_server_is_away_for_those_who_cannot_wait_and_nothing_piles_up() {
    let redis = Redis::start().await;
    let store = Store::connect(StoreConfig {
        response_timeout: Duration::from_millis(100),
        call_timeout: Duration::from_millis(300),
        ..support::config(&redis.url())
    })
    .unwrap();
    let (message, endpoint) = routed(&store).await;
    let life = Life::new();
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    redis.command(&["CLIENT", "PAUSE", "1500", "ALL"]).await;
    let started = Instant::now();
    assert!(store.ping().await.unwrap_err().is_unavailable());
    assert_eq!(
        recorder.record(record(&message, &endpoint, 1, 500)).await,
        Recorded::Deferred
    );
    assert!(
        started.elapsed() < Duration::from_millis(1_400),
        "{:?}",
        started.elapsed()
    );
    assert!(recorder.flush(Duration::from_secs(20)).await);
    assert_eq!(attempts(&store, &message, &endpoint).await, 1);
    life.end().await;
}

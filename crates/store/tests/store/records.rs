//! Records of attempts, the states they leave, statistics, and the sweeper's view.

use std::collections::HashSet;
use std::time::Duration;

use nuncio_domain::{DeliveryState, DeliveryStatus, Endpoint, Message, UnixMillis};
use nuncio_store::{
    AttemptFilter, AttemptedFilter, Claimed, Health, PageRequest, Recorded, Recorder, StateReader, Store,
    UnfinishedFrom,
};

use crate::support::{
    self, Life, NOW, claim, delivery, endpoint, kept_app, kept_endpoint, message, record, retrying, state,
    version_with,
};

/// A routed message to one endpoint, and a recorder.
struct Stage {
    store: Store,
    message: Message,
    endpoint: Endpoint,
    recorder: Recorder,
    life: Life,
}

impl Stage {
    async fn set() -> Self {
        let store = support::store().await;
        let app = kept_app(&store).await;
        let endpoint = kept_endpoint(&store, &app.id).await;
        let message = message(&app.id, None);
        store
            .claim(&[claim(&message, version_with(1), &[&endpoint])])
            .await
            .unwrap();
        let life = Life::new();
        let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
        Self {
            store,
            message,
            endpoint,
            recorder,
            life,
        }
    }

    async fn state(&self) -> Option<DeliveryState> {
        let asked = [(
            self.message.app_id.clone(),
            delivery(&self.message, &self.endpoint),
        )];
        self.store.delivery_states(&asked).await.unwrap().remove(0)
    }

    async fn attempts(&self) -> Vec<u16> {
        let app = &self.message.app_id;
        let request = PageRequest::oldest(50);
        let filter = AttemptFilter::default();
        let by_message = self
            .store
            .attempts_of_message(app, &self.message.id, &filter, &request)
            .await
            .unwrap()
            .items;
        let by_endpoint = self
            .store
            .attempts_of_endpoint(app, &self.endpoint.id, &filter, &request)
            .await
            .unwrap()
            .items;
        assert_eq!(by_message, by_endpoint, "both lists show the same attempts");
        by_message
            .into_iter()
            .map(|stored| stored.attempt.number.number())
            .collect()
    }

    async fn unfinished(&self) -> Vec<UnixMillis> {
        let found = self
            .store
            .unfinished_before(&self.message.app_id, UnixMillis(i64::MAX), 10)
            .await
            .unwrap();
        found.into_iter().map(|unfinished| unfinished.due).collect()
    }
}

#[tokio::test]
async fn an_attempt_is_kept_with_all_it_was_and_moves_its_delivery() {
    let stage = Stage::set().await;
    assert_eq!(stage.state().await, Some(DeliveryState::PENDING));
    assert_eq!(stage.unfinished().await, [stage.message.created_at]);
    let failed = record(&stage.message, &stage.endpoint, 1, 503);
    assert_eq!(stage.recorder.record(failed.clone()).await, Recorded::Saved);
    assert_eq!(stage.state().await, Some(state(retrying(), 0, 1)));
    assert_eq!(stage.unfinished().await, [UnixMillis(NOW.0 + 5_000)]);
    let kept = stage
        .store
        .attempt(&stage.message.app_id, &stage.message.id, &failed.attempt.id)
        .await
        .unwrap();
    assert_eq!(kept.unwrap().attempt, failed.attempt);

    let delivered = record(&stage.message, &stage.endpoint, 2, 204);
    stage.recorder.record(delivered).await;
    assert_eq!(stage.state().await, Some(state(DeliveryStatus::Delivered, 0, 2)));
    assert!(stage.unfinished().await.is_empty());
    assert_eq!(stage.attempts().await, [1, 2]);
    stage.life.end().await;
}

#[tokio::test]
async fn recording_an_attempt_twice_is_recording_it_once() {
    let stage = Stage::set().await;
    let failed = record(&stage.message, &stage.endpoint, 1, 500);
    for _ in 0..3 {
        assert_eq!(stage.recorder.record(failed.clone()).await, Recorded::Saved);
    }
    assert_eq!(stage.attempts().await, [1]);
    // Made by another copy of the delivery: it is told, and changes nothing.
    let anothers = record(&stage.message, &stage.endpoint, 1, 200);
    assert_eq!(stage.recorder.record(anothers).await, Recorded::MadeBefore);
    assert_eq!(stage.recorder.record(failed.clone()).await, Recorded::Saved);
    assert_eq!(stage.state().await, Some(state(retrying(), 0, 1)));
    assert_eq!(stage.attempts().await, [1]);
    let (a, b) = (
        record(&stage.message, &stage.endpoint, 2, 500),
        record(&stage.message, &stage.endpoint, 3, 200),
    );
    let again = b.clone();
    tokio::join!(
        stage.recorder.record(a.clone()),
        stage.recorder.record(b),
        stage.recorder.record(again)
    );
    stage.recorder.record(a).await;
    assert_eq!(stage.attempts().await, [1, 2, 3]);
    assert_eq!(stage.state().await, Some(state(DeliveryStatus::Delivered, 0, 3)));
    assert!(stage.recorder.flush(Duration::from_secs(5)).await);
    let counts = stage
        .store
        .counts(
            &stage.message.app_id,
            &stage.endpoint.id,
            NOW,
            UnixMillis(NOW.0 + 10_000_000),
        )
        .await
        .unwrap();
    assert_eq!((counts.succeeded, counts.failed, counts.durations[1]), (1, 2, 3));
    stage.life.end().await;
}

#[tokio::test]
async fn a_new_run_begins_over_and_late_attempts_of_an_old_one_are_kept_without_moving_it() {
    let stage = Stage::set().await;
    stage
        .recorder
        .record(record(&stage.message, &stage.endpoint, 1, 500))
        .await;
    let run = NOW.0 + 60_000;
    let pending = state(DeliveryStatus::Pending, run, 0);
    let (app, id) = (
        stage.message.app_id.clone(),
        delivery(&stage.message, &stage.endpoint),
    );
    stage
        .recorder
        .record_state(app.clone(), id.clone(), pending)
        .await;
    assert_eq!(stage.state().await, Some(pending));
    assert_eq!(stage.unfinished().await, [UnixMillis(run)]);

    let late = record(&stage.message, &stage.endpoint, 2, 500);
    stage.recorder.record(late.clone()).await;
    stage.recorder.record(late).await;
    assert_eq!(stage.attempts().await, [1, 2], "kept, and once");
    assert_eq!(stage.state().await, Some(pending), "not moved");

    let mut first = record(&stage.message, &stage.endpoint, 1, 200);
    first.state = state(DeliveryStatus::Delivered, run, 1);
    stage.recorder.record(first).await;
    assert_eq!(
        stage.state().await,
        Some(state(DeliveryStatus::Delivered, run, 1))
    );
    stage
        .recorder
        .record_state(app, id, state(DeliveryStatus::Deleted, run, 0))
        .await;
    assert_eq!(
        stage.state().await.unwrap().status,
        DeliveryStatus::Delivered,
        "the end is the end"
    );
    assert_eq!(stage.attempts().await, [1, 1, 2]);
    stage.life.end().await;
}

#[tokio::test]
async fn a_delivery_that_ends_without_an_attempt_keeps_its_number() {
    let stage = Stage::set().await;
    stage
        .recorder
        .record(record(&stage.message, &stage.endpoint, 3, 500))
        .await;
    let id = delivery(&stage.message, &stage.endpoint);
    let deleted = state(DeliveryStatus::Deleted, 0, 0);
    stage
        .recorder
        .record_state(stage.message.app_id.clone(), id, deleted)
        .await;
    assert_eq!(stage.state().await, Some(state(DeliveryStatus::Deleted, 0, 3)));
    assert!(stage.unfinished().await.is_empty());
    stage.life.end().await;
}

#[tokio::test]
async fn a_message_that_the_store_lost_is_known_again_by_its_next_attempt() {
    let stage = Stage::set().await;
    let unknown = message(&stage.message.app_id, None);
    let failed = record(&unknown, &stage.endpoint, 4, 500);
    stage.recorder.record(failed.clone()).await;
    stage.recorder.record(failed).await;
    let kept = stage
        .store
        .message(&unknown.app_id, unknown.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.message.event_type, unknown.event_type);
    let request = PageRequest::first(10);
    let attempts = stage
        .store
        .attempts_of_message(&unknown.app_id, &unknown.id, &AttemptFilter::default(), &request)
        .await
        .unwrap();
    assert_eq!(attempts.items.len(), 1);
    // Whoever claims it late may take another time for that of its publication.
    let mut late = unknown.clone();
    late.created_at = late.created_at.plus(Duration::from_millis(7));
    let mut again = claim(&late, version_with(1), &[&stage.endpoint]);
    again.redelivered = true;
    assert_eq!(
        stage.store.claim(&[again]).await.unwrap(),
        [nuncio_store::Claimed::New]
    );
    let whole = stage
        .store
        .message(&unknown.app_id, unknown.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        whole.deliveries[0].1.state(),
        Some(state(retrying(), 0, 4)),
        "what was recorded stays"
    );
    let found = stage
        .store
        .attempts_of_message(&unknown.app_id, &unknown.id, &AttemptFilter::default(), &request)
        .await
        .unwrap();
    assert_eq!(found.items, attempts.items, "and is found");
    let tried = stage
        .store
        .messages_attempted_at(
            &unknown.app_id,
            &stage.endpoint.id,
            &AttemptedFilter::default(),
            &request,
        )
        .await
        .unwrap();
    assert!(tried.items.iter().any(|stored| stored.message.id == unknown.id));
    let once_more = record(&unknown, &stage.endpoint, 4, 500);
    let copy = stage.recorder.record(once_more).await;
    assert_eq!(copy, Recorded::MadeBefore, "another attempt of that number");
    assert!(
        stage
            .store
            .payload(&unknown.app_id, &unknown.id)
            .await
            .unwrap()
            .is_some()
    );

    let lost = message(&stage.message.app_id, None);
    let id = delivery(&lost, &stage.endpoint);
    stage
        .recorder
        .record_state(lost.app_id.clone(), id, state(DeliveryStatus::Deleted, 0, 0))
        .await;
    assert_eq!(
        stage.store.message(&lost.app_id, lost.id.as_str()).await.unwrap(),
        None
    );
    stage.life.end().await;
}

#[tokio::test]
async fn many_records_at_once_share_round_trips_and_all_are_kept() {
    let stage = Stage::set().await;
    let app = stage.message.app_id.clone();
    let messages: Vec<_> = (0..1_000).map(|_| message(&app, None)).collect();
    let records = messages
        .iter()
        .map(|message| stage.recorder.record(record(message, &stage.endpoint, 1, 200)));
    let recorded = futures_util::future::join_all(records).await;
    assert!(recorded.iter().all(|recorded| *recorded == Recorded::Saved));
    let asked: Vec<_> = messages
        .iter()
        .map(|message| (app.clone(), delivery(message, &stage.endpoint)))
        .collect();
    let reader = StateReader::start(stage.store.clone(), &stage.life.tracker, stage.life.stop.clone());
    let states = asked
        .iter()
        .map(|(app, delivery)| reader.state(app.clone(), delivery.clone()));
    for found in futures_util::future::join_all(states).await {
        assert_eq!(found.unwrap(), Some(state(DeliveryStatus::Delivered, 0, 1)));
    }
    let missing = reader
        .state(
            app,
            delivery(&message(&stage.message.app_id, None), &stage.endpoint),
        )
        .await;
    assert_eq!(missing.unwrap(), None);
    stage.life.end().await;
}

#[tokio::test]
async fn an_endpoint_fails_since_its_first_failure_until_a_success() {
    let stage = Stage::set().await;
    let (app, id) = (&stage.message.app_id, &stage.endpoint.id);
    for (number, since) in [(1, 1_000), (2, 2_000)] {
        let mut failed = record(&stage.message, &stage.endpoint, number, 500);
        failed.health = Some(Health::Failing {
            since: UnixMillis(since),
        });
        stage.recorder.record(failed).await;
    }
    assert_eq!(
        stage.store.failing_since(app, id).await.unwrap(),
        Some(UnixMillis(1_000))
    );
    assert_eq!(
        stage.store.failing(app).await.unwrap(),
        [(id.clone(), UnixMillis(1_000))]
    );
    let mut delivered = record(&stage.message, &stage.endpoint, 3, 200);
    delivered.health = Some(Health::Healthy);
    stage.recorder.record(delivered).await;
    assert_eq!(stage.store.failing_since(app, id).await.unwrap(), None);
    stage.life.end().await;
}

#[tokio::test]
async fn a_response_is_expunged_in_place_and_the_attempt_stays() {
    let stage = Stage::set().await;
    let records: Vec<_> = (1..=3)
        .map(|number| record(&stage.message, &stage.endpoint, number, 500))
        .collect();
    for record in &records {
        stage.recorder.record(record.clone()).await;
    }
    let (app, message) = (&stage.message.app_id, &stage.message.id);
    let second = &records[1].attempt.id;
    assert!(stage.store.expunge_response(app, message, second).await.unwrap());
    assert!(stage.store.expunge_response(app, message, second).await.unwrap());
    let kept = stage.store.attempt(app, message, second).await.unwrap().unwrap();
    assert!(
        kept.expunged && kept.attempt.response_body.is_empty() && kept.attempt.response_headers.is_empty()
    );
    assert_eq!(stage.attempts().await, [1, 2, 3]);
    assert!(stage.store.expunge_payload(app, message).await.unwrap());
    assert_eq!(stage.store.payload(app, message).await.unwrap(), None);
    assert!(
        stage
            .store
            .message(app, message.as_str())
            .await
            .unwrap()
            .unwrap()
            .expunged
    );
    let unknown = support::message(app, None).id;
    assert!(!stage.store.expunge_payload(app, &unknown).await.unwrap());
    assert_eq!(
        stage.store.message(app, unknown.as_str()).await.unwrap(),
        None,
        "nothing is made by expunging"
    );
    stage.life.end().await;
}

#[tokio::test]
async fn a_reading_of_unfinished_deliveries_misses_none_while_others_are_finished() {
    let stage = Stage::set().await;
    let app = &stage.message.app_id;
    let endpoints: Vec<Endpoint> = (0..30).map(|_| endpoint(app, None)).collect();
    let endpoints: Vec<&Endpoint> = endpoints.iter().collect();
    // All of them due at the same moment.
    let many = message(app, Some("many"));
    let claims = [claim(&many, version_with(1), &endpoints)];
    let claimed = stage.store.claim(&claims).await.unwrap();
    assert_eq!(claimed, [Claimed::New]);
    let mut from = UnfinishedFrom::default();
    let mut read = HashSet::new();
    loop {
        let page = stage.store.unfinished_from(app, &mut from, 4).await.unwrap();
        if page.is_empty() {
            break;
        }
        for unfinished in &page {
            assert!(read.insert(unfinished.delivery.clone()), "read once");
        }
        // What was read is finished before the next page.
        let done: Vec<_> = page.into_iter().map(|unfinished| unfinished.delivery).collect();
        stage.store.drop_unfinished(app, &done).await.unwrap();
    }
    assert_eq!(read.len(), endpoints.len() + 1, "and that of the stage");
    stage.life.end().await;
}

#[tokio::test]
async fn the_sweeper_finds_what_is_overdue_and_can_put_it_off_or_drop_it() {
    let stage = Stage::set().await;
    let app = stage.message.app_id.clone();
    let quiet = kept_app(&stage.store).await.id;
    let apps = [quiet, app.clone()];
    let due = stage.message.created_at;
    let after = UnixMillis(due.0 + 1);
    assert_eq!(stage.store.apps_with_unfinished(&apps, due).await.unwrap(), []);
    assert_eq!(
        stage.store.apps_with_unfinished(&apps, after).await.unwrap(),
        std::slice::from_ref(&app)
    );
    assert_eq!(stage.store.unfinished_count(&app).await.unwrap(), 1);
    let id = delivery(&stage.message, &stage.endpoint);
    stage
        .store
        .postpone_unfinished(&app, std::slice::from_ref(&id), UnixMillis(due.0 + 100))
        .await
        .unwrap();
    assert!(
        stage
            .store
            .unfinished_before(&app, after, 10)
            .await
            .unwrap()
            .is_empty()
    );
    stage
        .store
        .drop_unfinished(&app, std::slice::from_ref(&id))
        .await
        .unwrap();
    stage
        .store
        .postpone_unfinished(&app, std::slice::from_ref(&id), due)
        .await
        .unwrap();
    assert!(
        stage
            .store
            .unfinished_before(&app, UnixMillis(i64::MAX), 10)
            .await
            .unwrap()
            .is_empty()
    );
    stage.life.end().await;
}

#[tokio::test]
async fn what_was_routed_while_the_store_was_away_is_known_afterwards() {
    let stage = Stage::set().await;
    let routed = message(&stage.message.app_id, Some("away"));
    let claim = claim(&routed, 77, &[&stage.endpoint]);
    stage
        .recorder
        .record_routed(vec![claim.clone(), claim.clone()])
        .await;
    assert!(stage.recorder.flush(Duration::from_secs(5)).await);
    let kept = stage
        .store
        .message(&routed.app_id, "away")
        .await
        .unwrap()
        .unwrap();
    assert!(kept.routed && kept.deliveries.len() == 1);
    let again = stage.store.claim(&[claim]).await.unwrap();
    assert_eq!(again, [nuncio_store::Claimed::Duplicate]);
    stage.life.end().await;
}

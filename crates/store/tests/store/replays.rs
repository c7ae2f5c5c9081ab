//! Replays under way, held by one process at a time.

use nuncio_domain::{AppId, EndpointId, UnixMillis};
use nuncio_store::{Position, Replay, ReplayTask};

use crate::support::store;

fn task(name: &str) -> ReplayTask {
    ReplayTask {
        name: name.to_owned(),
        app: AppId::parse("app_1").unwrap(),
        endpoint: EndpointId::parse("ep_1").unwrap(),
        which: Replay::Failed,
        since: UnixMillis(1),
        until: UnixMillis(2),
        asked_at: UnixMillis(3),
        done: None,
        sent: 0,
    }
}

#[tokio::test]
async fn a_replay_is_noted_once_held_by_one_and_there_until_it_is_ended() {
    let store = store().await;
    let mut held = store
        .note_replay(task("one"), UnixMillis(10))
        .await
        .unwrap()
        .unwrap();
    assert!(
        store
            .note_replay(task("one"), UnixMillis(20))
            .await
            .unwrap()
            .is_none()
    );
    let mut seen = store.noted_replays().await.unwrap();
    assert_eq!(seen.len(), 1);
    let mut other = seen.remove(0);
    assert_eq!((&other.task, other.held_until), (&held.task, UnixMillis(10)));

    other.task.done = Some(Position("5-0".to_owned()));
    other.task.sent = 100;
    assert!(store.hold_replay(&mut other, UnixMillis(30)).await.unwrap());
    assert!(
        !store.hold_replay(&mut held, UnixMillis(40)).await.unwrap(),
        "another has it"
    );
    let seen = store.noted_replays().await.unwrap();
    assert_eq!((&seen[0].task, seen[0].held_until), (&other.task, UnixMillis(30)));

    store.end_replay(&other).await.unwrap();
    assert!(store.noted_replays().await.unwrap().is_empty());
    assert!(
        !store.hold_replay(&mut other, UnixMillis(50)).await.unwrap(),
        "it is ended"
    );
}

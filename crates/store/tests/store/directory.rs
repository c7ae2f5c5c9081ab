//! The directory: loading, following, and what it does when the store is emptied.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuncio_domain::EndpointState;
use nuncio_store::{Change, Claimed, Directory, DirectoryStatus, Restored, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};

use crate::support::{
    self, Life, NOW, app, claim, endpoint, eventually, kept_app, kept_endpoint, message, secret,
};

async fn follow(store: &Store, life: &Life) -> Directory {
    Directory::follow(store.clone(), &life.tracker, life.stop.clone(), true).await
}

#[tokio::test]
async fn what_was_there_is_loaded_and_what_changes_is_followed() {
    let store = support::store().await;
    let life = Life::new();
    let old = app(Some("old"));
    store.create_app(&old).await.unwrap();
    let known = kept_endpoint(&store, &old.id).await;
    let directory = follow(&store, &life).await;
    let entry = directory.app("old").unwrap();
    assert_eq!((&entry.app, entry.version, entry.endpoints.len()), (&old, 2, 1));
    assert_eq!(directory.endpoint(&known.id).unwrap().endpoint, known);
    assert!(Arc::ptr_eq(&entry, &directory.app(old.id.as_str()).unwrap()));

    let mut changes = directory.changes();
    let new = app(None);
    store.create_app(&new).await.unwrap();
    let added = endpoint(&new.id, None);
    store
        .create_endpoint(&added, &SecretString::from("whsec_added"))
        .await
        .unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Endpoint(added.id.clone()));
    let entry = directory.endpoint(&added.id).unwrap();
    assert_eq!(
        entry.secrets.as_ref().unwrap().current.expose_secret(),
        "whsec_added"
    );
    assert_eq!(directory.app(new.id.as_str()).unwrap().version, 2);

    let paused = EndpointState::Paused { since: NOW };
    store
        .set_endpoint_state(&old.id, &known.id, paused, NOW)
        .await
        .unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Endpoint(known.id.clone()));
    assert_eq!(directory.endpoint(&known.id).unwrap().endpoint.state, paused);

    store.delete_endpoint(&old.id, &known.id).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Endpoint(known.id.clone()));
    assert!(directory.endpoint(&known.id).is_none());
    store.delete_app(&new.id).await.unwrap();
    assert_eq!(changes.recv().await.unwrap(), Change::Endpoint(added.id.clone()));
    assert!(directory.app(new.id.as_str()).is_none());
    life.end().await;
}

#[tokio::test]
async fn a_uid_that_moves_to_another_app_is_followed() {
    let store = support::store().await;
    let life = Life::new();
    let (first, second) = (app(Some("moving")), app(None));
    store.create_app(&first).await.unwrap();
    store.create_app(&second).await.unwrap();
    let directory = follow(&store, &life).await;
    let set = |id: nuncio_domain::AppId, uid: Option<&'static str>| {
        let store = store.clone();
        async move {
            let edit = |app: &mut nuncio_domain::App| {
                app.uid = uid.map(|uid| uid.parse().unwrap());
                Ok::<_, StoreError>(())
            };
            store.update_app(&id, edit).await.unwrap();
        }
    };
    set(first.id.clone(), None).await;
    set(second.id.clone(), Some("moving")).await;
    eventually("the uid leads to its new app", || async {
        directory
            .app("moving")
            .is_some_and(|entry| entry.app.id == second.id)
    })
    .await;
    life.end().await;
}

#[tokio::test]
async fn many_changes_at_once_arrive_each_without_loading_everything() {
    let store = support::store().await;
    let life = Life::new();
    let app = kept_app(&store).await;
    let directory = follow(&store, &life).await;
    let endpoints: Vec<_> = (0..90).map(|_| endpoint(&app.id, None)).collect();
    let secret = secret();
    let creations = endpoints
        .iter()
        .map(|endpoint| store.create_endpoint(endpoint, &secret));
    for created in futures_util::future::join_all(creations).await {
        created.unwrap();
    }
    eventually("all endpoints are there", || async {
        directory.endpoint_count() == 90
    })
    .await;
    let shown: BTreeSet<_> = directory.endpoint_ids().into_iter().collect();
    assert_eq!(
        shown,
        endpoints.iter().map(|endpoint| endpoint.id.clone()).collect()
    );
    let entry = directory.app(app.id.as_str()).unwrap();
    assert!(
        entry
            .endpoints
            .is_sorted_by_key(|entry| entry.endpoint.id.clone())
    );
    life.end().await;
}

#[tokio::test]
async fn a_version_never_runs_ahead_of_what_is_shown() {
    let store = support::store().await;
    let life = Life::new();
    let app = kept_app(&store).await;
    let directory = follow(&store, &life).await;
    for round in 1..=30_u64 {
        let endpoint = kept_endpoint(&store, &app.id).await;
        let fresh = directory.app(app.id.as_str()).unwrap();
        assert!(fresh.endpoints.len() as u64 >= fresh.version - 1, "round {round}");
        let message = message(&app.id, None);
        let routes: Vec<_> = fresh.endpoints.iter().map(|entry| &entry.endpoint).collect();
        match store
            .claim(&[claim(&message, fresh.version, &routes)])
            .await
            .unwrap()
            .remove(0)
        {
            Claimed::New => assert!(routes.iter().any(|known| known.id == endpoint.id)),
            Claimed::Stale { .. } => {
                let entry = directory.refresh(&app.id).await.unwrap().unwrap();
                assert!(
                    entry
                        .endpoints
                        .iter()
                        .any(|known| known.endpoint.id == endpoint.id)
                );
            }
            other => panic!("{other:?}"),
        }
    }
    life.end().await;
}

#[tokio::test]
async fn an_app_that_is_not_known_yet_is_asked_for() {
    let store = support::store().await;
    let life = Life::new();
    let directory = follow(&store, &life).await;
    let app = app(Some("fresh"));
    store.create_app(&app).await.unwrap();
    let endpoint = kept_endpoint(&store, &app.id).await;
    assert_eq!(directory.app_fresh("fresh").await.unwrap().unwrap().app, app);
    assert!(
        directory
            .endpoint_fresh(&app.id, &endpoint.id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(directory.app_fresh("nobody").await.unwrap().is_none());
    assert!(
        directory
            .app_fresh(support::app(None).id.as_str())
            .await
            .unwrap()
            .is_none()
    );
    life.end().await;
}

#[tokio::test]
async fn an_emptied_store_gets_everything_back_from_the_processes_that_remember() {
    let redis = support::Redis::start().await;
    let config = support::config(&redis.url());
    let store = Store::connect(config.clone()).unwrap();
    store.seed_event_types(NOW).await.unwrap();
    let app = app(Some("project"));
    store.create_app(&app).await.unwrap();
    let kept = endpoint(&app.id, Some("hook"));
    store
        .create_endpoint(&kept, &SecretString::from("whsec_kept"))
        .await
        .unwrap();
    let life = Life::new();
    let directories = [
        follow(&store, &life).await,
        Directory::follow(
            Store::connect(config).unwrap(),
            &life.tracker,
            life.stop.clone(),
            false,
        )
        .await,
    ];
    for round in 0..3 {
        redis.command(&["FLUSHALL"]).await;
        eventually("the app is back", || async {
            store.app("project").await.unwrap().is_some()
        })
        .await;
        for directory in &directories {
            eventually("the directory follows again", || async {
                *directory.status().borrow() == DirectoryStatus::Following
                    && directory.restore_if_emptied().await.unwrap() == Restored::NotEmptied
            })
            .await;
            assert!(directory.endpoint(&kept.id).is_some(), "round {round}");
        }
        assert_eq!(store.endpoint(&app.id, "hook").await.unwrap().unwrap(), kept);
        let secrets = store.secrets(&app.id, &kept.id).await.unwrap();
        assert_eq!(secrets.current.expose_secret(), "whsec_kept");
        assert_eq!(store.event_types().await.unwrap().len(), 2);
        assert_eq!(
            store
                .list_apps(&nuncio_store::PageRequest::first(9))
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    }
    // What is deleted afterwards does not come back by a process that remembers.
    store.delete_app(&app.id).await.unwrap();
    for directory in &directories {
        eventually("the app is gone", || async { directory.app("project").is_none() }).await;
    }
    life.end().await;
}

#[tokio::test]
async fn a_router_that_meets_an_emptied_store_first_finds_its_apps_there() {
    let redis = support::Redis::start().await;
    let store = support::store_at(&redis.url());
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let life = Life::new();
    let directory = follow(&store, &life).await;
    let known = directory.app(app.id.as_str()).unwrap();
    redis.command(&["FLUSHALL"]).await;
    let message = message(&app.id, None);
    let claimed = store
        .claim(&[claim(&message, known.version, &[&endpoint])])
        .await
        .unwrap();
    assert!(matches!(claimed[0], Claimed::Stale { .. }));
    let entry = directory
        .refresh(&app.id)
        .await
        .unwrap()
        .expect("an emptied store is not a deleted app");
    let claimed = store
        .claim(&[claim(&message, entry.version, &[&endpoint])])
        .await
        .unwrap();
    assert_eq!(claimed, [Claimed::New]);
    life.end().await;
}

#[tokio::test]
async fn a_store_that_began_anew_is_joined_with_what_is_remembered() {
    let redis = support::Redis::start().await;
    let config = support::config(&redis.url());
    let store = Store::connect(config.clone()).unwrap();
    let old = kept_app(&store).await;
    let life = Life::new();
    let directory = follow(&store, &life).await;
    // A process that starts on the emptied store before anybody restored it.
    redis.command(&["FLUSHALL"]).await;
    redis
        .command(&["SET", &format!("{}:epoch", config.namespace), "another"])
        .await;
    let new = kept_app(&store).await;
    for app in [&old, &new] {
        eventually("both apps are known", || async {
            directory.app(app.id.as_str()).is_some()
        })
        .await;
        eventually("both apps are kept", || async {
            store.app(app.id.as_str()).await.unwrap().is_some()
        })
        .await;
    }
    life.end().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_all_others_known() {
    let redis = support::Redis::start().await;
    let config = support::config(&redis.url());
    let store = Store::connect(config.clone()).unwrap();
    let (broken, whole) = (kept_app(&store).await, kept_app(&store).await);
    let good = kept_endpoint(&store, &whole.id).await;
    let bad = kept_endpoint(&store, &whole.id).await;
    let app_key = format!("{}:{{{}}}:app", config.namespace, broken.id);
    redis.command(&["SET", &app_key, "not JSON"]).await;
    let endpoints_key = format!("{}:{{{}}}:endpoints", config.namespace, whole.id);
    redis
        .command(&["HSET", &endpoints_key, bad.id.as_str(), "[]"])
        .await;
    let life = Life::new();
    let directory = follow(&store, &life).await;
    assert!(directory.app(broken.id.as_str()).is_none());
    assert!(directory.endpoint(&bad.id).is_none());
    assert!(directory.endpoint(&good.id).is_some());
    life.end().await;
}

//! Apps, endpoints, secrets, event types, members and idempotency keys.

use std::time::Duration;

use nuncio_domain::{DisabledReason, EndpointState, UnixMillis};
use nuncio_store::{EventType, PageRequest, Role, Start, Store, StoreError};
use secrecy::{ExposeSecret, SecretString};

use crate::support::{self, NOW, app, endpoint, kept_app, kept_endpoint, secret};

#[tokio::test]
async fn an_app_is_found_by_id_and_by_uid_and_keeps_all_it_was_given() {
    let store = support::store().await;
    let mut app = app(Some("project-1"));
    app.throttle_rate = Some(7);
    app.metadata.insert("plan".into(), "gold".into());
    store.create_app(&app).await.unwrap();
    store
        .create_app(&app)
        .await
        .expect("creating the very same app again is creating it once");
    assert_eq!(store.app(app.id.as_str()).await.unwrap().unwrap(), app);
    assert_eq!(store.app("project-1").await.unwrap().unwrap(), app);
    assert_eq!(store.app("project-2").await.unwrap(), None);
}

#[tokio::test]
async fn a_taken_uid_names_its_owner_and_is_free_again_after_a_change_or_a_deletion() {
    let store = support::store().await;
    let first = app(Some("taken"));
    store.create_app(&first).await.unwrap();
    let second = app(Some("taken"));
    let refused = store.create_app(&second).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { by, .. } if by == first.id.as_str()));
    assert_eq!(store.app(second.id.as_str()).await.unwrap(), None);

    let renamed = store
        .update_app::<StoreError>(&first.id, |app| {
            app.uid = Some("other".parse().unwrap());
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(store.app("other").await.unwrap().unwrap(), renamed);
    store.create_app(&second).await.unwrap();
    assert!(store.delete_app(&second.id).await.unwrap());
    assert!(!store.delete_app(&second.id).await.unwrap());
    assert_eq!(store.app("taken").await.unwrap(), None);
    store.create_app(&app(Some("taken"))).await.unwrap();
}

#[tokio::test]
async fn a_uid_left_by_a_creation_that_crashed_is_free() {
    let redis = support::Redis::start().await;
    let config = support::config(&redis.url());
    let names = format!("{}:apps:uid", config.namespace);
    let store = Store::connect(config).unwrap();
    let crashed = nuncio_domain::AppId::generate(UnixMillis(NOW.0 - 60_000), &mut rand::rng());
    redis.command(&["HSET", &names, "half", crashed.as_str()]).await;
    let app = app(Some("half"));
    store.create_app(&app).await.unwrap();
    assert_eq!(store.app("half").await.unwrap().unwrap().id, app.id);
}

#[tokio::test]
async fn apps_are_listed_page_by_page_in_both_orders_and_both_directions() {
    let store = support::store().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(kept_app(&store).await.id);
    }
    let page = |request: PageRequest| {
        let store = &store;
        async move { store.list_apps(&request).await.unwrap() }
    };
    let first = page(PageRequest::oldest(2)).await;
    assert_eq!(
        first.items.iter().map(|app| &app.id).collect::<Vec<_>>(),
        [&ids[0], &ids[1]]
    );
    assert_eq!(first.previous, None);
    let second = page(PageRequest {
        start: Start::After(first.next.unwrap()),
        ..PageRequest::oldest(2)
    })
    .await;
    assert_eq!(
        second.items.iter().map(|app| &app.id).collect::<Vec<_>>(),
        [&ids[2], &ids[3]]
    );
    let third = page(PageRequest {
        start: Start::After(second.next.unwrap()),
        ..PageRequest::oldest(2)
    })
    .await;
    assert_eq!((third.items.len(), third.next), (1, None));
    let back = page(PageRequest {
        start: Start::Before(second.previous.unwrap()),
        ..PageRequest::oldest(2)
    })
    .await;
    assert_eq!(
        back.items.iter().map(|app| &app.id).collect::<Vec<_>>(),
        [&ids[0], &ids[1]]
    );
    assert!(back.previous.is_none() && back.next.is_some());
    let newest = page(PageRequest::first(10)).await;
    assert_eq!(
        newest.items.iter().map(|app| &app.id).collect::<Vec<_>>(),
        ids.iter().rev().collect::<Vec<_>>()
    );
    assert_eq!((newest.next, newest.previous), (None, None));
}

#[tokio::test]
async fn concurrent_changes_of_an_endpoint_are_all_kept() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let changes = (0..8).map(|n| {
        let (store, app, id) = (store.clone(), app.id.clone(), endpoint.id.clone());
        async move {
            store
                .update_endpoint::<StoreError>(&app, &id, |endpoint| {
                    endpoint.metadata.insert(n.to_string(), String::new());
                    Ok(())
                })
                .await
        }
    });
    for changed in futures_util::future::join_all(changes).await {
        changed.unwrap();
    }
    let kept = store
        .endpoint(&app.id, endpoint.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.metadata.len(), 8);
}

#[tokio::test]
async fn an_endpoint_is_limited_in_number_unique_by_uid_and_refused_without_its_app() {
    let redis = support::Redis::start().await;
    let store = Store::connect(nuncio_store::StoreConfig {
        endpoints_per_app_max: 2,
        ..support::config(&redis.url())
    })
    .unwrap();
    let app = kept_app(&store).await;
    let first = endpoint(&app.id, Some("a"));
    store.create_endpoint(&first, &secret()).await.unwrap();
    let same_uid = store
        .create_endpoint(&endpoint(&app.id, Some("a")), &secret())
        .await
        .unwrap_err();
    assert!(matches!(same_uid, StoreError::Conflict { by, .. } if by == first.id.as_str()));
    let second = endpoint(&app.id, Some("b"));
    store.create_endpoint(&second, &secret()).await.unwrap();
    let third = store
        .create_endpoint(&endpoint(&app.id, None), &secret())
        .await
        .unwrap_err();
    assert!(matches!(third, StoreError::TooManyEndpoints(2)));
    assert!(store.delete_endpoint(&app.id, &second.id).await.unwrap());
    assert!(!store.delete_endpoint(&app.id, &second.id).await.unwrap());
    store
        .create_endpoint(&endpoint(&app.id, Some("b")), &secret())
        .await
        .unwrap();
    let homeless = endpoint(&support::app(None).id, None);
    let refused = store.create_endpoint(&homeless, &secret()).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound("app")));
    assert_eq!(store.endpoint(&app.id, "a").await.unwrap().unwrap().id, first.id);
}

#[tokio::test]
async fn of_several_that_disable_an_endpoint_one_is_told_that_it_did() {
    let store = support::store().await;
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let tries = (0..5).map(|_| store.disable_endpoint(&app.id, &endpoint.id, DisabledReason::Gone, NOW));
    let told = futures_util::future::join_all(tries).await;
    assert_eq!(told.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 1);
    let kept = store
        .endpoint(&app.id, endpoint.id.as_str())
        .await
        .unwrap()
        .unwrap();
    let reason = DisabledReason::Gone;
    assert_eq!(kept.state, EndpointState::Disabled { since: NOW, reason });
    let enabled = store
        .set_endpoint_state(&app.id, &endpoint.id, EndpointState::Active, NOW)
        .await
        .unwrap();
    assert_eq!(enabled.state, EndpointState::Active);
}

#[tokio::test]
async fn a_rotated_secret_goes_on_for_its_overlap_and_nothing_readable_is_kept() {
    let redis = support::Redis::start().await;
    let config = support::config(&redis.url());
    let key = |app: &str| format!("{}:{{{app}}}:secrets", config.namespace);
    let store = Store::connect(config.clone()).unwrap();
    let app = kept_app(&store).await;
    let endpoint = endpoint(&app.id, None);
    store
        .create_endpoint(&endpoint, &SecretString::from("whsec_canary1"))
        .await
        .unwrap();
    let until = UnixMillis(NOW.0 + 1_000);
    let new = SecretString::from("whsec_canary2");
    store
        .rotate_secret(&app.id, &endpoint.id, &new, until, NOW)
        .await
        .unwrap();
    let secrets = store.secrets(&app.id, &endpoint.id).await.unwrap();
    let valid = |now| {
        secrets
            .valid_at(UnixMillis(now))
            .map(|s| s.expose_secret().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(valid(NOW.0), ["whsec_canary2", "whsec_canary1"]);
    assert_eq!(valid(until.0), ["whsec_canary2"]);
    let raw = redis.command(&["HGETALL", &key(app.id.as_str())]).await;
    assert!(!format!("{raw:?}").contains("canary"));

    let rotated = Store::connect(nuncio_store::StoreConfig {
        main_secrets: vec![
            SecretString::from("another main secret, which is long enough"),
            config.main_secrets[0].clone(),
        ],
        ..config.clone()
    })
    .unwrap();
    assert!(rotated.rewrap_secrets(&app.id, &endpoint.id).await.unwrap());
    assert!(!rotated.rewrap_secrets(&app.id, &endpoint.id).await.unwrap());
    assert!(matches!(
        store.secrets(&app.id, &endpoint.id).await,
        Err(StoreError::Sealed(_))
    ));
    let secrets = rotated.secrets(&app.id, &endpoint.id).await.unwrap();
    assert_eq!(secrets.current.expose_secret(), "whsec_canary2");
}

#[tokio::test]
async fn fields_of_a_newer_version_survive_a_change_by_this_one() {
    let redis = support::Redis::start().await;
    let config = support::config(&redis.url());
    let store = Store::connect(config.clone()).unwrap();
    let app = kept_app(&store).await;
    let endpoint = kept_endpoint(&store, &app.id).await;
    let key = format!("{}:{{{}}}:endpoints", config.namespace, app.id);
    let newer =
        r#"{"v":9,"url":"https://a/","state":"hibernating","createdAt":1,"updatedAt":1,"colour":{"r":1}}"#;
    redis.command(&["HSET", &key, endpoint.id.as_str(), newer]).await;
    let read = store
        .endpoint(&app.id, endpoint.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert!(
        read.is_paused(),
        "a state that is not known keeps messages and sends none"
    );
    store
        .update_endpoint::<StoreError>(&app.id, &endpoint.id, |endpoint| {
            endpoint.description = "changed".into();
            Ok(())
        })
        .await
        .unwrap();
    let kept: String =
        redis::from_redis_value(redis.command(&["HGET", &key, endpoint.id.as_str()]).await).unwrap();
    for part in [
        r#""v":9"#,
        r#""state":"hibernating""#,
        r#""colour":{"r":1}"#,
        r#""description":"changed""#,
    ] {
        assert!(kept.contains(part), "{kept}");
    }
}

#[tokio::test]
async fn the_first_event_types_are_there_once_and_what_is_deleted_stays_so() {
    let store = support::store().await;
    store.seed_event_types(NOW).await.unwrap();
    let names = |types: Vec<EventType>| {
        types
            .into_iter()
            .map(|t| t.name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(store.event_types().await.unwrap()),
        ["sync.organization", "sync.user"]
    );
    let user = "sync.user".parse().unwrap();
    assert!(store.delete_event_type(&user).await.unwrap());
    store.seed_event_types(NOW).await.unwrap();
    assert_eq!(names(store.event_types().await.unwrap()), ["sync.organization"]);

    let organization = "sync.organization".parse().unwrap();
    let before = store.event_type(&organization).await.unwrap().unwrap();
    assert!(before.schemas.as_ref().unwrap()["1"]["properties"]["organizationId"].is_object());
    let taken = store
        .create_event_type(&EventType {
            description: "x".into(),
            ..before.clone()
        })
        .await;
    assert!(matches!(taken, Err(StoreError::Conflict { .. })));
    store
        .update_event_type::<StoreError>(&organization, |event_type| {
            event_type.archived = true;
            Ok(())
        })
        .await
        .unwrap();
    let shown = store
        .list_event_types(false, &PageRequest::oldest(10))
        .await
        .unwrap();
    assert_eq!(shown.items.len(), 0);
    let all = store
        .list_event_types(true, &PageRequest::oldest(10))
        .await
        .unwrap();
    assert_eq!(names(all.items), ["sync.organization"]);
}

#[tokio::test]
async fn members_live_by_the_servers_clock_until_they_are_silent_or_leave() {
    let store = support::store().await;
    let long = Duration::from_secs(60);
    store.heartbeat(Role::Sender, "a", NOW, long).await.unwrap();
    let mut names = store
        .heartbeat(Role::Sender, "b", UnixMillis(0), long)
        .await
        .unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"], "clocks that differ make nobody look dead");
    assert!(store.members(Role::Router, long).await.unwrap().is_empty());
    store.leave(Role::Sender, "a").await.unwrap();
    assert_eq!(store.members(Role::Sender, long).await.unwrap(), ["b"]);
    support::eventually("a silent member is forgotten", || async {
        store
            .members(Role::Sender, Duration::from_millis(30))
            .await
            .unwrap()
            .is_empty()
    })
    .await;
}

//! Images of apps: how they stand to what is kept, and putting them back.

use nuncio_store::{PutBack, Restored, Stands, Store, StoreError};
use nuncio_wire::journal::{AppImage, Configuration};

use crate::support::{self, NOW, app, endpoint, secret};

/// An app with a uid and two endpoints, one of which has one too; and its image.
async fn kept(store: &Store) -> AppImage {
    let app = app(Some("acme"));
    store.create_app(&app).await.unwrap();
    for uid in [Some("first"), None] {
        let one = endpoint(&app.id, uid);
        store.create_endpoint(&one, &secret()).await.unwrap();
    }
    image(store, &app.id).await
}

async fn image(store: &Store, app: &nuncio_domain::AppId) -> AppImage {
    let images = store.app_images(std::slice::from_ref(app)).await.unwrap();
    images.into_iter().next().unwrap().unwrap()
}

async fn put_back(store: &Store, image: &AppImage, how: PutBack) {
    let configuration = Configuration {
        apps: vec![image.clone()],
        ..Configuration::default()
    };
    let put = store.put_back(&configuration, how, |_| {}).await.unwrap();
    assert_eq!(put, Restored::Here);
}

async fn stands(store: &Store, image: &AppImage) -> (Stands, Vec<Stands>) {
    let compared = store.compare_apps(std::slice::from_ref(image)).await.unwrap();
    let one = compared.into_iter().next().unwrap();
    (one.app, one.endpoints)
}

const DIFFERS: Stands = Stands::Differs { newer: false };

#[tokio::test]
async fn an_image_put_into_an_empty_store_is_the_same_there_whoever_sealed_it() {
    let before = support::store().await;
    let mut image = kept(&before).await;
    let after = support::store().await;
    assert_eq!(
        stands(&after, &image).await,
        (Stands::Missing, vec![Stands::Missing, Stands::Missing])
    );
    put_back(&after, &image, PutBack::Merge).await;
    let app = image.id.parse().unwrap();
    for one in &mut image.endpoints {
        let id = one.id.parse().unwrap();
        let secrets = after.open_secrets(&app, &id, &one.sealed).unwrap();
        one.sealed = after.seal_secrets(&app, &id, &secrets);
    }
    assert_eq!(
        stands(&after, &image).await,
        (Stands::Same, vec![Stands::Same, Stands::Same])
    );
    assert_eq!(after.app("acme").await.unwrap().unwrap().id, app);
    assert!(after.endpoint(&app, "first").await.unwrap().is_some());
}

#[tokio::test]
async fn merging_adds_and_overwriting_takes_back_uids_too() {
    let store = support::store().await;
    let told = kept(&store).await;
    let app: nuncio_domain::AppId = told.id.parse().unwrap();
    let [first, second] = [0, 1].map(|at| {
        told.endpoints[at]
            .id
            .parse::<nuncio_domain::EndpointId>()
            .unwrap()
    });
    let (named, plain) = if told.endpoints[0].uid.is_some() {
        (first, second)
    } else {
        (second, first)
    };
    store.delete_endpoint(&app, &plain).await.unwrap();
    store
        .update_app::<StoreError>(&app, |app| {
            app.uid = Some("renamed".parse().unwrap());
            Ok(())
        })
        .await
        .unwrap();
    store
        .update_endpoint::<StoreError>(&app, &named, |endpoint| {
            endpoint.uid = Some("other".parse().unwrap());
            Ok(())
        })
        .await
        .unwrap();
    let (app_stands, mut endpoints) = stands(&store, &told).await;
    endpoints.sort_by_key(|stands| *stands == DIFFERS);
    assert_eq!((app_stands, endpoints), (DIFFERS, vec![Stands::Missing, DIFFERS]));

    put_back(&store, &told, PutBack::Missing).await;
    assert!(store.endpoint(&app, plain.as_str()).await.unwrap().is_none());
    put_back(&store, &told, PutBack::Merge).await;
    assert!(store.endpoint(&app, plain.as_str()).await.unwrap().is_some());
    assert!(store.endpoint(&app, "first").await.unwrap().is_none());
    assert!(store.app("acme").await.unwrap().is_none());

    put_back(&store, &told, PutBack::Overwrite).await;
    assert_eq!(
        stands(&store, &told).await,
        (Stands::Same, vec![Stands::Same, Stands::Same])
    );
    for gone in ["renamed", "other"] {
        assert!(store.app(gone).await.unwrap().is_none());
        assert!(
            store.endpoint(&app, gone).await.unwrap().is_none(),
            "{gone} is free again"
        );
    }
    assert_eq!(store.app("acme").await.unwrap().unwrap().id, app);
    assert!(
        image(&store, &app).await.version > told.version,
        "every process sees that it changed"
    );
}

#[tokio::test]
async fn a_uid_that_something_else_has_is_told_and_stays_there() {
    let before = support::store().await;
    let told = kept(&before).await;
    let store = support::store().await;
    let other = app(Some("acme"));
    store.create_app(&other).await.unwrap();
    let (app_stands, _) = stands(&store, &told).await;
    let by = other.id.as_str().to_owned();
    assert_eq!(app_stands, Stands::Taken { by });
}

#[tokio::test]
async fn an_event_type_of_the_start_gives_way_and_one_that_was_changed_does_not() {
    let store = support::store().await;
    store.seed_event_types(NOW).await.unwrap();
    let mut told = store.event_type_images().await.unwrap();
    for record in told.values_mut() {
        *record = record.replace("\"description\":\"", "\"description\":\"Told: ");
    }
    let name = "sync.organization".parse().unwrap();
    store
        .update_event_type::<StoreError>(&name, |event_type| {
            event_type.deprecated = true;
            Ok(())
        })
        .await
        .unwrap();
    let compared = store.compare_event_types(&told).await.unwrap();
    let stands: Vec<_> = compared
        .iter()
        .map(|(name, found)| (name.as_str(), &found.stands))
        .collect();
    assert_eq!(
        stands,
        [("sync.organization", &DIFFERS), ("sync.user", &Stands::Missing)]
    );
    let (name, found) = &compared[1];
    let typed = name.parse().unwrap();
    assert!(
        store
            .put_back_event_type(&typed, &told[name], found)
            .await
            .unwrap()
    );
    assert!(
        !store.put_back_event_type(&typed, "{}", found).await.unwrap(),
        "it is another one now"
    );
    let kept = store.event_type(&typed).await.unwrap().unwrap();
    assert!(kept.description.starts_with("Told: "));
}

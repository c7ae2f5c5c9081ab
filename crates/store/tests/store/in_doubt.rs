//! What is being made or deleted, noted until it is done.

use nuncio_domain::{AppId, EndpointId, UnixMillis};
use nuncio_store::InDoubt;

use crate::support::store;

#[tokio::test]
async fn what_is_in_doubt_is_there_until_it_is_struck_off() {
    let store = store().await;
    let (app, other) = (AppId::parse("app_1").unwrap(), AppId::parse("app_2").unwrap());
    let endpoint = InDoubt::endpoint(&app, &EndpointId::parse("ep_1").unwrap());
    let (app, other) = (InDoubt::app(&app), InDoubt::app(&other));
    let both = [app.clone(), endpoint.clone()];
    store.note_in_doubt(&both, UnixMillis(10)).await.unwrap();
    store
        .note_in_doubt(std::slice::from_ref(&other), UnixMillis(20))
        .await
        .unwrap();
    assert!(store.in_doubt_since(UnixMillis(10)).await.unwrap().is_empty());
    let found = store.in_doubt_since(UnixMillis(20)).await.unwrap();
    assert!(
        found.len() == 2 && both.iter().all(|doubt| found.contains(doubt)),
        "{found:?}"
    );

    // Noted once more, it is as young as that.
    store.note_in_doubt(&[app], UnixMillis(30)).await.unwrap();
    let left = store.in_doubt_since(UnixMillis(20)).await.unwrap();
    assert!(left.len() == 1 && left.contains(&endpoint), "{left:?}");
    store.strike_off_doubts(&[endpoint]).await.unwrap();
    assert_eq!(store.in_doubt_since(UnixMillis(30)).await.unwrap(), [other]);
}

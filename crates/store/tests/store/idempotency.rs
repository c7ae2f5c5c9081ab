//! Requests with keys of their own: one works on each at a time, and all get one answer.

use nuncio_store::{Begun, RequestOnce, Store, StoredResponse};

use crate::support;

fn request<'a>(caller: &'a str, body: &'a str, worker: &'a str) -> RequestOnce<'a> {
    RequestOnce {
        caller,
        key: "key",
        name: "POST /a",
        body: body.as_bytes(),
        worker,
    }
}

/// Begins with a draft that names the worker.
async fn begin(store: &Store, request: RequestOnce<'_>) -> Begun {
    store.begin_request(request, request.worker).await.unwrap()
}

fn answer() -> StoredResponse {
    StoredResponse {
        status: 202,
        body: "{}".into(),
    }
}

#[tokio::test]
async fn an_idempotency_key_gives_the_same_answer_to_the_same_request_alone() {
    let store = support::store().await;
    let one = request("token a", "body", "1");
    assert_eq!(begin(&store, one).await, Begun::New);
    assert_eq!(
        begin(&store, request("token a", "body", "2")).await,
        Begun::UnderWay
    );
    assert_eq!(
        begin(&store, one).await,
        Begun::New,
        "the answer to the call was lost"
    );
    let other = request("token b", "body", "1");
    assert_eq!(
        begin(&store, other).await,
        Begun::New,
        "keys of others are others"
    );
    store.finish_request(one, &answer()).await.unwrap();
    for body in ["body", ""] {
        let again = request("token a", body, "3");
        assert_eq!(begin(&store, again).await, Begun::Answered(answer()), "{body:?}");
    }
    let elsewhere = RequestOnce {
        name: "POST /b",
        ..request("token a", "", "4")
    };
    assert_eq!(begin(&store, elsewhere).await, Begun::Mismatch);
    assert_eq!(
        begin(&store, request("token a", "other", "5")).await,
        Begun::Mismatch
    );
    store.forget_request(other).await.unwrap();
    assert_eq!(begin(&store, request("token b", "other", "6")).await, Begun::New);
}

#[tokio::test]
async fn who_takes_a_request_over_gets_its_first_draft_and_who_lost_it_can_do_no_harm() {
    let store = support::store().await;
    let (one, two, three) = (
        request("token", "body", "1"),
        request("token", "", "2"),
        request("token", "body", "3"),
    );
    assert_eq!(begin(&store, one).await, Begun::New);
    assert!(store.renew_request(one).await.unwrap());
    assert!(!store.renew_request(two).await.unwrap(), "it is another's");
    store.release_request(one).await.unwrap();
    assert_eq!(
        begin(&store, two).await,
        Begun::Again("1".into()),
        "also without its body"
    );
    assert_eq!(begin(&store, three).await, Begun::UnderWay);
    store.forget_request(one).await.unwrap();
    store.release_request(one).await.unwrap();
    assert_eq!(
        begin(&store, three).await,
        Begun::UnderWay,
        "the first holds it no more"
    );
    store.finish_request(two, &answer()).await.unwrap();
    assert_eq!(begin(&store, three).await, Begun::Answered(answer()));
}

#[tokio::test]
async fn a_request_whose_worker_is_gone_is_free_when_its_lease_has_run_out() {
    let store = support::store().await;
    let gone = request("token", "body", "1");
    assert_eq!(begin(&store, gone).await, Begun::New);
    support::eventually("the lease runs out", || async {
        begin(&store, request("token", "body", "2")).await == Begun::Again("1".into())
    })
    .await;
    assert!(!store.renew_request(gone).await.unwrap());
}

//! More requests than the API can answer: the rest is refused at once with a time to come again, what was accepted holds,
//! and the process is none the worse for it.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Deployment, LONG, eventually};
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use serde_json::json;

/// Requests at once, many times what is worked on or may wait.
const AT_ONCE: usize = 600;
const MEMORY_MOST: u64 = 256 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_the_apis_capacity_is_shed_and_what_was_accepted_holds() {
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_API_CONCURRENCY", "4");
    let (nuncio, _router) = tokio::try_join!(deployment.start("api"), deployment.start("router")).unwrap();
    let api = nuncio.client().await.unwrap();
    let app = api.create_app("Busy").await.unwrap();
    let path = format!("/api/v1/app/{app}/msg");
    let replies: Vec<_> = stream::iter(0..2 * AT_ONCE)
        .map(|n| {
            let (api, path) = (&api, &path);
            let body = json!({ "eventType": "a", "payload": { "n": n, "filler": "x".repeat(4_096) } });
            async move { api.call(Method::POST, path, Some(&body)).await.unwrap() }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let mut statuses = BTreeMap::<u16, usize>::new();
    let mut accepted = BTreeSet::new();
    for reply in &replies {
        *statuses.entry(reply.status.as_u16()).or_default() += 1;
        match reply.status {
            StatusCode::ACCEPTED => {
                accepted.insert(reply.body["id"].as_str().unwrap().to_owned());
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let after: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
                assert!(after >= 1, "{}", reply.body);
                assert_eq!(reply.body["code"], "overloaded");
            }
            other => panic!("{other}: {}", reply.body),
        }
    }
    assert!(statuses[&503] > 0 && statuses[&202] > 0, "{statuses:?}");
    let resident = nuncio.resident_bytes().unwrap();
    assert!(resident < MEMORY_MOST, "{resident} bytes");

    // Afterwards it is as before, and nothing that was accepted is missing, nor is anything there that was refused.
    accepted.insert(api.create_message(&app, "a", &json!({})).await.unwrap());
    assert!(nuncio.is_ready().await);
    let listed = eventually("every accepted message is listed", LONG, || async {
        let listed = api.list(&path).await.unwrap();
        (listed.len() >= accepted.len()).then_some(listed)
    })
    .await;
    let listed: BTreeSet<_> = listed
        .iter()
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, accepted);
}

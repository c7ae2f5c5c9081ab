//! The record: what the API tells of messages and their attempts, as it stands in Redis.

use e2e::{Answer, Event, LONG, SHORT, eventually};
use serde_json::Value;

use crate::delivery_stage::{Stage, user};

/// `status` of an attempt or a delivery, as in Svix.
const SUCCESS: u64 = 0;
const FAIL: u64 = 2;

fn field(attempts: &[Value], name: &str) -> Vec<Value> {
    attempts.iter().map(|attempt| attempt[name].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_can_be_read_back_by_endpoint_and_by_message() {
    let stage = Stage::set(&[]).await;
    stage.receiver.answer(
        "/a",
        [
            Answer::status(503).body("come back later"),
            Answer::status(201).body("thanks"),
        ],
    );
    let endpoint = stage.endpoint("/a").await;
    let other = stage.endpoint("/b").await;
    stage.publish_user(1).await;
    let message = stage.receiver.wait_for("/a", 2, LONG).await[0].id().to_owned();

    let attempts = eventually("both attempts are recorded", SHORT, || async {
        let attempts = stage
            .api
            .attempts_by_endpoint(&stage.app, &endpoint)
            .await
            .unwrap();
        (attempts.len() == 2).then_some(attempts)
    });
    // Newest first.
    let attempts = attempts.await;
    assert_eq!(field(&attempts, "status"), [SUCCESS, FAIL]);
    assert_eq!(field(&attempts, "responseStatusCode"), [201, 503]);
    assert_eq!(field(&attempts, "response"), ["thanks", "come back later"]);
    assert_eq!(field(&attempts, "triggerType"), [0, 0]);
    for attempt in &attempts {
        assert_eq!(attempt["msgId"], message.as_str());
        assert_eq!(attempt["endpointId"], endpoint.as_str());
        assert_eq!(attempt["url"], stage.receiver.url("/a"));
        assert!(attempt["id"].as_str().unwrap().starts_with("atmpt_"));
        assert!(attempt["responseDurationMs"].is_u64());
    }
    let times = field(&attempts, "timestamp");
    assert!(
        times[0].as_str() > times[1].as_str(),
        "the second attempt was later: {times:?}"
    );

    let of_message = eventually("the other endpoint's attempt is recorded", SHORT, || async {
        let attempts = stage.api.attempts_by_message(&stage.app, &message).await.unwrap();
        (attempts.len() == 3).then_some(attempts)
    });
    let of_message = of_message.await;
    let ids: Vec<_> = field(&of_message, "id");
    assert!(
        attempts.iter().all(|attempt| ids.contains(&attempt["id"])),
        "the same attempts by message: {ids:?}"
    );
    assert_eq!(
        field(&of_message, "endpointId")
            .iter()
            .filter(|id| **id == other.as_str())
            .count(),
        1
    );

    let read = stage
        .api
        .read(&format!("/api/v1/app/{}/msg/{message}", stage.app))
        .await
        .unwrap();
    assert_eq!(
        (&read["id"], &read["eventType"]),
        (&message.as_str().into(), &"sync.user".into())
    );
    assert_eq!(
        read["payload"].to_string(),
        serde_json::from_str::<Value>(&user(1)).unwrap().to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_many_messages_come_in_pages_without_gaps_or_repeats() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    let events = (0..600).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    stage.receiver.wait_for("/a", 600, LONG).await;
    let attempts = eventually("all attempts are recorded", SHORT, || async {
        let attempts = stage
            .api
            .attempts_by_endpoint(&stage.app, &endpoint)
            .await
            .unwrap();
        (attempts.len() >= 600).then_some(attempts)
    });
    let attempts = attempts.await;
    let mut messages: Vec<_> = field(&attempts, "msgId").iter().map(Value::to_string).collect();
    messages.sort_unstable();
    messages.dedup();
    assert_eq!((attempts.len(), messages.len()), (600, 600));
}

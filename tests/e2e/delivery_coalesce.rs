//! Coalescing: of events about the same thing that wait for an endpoint, the last one is sent.

use e2e::{Answer, Event, LONG, Received, SHORT, eventually};
use http::Method;
use serde_json::json;

use crate::delivery_stage::Stage;

async fn stage(settings: &[(&str, &str)]) -> Stage {
    let coalesced = ("NUNCIO_COALESCE", "sync.user=userId");
    Stage::set(&[&[coalesced], settings].concat()).await
}

/// An event about a user, told apart from others about the same one by its number.
async fn publish(stage: &Stage, user: &str, number: usize) {
    let body = json!({ "type": "sync.user", "userId": user, "number": number });
    let event = Event::new(&stage.app, "sync.user", body.to_string()).id(&format!("{user}-{number}"));
    stage
        .publisher
        .publish(&event)
        .await
        .expect("the broker confirms");
}

fn told(request: &Received) -> (String, u64) {
    let body = request.json();
    let user = body["userId"].as_str().expect("a user").to_owned();
    (user, body["number"].as_u64().expect("a number"))
}

async fn post(stage: &Stage, path: &str) {
    let answer = stage.api.call(Method::POST, path, None).await.expect("an answer");
    answer.success().expect("success");
}

/// How the deliveries of messages to the one endpoint stand, as numbers; nothing before they are routed.
async fn statuses(stage: &Stage, names: &[String]) -> Option<Vec<u64>> {
    let mut found = Vec::new();
    for name in names {
        let path = format!("/api/v1/app/{}/msg/{name}/endpoint", stage.app);
        let destinations = stage.api.read(&path).await.ok()?;
        found.push(destinations["data"][0]["status"].as_u64()?);
    }
    Some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_each_user_is_told_once_and_of_the_last_event() {
    let stage = stage(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    let path = format!("/api/v1/app/{}/endpoint/{endpoint}", stage.app);
    post(&stage, &format!("{path}/pause")).await;
    for number in 0..4 {
        publish(&stage, "user_1", number).await;
        publish(&stage, "user_2", number).await;
    }
    // Of another type, about the same user: not coalesced with them.
    let other = Event::new(&stage.app, "other.user", r#"{"userId":"user_1","number":9}"#);
    stage
        .publisher
        .publish(&other)
        .await
        .expect("the broker confirms");
    // What is waited for is that they wait: an event that is sent at once stands for itself.
    eventually("all to have waited", LONG, || async {
        let backlog = stage.api.read(&format!("{path}/backlog")).await.ok()?;
        let oldest = backlog["oldestAgeSeconds"].as_f64()?;
        (backlog["depth"] == 9 && backlog["consumed"] == false && oldest > 3.0).then_some(())
    })
    .await;
    post(&stage, &format!("{path}/resume")).await;
    stage.receiver.wait_for("/a", 3, LONG).await;
    eventually("the lane to drain", LONG, || async {
        let backlog = stage.api.read(&format!("{path}/backlog")).await.ok()?;
        (backlog["depth"] == 0).then_some(())
    })
    .await;
    let mut all: Vec<_> = stage.receiver.requests("/a").iter().map(told).collect();
    all.sort();
    let user = |name: &str, number| (name.to_owned(), number);
    assert_eq!(all, [user("user_1", 3), user("user_1", 9), user("user_2", 3)]);
    let metrics = stage.nuncio.metrics().await.expect("metrics");
    assert!(metrics.contains("nuncio_sender_superseded_total 6"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_the_last_event_of_a_user_is_sent_and_the_others_are_recorded_as_superseded() {
    let stage = stage(&[
        ("NUNCIO_RETRY_ATTEMPTS", "40"),
        ("NUNCIO_RETRY_FACTOR", "2"),
        ("NUNCIO_RETRY_CEILING", "1600ms"),
    ])
    .await;
    stage.endpoint("/a").await;
    stage.receiver.answer("/a", [Answer::status(500)]);
    publish(&stage, "user_1", 0).await;
    stage.receiver.wait_for("/a", 1, SHORT).await;
    for number in 1..5 {
        publish(&stage, "user_1", number).await;
    }
    let names: Vec<String> = (0..5).map(|number| format!("user_1-{number}")).collect();
    // Each of the others comes up on the ladder, finds the last and is left out: 2 is failed for good.
    eventually("the others to be superseded", LONG, || async {
        let statuses = statuses(&stage, &names[..4]).await?;
        statuses.iter().all(|status| *status == 2).then_some(())
    })
    .await;
    let failed = stage.receiver.count("/a");
    stage.receiver.answer("/a", [Answer::ok()]);
    eventually("the last to arrive", LONG, || async {
        (statuses(&stage, &names[4..]).await? == [0]).then_some(())
    })
    .await;
    let told: Vec<_> = stage.receiver.requests("/a")[failed..].iter().map(told).collect();
    assert!(told.iter().all(|(_, number)| *number == 4), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_keeps_up_is_told_of_every_event() {
    let stage = stage(&[]).await;
    stage.endpoint("/a").await;
    for number in 0..3 {
        publish(&stage, "user_1", number).await;
        stage.receiver.wait_for("/a", number + 1, LONG).await;
    }
    let numbers: Vec<_> = stage.receiver.requests("/a").iter().map(told).collect();
    assert_eq!(
        numbers.iter().map(|(_, number)| *number).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

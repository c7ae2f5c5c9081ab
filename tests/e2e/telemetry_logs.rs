//! Logs that outsiders would like to write: whatever is in ids, URLs, routing keys and answers, a line is a line.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::{Answer, Event, LONG, eventually};
use http::Method;
use lapin::types::{AMQPValue, LongString};
use serde_json::{Value, json};

use crate::delivery_stage::{Stage, user};

/// What would be a line of its own, and would clear a terminal.
const FORGED: &str = "x\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}\n\u{1b}[2J\u{1b}[31m";

/// Brings the text to every place from which something may be logged.
async fn forge(stage: &Stage) {
    stage.receiver.answer(
        "/a",
        [Answer::status(500).body(FORGED), Answer::ok().body(FORGED)],
    );
    stage.endpoint("/a").await;
    stage.publish_user(1).await;
    stage.receiver.wait_for("/a", 2, LONG).await;

    let mut by_key = Event::new(&stage.app, "sync.user", user(2));
    by_key.routing_key = format!("{}.{FORGED}", stage.app);
    let mut by_app = Event::new(&stage.app, "sync.user", user(3));
    by_app.routing_key = format!("{FORGED}.sync.user");
    let by_id = Event::new(&stage.app, "sync.user", user(4)).id(FORGED);
    let text = AMQPValue::LongString(LongString::from(FORGED));
    let by_header = Event::new(&stage.app, "sync.user", user(5)).header("nuncio-channels", text);
    let broken = Event::new(&stage.app, "sync.user", FORGED);
    let events = [by_key, by_app, by_id, by_header, broken];
    let count = events.len() as u32;
    stage.publisher.publish_all(events).await.unwrap();
    eventually("all are set aside", LONG, || async {
        (stage.publisher.depth("set-aside").await.ok()? == count).then_some(())
    })
    .await;

    let endpoint = json!({ "url": format!("http://127.0.0.1/{FORGED}"), "description": FORGED });
    let path = format!("/api/v1/app/{}/endpoint", stage.app);
    let refused = stage
        .api
        .call(Method::POST, &path, Some(&endpoint))
        .await
        .unwrap();
    assert_eq!(refused.status, 422, "{}", refused.body);
    let missing = format!("/api/v1/app/a%0d%0a%1b%5b2Jb/endpoint/{}", "%0aforged");
    let refused = stage.api.call(Method::GET, &missing, None).await.unwrap();
    assert!(refused.status.is_client_error(), "{}", refused.body);
}

/// What is printable, and the end of the line.
fn assert_harmless(line: &str) {
    assert!(
        !line.chars().any(|c| c.is_control() && c != '\t'),
        "a control character in {line:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_log_for_machines_is_one_that_nuncio_wrote() {
    let stage = Stage::set(&[("NUNCIO_LOG", "debug")]).await;
    forge(&stage).await;
    let log = stage.nuncio.log().unwrap();
    let mut asides = 0;
    for line in log.lines() {
        assert_harmless(line);
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line:?}"));
        assert_ne!(entry["message"], "forged");
        asides += usize::from(entry["message"] == "an event was set aside");
    }
    assert_eq!(asides, 5, "what was tried is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_log_for_people_is_one_that_nuncio_wrote() {
    let stage = Stage::set(&[("NUNCIO_LOG", "debug"), ("NUNCIO_LOG_FORMAT", "pretty")]).await;
    forge(&stage).await;
    let log = stage.nuncio.log().unwrap();
    assert!(log.contains("an event was set aside"));
    for line in log.lines() {
        assert_harmless(line);
        assert!(!line.starts_with("{\"level\""), "a forged line: {line:?}");
    }
}

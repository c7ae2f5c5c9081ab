//! `nuncio set-aside`: what was set aside can be looked at, published again and forgotten, and nothing is lost by it.

use e2e::{Event, LONG, eventually};
use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::delivery_stage::{Stage, user};

/// Runs `nuncio set-aside …` with JSON output; its exit code and what it printed.
async fn run(stage: &Stage, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let arguments = [&["set-aside"], arguments, &["--json"]].concat();
    let output = stage.deployment.run(&arguments).await.expect("it runs");
    let text = String::from_utf8(output.stdout).expect("output is text");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"));
    (output.status.code(), lines.collect())
}

/// Lists until as many are set aside.
async fn listed(stage: &Stage, many: usize) -> Vec<Value> {
    let list = || async {
        let (_, events) = run(stage, &["list"]).await;
        (events.len() == many).then_some(events)
    };
    eventually("as many events are set aside", LONG, list).await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_shown_replayed_and_purged() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let (code, events) = run(&stage, &["list"]).await;
    assert_eq!((code, events.len()), (Some(0), 0));

    for n in 1..=3 {
        let stray = Event::new("later", "sync.user", user(n));
        stage.publisher.publish(&stray).await.unwrap();
    }
    let broken = Event::new(&stage.app, "sync.user", "{");
    stage.publisher.publish(&broken).await.unwrap();
    let events = listed(&stage, 4).await;
    let name = |n: usize| events[n]["name"].as_str().unwrap().to_owned();
    let unknown: Vec<_> = events
        .iter()
        .filter(|event| event["reason"] == "unknown_app")
        .collect();
    assert_eq!(unknown.len(), 3, "{events:?}");

    let (code, shown) = run(&stage, &["show", &name(0)]).await;
    assert_eq!((code, shown.len()), (Some(0), 1));
    assert_eq!(shown[0]["routingKey"], "later.sync.user");
    assert_eq!(shown[0]["body"], user(1));
    assert_eq!(listed(&stage, 4).await, events, "looking takes nothing away");

    // The app is still unknown: the events come back, and the walk ends all the same.
    let (_, told) = run(&stage, &["replay", "--reason", "unknown_app"]).await;
    assert!(told[0]["done"].as_u64().unwrap() >= 3, "{told:?}");
    listed(&stage, 4).await;

    let body = serde_json::json!({"name": "Late", "uid": "later"});
    let created = stage
        .api
        .call(http::Method::POST, "/api/v1/app", Some(&body))
        .await
        .unwrap();
    assert!(created.status.is_success(), "{}", created.body);
    let app = created.body["id"].as_str().unwrap();
    stage
        .api
        .create_endpoint(app, &stage.receiver.url("/late"))
        .await
        .unwrap();
    let one = listed(&stage, 4)
        .await
        .into_iter()
        .find(|event| event["reason"] == "unknown_app")
        .unwrap();
    let (code, told) = run(&stage, &["replay", one["name"].as_str().unwrap()]).await;
    assert_eq!((code, &told[0]["done"]), (Some(0), &Value::from(1)), "{told:?}");
    let (code, told) = run(&stage, &["replay", "--reason", "unknown_app"]).await;
    assert_eq!((code, &told[0]["done"]), (Some(0), &Value::from(2)), "{told:?}");
    let mut bodies: Vec<_> = stage
        .receiver
        .wait_for("/late", 3, LONG)
        .await
        .iter()
        .map(|r| r.text().to_owned())
        .collect();
    bodies.sort();
    assert_eq!(bodies, [user(1), user(2), user(3)]);

    let left = listed(&stage, 1).await;
    assert_eq!(left[0]["reason"], "invalid_json");
    let (code, _) = run(&stage, &["purge", "--all"]).await;
    assert_eq!(code, Some(1), "without a terminal to ask on, nothing is purged");
    assert_eq!(listed(&stage, 1).await, left);
    let (code, told) = run(&stage, &["purge", "--reason", "too_large", "--yes"]).await;
    assert_eq!((code, &told[0]["done"]), (Some(0), &Value::from(0)));
    let (code, told) = run(&stage, &["purge", "--all", "--yes"]).await;
    assert_eq!((code, &told[0]["done"]), (Some(0), &Value::from(1)));
    listed(&stage, 0).await;
    let (code, _) = run(&stage, &["show", &name(0)]).await;
    assert_eq!(code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_through_when_the_command_is_killed_returns_to_its_queue() {
    let stage = Stage::set(&[]).await;
    for n in 0..300 {
        let stray = Event::new("nobody", "sync.user", user(n));
        stage.publisher.publish(&stray).await.unwrap();
    }
    listed_at_least(&stage, 250).await;
    let mut command = stage.deployment.command();
    command
        .args(["set-aside", "replay", "--all"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    // Killed wherever it is: connecting, walking or done. Each event is set aside still, or published and set aside anew.
    let deadline = Instant::now() + LONG;
    while child.try_wait().unwrap().is_none() && stage.publisher.depth("set-aside").await.unwrap() >= 300 {
        assert!(Instant::now() < deadline, "it takes no events");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let seen = || async {
        let (_, events) = run(&stage, &["list", "--limit", "2000"]).await;
        (events.len() >= 300).then_some(())
    };
    eventually("every event is set aside", LONG, seen).await;
}

async fn listed_at_least(stage: &Stage, many: usize) {
    let list = || async {
        let (_, events) = run(stage, &["list"]).await;
        (events.len() >= many).then_some(())
    };
    eventually("so many events are set aside", LONG, list).await;
}

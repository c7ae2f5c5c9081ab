//! One trace from the publisher to every attempt, told to a collector and to the log, and never in the way.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::collector::{Collector, Exported};
use e2e::{Answer, Event, LONG, Received, eventually};
use lapin::types::{AMQPValue, LongString};
use serde_json::{Value, json};

use crate::delivery_stage::{Stage, user};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// `Span.kind` of OTLP.
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;
/// `Status.code` of OTLP.
const FAILED: i32 = 2;

fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{CALLER}-{flags}")
}

async fn stage(collector: &Collector) -> Stage {
    Stage::set(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        (
            "NUNCIO_LOG",
            "info,nuncio_web=debug,nuncio_router=debug,nuncio_sender=debug",
        ),
    ])
    .await
}

/// An event with this `traceparent`.
fn traced(stage: &Stage, n: usize, parent: &str) -> Event {
    let parent = AMQPValue::LongString(LongString::from(parent));
    Event::new(&stage.app, "sync.user", user(n)).header("traceparent", parent)
}

/// The trace and the span that the request says it is caused by.
fn cause(request: &Received) -> (String, String) {
    let parent = request.header("traceparent");
    let parts: Vec<_> = parent.split('-').collect();
    assert!(
        matches!(parts[..], ["00", trace, span, "01" | "00"] if trace.len() == 32 && span.len() == 16),
        "{parent:?}"
    );
    (parts[1].to_owned(), parts[2].to_owned())
}

fn failed(span: &Exported) -> bool {
    span.span
        .status
        .as_ref()
        .is_some_and(|status| status.code == FAILED)
}

/// Lines of the log with this message.
fn lines(stage: &Stage, message: &str) -> Vec<Value> {
    let log = stage.nuncio.log().unwrap();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_publish_command_is_part_of_the_trace_of_whoever_runs_it() {
    let collector = Collector::start().await.unwrap();
    let stage = stage(&collector).await;
    stage.endpoint("/a").await;
    let change = ["publish", "--app", &stage.app, "user-created", "user_1"];
    let caller = parent(TRACE, "01");
    let deployment = stage.deployment.clone().with("TRACEPARENT", &caller);
    let published = deployment.run(&change).await.unwrap();
    assert!(published.status.success(), "{published:?}");
    let message = String::from_utf8(published.stdout).unwrap();

    let spans = collector.trace(TRACE, 3, LONG).await;
    let names: Vec<_> = spans.iter().map(|span| span.span.name.as_str()).collect();
    assert_eq!(names, ["publish", "route", "deliver"]);
    let parents: Vec<_> = spans.iter().map(Exported::parent).collect();
    assert_eq!(parents, [CALLER.to_owned(), spans[0].id(), spans[1].id()]);
    assert_eq!(spans[0].of_process("nuncio.role"), "publish");
    for span in &spans {
        assert_eq!(span.text("messaging.message.id"), message.trim());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_caller_to_every_attempt() {
    let collector = Collector::start().await.unwrap();
    let stage = stage(&collector).await;
    let endpoint = stage.endpoint("/a").await;
    stage.receiver.answer("/a", [Answer::status(500), Answer::ok()]);

    let path = format!("/api/v1/app/{}/msg", stage.app);
    let body = json!({ "eventType": "sync.user", "payload": { "userId": "user_1" } });
    let caller = parent(TRACE, "01");
    let headers = [
        ("traceparent", caller.as_str()),
        ("tracestate", "vendor=of-the-caller"),
    ];
    let created = stage
        .api
        .call_with(http::Method::POST, &path, Some(&body), &headers)
        .await;
    let message = created.unwrap().success().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let requests = stage.receiver.wait_for("/a", 2, LONG).await;
    let spans = collector.trace(TRACE, 4, LONG).await;

    let names: Vec<_> = spans.iter().map(|span| span.span.name.as_str()).collect();
    assert_eq!(names, ["publish", "route", "deliver", "deliver"]);
    let [publish, route, first, second] = &spans[..] else {
        panic!("more than one trace: {names:?}")
    };
    assert_eq!(publish.parent(), CALLER);
    assert_eq!(route.parent(), publish.id());
    assert_eq!([first.parent(), second.parent()], [route.id(), route.id()]);
    assert_eq!((first.links(), second.links()), (vec![], vec![first.id()]));
    let kinds: Vec<_> = spans.iter().map(|span| span.span.kind).collect();
    assert_eq!(kinds, [PRODUCER, CONSUMER, CLIENT, CLIENT]);
    for (request, attempt) in requests.iter().zip([first, second]) {
        assert_eq!(cause(request), (TRACE.to_owned(), attempt.id()));
        assert_eq!(request.header("tracestate"), "vendor=of-the-caller");
    }
    for span in &spans {
        assert_eq!(span.text("messaging.message.id"), message);
        assert_eq!(span.text("nuncio.app.id"), stage.app);
        assert_eq!(span.span.trace_state, "vendor=of-the-caller");
        assert_eq!(span.of_process("service.name"), "nuncio");
        assert_eq!(span.of_process("nuncio.role"), "all");
        assert_eq!(span.of_process("service.namespace"), stage.deployment.namespace());
        assert!(!span.of_process("service.instance.id").is_empty());
        assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano);
    }
    assert_eq!(route.number("nuncio.deliveries"), Some(1));
    let told = |span: &Exported| {
        let number = |key| span.number(key);
        (
            number("nuncio.attempt.number"),
            number("http.response.status_code"),
            number("http.request.resend_count"),
        )
    };
    assert_eq!(
        (told(first), told(second)),
        ((Some(1), Some(500), None), (Some(2), Some(200), Some(1)))
    );
    assert_eq!(
        (first.text("nuncio.outcome"), second.text("nuncio.outcome")),
        ("refused_5xx", "accepted")
    );
    assert_eq!(
        (first.text("error.type"), failed(first), failed(second)),
        ("500", true, false)
    );
    for attempt in [first, second] {
        assert_eq!(attempt.text("nuncio.endpoint.id"), endpoint);
        assert_eq!(attempt.text("server.address"), "127.0.0.1");
        assert_eq!(
            attempt.number("server.port"),
            Some(stage.receiver.address().port().into())
        );
    }
    assert_logged(&stage, &message, &endpoint);
}

/// Every line about the message has the ids by which it is found.
fn assert_logged(stage: &Stage, message: &str, endpoint: &str) {
    let attempted = lines(stage, "attempted");
    assert_eq!(attempted.len(), 2, "{attempted:?}");
    for (line, nth) in attempted.iter().zip(1..) {
        assert_eq!(line["attempt"], nth);
        assert_eq!(line["endpoint"], endpoint);
        assert_eq!(line["delivery"], format!("{message} for {endpoint}"));
    }
    for what in ["attempted", "routed", "recorded, to be published"] {
        let told = lines(stage, what);
        assert!(!told.is_empty(), "{what}");
        for line in told {
            assert_eq!(
                (&line["trace"], &line["message_id"]),
                (&json!(TRACE), &json!(message)),
                "{line}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_recorded_is_passed_on_and_what_is_no_trace_begins_one() {
    let collector = Collector::start().await.unwrap();
    let stage = stage(&collector).await;
    stage.endpoint("/a").await;
    stage.endpoint("/b").await;
    stage.receiver.answer("/a", [Answer::status(500), Answer::ok()]);

    // An export keeps the order in which spans ended: what comes last shows that nothing of the others comes.
    let unsampled = parent(TRACE, "00");
    stage
        .publisher
        .publish(&traced(&stage, 1, &unsampled))
        .await
        .unwrap();
    stage.receiver.wait_for("/b", 1, LONG).await;
    for request in stage.receiver.wait_for("/a", 2, LONG).await {
        assert_eq!(request.header("traceparent"), unsampled);
    }

    let invalid = parent(&TRACE.to_uppercase(), "01");
    stage
        .publisher
        .publish(&traced(&stage, 2, &invalid))
        .await
        .unwrap();
    let made = cause(&stage.receiver.wait_for("/a", 3, LONG).await[2]).0;
    assert_eq!(cause(&stage.receiver.wait_for("/b", 2, LONG).await[1]).0, made);
    assert_ne!(made, TRACE);
    let spans = collector.trace(&made, 3, LONG).await;
    let names: Vec<_> = spans.iter().map(|span| span.span.name.as_str()).collect();
    assert_eq!(
        (names, spans[0].parent()),
        (vec!["route", "deliver", "deliver"], String::new())
    );

    let sampled = parent(TRACE, "01");
    stage
        .publisher
        .publish(&traced(&stage, 3, &sampled))
        .await
        .unwrap();
    let spans = collector.trace(TRACE, 3, LONG).await;
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert_eq!(spans[0].parent(), CALLER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nothing_and_gets_the_rest_when_it_is_back() {
    const EVENTS: usize = 20;
    let mut collector = Collector::start().await.unwrap();
    collector.stop();
    let mut stage = stage(&collector).await;
    stage.endpoint("/a").await;
    let trace = |n: usize| format!("{n:032x}");
    for n in 1..=EVENTS {
        stage
            .publisher
            .publish(&traced(&stage, n, &parent(&trace(n), "01")))
            .await
            .unwrap();
    }
    stage.receiver.wait_for("/a", EVENTS, LONG).await;
    let complaint = "spans cannot be exported: deliveries go on, the oldest spans are dropped";
    eventually("the collector is missed", LONG, || async {
        (!lines(&stage, complaint).is_empty()).then_some(())
    })
    .await;
    // More than one try has failed by now or will have; all of them are one complaint.
    collector.answer([Answer::status(503), Answer::ok()]);
    collector.resume().await.unwrap();
    for n in 1..=EVENTS {
        collector.trace(&trace(n), 2, LONG).await;
    }
    eventually("the collector is back", LONG, || async {
        (lines(&stage, "spans are exported again").len() == 1).then_some(())
    })
    .await;
    assert_eq!(lines(&stage, complaint).len(), 1);
    let metrics = stage.nuncio.metrics().await.unwrap();
    assert!(
        metrics.contains("nuncio_traces_spans_dropped_total 0"),
        "{metrics}"
    );

    // What ended a moment before the process does is not lost.
    stage
        .publisher
        .publish(&traced(&stage, 99, &parent(&trace(99), "01")))
        .await
        .unwrap();
    stage.receiver.wait_for("/a", EVENTS + 1, LONG).await;
    assert!(stage.nuncio.terminate(LONG).await.unwrap().success());
    collector.trace(&trace(99), 2, LONG).await;
}

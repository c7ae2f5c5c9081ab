//! One endpoint's trouble is not its neighbours'.

use std::time::Duration;

use e2e::{Answer, Event, LONG, eventually};

use crate::delivery_stage::{Stage, user};

/// Enough to fill every lane of an endpoint in trouble many times over.
const EVENTS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_fail_or_hang_up_delay_nobody_else() {
    // No healthy delivery can have waited for an attempt that hangs: that takes longer than the test waits.
    let stage = Stage::set(&[
        ("NUNCIO_REQUEST_TIMEOUT", "5m"),
        ("NUNCIO_SHUTDOWN_DEADLINE", "1s"),
    ])
    .await;
    for path in ["/hangs", "/fails", "/hangs-up", "/drips"] {
        stage.endpoint(path).await;
    }
    stage.receiver.answer("/hangs", [Answer::hang()]);
    stage.receiver.answer("/fails", [Answer::status(500)]);
    stage.receiver.answer("/hangs-up", [Answer::close()]);
    stage
        .receiver
        .answer("/drips", [Answer::ok().endless(1, Duration::from_secs(1))]);
    stage.endpoint("/healthy").await;

    let events = (0..EVENTS).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    let confirmed = stage.publisher.publish_all(events).await.unwrap();
    assert_eq!(confirmed, EVENTS);
    assert!(LONG < Duration::from_secs(300));
    stage.receiver.wait_for("/healthy", EVENTS, LONG).await;
    assert!(
        stage.receiver.count("/hangs") < EVENTS,
        "who hangs is not given everything at once"
    );
    assert!(stage.receiver.count("/fails") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_come_back_are_asked_by_one_request_before_they_get_more() {
    const ENDPOINTS: usize = 20;
    const WAITING: usize = 40;
    let takes = Duration::from_millis(300);
    let mut stage = Stage::set(&[("NUNCIO_RETRY_FIRST", "1s"), ("NUNCIO_RETRY_ATTEMPTS", "30")]).await;
    for n in 0..ENDPOINTS {
        let path = format!("/{n}");
        stage.receiver.answer(&path, [Answer::ok().after(takes)]);
        stage.endpoint(&path).await;
    }
    stage.receiver.stop();
    let events = (0..WAITING).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    eventually("every breaker is open", LONG, || async {
        let open = stage.nuncio.metric("nuncio_sender_breakers_open").await.ok()??;
        (open == ENDPOINTS as f64).then_some(())
    })
    .await;
    stage.receiver.resume().await.unwrap();
    for n in 0..ENDPOINTS {
        let arrived = stage.receiver.wait_for(&format!("/{n}"), WAITING, LONG).await;
        let first = arrived[0].at;
        let while_it_was_answered = arrived
            .iter()
            .filter(|request| request.at < first + takes)
            .count();
        assert_eq!(while_it_was_answered, 1, "endpoint {n} was stampeded");
    }
}

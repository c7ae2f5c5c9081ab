//! One endpoint's trouble is not its neighbours'.

use std::time::Duration;

use e2e::{Answer, Event, LONG};

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

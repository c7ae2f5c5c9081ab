//! What is tried again: everything but a 2xx and a 410, whatever the reason, and never before it is due.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use e2e::{Answer, Deployment, Event, LONG, Receiver, SHORT, eventually};
use nuncio_runtime::Clock;
use serde_json::Value;

use crate::delivery_stage::{LADDER, QUIET, Stage, assert_retries, stays, user};

/// What Svix calls an attempt that failed.
const FAIL: u64 = 2;

/// The first attempt at an endpoint, as the API tells it, once it is there.
async fn first_attempt(stage: &Stage, endpoint: &str) -> Value {
    let oldest = || async {
        let attempts = stage
            .api
            .attempts_by_endpoint(&stage.app, endpoint)
            .await
            .expect("a list of attempts");
        attempts.last().cloned()
    };
    eventually("the first attempt is recorded", SHORT, oldest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_success_is_tried_again_until_it_is_one() {
    let stage = Stage::set(&[("NUNCIO_REQUEST_TIMEOUT", "1s")]).await;
    let elsewhere = stage.receiver.url("/elsewhere");
    let redirect = |status| Answer::status(status).header("location", &elsewhere);
    let failures = [
        ("/500", Answer::status(500), 500),
        ("/404", Answer::status(404), 404),
        ("/400", Answer::status(400).body("no"), 400),
        ("/302", redirect(302), 302),
        ("/307", redirect(307), 307),
        ("/304", Answer::status(304), 304),
        ("/closed", Answer::close(), 0),
        ("/silent", Answer::hang(), 0),
        ("/slow", Answer::ok().after(Duration::from_secs(3)), 0),
        // The time for an attempt covers the body, even if the status came at once.
        ("/trickle", Answer::ok().endless(1, Duration::from_millis(100)), 0),
    ];
    let mut endpoints = Vec::new();
    for (path, answer, _) in &failures {
        stage
            .receiver
            .answer(path, [answer.clone(), answer.clone(), Answer::status(204)]);
        endpoints.push(stage.endpoint(path).await);
    }
    stage.publish_user(1).await;
    for (path, _, _) in &failures {
        stage.receiver.wait_for(path, 3, LONG).await;
    }
    stays("a success is the end", QUIET, || {
        stage.receiver.total() == 3 * failures.len()
    })
    .await;
    assert_eq!(
        stage.receiver.count("/elsewhere"),
        0,
        "a redirect is never followed"
    );
    for ((path, _, status), endpoint) in failures.iter().zip(&endpoints) {
        assert_retries(&stage.receiver.requests(path), &LADDER);
        let attempt = first_attempt(&stage, endpoint).await;
        assert_eq!(
            (&attempt["status"], &attempt["responseStatusCode"]),
            (&FAIL.into(), &(*status).into()),
            "{path}"
        );
        if *status == 0 {
            assert_ne!(
                attempt["response"], "",
                "an attempt without a response names the reason: {attempt}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_tried_again_until_somebody_listens() {
    let stage = Stage::set(&[("NUNCIO_RETRY_ATTEMPTS", "60"), ("NUNCIO_RETRY_CEILING", "1s")]).await;
    let mut down = Receiver::start().await.unwrap();
    down.stop();
    let endpoint = stage
        .api
        .create_endpoint(&stage.app, &down.url("/a"))
        .await
        .unwrap();
    stage.publish_user(1).await;
    let attempt = first_attempt(&stage, &endpoint).await;
    assert_eq!(
        (&attempt["status"], &attempt["responseStatusCode"]),
        (&FAIL.into(), &0.into())
    );
    assert!(
        attempt["response"].as_str().unwrap().contains("refused"),
        "the reason is named: {attempt}"
    );
    down.resume().await.unwrap();
    down.wait_for("/a", 1, LONG).await;
    stays("it is delivered once", QUIET, || down.count("/a") == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_allowed_is_never_dialled_and_the_attempt_says_so() {
    // The endpoint is accepted where loopback is allowed; the sender is stricter, as if the rule had changed since.
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_RETRY_ATTEMPTS", "2");
    let strict = deployment.clone().with("NUNCIO_EGRESS_ALLOW", "127.0.0.2/32");
    let (nuncio, _router, _sender) = tokio::try_join!(
        deployment.start("api"),
        deployment.start("router"),
        strict.start("sender")
    )
    .unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let app = api.create_app("Strict").await.unwrap();
    let by_address = receiver.url("/a");
    let by_name = by_address.replace("127.0.0.1", "localhost");
    let mut endpoints = Vec::new();
    for url in [&by_address, &by_name] {
        endpoints.push(api.create_endpoint(&app, url).await.unwrap());
    }
    publisher
        .publish(&Event::new(&app, "sync.user", user(1)))
        .await
        .unwrap();
    for endpoint in endpoints {
        let attempts = eventually("the budget is spent", LONG, || async {
            let attempts = api.attempts_by_endpoint(&app, &endpoint).await.unwrap();
            (attempts.len() == 2).then_some(attempts)
        });
        for attempt in attempts.await {
            assert_eq!(
                (&attempt["status"], &attempt["responseStatusCode"]),
                (&FAIL.into(), &0.into())
            );
            let reason = attempt["response"].as_str().unwrap();
            assert!(
                reason.contains("not a public one"),
                "the reason is named: {attempt}"
            );
        }
    }
    assert_eq!(receiver.total(), 0, "nothing was dialled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_to_be_left_alone_is_left_alone() {
    let stage = Stage::set(&[]).await;
    let asked = Duration::from_secs(2);
    for status in [429, 502, 503, 504] {
        let path = format!("/{status}");
        stage.receiver.answer(
            &path,
            [Answer::status(status).header("retry-after", "2"), Answer::ok()],
        );
        stage.endpoint(&path).await;
    }
    let until_date = Arc::new(Mutex::new(Duration::ZERO));
    stage.receiver.answer_with("/date", {
        let until_date = Arc::clone(&until_date);
        move |nth, _| {
            if nth > 0 {
                return Answer::ok();
            }
            let now = u64::try_from(Clock::system().now()).expect("it is after 1970");
            let seconds = now / 1_000 + 3;
            *until_date.lock().expect("no plan panics") = Duration::from_millis(seconds * 1_000 - now);
            let date: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds);
            Answer::status(503).header("retry-after", &httpdate::fmt_http_date(date))
        }
    });
    stage.endpoint("/date").await;
    stage.publish_user(1).await;

    for status in [429, 502, 503, 504] {
        assert_retries(
            &stage.receiver.wait_for(&format!("/{status}"), 2, LONG).await,
            &[asked],
        );
    }
    let at_date = stage.receiver.wait_for("/date", 2, LONG).await;
    let until_date = *until_date.lock().unwrap();
    assert!(until_date > Duration::from_secs(1), "the date was a while off");
    assert_retries(&at_date, &[until_date]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_that_is_junk_or_not_for_its_status_changes_nothing() {
    let stage = Stage::set(&[]).await;
    let cases = [
        ("/soon", 429, "soon"),
        ("/negative", 503, "-1"),
        ("/500", 500, "3600"),
        ("/404", 404, "3600"),
    ];
    for (path, status, value) in cases {
        stage.receiver.answer(
            path,
            [Answer::status(status).header("retry-after", value), Answer::ok()],
        );
        stage.endpoint(path).await;
    }
    stage.publish_user(1).await;
    for (path, _, _) in cases {
        assert_retries(&stage.receiver.wait_for(path, 2, SHORT).await, &LADDER);
    }
}

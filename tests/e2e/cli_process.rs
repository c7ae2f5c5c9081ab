//! The life of a role's process: readiness, and both ways of ending.

use std::time::Duration;

use e2e::{Answer, Broker, Deployment, LONG, Redis, SHORT, eventually, process::Signal};
use serde_json::Value;

use crate::delivery_stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_finished_when_a_process_is_told_to_stop() {
    let mut stage = Stage::set(&[]).await;
    stage.endpoint("/slow").await;
    stage
        .receiver
        .answer("/slow", [Answer::ok().after(Duration::from_secs(2))]);
    stage.publish_user(1).await;
    stage.receiver.wait_for("/slow", 1, SHORT).await;
    let ended = stage.nuncio.terminate(Duration::from_secs(15)).await.unwrap();
    assert_eq!(ended.code(), Some(0));

    let again = stage.deployment.start("all").await.unwrap();
    let api = again.client().await.unwrap();
    let messages = api.list(&format!("/api/v1/app/{}/msg", stage.app)).await.unwrap();
    let id = messages[0]["id"].as_str().unwrap();
    let attempts = api.attempts_by_message(&stage.app, id).await.unwrap();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!(
        attempts[0]["status"], 0,
        "the attempt under way was recorded as delivered"
    );
    assert_eq!(stage.receiver.count("/slow"), 1, "and not made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_aborts_and_nothing_is_lost() {
    let settings = [
        ("NUNCIO_REQUEST_TIMEOUT", "60s"),
        ("NUNCIO_SHUTDOWN_DEADLINE", "60s"),
    ];
    let mut stage = Stage::set(&settings).await;
    stage.endpoint("/stuck").await;
    stage.receiver.answer("/stuck", [Answer::hang(), Answer::ok()]);
    stage.publish_user(1).await;
    stage.receiver.wait_for("/stuck", 1, SHORT).await;
    stage.nuncio.signal(Signal::TERM).unwrap();
    eventually("it is no longer ready", SHORT, || async {
        (!stage.nuncio.is_ready().await).then_some(())
    })
    .await;
    let ended = stage.nuncio.terminate(Duration::from_secs(15)).await.unwrap();
    assert_eq!(ended.code(), Some(130), "an abort is no success");

    let _again = stage.deployment.start("all").await.unwrap();
    let requests = stage.receiver.wait_for("/stuck", 2, LONG).await;
    assert_eq!(requests[0].id(), requests[1].id());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_ends_a_process_that_cannot_finish_and_nothing_is_lost() {
    let settings = [
        ("NUNCIO_REQUEST_TIMEOUT", "60s"),
        ("NUNCIO_SHUTDOWN_DEADLINE", "1s"),
    ];
    let mut stage = Stage::set(&settings).await;
    stage.endpoint("/stuck").await;
    stage.receiver.answer("/stuck", [Answer::hang(), Answer::ok()]);
    stage.publish_user(1).await;
    stage.receiver.wait_for("/stuck", 1, SHORT).await;
    let ended = stage.nuncio.terminate(Duration::from_secs(15)).await.unwrap();
    assert_eq!(ended.code(), Some(3));

    let _again = stage.deployment.start("all").await.unwrap();
    stage.receiver.wait_for("/stuck", 2, LONG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_the_server_that_is_away_and_comes_back_with_it() {
    let (mut broker, mut redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let deployment = Deployment::on(&broker, &redis).await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let checks = async || {
        let (status, body) = nuncio.fetch("/readyz").await.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        (status, body["checks"].clone())
    };
    assert_eq!(checks().await.0, 200);
    let (alive, _) = nuncio.fetch("/livez").await.unwrap();
    assert_eq!(alive, 200);

    redis.kill().await.unwrap();
    eventually("Redis is told to be away", LONG, || async {
        let (status, checks) = checks().await;
        (status == 503 && checks["redis"] != "ok" && checks["amqp"] == "ok").then_some(())
    })
    .await;
    redis.restart().await.unwrap();
    broker.kill().await.unwrap();
    eventually("RabbitMQ is told to be away", LONG, || async {
        let (status, checks) = checks().await;
        (status == 503 && checks["amqp"] != "ok" && checks["redis"] == "ok").then_some(())
    })
    .await;
    assert_eq!(
        nuncio.fetch("/livez").await.unwrap().0,
        200,
        "alive all the while"
    );
    broker.restart().await.unwrap();
    eventually("it is ready again", LONG, || async {
        nuncio.is_ready().await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_the_process_with_the_reason() {
    let stage = Stage::set(&[]).await;
    let taken = stage.receiver.address().to_string();
    let listening = stage
        .deployment
        .run(&["all", "--listen", &taken, "--metrics-listen", "127.0.0.1:0"])
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&listening.stderr).into_owned();
    assert_eq!(listening.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("failed to listen on {taken}")), "{told}");
    let watching = stage
        .deployment
        .run(&["all", "--listen", "127.0.0.1:0", "--metrics-listen", &taken])
        .await
        .unwrap();
    assert_eq!(watching.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_runs_and_logs_hold_no_payload_and_no_secret() {
    let stage = Stage::set(&[("NUNCIO_LOG", "debug")]).await;
    let endpoint = stage.endpoint("/a").await;
    let secret = stage.secret(&endpoint).await;
    let payload = r#"{"type":"sync.user","userId":"user_canary"}"#;
    let output = stage
        .deployment
        .run(&[
            "publish",
            "--app",
            &stage.app,
            "--type",
            "sync.user",
            "--data",
            payload,
        ])
        .await
        .unwrap();
    assert!(output.status.success());
    stage.receiver.wait_for("/a", 1, LONG).await;
    let metrics = stage.nuncio.metrics().await.unwrap();
    for line in [
        "nuncio_build_info{",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    let log = stage.nuncio.log().unwrap();
    assert!(!log.is_empty());
    for hidden in [
        "user_canary",
        secret.trim_start_matches("whsec_"),
        stage.deployment.setting("NUNCIO_MAIN_SECRET"),
    ] {
        assert!(!log.contains(hidden), "the log holds {hidden}");
    }
}

//! `nuncio doctor` finds what is wrong, says that all is well where it is, and leaves nothing behind.

use std::process::Stdio;

use e2e::{Broker, Deployment, LONG, Redis, eventually, process::Signal};
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use crate::delivery_stage::Stage;

/// What the doctor found, and its exit code.
struct Found {
    code: Option<i32>,
    report: Value,
}

impl Found {
    /// The level of a check of one area, or `none`.
    fn level_in(&self, area: &str, check: &str) -> &str {
        let checks = self.report["checks"].as_array().expect("a report has checks");
        let found = checks
            .iter()
            .find(|found| found["area"] == area && found["check"] == check);
        found.and_then(|found| found["level"].as_str()).unwrap_or("none")
    }

    /// The level of a check, or `none`.
    fn level(&self, check: &str) -> &str {
        self.check(check)["level"].as_str().unwrap_or("none")
    }

    fn check(&self, check: &str) -> &Value {
        let checks = self.report["checks"].as_array().expect("a report has checks");
        checks
            .iter()
            .find(|found| found["check"] == check)
            .unwrap_or(&Value::Null)
    }
}

async fn examine(deployment: &Deployment, arguments: &[&str]) -> Found {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let output = deployment.run(&arguments).await.expect("it runs");
    let report = serde_json::from_slice(&output.stdout);
    Found {
        code: output.status.code(),
        report: report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

async fn uids(stage: &Stage) -> Vec<Value> {
    let apps = stage.api.list("/api/v1/app").await.expect("apps are listed");
    apps.iter().map(|app| app["uid"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_goes_all_the_way_and_leaves_nothing_behind() {
    let stage = Stage::set(&[]).await;
    let found = examine(&stage.deployment, &[]).await;
    for check in [
        "configuration",
        "connection",
        "version",
        "exchanges",
        "queues",
        "clocks",
        "eviction",
        "canary",
    ] {
        assert_eq!(found.level(check), "ok", "{check}: {:#}", found.report);
    }
    assert!(
        found.check("canary")["found"]
            .as_str()
            .unwrap()
            .contains("delivered and verified"),
        "{:#}",
        found.report
    );
    assert_eq!(
        uids(&stage).await,
        [Value::Null],
        "only the stage's own app is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_loopback_may_not_be_dialled_the_record_of_the_refusal_is_proof_enough() {
    let stage = Stage::set(&[("NUNCIO_EGRESS_ALLOW", "")]).await;
    let found = examine(&stage.deployment, &["--canary-patience", "60s"]).await;
    assert_eq!(found.level("canary"), "ok", "{:#}", found.report);
    assert!(
        found.check("canary")["found"]
            .as_str()
            .unwrap()
            .contains("refused to dial"),
        "{:#}",
        found.report
    );
    assert_eq!(uids(&stage).await, [Value::Null]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_role_is_named_and_an_interrupted_canary_is_taken_away() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let found = examine(&deployment, &["--canary-patience", "1s"]).await;
    assert_eq!((found.code, found.level("canary")), (Some(2), "problem"));
    assert!(
        found.check("canary")["found"]
            .as_str()
            .unwrap()
            .contains("no router"),
        "{:#}",
        found.report
    );

    let mut command = deployment.command();
    command
        .args(["doctor", "--canary-patience", "10m"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let there = || async {
        let apps = api.list("/api/v1/app").await.ok()?;
        apps.iter().any(|app| app["uid"] == "nuncio-doctor").then_some(())
    };
    eventually("the canary is on its way", LONG, there).await;
    e2e::process::signal_pid(child.id(), Signal::INT).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(api.list("/api/v1/app").await.unwrap(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_set_up_wrongly_are_found_out() {
    let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let deployment = Deployment::on(&broker, &redis).await.unwrap();

    // Nothing was started yet: the topology is missing, which is no fault.
    let found = examine(&deployment, &["--no-canary"]).await;
    assert_eq!(
        (found.level("exchanges"), found.level("queues")),
        ("warning", "warning"),
        "{:#}",
        found.report
    );

    // A queue of the right name and the wrong kind.
    let publisher = deployment.publisher().await.unwrap();
    let ingest = format!("{}.ingest", deployment.namespace());
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = publisher
        .channel()
        .queue_declare(ingest.as_str().into(), durable, FieldTable::default());
    declared.await.unwrap();
    for setting in [
        ["maxmemory-policy", "allkeys-lru"],
        ["appendonly", "no"],
        ["save", ""],
    ] {
        redis
            .command(&[&["CONFIG", "SET"][..], &setting[..]].concat())
            .await
            .unwrap();
    }
    let found = examine(&deployment, &[]).await;
    assert_eq!(found.code, Some(2));
    assert_eq!(
        (found.level("eviction"), found.level("persistence")),
        ("problem", "problem"),
        "{:#}",
        found.report
    );
    assert_eq!(found.level(&ingest), "problem", "{:#}", found.report);
    assert_eq!(found.level("canary"), "warning", "no canary flies in bad weather");

    // A user who may only publish, on a node that takes deliveries away too early.
    publisher
        .channel()
        .queue_delete(
            ingest.as_str().into(),
            lapin::options::QueueDeleteOptions::default(),
        )
        .await
        .unwrap();
    let router = deployment.start("router").await.unwrap();
    drop(router);
    broker.ctl(&["add_user", "little", "pw"]).await.unwrap();
    let events = format!("^{}\\.events$", deployment.namespace());
    broker
        .ctl(&["set_permissions", "little", "^$", &events, "^$"])
        .await
        .unwrap();
    broker
        .ctl(&["eval", "application:set_env(rabbit,consumer_timeout,1000)."])
        .await
        .unwrap();
    let little = broker.url().replace("guest:guest", "little:pw");
    let program = broker.ctl_program().unwrap();
    let limited = deployment.clone().with("NUNCIO_AMQP_URL", &little);
    let found = examine(
        &limited,
        &["--no-canary", "--rabbitmqctl", program.to_str().unwrap()],
    )
    .await;
    assert_eq!(found.code, Some(2));
    assert!(
        found.check(&ingest)["found"]
            .as_str()
            .unwrap()
            .contains("ACCESS_REFUSED"),
        "{:#}",
        found.report
    );
    assert_eq!(found.level("consumer timeout"), "problem", "{:#}", found.report);
    assert_eq!(found.level("alarms"), "ok", "{:#}", found.report);

    let away = deployment
        .with("NUNCIO_REDIS_URL", "redis://127.0.0.1:1")
        .with("NUNCIO_AMQP_URL", "amqp://127.0.0.1:1");
    let found = examine(&away, &[]).await;
    assert_eq!((found.code, found.level("connection")), (Some(2), "problem"));
}

/// The same address through a proxy that changes what the server says, in place. It ends with `proxies`.
async fn altered(address: &str, alter: fn(&mut [u8]), proxies: &mut JoinSet<()>) -> String {
    let mut url = Url::parse(address).expect("an address");
    let server = format!(
        "{}:{}",
        url.host_str().expect("a host"),
        url.port().expect("a port")
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    url.set_port(Some(listener.local_addr().expect("an address").port()))
        .expect("an address that has a port");
    proxies.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("the server behind it");
            connections.spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let saying = async {
                    let mut chunk = vec![0; 64 * 1024];
                    while let Ok(bytes @ 1..) = from_server.read(&mut chunk).await {
                        alter(&mut chunk[..bytes]);
                        if to_client.write_all(&chunk[..bytes]).await.is_err() {
                            break;
                        }
                    }
                };
                // Whichever side ends first ends both.
                tokio::select! {
                    () = saying => {}
                    _ = copy(&mut from_client, &mut to_server) => {}
                }
            });
        }
    });
    url.to_string()
}

/// Puts `digit` after each `mark`.
fn put_after(bytes: &mut [u8], mark: &[u8], digit: u8) {
    for at in mark.len()..bytes.len() {
        if bytes[..at].ends_with(mark) {
            bytes[at] = digit;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_broker_and_clocks_that_are_apart_are_found_out() {
    let deployment = Deployment::shared().await.unwrap();
    let mut proxies = JoinSet::new();
    // The first digit of its version becomes a 2: `version`, S for a long text, and the four bytes of a short length.
    let old = |bytes: &mut [u8]| {
        (5..12).for_each(|length| put_after(bytes, &[&b"versionS\0\0\0"[..], &[length]].concat(), b'2'))
    };
    let amqp = altered(deployment.setting("NUNCIO_AMQP_URL"), old, &mut proxies).await;
    // The seconds since 1970, a text of ten digits, lose the better part of a billion.
    let slow = |bytes: &mut [u8]| put_after(bytes, b"$10\r\n1", b'0');
    let redis = altered(deployment.setting("NUNCIO_REDIS_URL"), slow, &mut proxies).await;
    let found = examine(
        &deployment
            .with("NUNCIO_AMQP_URL", &amqp)
            .with("NUNCIO_REDIS_URL", &redis),
        &["--no-canary"],
    )
    .await;
    assert_eq!(found.code, Some(2));
    assert_eq!(found.level_in("amqp", "version"), "problem", "{:#}", found.report);
    assert_eq!(found.level_in("redis", "clocks"), "problem", "{:#}", found.report);
    assert_eq!(found.level_in("redis", "version"), "ok", "{:#}", found.report);
}

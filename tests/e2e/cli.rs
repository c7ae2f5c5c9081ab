//! The command line: what it prints where, and how it ends.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use e2e::{ApiClient, Deployment, process::Signal};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::delivery_stage::Stage;

/// A deployment whose servers nobody reaches: for what needs none.
async fn serverless() -> Deployment {
    Deployment::at("amqp://127.0.0.1:1", "redis://127.0.0.1:1")
        .await
        .expect("a deployment without servers")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_of_a_configuration_are_told_at_once_and_no_secret_with_them() {
    let deployment = serverless()
        .await
        .with("NUNCIO_AMQP_URL", "http://user:hunter2@host")
        .with("NUNCIO_RETRY_FIRST", "soon")
        .with("NUNCIO_RETENTIN", "7d")
        .with("NUNCIO_MAIN_SECRET", "hunter2");
    for command in [&["config", "check"][..], &["all"], &["token"]] {
        let output = deployment.run(command).await.unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
        assert!(output.stdout.is_empty());
        for expected in [
            "4 mistakes",
            "NUNCIO_AMQP_URL (environment): expected one or more",
            "NUNCIO_RETRY_FIRST (environment): expected a duration from 1ms to 7d, such as 5s or 24h, found \"soon\"",
            "NUNCIO_RETENTIN (environment): unknown key; did you mean NUNCIO_RETENTION?",
            "NUNCIO_MAIN_SECRET (environment): expected a text of at least 32 bytes",
        ] {
            assert!(error.contains(expected), "{expected} is not in\n{error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_configuration_is_said_to_be_one_and_shown_without_secrets() {
    let deployment = serverless()
        .await
        .with("NUNCIO_AMQP_URL", "amqp://user:hunter2@host/%2f");
    let checked = deployment.run(&["config", "check"]).await.unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let shown = deployment
        .run(&["config", "show", "--retry-attempts", "7"])
        .await
        .unwrap();
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("amqp_url = \"amqp://user:***@host/%2f\""),
        "{shown}"
    );
    assert!(shown.contains("retry_attempts = \"7\""), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains(deployment.setting("NUNCIO_MAIN_SECRET")));
    let reference = deployment.run(&["config", "reference"]).await.unwrap();
    assert!(text(&reference.stdout).starts_with("| key | default | meaning |\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_survive_a_reader_who_hangs_up() {
    let mut command = serverless().await.command();
    command
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 16];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_was_minted_for() {
    let stage = Stage::set(&[]).await;
    let other = stage.api.create_app("Globex").await.unwrap();
    let status = async |client: &ApiClient, path: String| {
        let reply = client.call(Method::GET, &path, None).await.unwrap();
        reply.status
    };
    let endpoints = |app: &str| format!("/api/v1/app/{app}/endpoint");
    let admin = stage
        .api
        .with_token(stage.deployment.token(&["--expires", "1h"]).await.unwrap());
    assert_eq!(status(&admin, endpoints(&stage.app)).await, StatusCode::OK);

    let of_app = stage
        .api
        .with_token(stage.deployment.token(&["--app", &stage.app]).await.unwrap());
    assert_eq!(status(&of_app, endpoints(&stage.app)).await, StatusCode::OK);
    assert_ne!(status(&of_app, endpoints(&other)).await, StatusCode::OK);

    let elsewhere = Deployment::shared().await.unwrap().token(&[]).await.unwrap();
    let foreign = stage.api.with_token(elsewhere);
    assert_eq!(
        status(&foreign, endpoints(&stage.app)).await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_verifies_and_prints_each_delivery_as_a_line_of_json() {
    let stage = Stage::set(&[]).await;
    // The secret exists only once the endpoint does, and the endpoint's URL only once somebody listens.
    let (mut blind, blind_address) = listen(&stage.deployment, &[]);
    let endpoint = stage
        .api
        .create_endpoint(&stage.app, &format!("http://{blind_address}/hook"))
        .await
        .unwrap();
    let body = r#"{"type":"sync.user","userId":"user_ü"}"#;
    let published = stage
        .deployment
        .run(&[
            "publish",
            "--app",
            &stage.app,
            "--type",
            "sync.user",
            "--data",
            body,
        ])
        .await
        .unwrap();
    assert!(published.status.success(), "{}", text(&published.stderr));
    let id = text(&published.stdout).trim().to_owned();
    let unchecked = blind.next_line();
    assert_eq!(unchecked["verified"], Value::Null);

    let secret = stage.secret(&endpoint).await;
    let (mut seeing, address) = listen(&stage.deployment, &["--secret", &secret]);
    let url = json!({ "url": format!("http://{address}/hook?x=1") });
    let path = format!("/api/v1/app/{}/endpoint/{endpoint}", stage.app);
    stage.api.patch(&path, &url).await.unwrap();
    let resend = format!("/api/v1/app/{}/msg/{id}/endpoint/{endpoint}/resend", stage.app);
    stage.api.post(&resend, &json!({})).await.unwrap();
    let line = seeing.next_line();
    assert_eq!(line["verified"], true, "{line}");
    assert_eq!(line["status"], 200);
    assert_eq!(line["path"], "/hook?x=1");
    assert_eq!(line["id"], id);
    assert_eq!(line["body"], body);
    assert!(line["timestamp"].is_i64(), "{line}");
    assert!(seeing.end().success());
    assert!(blind.end().success());
}

/// A running `nuncio listen --json`.
struct Listening {
    child: std::process::Child,
    lines: BufReader<std::process::ChildStdout>,
}

fn listen(deployment: &Deployment, arguments: &[&str]) -> (Listening, String) {
    let mut command = deployment.command();
    command
        .args(["listen", "--listen", "127.0.0.1:0", "--json"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("nuncio listen starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut first = String::new();
    BufReader::new(child.stderr.take().expect("a pipe"))
        .read_line(&mut first)
        .expect("it says where it listens");
    let address = first
        .trim()
        .strip_prefix("listening on http://")
        .unwrap_or_else(|| panic!("it said {first:?}"))
        .to_owned();
    (Listening { child, lines }, address)
}

impl Listening {
    fn next_line(&mut self) -> Value {
        let mut line = String::new();
        tokio::task::block_in_place(|| self.lines.read_line(&mut line)).expect("it prints");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"))
    }

    fn end(mut self) -> std::process::ExitStatus {
        e2e::process::signal_pid(self.child.id(), Signal::TERM).expect("it runs");
        tokio::task::block_in_place(|| self.child.wait()).expect("it ends")
    }
}

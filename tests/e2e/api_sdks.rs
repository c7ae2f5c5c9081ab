//! The official clients, which nobody here wrote, find every operation as they expect it: both generations of the Python
//! library, the JavaScript one and the Rust one, with real deliveries in between that their own verifiers check.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Deployment, Nuncio, tools};

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_and_javascript_clients_find_every_operation_as_they_expect_it() {
    let sdks = tokio::task::spawn_blocking(|| tools::install("libraries"))
        .await
        .unwrap();
    let (_deployment, nuncio, token) = started().await;
    for name in ["python-svix-1", "python-svix-2"] {
        let mut python = Command::new(sdks[name].join("bin/python"));
        python.arg(scripts().join("python.py"));
        run(name, python, &nuncio, &token).await;
    }
    let mut node = Command::new("node");
    node.arg(scripts().join("node.mjs")).arg(&sdks["node"]);
    run("node", node, &nuncio, &token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_rust_client_finds_every_operation_as_it_expects_it() {
    let built = tokio::task::spawn_blocking(|| tools::install("rust"))
        .await
        .unwrap();
    let (_deployment, nuncio, token) = started().await;
    let program: &Path = &built["rust"];
    run("rust", Command::new(program.join("svix-client")), &nuncio, &token).await;
}

async fn started() -> (Deployment, Nuncio, String) {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let token = deployment.token(&[]).await.unwrap();
    (deployment, nuncio, token)
}

async fn run(name: &str, mut command: Command, nuncio: &Nuncio, token: &str) {
    command.arg(nuncio.api_url()).arg(token);
    let output = tokio::task::spawn_blocking(move || command.output().expect("the client starts"))
        .await
        .unwrap();
    tools::assert_succeeded(name, &output);
}

fn scripts() -> PathBuf {
    tools::root().join("tests/e2e/api_sdks")
}

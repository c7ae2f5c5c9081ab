//! The official clients, which nobody here wrote, find every operation as they expect it: both generations of the Python
//! library and the JavaScript one, with real deliveries in between that their own verifiers check.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{Deployment, Nuncio};

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_find_every_operation_as_they_expect_it() {
    let sdks = tokio::task::spawn_blocking(install).await.unwrap();
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let token = deployment.token(&[]).await.unwrap();
    for (name, program, script) in [
        ("python-svix-1", "bin/python", "python.py"),
        ("python-svix-2", "bin/python", "python.py"),
        ("node", "", "node.mjs"),
    ] {
        let output = run(&sdks[name], program, script, &nuncio, &token).await;
        assert!(
            output.status.success(),
            "{name}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

async fn run(directory: &Path, program: &str, script: &str, nuncio: &Nuncio, token: &str) -> Output {
    let script = root().join("tests/e2e/api_sdks").join(script);
    let mut command = if program.is_empty() {
        let mut node = Command::new("node");
        node.arg(script).arg(directory);
        node
    } else {
        let mut python = Command::new(directory.join(program));
        python.arg(script);
        python
    };
    command.arg(nuncio.api_url()).arg(token);
    tokio::task::spawn_blocking(move || command.output().expect("the interpreter starts"))
        .await
        .unwrap()
}

fn install() -> BTreeMap<String, PathBuf> {
    let output = Command::new(root().join("deploy/local/sdks.sh"))
        .output()
        .expect("sdks.sh starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, directory)| (name.to_owned(), PathBuf::from(directory)))
        .collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

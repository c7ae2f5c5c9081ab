//! Whatever the OpenAPI document allows and forbids, the running server does as the document says: schemathesis, which
//! nobody here wrote, makes up requests from it and checks every answer with all its checks.

use std::process::Command;

use e2e::{Deployment, tools};

/// The same requests in every run.
const SEED: &str = "20260131";
/// For each operation and phase; every limit and every missing field of the document is tried beside these.
const EXAMPLES: &str = "5";

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let installed = tokio::task::spawn_blocking(|| tools::install("schemathesis"))
        .await
        .unwrap();
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let token = deployment.token(&[]).await.unwrap();
    // It leaves files where it runs.
    let directory = tempfile::tempdir().unwrap();
    for file in ["hooks.py", "schemathesis.toml"] {
        let from = tools::root().join("tests/e2e/api_schemathesis").join(file);
        std::fs::copy(from, directory.path().join(file)).unwrap();
    }
    let mut command = Command::new(installed["schemathesis"].join("bin/st"));
    command
        .current_dir(directory.path())
        .arg("run")
        .arg(format!("{}/api/v1/openapi.json", nuncio.api_url()))
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--checks", "all", "--seed", SEED, "--max-examples", EXAMPLES])
        .args(["--no-color", "--no-shrink", "--warnings", "off"])
        .env("PYTHONPATH", directory.path());
    let output = tokio::task::spawn_blocking(move || command.output().expect("schemathesis starts"))
        .await
        .unwrap();
    tools::assert_succeeded("schemathesis", &output);
    let said = String::from_utf8_lossy(&output.stdout);
    let tested = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Tested: "))
        .and_then(|count| count.parse::<usize>().ok());
    assert!(tested > Some(45), "it tried the operations:\n{said}");
}

//! The portal and the console in real Chromium: the whole story from the console's sign-in to an endpoint's deletion,
//! by mouse and by keyboard; what must not be possible; every page full of markup, held against axe-core.
//!
//! Owns what the walk needs to begin. The chapters are in `portal_browser/`, a script each.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::process::{AtParentsDeath, Process, mortal};
use e2e::{Deployment, Event};
use serde_json::json;

/// Until the walk is taken for hung: it takes less than a minute on a machine that has nothing else to do.
const HUNG_AFTER: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn chromium_walks_the_whole_story_and_every_page() {
    let modules = tokio::task::spawn_blocking(install)
        .await
        .expect("the installation ends");
    let deployment = Deployment::shared().await.expect("a deployment");
    // Long enough to be looked at, so that the retry is seen before it is due.
    let deployment = deployment
        .with("NUNCIO_RETRY_FIRST", "120s")
        .with("NUNCIO_RETRY_CEILING", "600s")
        .with("NUNCIO_RETRY_ATTEMPTS", "3");
    let nuncio = deployment.start("all").await.expect("a process of all roles");
    let admin = deployment.token(&[]).await.expect("an admin's token");
    let api = nuncio.client().await.expect("a client");
    let app = api.create_app("Expiring").await.expect("an app");
    let expired = deployment.token(&["--app", &app, "--expires", "1s"]).await;
    let publisher = deployment.publisher().await.expect("a publisher");
    let unreadable = Event::new(&app, "sync.user", "\"><svg onload=alert(1)> is not JSON");
    publisher.publish(&unreadable).await.expect("a confirm");

    let folder = tempfile::tempdir().expect("a directory");
    let [out, err] = ["out", "err"].map(|name| folder.path().join(name));
    let file = |path: &Path| std::fs::File::create(path).expect("a file");
    let stage = json!({ "base": nuncio.api_url(), "admin": admin, "expired": expired.expect("a token") });
    // Chromium ends with the pipe that its driver holds.
    let mut node = mortal("node", AtParentsDeath::Kill);
    node.arg(root().join("tests/e2e/portal_browser/main.mjs"))
        .arg(stage.to_string())
        .env("NODE_MODULES", &modules["browser"])
        .env("SDK_MODULES", &modules["node"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err));
    let mut walk = Process::spawn("the walk", node).expect("node starts");
    let ended = walk.wait(HUNG_AFTER).await;
    let said = |path: &Path| std::fs::read_to_string(path).expect("what it said");
    assert!(
        ended.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{ended:?}\n{}{}",
        said(&out),
        said(&err)
    );
}

/// Installs what drives the browser, and the official libraries; each one's directory by its name.
fn install() -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    for group in ["browser", "libraries"] {
        let output = Command::new(root().join("deploy/local/sdks.sh"))
            .arg(group)
            .output()
            .expect("sdks.sh starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        modules.extend(pairs.map(|(name, directory)| (name.to_owned(), directory.to_owned())));
    }
    modules
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

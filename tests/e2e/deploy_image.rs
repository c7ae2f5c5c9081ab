//! What the container image holds is enough: the same root filesystem is assembled and the binary runs in it, read-only,
//! as the image's user.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use e2e::{Deployment, Event, LONG, Receiver};

#[tokio::test(flavor = "multi_thread")]
async fn the_image_holds_all_that_the_pipeline_needs() {
    let deployment = Deployment::shared().await.unwrap();
    let place = tempfile::tempdir().unwrap();
    // Its user is another one than the test's.
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let rootfs = place.path().join("rootfs");
    let assembled = Command::new(docker("rootfs.sh"))
        .arg(&rootfs)
        .arg(deployment.program())
        .output()
        .unwrap();
    assert!(
        assembled.status.success(),
        "{}",
        String::from_utf8_lossy(&assembled.stderr)
    );
    assert!(!rootfs.join("bin/sh").exists() && !rootfs.join("usr/bin/sh").exists());

    let program = place.path().join("nuncio");
    let script = format!(
        "#!/usr/bin/env bash\nexec {} {} \"$@\"\n",
        docker("rootfs.sh").with_file_name("enter.sh").display(),
        rootfs.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let deployment = deployment.through(&program);

    let nuncio = deployment.start("all").await.unwrap();
    let process = std::fs::read_to_string(format!("/proc/{}/status", nuncio.pid())).unwrap();
    let user = process.lines().find(|line| line.starts_with("Uid:")).unwrap();
    if rustix::process::geteuid().is_root() {
        assert_eq!(user.split_whitespace().nth(1), Some("65532"), "{user}");
    }
    assert!(process.lines().any(|line| line == "NoNewPrivs:\t1"), "{process}");

    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    let app = api.create_app("Acme").await.unwrap();
    // By name, because the image must be able to resolve one.
    let by_name = receiver.url("/a").replace("127.0.0.1", "localhost");
    api.create_endpoint(&app, &by_name).await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    publisher
        .publish(&Event::new(
            &app,
            "sync.user",
            r#"{"type":"sync.user","userId":"user_1"}"#,
        ))
        .await
        .unwrap();
    receiver.wait_for("/a", 1, LONG).await;

    assert!(rootfs.join("usr/bin/nuncio").exists());
    for arguments in commands_in_pods() {
        let ran = deployment.run(&arguments).await.unwrap();
        assert!(
            ran.status.success() && !ran.stdout.is_empty(),
            "{arguments:?}: {ran:?}"
        );
    }
}

/// What the guide has people run by `kubectl exec`, where there is no shell: arguments of the binary.
fn commands_in_pods() -> Vec<Vec<&'static str>> {
    let guide = include_str!("../../docs/kubernetes.md");
    let commands = guide.split("deploy/nuncio-api -- /usr/bin/nuncio ").skip(1);
    let commands = commands.map(|rest| rest.split(['`', '>']).next().unwrap());
    let commands: Vec<Vec<_>> = commands
        .map(|command| command.split_whitespace().collect())
        .collect();
    assert_eq!(commands, [vec!["token"], vec!["backup", "-"]]);
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_check_tells_ready_from_not_there() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("router").await.unwrap();
    let address = nuncio.health_address();
    let here = deployment.clone().with("NUNCIO_METRICS_LISTEN", &address);
    let ready = here.run(&["health"]).await.unwrap();
    assert!(
        ready.status.success(),
        "{}",
        String::from_utf8_lossy(&ready.stderr)
    );
    assert!(String::from_utf8_lossy(&ready.stdout).contains("\"status\":\"ready\""));
    drop(nuncio);
    let gone = here.run(&["health"]).await.unwrap();
    assert!(!gone.status.success());
    assert!(String::from_utf8_lossy(&gone.stderr).contains(&address));
}

#[test]
fn every_crate_is_in_the_images_layer_of_dependencies() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let dockerfile = std::fs::read_to_string(docker("Dockerfile")).unwrap();
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        let entry = entry.unwrap();
        if !entry.path().join("Cargo.toml").exists() {
            continue;
        }
        let name = entry.file_name();
        let line = format!("COPY crates/{0}/Cargo.toml crates/{0}/", name.to_string_lossy());
        assert!(dockerfile.lines().any(|found| found == line), "missing: {line}");
    }
    let version = format!("ARG VERSION={}", env!("CARGO_PKG_VERSION"));
    assert!(
        dockerfile.lines().any(|line| line == version),
        "missing: {version}"
    );
}

fn docker(name: &str) -> std::path::PathBuf {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    root.canonicalize().unwrap().join("deploy/docker").join(name)
}

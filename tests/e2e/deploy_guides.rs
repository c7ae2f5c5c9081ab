//! The guides say what is so: their commands are run as they stand there, against a real pipeline.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::process::Command;

use e2e::{ApiClient, Deployment, Nuncio, ports::free_address};
use serde_json::{Value, json};

const README: &str = include_str!("../../README.md");
const TESSERAL: &str = include_str!("../../docs/tesseral.md");
const MOVING: &str = include_str!("../../docs/moving-from-svix.md");
const SELF_HOSTING: &str = include_str!("../../docs/self-hosting.md");
const KUBERNETES: &str = include_str!("../../docs/kubernetes.md");
const DEFINITIONS: &str = include_str!("../../deploy/rabbitmq/definitions.json");

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_guides_do_what_they_say() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();

    let said = run(&deployment, &nuncio, &block(TESSERAL, "## 3. Try it")).await;
    let [message, portal] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert!(message.starts_with("msg_"), "{said}");
    assert!(
        portal.starts_with(&nuncio.api_url()) && portal.contains("/portal#"),
        "{said}"
    );

    let said = run(
        &deployment,
        &nuncio,
        &block(SELF_HOSTING, "## 4. First deliveries"),
    )
    .await;
    let [portal, published] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}");
    };
    assert!(portal.contains("/portal#"), "{said}");
    assert!(!published.is_empty(), "{said}");

    let said = run(
        &deployment,
        &nuncio,
        &block(SELF_HOSTING, "## Backup and restore"),
    )
    .await;
    assert!(said.contains("nothing was changed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ten_minutes_of_the_readme_end_with_a_delivery() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let [_, app, endpoint, look] = blocks(README, "## The first ten minutes")[..] else {
        panic!("the section has other blocks than this test knows");
    };
    let receiver = free_address().to_string();
    let endpoint = endpoint
        .replace("127.0.0.1:8072", &receiver)
        .replace("nuncio listen", &format!("nuncio listen --listen {receiver}"));
    let publish = block(README, "## Publish");
    let commands = format!(
        "trap 'kill $(jobs -p) || true' EXIT
        export TOKEN=$(nuncio token)
        {app}{endpoint}{publish}
        delivered() {{ api app/acme/attempt/endpoint/mine | jq '[.data[] | select(.responseStatusCode == 200)] | length'; }}
        for _ in $(seq 300); do [[ $(delivered) != 2 ]] || break; sleep 0.2; done
        {look}"
    );
    let said = run(&deployment, &nuncio, &commands).await;
    let portal = format!("{}/portal#", nuncio.api_url());
    assert!(said.contains(&portal), "{said}");
    assert_eq!(said.matches("(verified)").count(), 2, "{said}");
    assert_eq!(said.matches("\"responseStatusCode\": 200").count(), 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_from_svix_keeps_the_ids_and_secrets_of_endpoints() {
    let before = Deployment::shared().await.unwrap();
    let after = Deployment::shared().await.unwrap();
    // The old server speaks Svix's API, as every Nuncio does.
    let (old, new) = (
        before.start("api").await.unwrap(),
        after.start("api").await.unwrap(),
    );
    let api = old.client().await.unwrap();
    let app = json!({"name": "Acme", "uid": "acme", "metadata": {"plan": "big"}});
    api.post("/api/v1/app", &app).await.unwrap();
    let plain = json!({"url": "https://example.com/a", "description": "all"});
    let choosy =
        json!({"url": "https://example.com/b", "uid": "b", "filterTypes": ["sync.user"], "disabled": true});
    for endpoint in [&plain, &choosy] {
        api.create_endpoint_with("acme", endpoint).await.unwrap();
    }

    let commands = format!(
        "SVIX={} SVIX_TOKEN={}\n{}",
        old.api_url(),
        before.token(&[]).await.unwrap(),
        block(MOVING, "## 1. Copy apps and endpoints")
    );
    let said = run(&after, &new, &commands).await;
    assert!(said.contains("endpoints: 2 new"), "{said}");

    let moved = new.client().await.unwrap();
    let endpoints = async |api: &ApiClient| {
        let list = api.read("/api/v1/app/acme/endpoint").await.unwrap();
        let mut found = Vec::new();
        for endpoint in list["data"].as_array().unwrap() {
            let id = endpoint["id"].as_str().unwrap();
            let secret = api.endpoint_secret("acme", id).await.unwrap();
            found.push((endpoint.clone(), secret));
        }
        found
    };
    assert_eq!(endpoints(&moved).await, endpoints(&api).await);
    let [here, there] = [&moved, &api].map(|api| api.read("/api/v1/app/acme"));
    assert_eq!(here.await.unwrap(), there.await.unwrap());
}

#[test]
fn the_rights_that_the_guide_gives_are_those_that_were_tried() {
    let definitions: Value = serde_json::from_str(DEFINITIONS).unwrap();
    let widest = &definitions["permissions"][0];
    let right = |name: &str| format!("'{}'", widest[name].as_str().unwrap());
    let command = format!(
        "rabbitmqctl set_permissions nuncio {} {} {}\n",
        right("configure"),
        right("write"),
        right("read")
    );
    assert!(SELF_HOSTING.contains(&command), "not in the guide: {command}");
}

#[test]
fn the_guides_speak_of_the_version_that_this_is() {
    for (name, guide) in [
        ("kubernetes", KUBERNETES),
        (
            "values",
            include_str!("../../deploy/kubernetes/overlays/production/values.env.example"),
        ),
    ] {
        let image = concat!("registry.example.com/nuncio:", env!("CARGO_PKG_VERSION"));
        assert!(guide.contains(image), "{name} does not name {image}");
    }
    let section = concat!("\n## ", env!("CARGO_PKG_VERSION"), "\n");
    assert!(
        include_str!("../../CHANGELOG.md").contains(section),
        "CHANGELOG.md has no section {section:?}"
    );
}

/// The first block of commands under `heading`.
fn block(guide: &str, heading: &str) -> String {
    blocks(guide, heading)[0].to_owned()
}

/// The blocks of commands under `heading`.
fn blocks<'guide>(guide: &'guide str, heading: &str) -> Vec<&'guide str> {
    let (_, behind) = guide.split_once(&format!("{heading}\n")).unwrap();
    let section = behind.split("\n## ").next().unwrap();
    let commands = section.split("```sh\n").skip(1);
    commands.map(|text| text.split_once("```").unwrap().0).collect()
}

/// What `commands` print, with the pipeline where the guide has it.
async fn run(deployment: &Deployment, nuncio: &Nuncio, commands: &str) -> String {
    let here = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(deployment.program(), here.path().join("nuncio")).unwrap();
    let mut command = Command::new("bash");
    command.current_dir(here.path());
    command.args(["-euo", "pipefail", "-c"]);
    command.arg(commands.replace("http://127.0.0.1:8071", &nuncio.api_url()));
    for key in [
        "NUNCIO_AMQP_URL",
        "NUNCIO_REDIS_URL",
        "NUNCIO_NAMESPACE",
        "NUNCIO_MAIN_SECRET",
    ] {
        command.env(key, deployment.setting(key));
    }
    command.env("NUNCIO_LISTEN", nuncio.api_url().replace("http://", ""));
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", here.path().display()));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{commands}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

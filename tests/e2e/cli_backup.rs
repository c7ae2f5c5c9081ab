//! `nuncio backup` and `nuncio restore`: what was saved comes back as it was, receivers notice nothing, and what cannot
//! be done is refused before anything is changed.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::{ApiClient, Deployment, Event, LONG, Nuncio, Receiver, eventually, ports::free_port};
use lapin::types::{AMQPValue, FieldArray};
use serde_json::{Value, json};
use url::Url;

use crate::delivery_stage::user;

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn succeeded(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// That it was refused, with these words.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {:?}", self.err);
        }
    }
}

async fn run(deployment: &Deployment, arguments: &[&str]) -> Said {
    let output = deployment.run(arguments).await.expect("it runs");
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// An installation with two apps and all that can be set on them, and a directory for backups.
struct Scene {
    deployment: Deployment,
    nuncio: Nuncio,
    api: ApiClient,
    receiver: Receiver,
    app: String,
    /// Ids of its endpoints: choosy, rotated, disabled.
    endpoints: Vec<String>,
    directory: tempfile::TempDir,
}

const OWN: &str = "whsec_b3duIHNlY3JldCBvZiB0aGUgY3VzdG9tZXI=";
const ROTATED: &str = "whsec_dGhlIHNlY3JldCBhZnRlciB0aGUgcm90YXRpb24=";

impl Scene {
    async fn set() -> Self {
        let deployment = Deployment::shared().await.unwrap();
        let nuncio = deployment.start("all").await.unwrap();
        let api = nuncio.client().await.unwrap();
        let receiver = Receiver::start().await.unwrap();
        let acme = json!({"name": "Acme", "uid": "acme", "metadata": {"plan": "big"}, "throttleRate": 500});
        let app = api.post("/api/v1/app", &acme).await.unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        api.create_app("Empty").await.unwrap();
        let mut endpoints = Vec::new();
        for endpoint in [
            json!({"url": receiver.url("/choosy"), "uid": "choosy", "secret": OWN, "filterTypes": ["sync.user"],
                   "headers": {"x-tenant": "7"}, "description": "the customer's"}),
            json!({"url": receiver.url("/rotated"), "channels": ["blue"]}),
            json!({"url": receiver.url("/disabled"), "disabled": true}),
        ] {
            endpoints.push(api.create_endpoint_with(&app, &endpoint).await.unwrap());
        }
        let rotate = format!("/api/v1/app/{app}/endpoint/{}/secret/rotate", endpoints[1]);
        api.post(&rotate, &json!({ "key": ROTATED })).await.unwrap();
        let custom =
            json!({"name": "invoice.paid", "description": "paid", "schemas": {"1": {"type": "object"}}});
        api.post("/api/v1/event-type", &custom).await.unwrap();
        let changed = json!({"description": "what we say of it"});
        api.patch("/api/v1/event-type/sync.user", &changed).await.unwrap();
        Self {
            deployment,
            nuncio,
            api,
            receiver,
            app,
            endpoints,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Saves everything to a file of that name.
    async fn save(&self, name: &str, options: &[&str]) -> String {
        let path = self.path(name).to_str().unwrap().to_owned();
        run(&self.deployment, &[&["backup", &path], options].concat())
            .await
            .succeeded();
        path
    }

    fn endpoint_path(&self, nth: usize) -> String {
        format!("/api/v1/app/acme/endpoint/{}", self.endpoints[nth])
    }
}

/// The same event, on the channel of the endpoint that listens to one.
fn blue(event: Event) -> Event {
    let channels = FieldArray::from(vec![AMQPValue::LongString("blue".into())]);
    event.header("nuncio-channels", AMQPValue::FieldArray(channels))
}

/// All that the API shows of the configuration.
async fn shown(api: &ApiClient) -> Vec<Value> {
    let mut shown = api.list("/api/v1/event-type?with_content=true").await.unwrap();
    for app in api.list("/api/v1/app").await.unwrap() {
        let path = format!("/api/v1/app/{}/endpoint", app["id"].as_str().unwrap());
        for endpoint in api.list(&path).await.unwrap() {
            let one = format!("{path}/{}", endpoint["id"].as_str().unwrap());
            shown.push(api.read(&format!("{one}/secret")).await.unwrap());
            shown.push(api.read(&format!("{one}/headers")).await.unwrap());
            shown.push(endpoint);
        }
        shown.push(app);
    }
    shown
}

/// Another installation on the same servers, with the same main secret, in which nothing is.
async fn elsewhere(deployment: &Deployment) -> Deployment {
    let secret = deployment.setting("NUNCIO_MAIN_SECRET");
    Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_MAIN_SECRET", secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_saved_is_delivered_to_elsewhere_under_the_same_ids_and_secrets() {
    let scene = Scene::set().await;
    let before = shown(&scene.api).await;
    let first_secret = {
        let event = blue(Event::new("acme", "other", user(0)));
        let publisher = scene.deployment.publisher().await.unwrap();
        publisher.publish(&event).await.unwrap();
        let delivered = scene.receiver.wait_for("/rotated", 1, LONG).await.remove(0);
        assert!(delivered.is_signed_by(ROTATED));
        delivered.header("webhook-signature").split(' ').count()
    };
    assert_eq!(first_secret, 2, "the old secret signs beside the new one");
    let file = scene.save("all.json", &[]).await;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let items: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(items[0]["namespace"], scene.deployment.namespace());
    for secret in [OWN, ROTATED] {
        assert!(!text.contains(&secret["whsec_".len()..]), "{secret} is readable");
    }
    drop(scene.nuncio);

    // It runs while things are restored, and has only what a new installation has.
    let deployment = elsewhere(&scene.deployment).await;
    let nuncio = deployment.start("all").await.unwrap();
    let dry = run(&deployment, &["restore", &file, "--dry-run"]).await;
    assert!(
        dry.succeeded()
            .err
            .contains("to be written:      2 apps with 3 endpoints and 3 event types"),
        "{}",
        dry.err
    );
    let api = nuncio.client().await.unwrap();
    assert_eq!(api.list("/api/v1/app").await.unwrap(), Vec::<Value>::new());
    let said = run(&deployment, &["restore", &file]).await;
    assert!(
        said.succeeded().out.contains("restored 2 apps with 3 endpoints"),
        "{}",
        said.out
    );
    assert_eq!(shown(&api).await, before);

    let publisher = deployment.publisher().await.unwrap();
    let event = blue(Event::new("acme", "sync.user", user(1)));
    publisher.publish(&event).await.unwrap();
    let choosy = scene.receiver.wait_for("/choosy", 1, LONG).await.remove(0);
    assert!(choosy.is_signed_by(OWN));
    assert_eq!(choosy.header("x-tenant"), "7");
    let rotated = scene.receiver.wait_for("/rotated", 2, LONG).await.remove(1);
    assert!(rotated.is_signed_by(ROTATED));
    assert_eq!(rotated.header("webhook-signature").split(' ').count(), 2);
    assert_eq!(scene.receiver.times_by_id("/disabled").len(), 0);

    let again = run(&deployment, &["restore", &file]).await;
    assert!(
        again
            .succeeded()
            .out
            .contains("restored 0 apps with 0 endpoints and 0 event types"),
        "{}",
        again.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_overwritten_only_when_that_is_asked_for() {
    let scene = Scene::set().await;
    let file = scene.save("all.json", &[]).await;
    let api = &scene.api;
    api.delete(&scene.endpoint_path(0)).await.unwrap();
    let later = json!({"description": "changed later"});
    api.patch(&scene.endpoint_path(1), &later).await.unwrap();
    api.create_app("Later").await.unwrap();
    let description = async || api.read(&scene.endpoint_path(1)).await.unwrap()["description"].clone();

    let refused = run(&scene.deployment, &["restore", &file]).await;
    refused.refused(&[
        "not empty",
        "1 apps that are not in the backup",
        "1 things that differ",
        "--merge",
    ]);
    assert!(
        refused.err.contains("it was changed after the backup"),
        "{}",
        refused.err
    );
    assert!(api.read(&scene.endpoint_path(0)).await.is_err());

    let merged = run(&scene.deployment, &["restore", &file, "--merge"]).await;
    assert!(
        merged
            .succeeded()
            .out
            .contains("restored 0 apps with 1 endpoints"),
        "{}",
        merged.out
    );
    assert_eq!(api.read(&scene.endpoint_path(0)).await.unwrap()["uid"], "choosy");
    assert_eq!(description().await, "changed later");
    // The routers that run know of it at once.
    let publisher = scene.deployment.publisher().await.unwrap();
    publisher
        .publish(&Event::new("acme", "sync.user", user(1)))
        .await
        .unwrap();
    let delivered = scene.receiver.wait_for("/choosy", 1, LONG).await.remove(0);
    assert!(delivered.is_signed_by(OWN));

    let over = run(&scene.deployment, &["restore", &file, "--overwrite"]).await;
    assert!(
        over.succeeded().err.contains("is put back as it was"),
        "{}",
        over.err
    );
    assert_eq!(description().await, "");
    assert_eq!(
        api.list("/api/v1/app").await.unwrap().len(),
        3,
        "nothing is deleted"
    );

    // Somebody made an app of the same uid anew: who it belongs to is not decided here.
    let there = elsewhere(&scene.deployment).await;
    let nuncio = there.start("api").await.unwrap();
    let other = nuncio.client().await.unwrap();
    other
        .post("/api/v1/app", &json!({"name": "Acme anew", "uid": "acme"}))
        .await
        .unwrap();
    let partly = run(&there, &["restore", &file, "--merge"]).await;
    partly.refused(&[&scene.app, "its uid belongs to app_", "1 could not be restored"]);
    assert!(partly.out.contains("restored 1 apps"), "{}", partly.out);
}

/// Waits until the journal tells of so much. It is restored into another database, so that nothing comes back by looking.
async fn journaled(deployment: &Deployment, told: &str) {
    let mut redis = Url::parse(deployment.setting("NUNCIO_REDIS_URL")).unwrap();
    redis.set_path("/9");
    let aside = deployment.clone().with("NUNCIO_REDIS_URL", redis.as_str());
    eventually("the journal has it", LONG, || async {
        let said = run(&aside, &["restore", "--journal"]).await;
        said.out.contains(told).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_deleted_and_restored_is_in_the_journal_again() {
    let scene = Scene::set().await;
    let file = scene.save("all.json", &[]).await;
    journaled(&scene.deployment, "holds 2 apps with 3 endpoints").await;
    scene.api.delete("/api/v1/app/acme").await.unwrap();
    journaled(&scene.deployment, "holds 1 apps with 0 endpoints").await;
    run(&scene.deployment, &["restore", &file]).await.succeeded();
    journaled(&scene.deployment, "holds 2 apps with 3 endpoints").await;
    assert_eq!(
        scene
            .api
            .endpoint_secret("acme", &scene.endpoints[0])
            .await
            .unwrap(),
        OWN
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_main_secret_is_refused_unless_the_old_one_is_named_or_secrets_are_plain() {
    let scene = Scene::set().await;
    let file = scene.save("sealed.json", &[]).await;
    let plain = scene.save("plain.json", &["--plain", "--app", "acme"]).await;
    assert!(std::fs::read_to_string(&plain).unwrap().contains(OWN));
    let secret = scene.deployment.setting("NUNCIO_MAIN_SECRET");

    let there = Deployment::shared().await.unwrap();
    let refused = run(&there, &["restore", &file]).await;
    refused.refused(&["another main secret", "NUNCIO_MAIN_SECRET_EARLIER", "--plain"]);
    let knowing = there.clone().with("NUNCIO_MAIN_SECRET_EARLIER", secret);
    run(&knowing, &["restore", &file]).await.succeeded();

    let other = Deployment::shared().await.unwrap();
    run(&other, &["restore", &plain]).await.succeeded();
    run(&other, &["restore", &plain, "--app", "nobody"])
        .await
        .refused(&["nobody"]);
    // Both are sealed with the main secret of where they are now, which is all that these processes know.
    for (deployment, apps) in [(there, 2), (other, 1)] {
        let nuncio = deployment.start("api").await.unwrap();
        let api = nuncio.client().await.unwrap();
        assert_eq!(api.list("/api/v1/app").await.unwrap().len(), apps);
        let found = api.endpoint_secret("acme", &scene.endpoints[0]).await.unwrap();
        assert_eq!(found, OWN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_saved_or_restored_is_refused_and_nothing_is_half_done() {
    let scene = Scene::set().await;
    let good = scene.save("good.json", &[]).await;
    let text = std::fs::read_to_string(&good).unwrap();
    let write = |name: &str, text: &str| {
        let path = scene.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let there = elsewhere(&scene.deployment).await;
    for (name, text, word) in [
        ("cut", text[..text.len() - 2].to_owned(), "cut off"),
        ("torn", text[..text.len() / 2].to_owned(), "line"),
        ("changed", text.replacen("Acme", "Acne", 1), "checksum"),
        (
            "newer",
            text.replacen("\"version\":1", "\"version\":9", 1),
            "version 9",
        ),
        ("other", "{}".to_owned(), "no backup"),
        ("empty", String::new(), "no backup"),
    ] {
        let path = write(name, &text);
        run(&there, &["restore", &path]).await.refused(&[name, word]);
    }
    run(&there, &["restore", "/nowhere/at/all"])
        .await
        .refused(&["/nowhere/at/all"]);
    let output = there
        .run_with_input(&["restore", "-", "--dry-run"], &text)
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let nobody = format!("amqp://127.0.0.1:{}", free_port());
    let alone = there.clone().with("NUNCIO_AMQP_URL", &nobody);
    run(&alone, &["restore", &good])
        .await
        .refused(&["RabbitMQ", "nothing was changed"]);
    let nothing = there.run(&["backup", "-"]).await.unwrap();
    assert_eq!(nothing.status.code(), Some(1), "nothing came of all these");
    assert!(nothing.stdout.is_empty());

    // A good backup is not replaced by what came of a Redis that is away or lost all.
    run(&there, &["backup", &good]).await.refused(&["holds nothing"]);
    let away = scene
        .deployment
        .clone()
        .with("NUNCIO_REDIS_URL", &format!("redis://127.0.0.1:{}", free_port()));
    run(&away, &["backup", &good]).await.refused(&["Redis"]);
    run(&away, &["restore", &good]).await.refused(&["Redis"]);
    assert_eq!(std::fs::read_to_string(&good).unwrap(), text);
    for (path, word) in [
        (scene.directory.path(), "is a directory"),
        (Path::new("/nowhere/at/all"), "/nowhere/at"),
        (Path::new("/dev/full"), "no whole backup"),
    ] {
        let path = path.to_str().unwrap();
        run(&scene.deployment, &["backup", path]).await.refused(&[word]);
    }
    let left: Vec<_> = std::fs::read_dir(scene.directory.path())
        .unwrap()
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with('.')
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let piped = scene.deployment.run(&["backup", "-"]).await.unwrap();
    let piped = String::from_utf8(piped.stdout).unwrap();
    assert_eq!(piped.lines().count(), text.lines().count());
}

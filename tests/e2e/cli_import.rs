//! `nuncio import svix`: what a server that speaks Svix's API knows comes over, receivers notice nothing, and what cannot
//! be brought over is told.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

mod stub;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::{ApiClient, Deployment, Event, LONG, Received, Receiver, ports::free_port, tools};
use serde_json::{Value, json};

use self::stub::{Known, Stub, TOKEN, Trouble};
use crate::delivery_stage::user;

const ACME: &str = "app_2srgTtLJKbZbAkTGRpCcRmVYVpS";
const BETA: &str = "app_2srgUVbVYZnPcxS6qyVWe7uDrJE";
const EMPTY: &str = "app_2srgUzJhHXaPZz4LSkE1hUZ7bVr";
/// Of Acme.
const PLAIN: &str = "ep_2srgVSAvmdCBbN8eQyWyHxaVqkG";
const OLDER: &str = "ep_2srgVx0qAm1q3mYyQmtRkQH9s4T";
const DISABLED: &str = "ep_2srgWPjGzcEV3VqJZsXwTqLd9Yc";
const PRIVATE: &str = "ep_2srgWtAQRr0gWqkJjYJb3WuVd2N";
const ASYMMETRIC: &str = "ep_2srgXLhUvK0a9RRd8nqB7mFqZ5e";
const TRANSFORMED: &str = "ep_2srgXpQeHn1sNq0oVt5yKzJw8Uf";
/// Of Beta.
const HIDDEN: &str = "ep_2srgYH7bRk3dTq9mWx6aLcPv4Zg";

const SECRET: &str = "whsec_dGhlIG9sZCBzZWNyZXQgdGhhdCBtb3ZlZCBpbg==";
const OLDER_SECRET: &str = "whsec_YW4gb2xkZXIgc2VydmVyIGhhcyBubyBwcmVmaXg=";
const NEW_SECRET: &str = "whsec_cm90YXRlZCBhdCB0aGUgc2VydmVyIGFmdGVyd2FyZHM=";

const MADE: &str = "2024-03-01T10:00:00.123456Z";
const CHANGED: &str = "2024-04-01T10:00:00Z";
/// After everything that this test does here.
const IN_FUTURE: &str = "2100-01-01T00:00:00Z";

fn app(id: &str, uid: Option<&str>, name: &str) -> Value {
    json!({"id": id, "uid": uid, "name": name, "metadata": {"plan": name}, "createdAt": MADE, "updatedAt": CHANGED})
}

fn endpoint(id: &str, url: &str) -> Value {
    json!({"id": id, "url": url, "version": 1, "description": "", "metadata": {}, "createdAt": MADE, "updatedAt": CHANGED})
}

/// Adds an endpoint, with what single requests tell of it.
fn add(known: &mut Known, app: &str, mut endpoint: Value, more: Value, key: &str, headers: Value) {
    let fields = endpoint.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let path = format!("app/{app}/endpoint");
    let one = format!("{path}/{}", endpoint["id"].as_str().unwrap());
    known
        .single
        .insert(format!("{one}/secret"), json!({ "key": key }));
    known.single.insert(format!("{one}/headers"), headers);
    known.lists.entry(path).or_default().push(endpoint);
}

/// A server that knows all kinds of things.
async fn server(receiver: &Receiver) -> Stub {
    let stub = Stub::start().await;
    let none = || json!({"headers": {}, "sensitive": []});
    stub.now(|known| {
        let event_type = |name: &str| {
            json!({"name": name, "description": "from there", "archived": false, "deprecated": false,
                   "schemas": {"1": {"type": "object"}}, "createdAt": MADE, "updatedAt": CHANGED})
        };
        let types = ["a.one", "b.two", "sync.user"].map(event_type);
        known.lists.insert("event-type".to_owned(), types.to_vec());
        let apps = [
            app(ACME, Some("acme"), "Acme"),
            app(BETA, None, "Beta"),
            app(EMPTY, Some("empty"), "Empty"),
        ];
        known.lists.insert("app".to_owned(), apps.to_vec());
        known.lists.insert(format!("app/{EMPTY}/endpoint"), Vec::new());

        let headers = json!({"headers": {"x-tenant": "7"}, "sensitive": []});
        let more =
            json!({"uid": "first", "filterTypes": ["sync.user"], "rateLimit": 90, "metadata": {"a": "b"}});
        add(
            known,
            ACME,
            endpoint(PLAIN, &receiver.url("/plain")),
            more,
            SECRET,
            headers,
        );
        let bare = &OLDER_SECRET["whsec_".len()..];
        add(
            known,
            ACME,
            endpoint(OLDER, &receiver.url("/older")),
            json!({}),
            bare,
            none(),
        );
        let more =
            json!({"disabled": true, "eventTypes": ["a.one"], "channels": ["blue"], "throttleRate": 9});
        add(
            known,
            ACME,
            endpoint(DISABLED, &receiver.url("/disabled")),
            more,
            SECRET,
            none(),
        );
        add(
            known,
            ACME,
            endpoint(PRIVATE, "http://10.0.0.1/hook"),
            json!({}),
            SECRET,
            none(),
        );
        let public = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        add(
            known,
            ACME,
            endpoint(ASYMMETRIC, &receiver.url("/x")),
            json!({}),
            public,
            none(),
        );
        add(
            known,
            ACME,
            endpoint(TRANSFORMED, &receiver.url("/x")),
            json!({}),
            SECRET,
            none(),
        );
        let transformation = json!({"enabled": true, "code": "function handler(w) { return w; }"});
        let path = format!("app/{ACME}/endpoint/{TRANSFORMED}/transformation");
        known.single.insert(path, transformation);
        let hidden = json!({"headers": {}, "sensitive": ["authorization"]});
        add(
            known,
            BETA,
            endpoint(HIDDEN, &receiver.url("/hidden")),
            json!({}),
            SECRET,
            hidden,
        );
    });
    stub
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn import(deployment: &Deployment, url: &str, options: &[&str]) -> Said {
    let arguments = [&["import", "svix", "--from", url], options].concat();
    let deployment = deployment.clone().with("SVIX_TOKEN", TOKEN);
    let output = deployment.run(&arguments).await.expect("it runs");
    let said = Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    };
    assert!(
        !said.out.contains(TOKEN) && !said.err.contains(TOKEN),
        "the token was told"
    );
    said
}

/// That the official library of Svix, which looks at the `svix-*` headers, accepts each of these under its secret.
async fn assert_signed_for_svix(deliveries: &[(&Received, &str)]) {
    let questions: String = deliveries
        .iter()
        .map(|(received, secret)| {
            let headers: BTreeMap<_, _> = ["svix-id", "svix-timestamp", "svix-signature"]
                .map(|name| (name, received.header(name)))
                .into();
            let question =
                json!({"library": "svix", "secret": secret, "headers": headers, "body": received.text()});
            format!("{question}\n")
        })
        .collect();
    let asking = tokio::task::spawn_blocking(move || {
        let python = tools::install("libraries")["python-svix-2"].join("bin/python");
        let mut child = Command::new(python)
            .arg(tools::root().join("tests/sdk-verify/verify.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(questions.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    });
    let said = String::from_utf8(asking.await.unwrap().stdout).unwrap();
    assert_eq!(said.lines().count(), deliveries.len());
    assert!(said.lines().all(|line| line == r#"{"ok": true}"#), "{said}");
}

async fn one(api: &ApiClient, app: &str, endpoint: &str) -> Value {
    api.read(&format!("/api/v1/app/{app}/endpoint/{endpoint}"))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_svix_server_knows_comes_over_and_receivers_notice_nothing() {
    let receiver = Receiver::start().await.unwrap();
    let stub = server(&receiver).await;
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();

    let dry = import(&deployment, &stub.url, &["--dry-run"]).await;
    assert!(
        dry.out.contains("apps: 3 new") && dry.out.contains("nothing was changed"),
        "{}{}",
        dry.out,
        dry.err
    );
    assert_eq!(api.list("/api/v1/app").await.unwrap(), Vec::<Value>::new());

    let secret = format!("app/{ACME}/endpoint/{PLAIN}/secret");
    let before = stub.asked("app").len();
    stub.now(|known| {
        let troubles = vec![Trouble::Status(500), Trouble::TooMany { seconds: 2 }];
        known.trouble.insert("app".to_owned(), troubles);
        known.trouble.insert(secret.clone(), vec![Trouble::Status(503)]);
    });
    let said = import(&deployment, &stub.url, &[]).await;
    assert_eq!(said.code, Some(1), "some were left out: {}", said.err);
    for expected in [
        "event types: 2 new, 1 updated",
        "apps: 3 new",
        "endpoints: 4 new, 0 updated, 0 as they were, 3 LEFT OUT",
    ] {
        assert!(said.out.contains(expected), "no {expected:?} in {}", said.out);
    }
    for (endpoint, why) in [
        (PRIVATE, "NUNCIO_EGRESS_ALLOW"),
        (ASYMMETRIC, "public key"),
        (TRANSFORMED, "transforms"),
        (HIDDEN, "authorization"),
    ] {
        let line = said.err.lines().find(|line| line.contains(endpoint));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{endpoint}: {}",
            said.err
        );
    }
    let asked = &stub.asked("app")[before..];
    assert!(
        asked[1] - asked[0] >= Duration::from_secs(2),
        "it came back earlier than it was told to"
    );

    // All is as it was there, to the ids.
    let acme = api.read("/api/v1/app/acme").await.unwrap();
    assert_eq!(
        (&acme["id"], &acme["metadata"]["plan"]),
        (&json!(ACME), &json!("Acme"))
    );
    let ids: Vec<_> = api
        .list(&format!("/api/v1/app/{ACME}/endpoint?order=ascending"))
        .await
        .unwrap()
        .iter()
        .map(|endpoint| endpoint["id"].clone())
        .collect();
    assert_eq!(ids, [PLAIN, OLDER, DISABLED]);
    let plain = one(&api, ACME, "first").await;
    for (field, value) in [
        ("id", json!(PLAIN)),
        ("filterTypes", json!(["sync.user"])),
        ("rateLimit", json!(90)),
        ("metadata", json!({"a": "b"})),
        ("createdAt", json!("2024-03-01T10:00:00.123Z")),
    ] {
        assert_eq!(plain[field], value, "{field} of {plain}");
    }
    let disabled = one(&api, ACME, DISABLED).await;
    assert_eq!(
        (
            &disabled["disabled"],
            &disabled["filterTypes"],
            &disabled["channels"]
        ),
        (&json!(true), &json!(["a.one"]), &json!(["blue"]))
    );
    let seed = api.read("/api/v1/event-type/sync.user").await.unwrap();
    assert_eq!(seed["description"], "from there");

    let publisher = deployment.publisher().await.unwrap();
    publisher
        .publish(&Event::new(ACME, "sync.user", user(1)))
        .await
        .unwrap();
    let delivered = receiver.wait_for("/plain", 1, LONG).await.remove(0);
    assert!(delivered.is_signed_by(SECRET));
    assert_eq!(delivered.header("x-tenant"), "7");
    let older = receiver.wait_for("/older", 1, LONG).await.remove(0);
    assert!(older.is_signed_by(OLDER_SECRET));
    assert_signed_for_svix(&[(&delivered, SECRET), (&older, OLDER_SECRET)]).await;

    // What was left out is mended, and what is unchanged stays.
    stub.now(|known| {
        let endpoints = known.lists.get_mut(&format!("app/{ACME}/endpoint")).unwrap();
        endpoints.truncate(3);
    });
    let header = json!({"headers": {"authorization": "Basic eA=="}});
    api.patch(&format!("/api/v1/app/{BETA}/endpoint/{HIDDEN}/headers"), &header)
        .await
        .unwrap();
    let again = import(&deployment, &stub.url, &[]).await;
    assert_eq!(again.code, Some(0), "{}{}", again.out, again.err);
    assert!(
        again.out.contains("endpoints: 0 new, 0 updated, 4 as they were"),
        "{}",
        again.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_there_is_followed_and_what_changed_here_later_is_kept() {
    let receiver = Receiver::start().await.unwrap();
    let stub = server(&receiver).await;
    stub.now(|known| {
        let endpoints = known.lists.get_mut(&format!("app/{ACME}/endpoint")).unwrap();
        endpoints.truncate(2);
    });
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let first = import(&deployment, &stub.url, &["--app", "acme"]).await;
    assert_eq!(first.code, Some(1), "only the lists have it: {}", first.err);
    assert!(
        first.err.contains("no app with the id or uid acme"),
        "{}",
        first.err
    );
    stub.now(|known| {
        known
            .single
            .insert("app/acme".to_owned(), app(ACME, Some("acme"), "Acme"));
    });
    let first = import(&deployment, &stub.url, &["--app", "acme"]).await;
    assert_eq!(first.code, Some(0), "{}{}", first.out, first.err);
    assert_eq!(api.list("/api/v1/app").await.unwrap().len(), 1);

    let path = |endpoint| format!("/api/v1/app/acme/endpoint/{endpoint}");
    api.patch(&path(OLDER), &json!({"description": "changed here"}))
        .await
        .unwrap();
    stub.now(|known| {
        let endpoints = known.lists.get_mut(&format!("app/{ACME}/endpoint")).unwrap();
        endpoints[0]["url"] = json!(receiver.url("/moved"));
        endpoints[0]["updatedAt"] = json!(IN_FUTURE);
        endpoints[1]["description"] = json!("changed there, earlier");
        let secret = format!("app/{ACME}/endpoint/{PLAIN}/secret");
        known.single.insert(secret, json!({ "key": NEW_SECRET }));
    });
    let second = import(&deployment, &stub.url, &["--app", "acme"]).await;
    assert_eq!(second.code, Some(1), "the secrets differ: {}", second.err);
    assert!(second.err.contains("--take-secrets"), "{}", second.err);
    assert!(
        second
            .out
            .contains("endpoints: 0 new, 1 updated, 0 as they were, 1 changed here later, kept"),
        "{}",
        second.out
    );
    assert_eq!(one(&api, ACME, PLAIN).await["url"], receiver.url("/moved"));
    assert_eq!(one(&api, ACME, OLDER).await["description"], "changed here");

    let third = import(&deployment, &stub.url, &["--app", "acme", "--take-secrets"]).await;
    assert_eq!(third.code, Some(0), "{}{}", third.out, third.err);
    assert_eq!(api.endpoint_secret(ACME, PLAIN).await.unwrap(), NEW_SECRET);
    let publisher = deployment.publisher().await.unwrap();
    publisher
        .publish(&Event::new("acme", "sync.user", user(1)))
        .await
        .unwrap();
    let delivered = receiver.wait_for("/moved", 1, LONG).await.remove(0);
    assert!(
        delivered.is_signed_by(NEW_SECRET) && delivered.is_signed_by(SECRET),
        "both sign for a day"
    );

    // Another app here has the uid of one there.
    api.post("/api/v1/app", &json!({"name": "Other", "uid": "empty"}))
        .await
        .unwrap();
    let taken = import(&deployment, &stub.url, &[]).await;
    assert_eq!(taken.code, Some(1));
    let line = taken.err.lines().find(|line| line.contains(EMPTY));
    assert!(
        line.is_some_and(|line| line.contains("taken by app_")),
        "{}",
        taken.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_or_address_is_told_at_once_and_a_file_may_hold_the_token() {
    let receiver = Receiver::start().await.unwrap();
    let stub = server(&receiver).await;
    let deployment = Deployment::shared().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(path, "another\n").unwrap();
    let refused = import(&deployment, &stub.url, &["--token-file", path, "--dry-run"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("does not accept the token"),
        "{}",
        refused.err
    );
    std::fs::write(path, format!("{TOKEN}\n")).unwrap();
    let read = import(
        &deployment,
        &format!("{}/", stub.url),
        &["--token-file", path, "--dry-run"],
    )
    .await;
    assert!(read.out.contains("apps: 3 new"), "{}", read.err);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let refused = import(&deployment, &nowhere, &["--dry-run"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains(&nowhere), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_take_the_stub_for_a_svix_server() {
    let receiver = Receiver::start().await.unwrap();
    let stub = server(&receiver).await;
    let sdks = tokio::task::spawn_blocking(|| tools::install("libraries"))
        .await
        .unwrap();
    for name in ["python-svix-1", "python-svix-2"] {
        let mut python = Command::new(sdks[name].join("bin/python"));
        python
            .arg(tools::root().join("tests/e2e/cli_import/sdk.py"))
            .args([&stub.url, TOKEN]);
        let output = tokio::task::spawn_blocking(move || python.output().expect("python starts"))
            .await
            .unwrap();
        tools::assert_succeeded(name, &output);
        let names: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
        let expected = [PLAIN, OLDER, DISABLED, PRIVATE, ASYMMETRIC, TRANSFORMED, HIDDEN];
        assert_eq!(
            names,
            [&expected[..], &["a.one", "b.two", "sync.user"]].concat(),
            "{name}"
        );
    }
}

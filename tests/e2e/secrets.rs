//! Secrets stay where they belong: not in logs, metrics, errors or Redis; and the main secret can be changed.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::{Answer, Deployment, Event, LONG, Receiver, Redis, eventually};
use http::{Method, StatusCode};
use serde_json::json;

use crate::portal::Browser;

/// What is looked for. The endpoint's secret is `whsec_` and the base64 of 24 bytes or more.
const MAIN: &str = "canary-main-secret-of-enough-bytes-4711";
const ENDPOINT: &str = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5";
const HEADER: &str = "canary-header-value-4711";
const PAYLOAD: &str = "user_canarypayload4711";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// On the shared broker, with a Redis whose files the test may read.
async fn deployment(redis: &Redis) -> Deployment {
    let shared = Deployment::shared().await.unwrap();
    Deployment::at(shared.setting("NUNCIO_AMQP_URL"), redis.url())
        .await
        .unwrap()
}

/// Everything that Redis would write to its disk.
async fn dump(redis: &Redis) -> Vec<u8> {
    redis
        .command(&["CONFIG", "SET", "rdbcompression", "no"])
        .await
        .unwrap();
    redis.command(&["SAVE"]).await.unwrap();
    let setting = async |name| {
        let value = redis.command(&["CONFIG", "GET", name]).await.unwrap();
        let pair: Vec<String> = redis::from_redis_value(value).unwrap();
        pair[1].clone()
    };
    let path = std::path::Path::new(&setting("dir").await).join(setting("dbfilename").await);
    std::fs::read(path).unwrap()
}

/// What a browser is shown on these pages.
async fn seen_on(browser: &Browser, paths: &[String]) -> String {
    let mut seen = String::new();
    for path in paths {
        let page = browser.see(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        seen.push_str(&page.text);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_in_logs_metrics_errors_pages_or_the_store() {
    let redis = Redis::start().await.unwrap();
    let deployment = deployment(&redis)
        .await
        .with("NUNCIO_MAIN_SECRET", MAIN)
        .with("NUNCIO_LOG", "debug")
        .with("NUNCIO_RETRY_ATTEMPTS", "2");
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/fails", [Answer::status(500).body("no")]);
    let app = api.create_app("Canary").await.unwrap();
    let app_token = deployment.token(&["--app", &app]).await.unwrap();
    let customer = api.with_token(&app_token);
    let mut ids = Vec::new();
    for path in ["/takes", "/fails"] {
        let endpoint = json!({
            "url": receiver.url(path), "secret": ENDPOINT, "headers": { "x-canary": HEADER }
        });
        ids.push(api.create_endpoint_with(&app, &endpoint).await.unwrap());
    }
    let publisher = deployment.publisher().await.unwrap();
    let body = format!(r#"{{"type":"sync.user","userId":"{PAYLOAD}"}}"#);
    let events = [
        Event::new(&app, "sync.user", body.clone()),
        Event::new(&app, "sync.user", format!("{{{PAYLOAD}")),
        Event::new("nobody", "sync.user", body.clone()),
    ];
    publisher.publish_all(events).await.unwrap();
    let delivered = receiver.wait_for("/takes", 1, LONG).await.remove(0);
    assert_eq!(
        delivered.header("x-canary"),
        HEADER,
        "the canary flies where it should"
    );
    assert!(delivered.is_signed_by(ENDPOINT));
    receiver.wait_for("/fails", 2, LONG).await;

    let mut told = String::new();
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    let bad_secret = format!("{ENDPOINT}!");
    for (client, method, path, body) in [
        (
            &customer,
            Method::POST,
            endpoints.clone(),
            json!({ "url": "nonsense", "secret": ENDPOINT }),
        ),
        (
            &customer,
            Method::POST,
            endpoints.clone(),
            json!({ "url": receiver.url("/x"), "secret": bad_secret }),
        ),
        (
            &customer,
            Method::POST,
            endpoints.clone(),
            json!({ "url": receiver.url("/x"), "headers": { "x y": HEADER } }),
        ),
        (
            &customer,
            Method::POST,
            endpoints.clone(),
            json!({ "url": receiver.url("/x"), "headers": { "a": format!("{HEADER}\r\nb: c") } }),
        ),
        (
            &customer,
            Method::POST,
            format!("/api/v1/app/{app}/msg"),
            json!({ "eventType": "a b", "payload": { "id": PAYLOAD } }),
        ),
        (
            &customer,
            Method::GET,
            format!("/api/v1/app/other?token={app_token}"),
            json!(null),
        ),
        (
            &api.with_token(format!("{app_token}x")),
            Method::GET,
            endpoints.clone(),
            json!(null),
        ),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let reply = client.call(method, &path, body).await.unwrap();
        assert!(
            reply.status.is_client_error(),
            "{path}: {} {}",
            reply.status,
            reply.body
        );
        told.push_str(&reply.body.to_string());
    }
    let admin_token = deployment.token(&[]).await.unwrap();
    let customer = Browser::opened(nuncio.api_url(), &app_token).await;
    let endpoint = format!("/portal/endpoints/{}", ids[0]);
    let message = delivered.id();
    let mut pages = seen_on(
        &customer,
        &[
            "/portal/endpoints".to_owned(),
            "/portal/messages".to_owned(),
            format!("/portal/messages/{message}"),
            endpoint.clone(),
            format!("{endpoint}/live"),
            format!("{endpoint}/edit"),
            format!("{endpoint}/settings"),
            format!("{endpoint}/verify"),
        ],
    )
    .await;
    assert!(pages.contains(PAYLOAD), "the pages are those of this app");
    let operator = Browser::signed_in(nuncio.api_url(), &admin_token).await;
    let console = ["projects", "health", "set-aside"].map(|page| format!("/console/{page}"));
    pages.push_str(&seen_on(&operator, &console).await);
    let project = format!("/console/projects/{app}");
    pages.push_str(&seen_on(&operator, &[project]).await);
    let shown = deployment.run(&["config", "show"]).await.unwrap();
    assert!(shown.status.success());
    told.push_str(&text(&[shown.stdout, shown.stderr].concat()));
    told.push_str(&nuncio.metrics().await.unwrap());
    let log = nuncio.log().unwrap();
    assert!(log.contains("DEBUG"), "the log is one that tells much");
    told.push_str(&log);

    let key_bytes = "canarycanarycanarycanary";
    let stored = dump(&redis).await;
    assert!(
        text(&stored).contains(PAYLOAD),
        "the dump is one that shows what is stored"
    );
    for secret in [
        MAIN,
        ENDPOINT,
        &ENDPOINT["whsec_".len()..],
        key_bytes,
        &app_token,
        &admin_token,
    ] {
        assert!(!told.contains(secret), "{secret} was told");
        assert!(!pages.contains(secret), "{secret} is on a page");
        assert!(!text(&stored).contains(secret), "{secret} is in Redis");
    }
    for private in [HEADER, PAYLOAD] {
        let line = told.lines().find(|line| line.contains(private));
        assert_eq!(line, None, "{private} was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_secret_can_be_changed_and_the_old_one_forgotten() {
    let before = Deployment::shared().await.unwrap();
    let old = before.setting("NUNCIO_MAIN_SECRET").to_owned();
    let new = "the new main secret, of more than 32 bytes";
    let receiver = Receiver::start().await.unwrap();
    let mut secrets = Vec::new();
    {
        let nuncio = before.start("api").await.unwrap();
        let api = nuncio.client().await.unwrap();
        for name in ["One", "Two"] {
            let app = api.create_app(name).await.unwrap();
            for path in ["/a", "/b"] {
                let endpoint = api.create_endpoint(&app, &receiver.url(path)).await.unwrap();
                let secret = api.endpoint_secret(&app, &endpoint).await.unwrap();
                secrets.push((app.clone(), endpoint, secret));
            }
        }
    }
    let both = before
        .clone()
        .with("NUNCIO_MAIN_SECRET", new)
        .with("NUNCIO_MAIN_SECRET_EARLIER", &old);
    let only_new = before.clone().with("NUNCIO_MAIN_SECRET", new);
    let rewrap = async |deployment: &Deployment| {
        let output = deployment.run(&["rewrap"]).await.unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, complaints) = rewrap(&only_new).await;
    assert_eq!(code, Some(1), "{complaints}");
    assert!(said.contains("4 OPENED BY NO MAIN SECRET"), "{said}");
    assert!(
        secrets
            .iter()
            .all(|(_, endpoint, _)| complaints.contains(endpoint)),
        "{complaints}"
    );
    // While everything runs, and twice.
    let nuncio = both.start("all").await.unwrap();
    for (code, said, complaints) in [rewrap(&both).await, rewrap(&both).await] {
        assert_eq!(code, Some(0), "{complaints}");
        assert!(said.starts_with("2 apps: "), "{said}");
    }
    let (_, said, _) = rewrap(&both).await;
    assert_eq!(said, "2 apps: 0 secrets sealed anew, 4 were already\n");
    drop(nuncio);

    let nuncio = only_new.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    for (app, endpoint, secret) in &secrets {
        assert_eq!(&api.endpoint_secret(app, endpoint).await.unwrap(), secret);
        api.create_message(app, "a", &json!({ "n": 1 })).await.unwrap();
    }
    for path in ["/a", "/b"] {
        let signed = eventually(
            "deliveries are signed by the endpoints' own secrets",
            LONG,
            || async {
                let requests = receiver.requests(path);
                (requests.len() == 4).then_some(requests)
            },
        )
        .await;
        for request in signed {
            assert!(secrets.iter().any(|(_, _, secret)| request.is_signed_by(secret)));
        }
    }
    let still = before.clone().run(&["rewrap"]).await.unwrap();
    assert_eq!(
        still.status.code(),
        Some(1),
        "the old main secret opens nothing any more"
    );
}

//! Bad input is refused with its place and kind, at the limit and not before it. The rows are those of the catalogue of
//! bad inputs: URLs, JSON, headers, ids, secrets.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::api::Reply;
use e2e::{ApiClient, Deployment, Nuncio, SHORT, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// A deployment that dials nothing but public addresses, with one app.
async fn strict() -> (Nuncio, ApiClient, String) {
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_EGRESS_ALLOW", "");
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let app = api.create_app("Inputs").await.unwrap();
    (nuncio, api, app)
}

/// The first mistake of a 422: where it is and of which kind.
fn mistake(reply: &Reply, what: &str) -> (String, String) {
    assert_eq!(
        reply.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{what}: {}",
        reply.body
    );
    let item = &reply.body["detail"][0];
    let loc = item["loc"]
        .as_array()
        .unwrap_or_else(|| panic!("{what}: {}", reply.body));
    let loc: Vec<_> = loc.iter().map(|part| part.as_str().unwrap()).collect();
    assert!(!item["msg"].as_str().unwrap().is_empty());
    (loc.join("."), item["type"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_that_must_not_be_dialled_are_refused_with_the_part_that_is_wrong() {
    let (_nuncio, api, app) = strict().await;
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    let good = "https://example.com/good";
    let one = api.create_endpoint(&app, good).await.unwrap();
    let one = format!("{endpoints}/{one}");
    let long_label = format!("http://{}.example.com/", "a".repeat(64));
    let long = format!("https://example.com/{}", "a".repeat(2_029));
    let cases = [
        ("http://127.1/", "private_address"),
        ("http://0x7f.1/", "private_address"),
        ("http://0177.0.0.1/", "private_address"),
        ("http://2130706433/", "private_address"),
        ("http://①②⑦.⓪.⓪.①/", "private_address"),
        ("http://%31%32%37.0.0.1/", "private_address"),
        ("http://127.0.0.1./", "private_address"),
        ("http://0/", "private_address"),
        ("http://[::1]/", "private_address"),
        ("http://[::]/", "private_address"),
        ("http://[::ffff:7f00:1]/", "private_address"),
        ("http://[::127.0.0.1]/", "private_address"),
        ("http://[64:ff9b::a00:1]/", "private_address"),
        ("http://[2002:a00:1::]/", "private_address"),
        ("http://[fd00:ec2::254]/", "private_address"),
        ("http://169.254.169.254/", "private_address"),
        ("http://0xA9FEA9FE/", "private_address"),
        ("http://100.100.100.200/", "private_address"),
        ("http://localhost./", "private_address"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://127.0.0.1:6379/", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("data:text/plain,x", "scheme"),
        ("//example.com/", "scheme"),
        ("http://exa\r\nmple.com/", "url_syntax"),
        ("http://exa\tmple.com/", "url_syntax"),
        ("http://exa\u{0}mple.com/", "url_syntax"),
        ("http://exa mple.com/", "url_syntax"),
        ("http://example.com\\x", "url_syntax"),
        ("http:example.com", "url_syntax"),
        ("http://u:p@example.com/", "userinfo"),
        ("http://example.com#@127.0.0.1", "fragment"),
        ("http://example.com:99999/", "port"),
        ("http://example.com:0/", "port"),
        ("http://example.com:6379/", "port"),
        ("http://example..com/", "host"),
        (&long_label, "host"),
        (&long, "too_long"),
        ("", "url_syntax"),
    ];
    for (url, kind) in cases {
        for (method, path) in [
            (Method::POST, &endpoints),
            (Method::PUT, &one),
            (Method::PATCH, &one),
        ] {
            let what = format!("{method} {url}");
            let reply = api
                .call(method, path, Some(&json!({ "url": url })))
                .await
                .unwrap();
            assert_eq!(
                mistake(&reply, &what),
                ("body.url".to_owned(), kind.to_owned()),
                "{what}: {}",
                reply.body
            );
        }
    }
    assert_eq!(api.read(&one).await.unwrap()["url"], good);
    let named = api
        .call(
            Method::POST,
            &endpoints,
            Some(&json!({ "url": "http://0x7f.1/" })),
        )
        .await
        .unwrap();
    assert!(named.body.to_string().contains("127.0.0.1"), "{}", named.body);
    let shown = api
        .post(&endpoints, &json!({ "url": "https://пример.example/x" }))
        .await
        .unwrap();
    assert_eq!(shown["url"], "https://xn--e1afmkfd.example/x");
    let most = format!("https://example.com/{}", "a".repeat(2_028));
    assert_eq!(
        api.post(&endpoints, &json!({ "url": most })).await.unwrap()["url"],
        json!(most)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_some_reader_would_stumble_over_is_refused() {
    let (nuncio, api, app) = strict().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let message = |payload: &str| format!(r#"{{"eventType":"a","payload":{payload}}}"#);
    let messages = format!("/api/v1/app/{app}/msg");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("/api/v1/app", b"{".to_vec(), "body"),
        ("/api/v1/app", b"[]".to_vec(), "body"),
        ("/api/v1/app", b"nonsense".to_vec(), "body"),
        ("/api/v1/app", b"".to_vec(), "body.name"),
        ("/api/v1/app", br#"{"name":"a","name":"b"}"#.to_vec(), "body"),
        (
            "/api/v1/app",
            format!(r#"{{"name":{deep}}}"#).into_bytes(),
            "body.name",
        ),
        ("/api/v1/app", br#"{"name":1e400}"#.to_vec(), "body.name"),
        ("/api/v1/app", br#"{"name":"\ud800"}"#.to_vec(), "body.name"),
        ("/api/v1/app", b"{\"name\":\"\xff\"}".to_vec(), "body.name"),
        ("/api/v1/app", br#"{"name":7}"#.to_vec(), "body.name"),
        ("/api/v1/app", br#"{"name":null}"#.to_vec(), "body.name"),
        (&messages, message("[]").into_bytes(), "body.payload"),
        (&messages, message("\"text\"").into_bytes(), "body.payload"),
        (
            &messages,
            message(r#"{"a":1,"a":2}"#).into_bytes(),
            "body.payload",
        ),
        (&messages, message(r#"{"a":1e400}"#).into_bytes(), "body.payload"),
        (
            &messages,
            message(r#"{"a":"\ud800"}"#).into_bytes(),
            "body.payload",
        ),
        (
            &messages,
            message(&format!(r#"{{"a":{deep}}}"#)).into_bytes(),
            "body.payload",
        ),
        (&messages, br#"{"eventType":"a"}"#.to_vec(), "body.payload"),
        (
            &messages,
            b"{\"eventType\":\"a\",\"payload\":{\"a\":\"\xff\"}}".to_vec(),
            "body.payload",
        ),
    ];
    let token = nuncio.client().await.unwrap();
    for (path, body, loc) in cases {
        let shown: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let reply = token.send(Method::POST, path, body).await.unwrap();
        assert_eq!(mistake(&reply, &shown).0, loc, "{shown}: {}", reply.body);
    }
    let of = |bytes: usize| message(&format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8)));
    let most = api
        .send(Method::POST, &messages, of(256 * 1024).into_bytes())
        .await
        .unwrap();
    assert_eq!(most.status, StatusCode::ACCEPTED, "{}", most.body);
    let unknown = json!({ "name": "a", "unknown": { "field": [1] } });
    assert_eq!(
        api.call(Method::POST, "/api/v1/app", Some(&unknown))
            .await
            .unwrap()
            .status,
        StatusCode::CREATED
    );
    // The server answers what is far too large before it has read it and closes the connection, so that a client that still
    // writes may see that first.
    for bytes in [256 * 1024 + 1, 4 * 1024 * 1024] {
        let refused = async || {
            api.send(Method::POST, &messages, of(bytes).into_bytes())
                .await
                .ok()
        };
        let reply = eventually(&format!("{bytes} bytes are answered"), SHORT, refused).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{bytes}");
        assert_eq!(reply.body["code"], "payload_too_large");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_holds_to_the_last_and_names_its_field() {
    let (_nuncio, api, app) = strict().await;
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    let messages = format!("/api/v1/app/{app}/msg");
    let endpoint = |field: &str, value: Value| {
        let mut body = json!({ "url": "https://example.com/" });
        body[field] = value;
        body
    };
    let message = |field: &str, value: Value| {
        let mut body = json!({ "eventType": "a", "payload": {} });
        body[field] = value;
        body
    };
    let text = |length: usize| json!("x".repeat(length));
    let many = |n: usize| Value::from((0..n).map(|i| format!("c{i}")).collect::<Vec<_>>());
    let headers = |n: usize| Value::Object((0..n).map(|i| (format!("X-{i}"), json!("1"))).collect());
    let secret = |bytes: usize| {
        use base64::Engine;
        json!(format!(
            "whsec_{}",
            base64::engine::general_purpose::STANDARD.encode(vec![7; bytes])
        ))
    };
    let header = |name: &str, value: &str| json!({ name: value });
    let cases: Vec<(&str, Value, Option<&str>)> = vec![
        (&endpoints, endpoint("description", text(1_024)), None),
        (
            &endpoints,
            endpoint("description", text(1_025)),
            Some("body.description"),
        ),
        (&endpoints, endpoint("headers", headers(64)), None),
        (&endpoints, endpoint("headers", headers(65)), Some("body.headers")),
        (
            &endpoints,
            endpoint("headers", header("X-A", &"v".repeat(4_096))),
            None,
        ),
        (
            &endpoints,
            endpoint("headers", header("X-A", &"v".repeat(4_097))),
            Some("body.headers.x-a"),
        ),
        (
            &endpoints,
            endpoint("headers", header("X-A", "a\r\nb")),
            Some("body.headers.x-a"),
        ),
        (
            &endpoints,
            endpoint("headers", header("Host", "x")),
            Some("body.headers.host"),
        ),
        (
            &endpoints,
            endpoint("headers", header("é", "x")),
            Some(r"body.headers.\u{e9}"),
        ),
        (
            &endpoints,
            endpoint("headers", header("webhook-signature", "x")),
            Some("body.headers.webhook-signature"),
        ),
        (&endpoints, endpoint("channels", many(10)), None),
        (&endpoints, endpoint("channels", many(11)), Some("body.channels")),
        (
            &endpoints,
            endpoint("channels", many(10_000)),
            Some("body.channels"),
        ),
        (
            &endpoints,
            endpoint("filterTypes", json!([])),
            Some("body.filterTypes"),
        ),
        (
            &endpoints,
            endpoint("eventTypes", json!(["a b"])),
            Some("body.eventTypes.0"),
        ),
        (
            &endpoints,
            endpoint("throttleRate", json!(0)),
            Some("body.throttleRate"),
        ),
        (
            &endpoints,
            endpoint("rateLimit", json!(70_000)),
            Some("body.rateLimit"),
        ),
        (&endpoints, endpoint("version", json!("1")), Some("body.version")),
        (&endpoints, endpoint("url", Value::Null), Some("body.url")),
        (&endpoints, endpoint("uid", text(256)), None),
        (&endpoints, endpoint("uid", text(257)), Some("body.uid")),
        (&endpoints, endpoint("uid", json!("ep_mine")), Some("body.uid")),
        (&endpoints, endpoint("uid", json!("a:b*")), Some("body.uid")),
        (&endpoints, endpoint("secret", secret(24)), None),
        (&endpoints, endpoint("secret", secret(64)), None),
        (&endpoints, endpoint("secret", secret(23)), Some("body.secret")),
        (&endpoints, endpoint("secret", secret(65)), Some("body.secret")),
        (
            &endpoints,
            endpoint("secret", json!("whsec_!")),
            Some("body.secret"),
        ),
        (
            &endpoints,
            endpoint("secret", json!("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            Some("body.secret"),
        ),
        (&messages, message("eventType", text(256)), None),
        (&messages, message("eventType", text(257)), Some("body.eventType")),
        (
            &messages,
            message("eventType", json!("#")),
            Some("body.eventType"),
        ),
        (
            &messages,
            message("eventType", json!("*.x")),
            Some("body.eventType"),
        ),
        (&messages, message("channels", many(10)), None),
        (&messages, message("channels", many(11)), Some("body.channels")),
        (&messages, message("eventId", text(257)), Some("body.eventId")),
        (
            &messages,
            message("payloadRetentionPeriod", json!(4)),
            Some("body.payloadRetentionPeriod"),
        ),
        (
            &messages,
            message("deliverAt", json!("2030-01-01T00:00:00Z")),
            Some("body.deliverAt"),
        ),
    ];
    for (path, body, loc) in cases {
        let shown: String = body.to_string().chars().take(120).collect();
        let reply = api.call(Method::POST, path, Some(&body)).await.unwrap();
        match loc {
            None => assert!(reply.status.is_success(), "{shown}: {}", reply.body),
            Some(loc) => assert_eq!(mistake(&reply, &shown).0, loc, "{shown}: {}", reply.body),
        }
    }
    for (path, loc) in [
        ("/api/v1/app?limit=251", "query.limit"),
        ("/api/v1/app?limit=x", "query.limit"),
        ("/api/v1/app?order=up", "query.order"),
        (&format!("{messages}?before=yesterday"), "query.before"),
        (&format!("{messages}?event_types=a%20b"), "query.event_types"),
    ] {
        let reply = api.call(Method::GET, path, None).await.unwrap();
        assert_eq!(mistake(&reply, path).0, loc);
    }
    assert_eq!(
        api.call(Method::GET, "/api/v1/app?limit=250", None)
            .await
            .unwrap()
            .status,
        StatusCode::OK
    );
    let keys = ["".to_owned(), " ".to_owned(), "x".repeat(1025)];
    for key in &keys {
        let headers = [("idempotency-key", key.as_str())];
        let reply = api
            .call_with(
                Method::POST,
                "/api/v1/app",
                Some(&json!({ "name": "a" })),
                &headers,
            )
            .await
            .unwrap();
        assert_eq!(mistake(&reply, key).0, "header.idempotency-key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_name_nothing_are_not_found_whatever_they_hold() {
    let (_nuncio, api, app) = strict().await;
    let long = format!("app_{}", "x".repeat(257));
    for id in [
        "../x",
        "a%20b",
        &long,
        "app_foreign",
        "%00",
        "%ff",
        "..%2f",
        "a%2Fb",
        "*",
        "{app}",
    ] {
        for path in [
            format!("/api/v1/app/{id}"),
            format!("/api/v1/app/{app}/endpoint/{id}"),
            format!("/api/v1/app/{app}/msg/{id}"),
            format!("/api/v1/event-type/{id}"),
        ] {
            let reply = api.call(Method::GET, &path, None).await.unwrap();
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}: {}", reply.body);
            assert_eq!(reply.body["code"], "not_found", "{path}");
        }
    }
    for (method, path, status) in [
        (Method::GET, "/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/nothing", StatusCode::NOT_FOUND),
        (Method::DELETE, "/api/v1/app", StatusCode::METHOD_NOT_ALLOWED),
        (Method::TRACE, "/api/v1/app", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let reply = api.call(method, path, None).await.unwrap();
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.body["code"].is_string(), "{path}: {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_has_as_many_endpoints_as_it_may_have_and_no_more() {
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_ENDPOINTS_PER_APP_MAX", "3");
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let app = api.create_app("Full").await.unwrap();
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    for n in 0..4 {
        let body = json!({ "url": format!("https://example.com/{n}") });
        let reply = api.call(Method::POST, &endpoints, Some(&body)).await.unwrap();
        if n < 3 {
            assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        } else {
            assert_eq!(reply.status, StatusCode::CONFLICT, "{}", reply.body);
            assert_eq!(reply.body["code"], "limit_reached");
        }
    }
    assert_eq!(api.list(&endpoints).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn nuncios_own_services_can_never_be_endpoints_even_where_their_network_is_allowed() {
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_PUBLIC_URL", "https://hooks.example.com")
        .with("NUNCIO_EGRESS_PROXY", "http://127.0.0.1:3128");
    let nuncio = deployment.start("api").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let app = api.create_app("Own").await.unwrap();
    let endpoints = format!("/api/v1/app/{app}/endpoint");
    let port = |url: &str| url::Url::parse(url).unwrap().port().unwrap();
    let [amqp, redis, web] = [
        deployment.setting("NUNCIO_AMQP_URL"),
        deployment.setting("NUNCIO_REDIS_URL"),
        &nuncio.api_url(),
    ]
    .map(port);
    let mut own = vec![
        "https://hooks.example.com/portal".to_owned(),
        "http://127.0.0.1:3128/".to_owned(),
    ];
    for port in [amqp, redis, web] {
        for host in [
            "127.0.0.1",
            "127.1",
            "localhost",
            "[::ffff:127.0.0.1]",
            "0x7f.0.0.1",
        ] {
            own.push(format!("http://{host}:{port}/"));
        }
    }
    for url in own {
        let reply = api
            .call(Method::POST, &endpoints, Some(&json!({ "url": url })))
            .await
            .unwrap();
        assert_eq!(
            mistake(&reply, &url),
            ("body.url".to_owned(), "own_address".to_owned()),
            "{}",
            reply.body
        );
    }
    let others = json!({ "url": "http://127.0.0.1:20000/" });
    api.post(&endpoints, &others).await.unwrap();
}

//! The dashboard asks for what there is: a real Prometheus scrapes a real pipeline, every query of every panel is
//! evaluated there, and those about what took place have an answer.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::time::Duration;

use e2e::process::{AtParentsDeath, Process, mortal};
use e2e::{Answer, Deployment, Event, LONG, Receiver, eventually, ports::free_port};
use serde_json::Value;
use url::Url;

const DASHBOARD: &str = include_str!("../../deploy/observability/dashboard.json");

/// What a short and healthy run has none of: these appear with the first event of their kind.
const SELDOM: [&str; 9] = [
    "nuncio_router_swept_total",
    "nuncio_router_deleted_total",
    "nuncio_router_unclaimed_total",
    "nuncio_sender_copies_total",
    "nuncio_sender_superseded_total",
    "nuncio_sender_breakers_open",
    "nuncio_broker_reconnects_total",
    "nuncio_store_away",
    "nuncio_store_records_dropped_total",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_is_answered_by_a_real_prometheus() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("all").await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (_prometheus, address) = prometheus(place.path(), &nuncio.health_address());
    run_the_pipeline(&deployment, &nuncio).await;

    // Rates need two samples of what has taken place.
    let retried = r#"rate(nuncio_sender_retry_lateness_seconds_count[1m]) >= 0"#;
    eventually("Prometheus has scraped the retry twice", LONG, async || {
        answers(&address, retried).await.filter(|found| *found > 0)
    })
    .await;

    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut evaluated = 0;
    for target in targets {
        let query = target["expr"].as_str().unwrap();
        let query = query
            .replace("$__rate_interval", "1m")
            .replace("$namespace", ".*");
        if SELDOM.iter().any(|name| query.contains(name)) {
            let found = answers(&address, &query).await;
            assert!(found.is_some(), "Prometheus does not evaluate {query}");
        } else {
            // Depths are looked at every few seconds.
            eventually(&query, LONG, async || {
                answers(&address, &query).await.filter(|found| *found > 0)
            })
            .await;
        }
        evaluated += 1;
    }
    assert!(evaluated > 40, "{evaluated} queries");
}

fn prometheus(place: &std::path::Path, scraped: &str) -> (Process, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let config = place.join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: nuncio\n    static_configs:\n      \
         - {{ targets: ['{scraped}'], labels: {{ namespace: here }} }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = mortal("prometheus", AtParentsDeath::Kill);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", place.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .current_dir(place)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    (Process::spawn("prometheus", command).unwrap(), address)
}

/// Deliveries, a retry, a duplicate, an event set aside, a request to the API.
async fn run_the_pipeline(deployment: &Deployment, nuncio: &e2e::Nuncio) {
    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/b", [Answer::status(500), Answer::ok()]);
    let app = api.create_app("Acme").await.unwrap();
    for path in ["/a", "/b"] {
        api.create_endpoint(&app, &receiver.url(path)).await.unwrap();
    }
    let publisher = deployment.publisher().await.unwrap();
    let event = Event::new(&app, "sync.user", r#"{"type":"sync.user","userId":"user_1"}"#).id("once");
    publisher.publish_all(vec![event.clone(); 3]).await.unwrap();
    publisher
        .publish(&Event::new(&app, "sync.user", "not JSON"))
        .await
        .unwrap();
    receiver.wait_for("/a", 1, LONG).await;
    receiver.wait_for("/b", 2, LONG).await;
}

/// How many series answer `query`; nothing when Prometheus is not there yet or does not evaluate it.
async fn answers(address: &str, query: &str) -> Option<usize> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let url = Url::parse_with_params(&format!("http://{address}/api/v1/query"), [("query", query)]).unwrap();
    let asked = client.get(url).send().await.ok()?;
    let answer: Value = serde_json::from_slice(&asked.bytes().await.ok()?).ok()?;
    (answer["status"] == "success").then(|| answer["data"]["result"].as_array().unwrap().len())
}

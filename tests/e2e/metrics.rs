//! What `/metrics` shows is what `docs/metrics.md` says, and what the sources count.

use std::collections::BTreeSet;
use std::path::Path;

use e2e::{Answer, LONG, eventually};

use crate::delivery_stage::Stage;

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

/// What appears only when something goes wrong or is at its end, which this test does not bring about.
const SELDOM: [&str; 1] = ["nuncio_broker_reconnects_total"];

fn documented() -> BTreeSet<String> {
    let rows = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `nuncio_"));
    rows.filter_map(|row| row.split_once('`'))
        .map(|(name, _)| format!("nuncio_{name}"))
        .collect()
}

/// The metrics in a scrape by the name before `_bucket`, `_sum` and `_count`.
fn scraped(text: &str) -> BTreeSet<String> {
    let kinds = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE nuncio_"));
    kinds
        .filter_map(|line| line.split_once(' '))
        .map(|(name, _)| format!("nuncio_{name}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_shows_the_documented_metrics_and_no_others() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    stage.receiver.answer("/a", [Answer::status(500), Answer::ok()]);
    stage.publish_user(1).await;
    stage.receiver.wait_for("/a", 2, LONG).await;
    let nobody = e2e::Event::new("no-such-uid", "sync.user", "{}");
    stage.publisher.publish(&nobody).await.unwrap();

    let expected: BTreeSet<_> = documented()
        .into_iter()
        .filter(|name| !SELDOM.contains(&name.as_str()))
        .collect();
    let complete = || async {
        let text = stage.nuncio.metrics().await.ok()?;
        let scraped = scraped(&text);
        let missing: Vec<_> = expected.difference(&scraped).collect();
        if missing.is_empty() {
            return Some(text);
        }
        eprintln!("not there yet: {missing:?}");
        None
    };
    let text = eventually("every documented metric is there", LONG, complete).await;
    let shown: BTreeSet<_> = scraped(&text)
        .into_iter()
        .filter(|name| !SELDOM.contains(&name.as_str()))
        .collect();
    assert_eq!(shown, expected);

    for line in [
        "nuncio_router_set_aside_total{reason=\"unknown_app\"} 1",
        "nuncio_sender_deliveries_total{status=\"retrying\"} 1",
        "nuncio_sender_deliveries_total{status=\"delivered\"} 1",
        "nuncio_sender_lane_messages{rank=\"1\"} 0",
        "nuncio_store_records_dropped_total 0",
        "nuncio_broker_connected{role=\"consuming\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for id in [&stage.app, &endpoint] {
        assert!(!text.contains(id.as_str()), "{id} in {text}");
    }
}

#[test]
fn what_the_sources_count_is_documented() {
    let documented = documented();
    let mut counted = BTreeSet::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates"),
        &mut counted,
    );
    assert_eq!(
        counted.difference(&documented).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    assert_eq!(
        documented.difference(&counted).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}

/// Adds the names in the `metrics` macros beneath `path`.
fn read(path: &Path, counted: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(path).expect("the sources are there") {
        let path = entry.expect("a directory can be listed").path();
        if path.is_dir() {
            read(&path, counted);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for behind in code.split("!(\"nuncio_").skip(1) {
                let (name, _) = behind.split_once('"').expect("a name ends");
                counted.insert(format!("nuncio_{name}"));
            }
        }
    }
}

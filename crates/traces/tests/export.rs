//! The export against collectors that take, refuse, and are away.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use nuncio_runtime::{Clock, Dice};
use nuncio_traces::{Collector, Kind, Tracer};
use nuncio_wire::TraceContext;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a collector answers, in turn and then the last for good, and what it was sent.
struct Answers {
    turns: Vec<StatusCode>,
    exports: Mutex<Vec<Bytes>>,
}

impl Answers {
    fn exports(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.exports.lock().unwrap()
    }
}

async fn answer(State(answers): State<Arc<Answers>>, body: Bytes) -> StatusCode {
    let mut exports = answers.exports();
    exports.push(body);
    answers.turns[(exports.len() - 1).min(answers.turns.len() - 1)]
}

struct Stage {
    answers: Arc<Answers>,
    tracer: Tracer,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Stage {
    async fn set(turns: &[StatusCode]) -> Self {
        // Another test of this process may have been first.
        rustls::crypto::ring::default_provider().install_default().ok();
        let answers = Arc::new(Answers {
            turns: turns.to_vec(),
            exports: Mutex::default(),
        });
        let routes = axum::Router::new()
            .route("/under/v1/traces", post(answer))
            .with_state(Arc::clone(&answers));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/under/", listener.local_addr().unwrap());
        TaskTracker::new().spawn(axum::serve(listener, routes).into_future());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let collector = Collector {
            endpoint: endpoint.parse().unwrap(),
            resource: vec![("service.name", "a-service".to_owned())],
        };
        let tracer = Tracer::start(collector, Clock::system(), Dice::system(), &tasks, stop.clone());
        Self {
            answers,
            tracer: tracer.unwrap(),
            tasks,
            stop,
        }
    }

    fn span(&self, name: &'static str) {
        let span = self.tracer.begin(name, Kind::Client, &TraceContext::default());
        span.unwrap().end();
    }

    async fn until_exports(&self, count: usize) -> Vec<Bytes> {
        let arrived = async {
            while self.answers.exports().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived)
            .await
            .expect("exports in time");
        self.answers.exports().clone()
    }

    /// Stops and waits for the end.
    async fn end(self) -> Vec<Bytes> {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait())
            .await
            .expect("an end in time");
        self.answers.exports().clone()
    }
}

fn names(export: &Bytes, name: &str) -> bool {
    export.windows(name.len()).any(|window| window == name.as_bytes())
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_with_the_same() {
    let stage = Stage::set(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK]).await;
    stage.span("first");
    let exports = stage.until_exports(2).await;
    assert_eq!(exports[0], exports[1]);
    assert!(names(&exports[0], "first") && names(&exports[0], "a-service"));
    stage.span("second");
    let exports = stage.end().await;
    assert_eq!(exports.len(), 3);
    assert!(names(&exports[2], "second") && !names(&exports[2], "first"));
}

#[tokio::test]
async fn a_collector_that_refuses_is_not_asked_again_with_the_same() {
    let stage = Stage::set(&[StatusCode::BAD_REQUEST]).await;
    stage.span("first");
    stage.until_exports(1).await;
    stage.span("second");
    let exports = stage.until_exports(2).await;
    assert!(names(&exports[1], "second") && !names(&exports[1], "first"));
    assert_eq!(stage.end().await.len(), 2);
}

#[tokio::test]
async fn what_waits_when_the_process_stops_is_exported_in_as_many_batches_as_it_takes() {
    let stage = Stage::set(&[StatusCode::OK]).await;
    // Without a pause in which the exporter could run: more than one batch waits.
    for _ in 0..1_000 {
        stage.span("one of many");
    }
    assert_eq!(stage.end().await.len(), 2);
}

#[tokio::test]
async fn a_collector_that_stays_away_does_not_keep_the_process_from_its_end() {
    let stage = Stage::set(&[StatusCode::BAD_GATEWAY]).await;
    stage.span("lost");
    stage.until_exports(1).await;
    assert!(stage.end().await.len() >= 2, "it is tried once more");
}

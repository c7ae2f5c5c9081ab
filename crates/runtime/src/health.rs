//! Health: is this process alive, and may work be sent to it.
//!
//! Owns the readiness checks and the server of `/metrics`, `/livez` and `/readyz`. Guarantees that readiness is asked
//! anew at every request and is withdrawn as soon as the process stops.
//! Refuses to know what is checked: each part brings its own question.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Lifecycle, Metrics};

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The readiness checks of this process; cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<RwLock<BTreeMap<String, Check>>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// What `/readyz` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The state of each check by name; an error says what is wrong.
    pub checks: BTreeMap<String, Result<(), String>>,
}

impl Readiness {
    /// Whether every check passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks.values().all(Result::is_ok)
    }
}

impl Health {
    /// No checks yet: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the check `name`, in place of an earlier one of that name. It is called at every request for readiness:
    /// it must return at once, and say nothing that is secret.
    pub fn check(
        &self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let mut checks = self.checks.write().unwrap_or_else(PoisonError::into_inner);
        checks.insert(name.into(), Box::new(check));
    }

    /// Asks every check.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        let checks = checks
            .iter()
            .map(|(name, check)| (name.clone(), check()))
            .collect();
        Readiness { checks }
    }

    /// Serves `/metrics`, `/livez` and `/readyz` on `listen` until the process is aborted or all else has ended;
    /// returns the address bound.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(
        &self,
        listen: SocketAddr,
        metrics: Metrics,
        life: &Lifecycle,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(listen).await?;
        let bound = listener.local_addr()?;
        let stopping = life.soft.clone();
        self.check("process", move || {
            if stopping.is_cancelled() {
                Err("stopping".to_owned())
            } else {
                Ok(())
            }
        });
        let routes = routes(self.clone(), metrics);
        // Not on the tracker: this server answers until everything on the tracker has ended.
        let (hard, tracker) = (life.hard.clone(), life.tracker.clone());
        let own = tokio_util::task::TaskTracker::new();
        own.spawn(async move {
            let over = async move {
                tokio::select! {
                    () = hard.cancelled() => {}
                    () = tracker.wait() => {}
                }
            };
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(over).await {
                tracing::error!(%error, "the health server failed");
            }
        });
        Ok(bound)
    }
}

fn routes(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready).with_state(health))
        .route("/metrics", get(render).with_state(metrics))
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

async fn ready(State(health): State<Health>) -> Response {
    let readiness = health.readiness();
    let (status, word) = if readiness.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let checks: BTreeMap<_, _> = readiness
        .checks
        .into_iter()
        .map(|(name, state)| (name, state.err().unwrap_or_else(|| "ok".to_owned())))
        .collect();
    (status, Json(json!({ "status": word, "checks": checks }))).into_response()
}

async fn render(State(metrics): State<Metrics>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    async fn served(health: &Health, life: &Lifecycle) -> SocketAddr {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        health
            .serve(any, Metrics::detached().unwrap(), life)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn readiness_follows_its_checks_and_names_the_one_that_fails() {
        let (health, life) = (Health::new(), Lifecycle::new());
        let connected = Arc::new(AtomicBool::new(false));
        health.check("amqp", {
            let connected = Arc::clone(&connected);
            move || {
                if connected.load(Ordering::SeqCst) {
                    Ok(())
                } else {
                    Err("connecting: refused".to_owned())
                }
            }
        });
        let address = served(&health, &life).await;

        let (status, body) = ask(address, "/readyz").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            body,
            json!({"status": "not ready", "checks": {"amqp": "connecting: refused", "process": "ok"}})
        );

        connected.store(true, Ordering::SeqCst);
        let (status, body) = ask(address, "/readyz").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.contains("\"status\":\"ready\""), "{body}");
    }

    #[tokio::test]
    async fn a_process_told_to_stop_is_alive_but_not_ready() {
        let (health, life) = (Health::new(), Lifecycle::new());
        let address = served(&health, &life).await;
        life.soft.cancel();
        assert_eq!(ask(address, "/livez").await.0, "HTTP/1.1 200 OK");
        let (status, body) = ask(address, "/readyz").await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
        assert!(body.contains("stopping"), "{body}");
    }

    #[tokio::test]
    async fn metrics_are_text() {
        let (health, life) = (Health::new(), Lifecycle::new());
        let address = served(&health, &life).await;
        let (status, body) = ask(address, "/metrics").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.contains("process_cpu_seconds_total"), "{body}");
    }
}

//! Where the deliveries of a benchmark arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::timeline::Timeline;

/// Most bytes of a body that are read.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A listener whose first lanes hang before they answer.
pub(super) struct Receiver {
    address: SocketAddr,
    hanging: u64,
}

#[derive(Clone)]
struct Answers {
    timeline: Arc<Timeline>,
    hanging: u64,
    hang_for: Duration,
}

impl Receiver {
    pub(super) async fn start(
        address: SocketAddr,
        timeline: Arc<Timeline>,
        hanging: u64,
        hang_for: Duration,
        tracker: &TaskTracker,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address}"))?;
        let address = listener.local_addr()?;
        let answers = Answers {
            timeline,
            hanging,
            hang_for,
        };
        let lanes = Router::new()
            .route("/{lane}", post(receive))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(answers);
        // It listens until the program ends, and has nothing to tidy then.
        tracker.spawn(async move { axum::serve(listener, lanes).await });
        Ok(Self { address, hanging })
    }

    /// Where endpoints point, without their lane.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lanes below this number hang.
    pub(super) fn hanging(&self) -> u64 {
        self.hanging
    }
}

async fn receive(State(answers): State<Answers>, Path(lane): Path<u64>, body: Bytes) -> StatusCode {
    answers.timeline.received(lane, &body);
    if lane < answers.hanging {
        tokio::time::sleep(answers.hang_for).await;
    }
    StatusCode::OK
}

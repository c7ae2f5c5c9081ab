//! A webhook receiver that records every request and answers as told.
//!
//! Owns one listener on loopback and what arrived there. Guarantees that a request is recorded before it is answered.
//! Runs on threads of its own, so that a busy test does not slow it down; takes tens of thousands of requests a
//! second. Refuses to know what a correct delivery is, except that [`Received::is_signed_by`] asks the official
//! library.

mod answer;
mod received;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use answer::Answer;
use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
pub use received::Received;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{self, Runtime},
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::ports::free_port;

/// Where all receivers of this process run.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("receiver")
        .enable_all()
        .build()
        .expect("the operating system grants threads for receivers")
});

type Plan = Arc<dyn Fn(usize, &Received) -> Answer + Send + Sync>;

struct Route {
    /// Requests since the plan was set.
    seen: usize,
    plan: Plan,
}

struct State {
    requests: Mutex<Vec<Received>>,
    routes: Mutex<HashMap<String, Route>>,
    arrived: watch::Sender<usize>,
}

/// A receiver on `127.0.0.1`. Answers 200 at once unless told otherwise, per path. Stops when dropped.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<CancellationToken>,
}

impl Receiver {
    /// Listens on a free port, below the ephemeral range: [`Receiver::stop`] then means "connection refused".
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> Result<Self> {
        let (arrived, _) = watch::channel(0);
        let state = State {
            requests: Mutex::default(),
            routes: Mutex::default(),
            arrived,
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let mut receiver = Self {
            address,
            state: Arc::new(state),
            listening: None,
        };
        receiver.resume().await?;
        Ok(receiver)
    }

    /// The URL of one path here, e.g. `receiver.url("/a")`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and drops every connection; what was recorded stays.
    pub fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.cancel();
        }
    }

    /// Listens again on the same port, with the same plans.
    ///
    /// # Errors
    /// When the port is taken, or not yet free after [`Receiver::stop`] for five seconds.
    pub async fn resume(&mut self) -> Result<()> {
        self.stop();
        let address = self.address;
        let bound = TaskTracker::new()
            .spawn_on(bind(address), RUNTIME.handle())
            .await?;
        let listener = bound.with_context(|| format!("failed to listen on {address}"))?;
        let token = CancellationToken::new();
        self.listening = Some(token.clone());
        TaskTracker::new().spawn_on(accept(listener, Arc::clone(&self.state), token), RUNTIME.handle());
        Ok(())
    }

    /// Answers requests to `path` with these in turn, and then with the last one for good.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn answer(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers: Vec<Answer> = answers.into_iter().collect();
        assert!(!answers.is_empty(), "a plan has an answer");
        self.answer_with(path, move |nth, _| answers[nth.min(answers.len() - 1)].clone());
    }

    /// Answers requests to `path` as `plan` says, which is given the request and how many came before it.
    pub fn answer_with(&self, path: &str, plan: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static) {
        locked(&self.state.routes).insert(
            path.to_owned(),
            Route {
                seen: 0,
                plan: Arc::new(plan),
            },
        );
    }

    /// Everything that arrived at `path`, in order.
    #[must_use]
    pub fn requests(&self, path: &str) -> Vec<Received> {
        locked(&self.state.requests)
            .iter()
            .filter(|request| request.path == path)
            .cloned()
            .collect()
    }

    /// Everything that arrived, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Received> {
        locked(&self.state.requests).clone()
    }

    /// How many requests arrived at `path`.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        locked(&self.state.requests)
            .iter()
            .filter(|request| request.path == path)
            .count()
    }

    /// How many requests arrived in all; cheap.
    #[must_use]
    pub fn total(&self) -> usize {
        *self.state.arrived.borrow()
    }

    /// How often each message id arrived at `path`.
    #[must_use]
    pub fn times_by_id(&self, path: &str) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for request in locked(&self.state.requests)
            .iter()
            .filter(|request| request.path == path)
        {
            *times.entry(request.id().to_owned()).or_default() += 1;
        }
        times
    }

    /// Forgets what was recorded.
    pub fn forget(&self) {
        locked(&self.state.requests).clear();
        self.state.arrived.send_replace(0);
    }

    /// Waits until at least `n` requests arrived at `path`, and returns them all.
    ///
    /// # Panics
    /// When they do not arrive in time.
    pub async fn wait_for(&self, path: &str, n: usize, within: Duration) -> Vec<Received> {
        self.wait_until(&format!("{n} requests at {path}"), within, || {
            self.count(path) >= n
        })
        .await;
        self.requests(path)
    }

    /// Waits until `done`, which is asked again whenever requests arrived.
    ///
    /// # Panics
    /// When that does not happen in time, with what arrived instead.
    pub async fn wait_until(&self, what: &str, within: Duration, mut done: impl FnMut() -> bool) {
        let mut arrivals = self.state.arrived.subscribe();
        let reached = timeout(within, async {
            while !done() {
                arrivals.changed().await.expect("the receiver is alive");
                // Looking costs a scan: after a look, a moment for more to arrive.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if reached.await.is_err() && !done() {
            panic!(
                "not within {within:?}: {what}; {} arrived, at {:?}",
                self.total(),
                self.paths()
            );
        }
    }

    fn paths(&self) -> HashMap<String, usize> {
        let mut paths = HashMap::new();
        for request in locked(&self.state.requests).iter() {
            *paths.entry(request.path.clone()).or_default() += 1;
        }
        paths
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    // The listener of a moment ago may not have been dropped yet.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, Arc::clone(&state), stop.clone()));
            }
            // Out of file handles, most likely: some will come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>, stop: CancellationToken) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| respond(request, Arc::clone(&state)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // The client's or our own plan's way to end a connection is not this receiver's failure.
        _ended = connection => {}
    }
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<hyper::Response<answer::AnswerBody>, answer::Closed> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| answer::Closed)?.to_bytes();
    let received = Received {
        at: Instant::now(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
    };
    let answer = state.plan_for(&received);
    locked(&state.requests).push(received);
    state.arrived.send_modify(|arrived| *arrived += 1);
    answer.give().await
}

impl State {
    fn plan_for(&self, received: &Received) -> Answer {
        let (nth, plan) = {
            let mut routes = locked(&self.routes);
            let Some(route) = routes.get_mut(&received.path) else {
                return Answer::ok();
            };
            let nth = route.seen;
            route.seen += 1;
            (nth, Arc::clone(&route.plan))
        };
        plan(nth, received)
    }
}

/// A plan that panicked poisons nothing that matters here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

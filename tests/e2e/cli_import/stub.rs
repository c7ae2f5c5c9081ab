//! A server that answers as Svix's does, as far as an import asks it.
//!
//! Owns lists and single things by their paths, and trouble that a path gives before it answers. Guarantees that lists
//! come in pages of two, that nobody is told anything without the token, and that requests are recorded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Items of a page, however many are asked for.
const PAGE: usize = 2;

pub(super) const TOKEN: &str = "testsk_canary-of-the-import.eu";

/// What a path answers once instead of what it should.
#[derive(Clone, Copy)]
pub(super) enum Trouble {
    /// 429, and when to come back.
    TooMany { seconds: u64 },
    /// A status that passes.
    Status(u16),
}

#[derive(Default)]
pub(super) struct Known {
    /// The items of lists.
    pub(super) lists: BTreeMap<String, Vec<Value>>,
    /// What is at other paths.
    pub(super) single: BTreeMap<String, Value>,
    /// Trouble to come, by path, the next last.
    pub(super) trouble: HashMap<String, Vec<Trouble>>,
    /// Which path was asked when.
    pub(super) asked: Vec<(String, Instant)>,
}

pub(super) struct Stub {
    pub(super) url: String,
    pub(super) known: Arc<Mutex<Known>>,
    serving: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    pub(super) async fn start() -> Self {
        let known = Arc::new(Mutex::new(Known::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&known));
        #[expect(
            clippy::disallowed_methods,
            reason = "the test ends it when it drops the stub"
        )]
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("it serves");
        });
        Self { url, known, serving }
    }

    /// Changes what it knows.
    pub(super) fn now<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().expect("nobody panicked"))
    }

    /// When a path was asked.
    pub(super) fn asked(&self, path: &str) -> Vec<Instant> {
        let asked = |known: &mut Known| {
            let of_path = known.asked.iter().filter(|(asked, _)| asked == path);
            of_path.map(|(_, at)| *at).collect()
        };
        self.now(asked)
    }
}

async fn answer(
    State(known): State<Arc<Mutex<Known>>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    let path = uri
        .path()
        .trim_start_matches("/api/v1/")
        .trim_end_matches('/')
        .to_owned();
    let mut known = known.lock().expect("nobody panicked");
    known.asked.push((path.clone(), Instant::now()));
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
    if bearer != Some(&format!("Bearer {TOKEN}")) {
        let refused = json!({"code": "authentication_failed", "detail": "Invalid token"});
        return response(401, &refused);
    }
    match known.trouble.get_mut(&path).and_then(Vec::pop) {
        Some(Trouble::TooMany { seconds }) => {
            let mut response = response(429, &json!({"code": "rate_limit", "detail": "Too many requests"}));
            response.headers_mut().insert("retry-after", seconds.into());
            return response;
        }
        Some(Trouble::Status(status)) => return response(status, &Value::Null),
        None => {}
    }
    if let Some(items) = known.lists.get(&path) {
        return response(200, &page(items, query.get("iterator").map(String::as_str)));
    }
    match known.single.get(&path) {
        Some(found) => response(200, found),
        None => response(404, &json!({"code": "not_found", "detail": "Entity not found"})),
    }
}

fn page(items: &[Value], iterator: Option<&str>) -> Value {
    let name = |item: &Value| item.get("id").or(item.get("name")).cloned().unwrap_or_default();
    let after = iterator.map_or(0, |last| {
        let at = items.iter().position(|item| name(item) == last);
        at.expect("an iterator that was given out") + 1
    });
    let data: Vec<_> = items.iter().skip(after).take(PAGE).cloned().collect();
    let done = after + data.len() >= items.len();
    json!({"iterator": data.last().map(name), "prevIterator": data.first().map(name), "done": done, "data": data})
}

fn response(status: u16, body: &Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("a response")
}

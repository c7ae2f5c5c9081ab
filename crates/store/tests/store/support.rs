//! Private Redis servers, and things to keep in them.
//!
//! Owns the processes: each dies with the test process, however that ends, because a shell that holds the other end of a
//! pipe kills it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nuncio_domain::{
    App, AppId, Attempt, AttemptId, AttemptNumber, DeliveryId, DeliveryState, DeliveryStatus, Endpoint,
    EndpointId, Message, MessageId, Outcome, Routing, Series, Trigger, UnixMillis,
};
use nuncio_store::{Claim, Record, Store, StoreConfig};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) const NOW: UnixMillis = UnixMillis(1_900_000_000_000);

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A number that no other call in this process gets.
pub(crate) fn unique() -> u64 {
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A private server; gone when dropped.
pub(crate) struct Redis {
    pub(crate) port: u16,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    shell: Option<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::prepare(free_port(), arguments);
        redis.resume().await;
        redis
    }

    pub(crate) fn prepare(port: u16, arguments: &[&str]) -> Self {
        Self {
            port,
            directory: tempfile::tempdir().unwrap(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            shell: None,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) async fn resume(&mut self) {
        self.spawn();
        self.wait().await;
    }

    pub(crate) fn spawn(&mut self) {
        let mut words = vec!["redis-server".to_owned()];
        if let Some(path) = self.arguments.first().filter(|text| text.starts_with('/')) {
            words.push(path.clone());
        }
        let directory = self.directory.path().display().to_string();
        for (name, value) in [
            ("--port", self.port.to_string()),
            ("--bind", "127.0.0.1".to_owned()),
            ("--dir", directory.clone()),
            ("--save", String::new()),
            ("--appendonly", "yes".to_owned()),
            ("--appendfsync", "always".to_owned()),
            ("--logfile", format!("{directory}/log")),
        ] {
            words.push(name.to_owned());
            words.push(value);
        }
        words.extend(
            self.arguments
                .iter()
                .filter(|text| !text.starts_with('/'))
                .cloned(),
        );
        let shell = Command::new("sh")
            .arg("-c")
            .arg(r#""$@" & pid=$!; echo $pid > "$PIDFILE"; read -r _; kill -9 $pid"#)
            .arg("sh")
            .args(&words)
            .env("PIDFILE", self.directory.path().join("pid"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        self.shell = Some(shell);
    }

    pub(crate) async fn wait(&self) {
        eventually("redis answers", || async {
            raw(&self.url(), &["PING"]).await.is_ok()
        })
        .await;
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.signal("-9");
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            shell.wait().unwrap();
        }
    }

    /// A signal to the server, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.directory.path().join("pid")).unwrap();
        Command::new("kill").arg(signal).arg(pid.trim()).status().unwrap();
    }

    pub(crate) async fn command(&self, words: &[&str]) -> redis::Value {
        raw(&self.url(), words).await.unwrap()
    }

    /// Lets a snapshot fail, as a disk would that is broken. Writes are refused for it only once
    /// `stop-writes-on-bgsave-error` says so.
    pub(crate) async fn fail_to_save(&self) {
        // No file can be moved to where a directory is.
        std::fs::create_dir(self.directory.path().join("dump.rdb")).unwrap();
        self.command(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"])
            .await;
        self.command(&["CONFIG", "SET", "save", "3600 1"]).await;
        self.command(&["BGSAVE", "SCHEDULE"]).await;
        eventually("the snapshot has failed", || async {
            let told = self.command(&["INFO", "persistence"]).await;
            let told: String = redis::from_redis_value(told).unwrap();
            told.contains("rdb_last_bgsave_status:err")
        })
        .await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.reap();
    }
}

/// One command over a connection of its own.
pub(crate) async fn raw(url: &str, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let mut link = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut link).await
}

/// The server that tests share which only use it.
static SHARED: LazyLock<Redis> = LazyLock::new(|| {
    let mut redis = Redis::prepare(free_port(), &["--appendonly", "no"]);
    redis.spawn();
    redis
});

/// A store of its own on the shared server.
pub(crate) async fn store() -> Store {
    SHARED.wait().await;
    store_at(&SHARED.url())
}

pub(crate) fn config(url: &str) -> StoreConfig {
    let secret = SecretString::from("a main secret for tests, which is long enough");
    StoreConfig::new(url, &format!("t{}", unique()), secret)
}

pub(crate) fn store_at(url: &str) -> Store {
    Store::connect(config(url)).unwrap()
}

/// Waits until something holds: polls, because another process is waited for.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tasks that end with the test.
pub(crate) struct Life {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(Duration::from_secs(20), self.tracker.wait())
            .await
            .expect("tasks end when told to");
    }
}

pub(crate) fn app(uid: Option<&str>) -> App {
    App {
        id: AppId::generate(UnixMillis(NOW.0 + unique() as i64 * 4), &mut rand::rng()),
        uid: uid.map(|uid| uid.parse().unwrap()),
        name: "an app".into(),
        throttle_rate: None,
        metadata: Default::default(),
        created_at: NOW,
        updated_at: NOW,
    }
}

pub(crate) fn endpoint(app: &AppId, uid: Option<&str>) -> Endpoint {
    let id = EndpointId::generate(UnixMillis(NOW.0 + unique() as i64 * 4), &mut rand::rng());
    Endpoint {
        uid: uid.map(|uid| uid.parse().unwrap()),
        url: "https://example.com/hook".into(),
        ..Endpoint::blank(app.clone(), id, NOW)
    }
}

pub(crate) fn secret() -> SecretString {
    SecretString::from(format!("whsec_{}", unique()))
}

pub(crate) async fn kept_app(store: &Store) -> App {
    let app = app(None);
    store.create_app(&app).await.unwrap();
    app
}

pub(crate) async fn kept_endpoint(store: &Store, app: &AppId) -> Endpoint {
    let endpoint = endpoint(app, None);
    store.create_endpoint(&endpoint, &secret()).await.unwrap();
    endpoint
}

pub(crate) fn message(app: &AppId, event_id: Option<&str>) -> Message {
    let at = UnixMillis(NOW.0 + unique() as i64 * 4);
    Message {
        id: MessageId::generate(at, &mut rand::rng()),
        app_id: app.clone(),
        event_id: event_id.map(str::to_owned),
        event_type: "sync.user".parse().unwrap(),
        channels: vec![],
        created_at: at,
    }
}

/// A claim as a router makes it that saw the app as of `version`.
pub(crate) fn claim(message: &Message, version: u64, endpoints: &[&Endpoint]) -> Claim {
    Claim {
        message: message.clone(),
        payload: br#"{"type":"sync.user","userId":"user_1"}"#.as_slice().into(),
        payload_retention: None,
        body_hash: [7; 16],
        routes: endpoints
            .iter()
            .map(|endpoint| (endpoint.id.clone(), Routing::Matched))
            .collect(),
        coalesce: None,
        app_version: version,
        token: format!("router-{}", unique()),
        redelivered: false,
        anonymous: message.event_id.is_none(),
    }
}

/// The app's version after its creation and that of so many endpoints.
pub(crate) fn version_with(endpoints: u64) -> u64 {
    1 + endpoints
}

pub(crate) fn delivery(message: &Message, endpoint: &Endpoint) -> DeliveryId {
    DeliveryId {
        message: message.id.clone(),
        endpoint: endpoint.id.clone(),
    }
}

pub(crate) fn state(status: DeliveryStatus, series: i64, attempt: u16) -> DeliveryState {
    DeliveryState {
        status,
        series: Series(series),
        attempt: AttemptNumber::nth(attempt),
    }
}

pub(crate) fn retrying() -> DeliveryStatus {
    DeliveryStatus::Retrying {
        due: UnixMillis(NOW.0 + 5_000),
    }
}

/// The record of one attempt: delivered by a 2xx, retrying by anything else.
pub(crate) fn record(message: &Message, endpoint: &Endpoint, number: u16, status: u16) -> Record {
    let started_at = UnixMillis(message.created_at.0 + i64::from(number) * 1_000);
    let outcome = match status {
        200..300 => Outcome::Accepted(status),
        status => Outcome::Refused {
            status,
            retry_after: None,
        },
    };
    let delivered = matches!(outcome, Outcome::Accepted(_));
    let attempt = Attempt {
        id: AttemptId::generate(started_at, &mut rand::rng()),
        message_id: message.id.clone(),
        endpoint_id: endpoint.id.clone(),
        event_type: message.event_type.clone(),
        url: endpoint.url.clone(),
        number: AttemptNumber::nth(number).unwrap(),
        trigger: Trigger::Scheduled,
        outcome,
        started_at,
        duration: Duration::from_millis(12),
        next_due: (!delivered).then_some(UnixMillis(NOW.0 + 5_000)),
        response_body: if delivered { String::new() } else { "no".into() },
        response_headers: vec![("server".into(), "nginx".into())],
    };
    let status = if delivered {
        DeliveryStatus::Delivered
    } else {
        retrying()
    };
    Record {
        app_id: message.app_id.clone(),
        published_at: message.created_at,
        state: state(status, 0, number),
        attempt,
        health: None,
    }
}

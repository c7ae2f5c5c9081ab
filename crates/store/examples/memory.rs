//! What Redis keeps per delivery, and what recording costs: `cargo run --release -p nuncio-store --example memory --
//! redis://127.0.0.1:6379/0 [messages] [endpoints per message]`.
//!
//! Empties the database it is given. Writes as routers and senders do, in batches; prints bytes per successful delivery and
//! per failed attempt by the server's own account, and the CPU of the server and of this process for each record.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::time::Duration;

use nuncio_domain::{
    App, AppId, Attempt, AttemptId, AttemptNumber, DeliveryState, DeliveryStatus, Endpoint, EndpointId,
    Message, MessageId, Outcome, Routing, Series, Trigger, UnixMillis,
};
use nuncio_store::{Claim, Directory, Record, Recorded, Recorder, Store, StoreConfig};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many claims a router makes at once, and how many records wait at once.
const BATCH: usize = 250;
/// The failed attempts of those deliveries that fail.
const FAILED: [u16; 3] = [1, 2, 3];

type Answer<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Answer<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .ok_or("the address of a Redis that may be emptied is missing")?;
    let messages: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let fan_out: usize = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let secret = SecretString::from("a main secret for measuring, long enough");
    let store = Store::connect(StoreConfig {
        retention: Duration::from_secs(7 * 24 * 3_600),
        call_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        ..StoreConfig::new(&url, "nuncio", secret)
    })?;
    let mut admin = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    redis::cmd("FLUSHDB").exec_async(&mut admin).await?;
    let meter = Meter::new(store.clone());
    let stage = Stage::set(&store, fan_out).await?;

    let life = TaskTracker::new();
    let stop = CancellationToken::new();
    let recorder = Recorder::start(store.clone(), &life, stop.clone());
    let (before, cpu) = (meter.bytes().await?, meter.cpu().await?);
    let claimed = stage.claim(messages).await?;
    let deliveries = (messages * fan_out) as f64;
    report("claim and mark", &meter, cpu, messages as f64).await?;
    let cpu = meter.cpu().await?;
    stage.record(&recorder, &claimed, 0, 200).await?;
    report("record", &meter, cpu, deliveries).await?;
    let after = meter.bytes().await?;
    let payload = stage.payload().len() as f64 * messages as f64;
    println!(
        "{:.0} bytes per successful delivery without payload, {:.0} with it ({messages} messages to {fan_out})",
        (after - before - payload) / deliveries,
        (after - before) / deliveries
    );

    let failing = stage.claim(messages / 4).await?;
    let before = meter.bytes().await?;
    for number in FAILED {
        stage.record(&recorder, &failing, number, 503).await?;
    }
    let failed = (failing.len() * fan_out * FAILED.len()) as f64;
    println!(
        "{:.0} bytes per failed attempt",
        (meter.bytes().await? - before) / failed
    );
    stop.cancel();
    life.close();
    life.wait().await;
    directory(&store).await
}

/// How long a directory of ten thousand endpoints takes to load.
async fn directory(store: &Store) -> Answer<()> {
    const APPS: usize = 1_000;
    const ENDPOINTS: usize = 10;
    let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    for _ in 0..APPS {
        let app = app();
        store.create_app(&app).await?;
        let endpoints: Vec<_> = (0..ENDPOINTS).map(|_| endpoint(&app.id)).collect();
        let created = endpoints
            .iter()
            .map(|endpoint| store.create_endpoint(endpoint, &secret));
        futures_util::future::try_join_all(created).await?;
    }
    let (life, stop) = (TaskTracker::new(), CancellationToken::new());
    let (started, cpu) = (Instant::now(), own_cpu()?);
    let directory = Directory::follow(store.clone(), &life, stop.clone(), true).await;
    println!(
        "{} endpoints loaded in {:.0} ms, {:.0} ms of CPU",
        directory.endpoint_count(),
        started.elapsed().as_secs_f64() * 1e3,
        (own_cpu()? - cpu) * 1e3
    );
    stop.cancel();
    life.close();
    life.wait().await;
    Ok(())
}

async fn report(what: &str, meter: &Meter, before: (f64, f64), count: f64) -> Answer<()> {
    let (server, own) = meter.cpu().await?;
    println!(
        "{what}: {:.1} µs of the server, {:.1} µs of this process each",
        (server - before.0) / count * 1e6,
        (own - before.1) / count * 1e6
    );
    Ok(())
}

struct Meter(Store);

impl Meter {
    fn new(store: Store) -> Self {
        Self(store)
    }

    async fn number(&self, name: &str) -> Answer<f64> {
        let info = self.0.server_info().await?;
        Ok(info
            .get(name)
            .ok_or("the server says too little of itself")?
            .parse()?)
    }

    async fn bytes(&self) -> Answer<f64> {
        let beside = self.number("mem_clients_normal").await? + self.number("mem_aof_buffer").await?;
        Ok(self.number("used_memory").await? - beside)
    }

    /// Seconds of CPU: the server's, and this process's.
    async fn cpu(&self) -> Answer<(f64, f64)> {
        let server = self.number("used_cpu_user").await? + self.number("used_cpu_sys").await?;
        Ok((server, own_cpu()?))
    }
}

/// Source: proc(5), `/proc/[pid]/stat`, fields 14 and 15, in hundredths of a second on every Linux that matters.
fn own_cpu() -> Answer<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("unexpected /proc/self/stat")?;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<f64>().ok())
        .sum();
    Ok(ticks / 100.0)
}

struct Stage {
    store: Store,
    app: App,
    endpoints: Vec<Endpoint>,
}

impl Stage {
    async fn set(store: &Store, fan_out: usize) -> Answer<Self> {
        let app = app();
        store.create_app(&app).await?;
        let endpoints: Vec<_> = (0..fan_out).map(|_| endpoint(&app.id)).collect();
        for endpoint in &endpoints {
            store
                .create_endpoint(
                    endpoint,
                    &SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
                )
                .await?;
        }
        Ok(Self {
            store: store.clone(),
            app,
            endpoints,
        })
    }

    fn payload(&self) -> &'static [u8] {
        br#"{"type":"sync.user","userId":"user_2x4y6z8a0b1c3d5e7f9g"}"#
    }

    async fn claim(&self, count: usize) -> Answer<Vec<Message>> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            let now = self.store.server_time().await?;
            let batch = BATCH.min(count - messages.len());
            let claims: Vec<Claim> = (0..batch).map(|_| self.new_claim(now)).collect();
            self.store.claim(&claims).await?;
            let routed: Vec<_> = claims
                .iter()
                .map(|claim| (claim.message.app_id.clone(), claim.message.id.clone()))
                .collect();
            self.store.mark_routed(&routed).await?;
            messages.extend(claims.into_iter().map(|claim| claim.message));
        }
        Ok(messages)
    }

    fn new_claim(&self, now: UnixMillis) -> Claim {
        let id = MessageId::generate(now, &mut rand::rng());
        Claim {
            token: format!("router@host-{:x}", rand::random::<u32>()),
            message: Message {
                id,
                app_id: self.app.id.clone(),
                event_id: None,
                event_type: "sync.user".parse().expect("a name"),
                channels: Vec::new(),
                created_at: now,
            },
            payload: self.payload().into(),
            payload_retention: None,
            body_hash: rand::random(),
            routes: self
                .endpoints
                .iter()
                .map(|endpoint| (endpoint.id.clone(), Routing::Matched))
                .collect(),
            coalesce: None,
            app_version: 1 + self.endpoints.len() as u64,
            redelivered: false,
            anonymous: true,
        }
    }

    /// Records one attempt of every delivery; number 0 means a success at the first.
    async fn record(
        &self,
        recorder: &Recorder,
        messages: &[Message],
        number: u16,
        status: u16,
    ) -> Answer<()> {
        for batch in messages.chunks(BATCH) {
            let records = batch.iter().flat_map(|message| {
                self.endpoints
                    .iter()
                    .map(move |endpoint| recorder.record(record(message, endpoint, number.max(1), status)))
            });
            let recorded = futures_util::future::join_all(records).await;
            if recorded.iter().any(|recorded| *recorded != Recorded::Saved) {
                return Err("the store went away".into());
            }
        }
        Ok(())
    }
}

fn record(message: &Message, endpoint: &Endpoint, number: u16, status: u16) -> Record {
    let delivered = status == 200;
    let started_at = UnixMillis(message.created_at.0 + i64::from(number) * 20_000);
    let due = UnixMillis(started_at.0 + 60_000);
    let outcome = if delivered {
        Outcome::Accepted(status)
    } else {
        Outcome::Refused {
            status,
            retry_after: None,
        }
    };
    Record {
        app_id: message.app_id.clone(),
        published_at: message.created_at,
        attempt: Attempt {
            id: AttemptId::generate(started_at, &mut rand::rng()),
            message_id: message.id.clone(),
            endpoint_id: endpoint.id.clone(),
            event_type: message.event_type.clone(),
            url: endpoint.url.clone(),
            number: AttemptNumber::nth(number).expect("not zero"),
            trigger: Trigger::Scheduled,
            outcome,
            started_at,
            duration: Duration::from_millis(12),
            next_due: (!delivered).then_some(due),
            response_body: if delivered {
                String::new()
            } else {
                "<h1>503 Service Unavailable</h1>".into()
            },
            response_headers: vec![("content-type".into(), "text/html".into())],
        },
        state: DeliveryState {
            status: if delivered {
                DeliveryStatus::Delivered
            } else {
                DeliveryStatus::Retrying { due }
            },
            series: Series(0),
            attempt: AttemptNumber::nth(number),
        },
        health: None,
    }
}

fn app() -> App {
    let at = UnixMillis(1_763_900_000_000);
    App {
        id: AppId::generate(at, &mut rand::rng()),
        uid: None,
        name: "project_2x4y6z8a0b1c3d5e7f9g".into(),
        throttle_rate: None,
        metadata: Default::default(),
        created_at: at,
        updated_at: at,
    }
}

fn endpoint(app: &AppId) -> Endpoint {
    let at = UnixMillis(1_763_900_000_000);
    let id = EndpointId::generate(at, &mut rand::rng());
    Endpoint {
        url: "https://example.com/webhooks/incoming".into(),
        ..Endpoint::blank(app.clone(), id, at)
    }
}

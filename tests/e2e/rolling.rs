//! What Kubernetes does on pods, done on processes under load: scaling in both directions, and a roll of every role to a
//! build that writes the next version of envelopes and records, and back. Nothing is lost, nothing is delivered twice, and
//! how long an endpoint heard nothing meanwhile is printed.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::{Answer, ApiClient, Deployment, Event, LONG, Nuncio, Publisher, Receiver, eventually};
use futures_util::future::{join_all, try_join_all};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use crate::delivery_stage::stays;

/// Endpoints that answer at once.
const STEADY: [&str; 5] = ["/0", "/1", "/2", "/3", "/4"];
/// One that fails every delivery once, so that the ladder is in use throughout.
const FLAKY: &str = "/flaky";
/// One that an API of the next version makes in the middle of the roll.
const LATE: &str = "/late";
/// Between two events over AMQP, and between two over REST.
const EVENT_EVERY: Duration = Duration::from_millis(50);
const MESSAGE_EVERY: Duration = Duration::from_millis(200);
/// Numbers of events over REST begin here.
const MESSAGES_FROM: usize = 1_000_000;
/// Deliveries between two steps, so that each has a load of its own.
const BETWEEN: usize = 100;
/// A silence of this length is a hang; what it should be is not for a busy machine to say.
const HANG: Duration = Duration::from_secs(60);
/// A queue that sees what the endpoint `/0` is sent.
const SPY: &str = "seen-deliveries";

fn body(n: usize) -> String {
    json!({ "n": n }).to_string()
}

/// Events over AMQP and REST until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    tasks: [JoinHandle<Vec<usize>>; 2],
}

impl Load {
    fn start(publisher: Arc<Publisher>, api: Arc<RwLock<ApiClient>>, app: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = TaskTracker::new();
        let (app_of_events, app_of_messages) = (app.to_owned(), app.to_owned());
        let mut numbers = Numbers::paced(EVENT_EVERY, 0, &stop);
        let events = tasks.spawn(async move {
            while let Some(n) = numbers.next().await {
                let event = Event::new(&app_of_events, "roll.event", body(n)).id(&format!("roll-{n}"));
                publisher.publish(&event).await.expect("the broker confirms");
            }
            numbers.given
        });
        let mut numbers = Numbers::paced(MESSAGE_EVERY, MESSAGES_FROM, &stop);
        let messages = tasks.spawn(async move {
            while let Some(n) = numbers.next().await {
                // As long as this is held, the API that answers does not change.
                let api = api.read().await;
                let payload = json!({ "n": n });
                let accepted = api.create_message(&app_of_messages, "roll.event", &payload);
                accepted
                    .await
                    .expect("an API that is in service accepts a message");
            }
            numbers.given
        });
        Self {
            stop,
            tasks: [events, messages],
        }
    }

    /// Stops, and tells the numbers of all events that were accepted.
    async fn end(self) -> BTreeSet<usize> {
        self.stop.store(true, Ordering::SeqCst);
        let given = join_all(self.tasks).await.into_iter();
        given
            .flat_map(|numbers| numbers.expect("the load went on"))
            .collect()
    }
}

/// The numbers of events, as fast as they are to be published.
struct Numbers {
    ticks: Interval,
    first: usize,
    given: Vec<usize>,
    stop: Arc<AtomicBool>,
}

impl Numbers {
    fn paced(every: Duration, first: usize, stop: &Arc<AtomicBool>) -> Self {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            first,
            given: Vec::new(),
            stop: Arc::clone(stop),
        }
    }

    /// The next one in its time; none when the load is to stop.
    async fn next(&mut self) -> Option<usize> {
        self.ticks.tick().await;
        let n = self.first + self.given.len();
        let goes_on = !self.stop.load(Ordering::SeqCst);
        goes_on.then(|| {
            self.given.push(n);
            n
        })
    }
}

struct Stage {
    receiver: Receiver,
    publisher: Arc<Publisher>,
    /// The API that is in service.
    front: Arc<RwLock<ApiClient>>,
    app: String,
}

impl Stage {
    async fn set(deployment: &Deployment, api: &Nuncio) -> Self {
        let client = api.client().await.unwrap();
        let app = client.create_app("Rolled").await.unwrap();
        let receiver = Receiver::start().await.unwrap();
        let publisher = deployment.publisher().await.unwrap();
        for path in STEADY {
            client.create_endpoint(&app, &receiver.url(path)).await.unwrap();
        }
        client.create_endpoint(&app, &receiver.url(FLAKY)).await.unwrap();
        let failed = Mutex::new(HashSet::new());
        receiver.answer_with(FLAKY, move |_, request| {
            if failed.lock().unwrap().insert(request.body.clone()) {
                Answer::status(500)
            } else {
                Answer::ok()
            }
        });
        Self {
            receiver,
            publisher: Arc::new(publisher),
            front: Arc::new(RwLock::new(client)),
            app,
        }
    }

    /// Lets the load run for a while.
    async fn go_on(&self) {
        let enough = self.receiver.total() + BETWEEN;
        let what = format!("{BETWEEN} more deliveries");
        self.receiver
            .wait_until(&what, LONG, || self.receiver.total() >= enough)
            .await;
    }

    /// Puts another API in service; the one before is idle then.
    async fn serve(&self, api: &Nuncio) {
        let client = api.client().await.unwrap();
        *self.front.write().await = client;
    }

    /// Sees from now on what `/0` is sent.
    async fn spy(&self, namespace: &str) {
        let path = format!("/api/v1/app/{}/endpoint", self.app);
        let endpoints = self.front.read().await.list(&path).await.unwrap();
        let url = self.receiver.url(STEADY[0]);
        let of_first = endpoints
            .iter()
            .find(|endpoint| endpoint["url"] == url.as_str())
            .unwrap();
        let id = of_first["id"].as_str().unwrap();
        let (channel, queue) = (self.publisher.channel(), format!("{namespace}.{SPY}"));
        let (declare, none) = (QueueDeclareOptions::default(), FieldTable::default());
        channel
            .queue_declare(queue.as_str().into(), declare, none.clone())
            .await
            .unwrap();
        let exchange = format!("{namespace}.deliveries");
        let bind = QueueBindOptions::default();
        channel
            .queue_bind(queue.as_str().into(), exchange.into(), id.into(), bind, none)
            .await
            .unwrap();
    }

    /// The versions of the envelopes that were sent since.
    async fn versions(&self) -> BTreeSet<i64> {
        let mut versions = BTreeSet::new();
        while let Some(taken) = self.publisher.take(SPY).await.unwrap() {
            let headers = taken.properties.headers().clone().unwrap();
            match headers.inner().get("nuncio-v") {
                Some(AMQPValue::LongLongInt(version)) => versions.insert(*version),
                other => panic!("a delivery has a version: {other:?}"),
            };
        }
        versions
    }

    /// How often each event was accepted at `path`.
    fn accepted(&self, path: &str) -> BTreeMap<usize, usize> {
        let mut times = BTreeMap::new();
        for request in self.receiver.requests(path) {
            *times.entry(number(&request.json())).or_default() += 1;
        }
        times
    }

    /// The longest time between two deliveries to `path`.
    fn longest_silence(&self, path: &str, from: Instant, until: Instant) -> Duration {
        let arrivals = self.receiver.requests(path).into_iter().map(|request| request.at);
        let mut moments: Vec<_> = arrivals.filter(|at| (from..until).contains(at)).collect();
        moments.extend([from, until]);
        moments.sort();
        moments
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }
}

fn number(body: &Value) -> usize {
    usize::try_from(body["n"].as_u64().unwrap()).unwrap()
}

async fn start(deployment: &Deployment, role: &str, count: usize) -> Vec<Nuncio> {
    try_join_all((0..count).map(|_| deployment.start(role)))
        .await
        .unwrap()
}

/// SIGTERM to all at once; each has to finish what it had begun in time.
async fn end(processes: impl IntoIterator<Item = Nuncio>) {
    let ends = processes
        .into_iter()
        .map(async |mut process: Nuncio| process.terminate(LONG).await);
    for status in join_all(ends).await {
        assert!(
            status.unwrap().success(),
            "a process that is told to stop ends in order"
        );
    }
}

/// Waits until each of the senders knows them all.
async fn know_each_other(senders: &[Nuncio]) {
    let line = format!("nuncio_sender_members {}", senders.len());
    eventually(&line, LONG, || async {
        let all = try_join_all(senders.iter().map(Nuncio::metrics)).await.ok()?;
        all.iter()
            .all(|metrics| metrics.lines().any(|told| told == line))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_and_rolling_to_the_next_version_and_back_lose_nothing_and_repeat_nothing() {
    let this = Deployment::shared().await.unwrap();
    let next = this.clone().crashing().await.unwrap().with("NEXT_WIRE", "1");
    let (mut apis, mut routers) = (start(&this, "api", 1).await, start(&this, "router", 1).await);
    let mut senders = start(&this, "sender", 1).await;
    let stage = Stage::set(&this, &apis[0]).await;
    stage.spy(this.namespace()).await;
    let load = Load::start(Arc::clone(&stage.publisher), Arc::clone(&stage.front), &stage.app);
    stage.receiver.wait_for(FLAKY, 1, LONG).await;
    let begun = Instant::now();

    // Senders 1 → 5 → 2, routers 1 → 3 → 1.
    senders.extend(start(&this, "sender", 4).await);
    routers.extend(start(&this, "router", 2).await);
    know_each_other(&senders).await;
    stage.go_on().await;
    tokio::join!(end(senders.drain(..3)), end(routers.drain(..2)));
    know_each_other(&senders).await;
    stage.go_on().await;

    // There and back, new before old, one role after the other: each meets the other's version.
    for (deployment, order) in [
        (&next, ["api", "router", "sender"]),
        (&this, ["router", "sender", "api"]),
    ] {
        for role in order {
            let fleet = match role {
                "api" => &mut apis,
                "router" => &mut routers,
                _ => &mut senders,
            };
            let before = std::mem::take(fleet);
            *fleet = start(deployment, role, before.len()).await;
            if role == "api" {
                stage.serve(&fleet[0]).await;
            }
            end(before).await;
            stage.go_on().await;
        }
        if stage.receiver.count(LATE) == 0 {
            let front = stage.front.read().await;
            front
                .create_endpoint(&stage.app, &stage.receiver.url(LATE))
                .await
                .unwrap();
            stage.receiver.wait_for(LATE, 1, LONG).await;
        }
    }
    let late = stage.receiver.count(LATE);
    stage.receiver.wait_for(LATE, late + 1, LONG).await;
    let ended = Instant::now();
    let published = load.end().await;

    let complete = || {
        let (steady, flaky) = (published.len(), published.len() * 2);
        STEADY.iter().all(|path| stage.receiver.count(path) >= steady) && stage.receiver.count(FLAKY) >= flaky
    };
    stage.receiver.wait_until("every delivery", LONG, complete).await;
    let exact = || {
        let once = STEADY
            .iter()
            .all(|path| stage.receiver.count(path) == published.len());
        once && stage.receiver.count(FLAKY) == published.len() * 2
    };
    stays(
        "each event is delivered once",
        Duration::from_millis(1_500),
        exact,
    )
    .await;
    for (path, times) in STEADY.iter().map(|path| (*path, 1)).chain([(FLAKY, 2)]) {
        let expected: BTreeMap<_, _> = published.iter().map(|n| (*n, times)).collect();
        assert!(
            stage.accepted(path) == expected,
            "every event has its attempts at {path} and no others"
        );
    }
    assert!(
        stage.accepted(LATE).values().all(|times| *times == 1),
        "nothing is delivered twice"
    );
    assert_eq!(stage.versions().await, BTreeSet::from([1, 2]));
    for path in STEADY {
        let silence = stage.longest_silence(path, begun, ended);
        eprintln!(
            "{path}: {} deliveries, longest silence {silence:?}",
            published.len()
        );
        assert!(silence < HANG, "{path} heard nothing for {silence:?}");
    }
}

//! Routers, senders and publishers that die between any two steps: at named places in the code, which the binary has when
//! it is built with its crash points (`crates/failpoints`).
//!
//! Owns the stage and its oracle. Each round starts one process that will abort at its place, publishes while it works,
//! replaces it when it is dead, and compares what was confirmed to the publisher with what arrived and what is recorded: all
//! of it, under one id each, never more often than planned but for the one request that was under way in the crash, and
//! never more attempts on record than planned.

use std::{
    collections::{BTreeSet, HashMap},
    os::unix::process::ExitStatusExt,
    time::Duration,
};

use e2e::{Answer, ApiClient, Deployment, Event, LONG, Nuncio, Publisher, Receiver};
use lapin::options::QueueDeleteOptions;
use serde_json::json;

use crate::scale_ledger::{Ledger, lane_path, turn};

/// Endpoints of the app: more than one publish of the fan-out reaches.
pub(crate) const LANES: usize = 12;
/// Events of a round.
const EVENTS: usize = 60;
/// Requests under way per endpoint and sender; a sender holds twice as many deliveries.
const CONCURRENCY: usize = 4;
/// Everything that a round has under way.
const ALL: usize = EVENTS * LANES;
/// What a sender holds.
const HELD: usize = LANES * CONCURRENCY * 2;
const SIGABRT: i32 = 6;

/// How often the `lane`th endpoint refuses the `n`th event of a round.
fn refusals(lane: usize, n: usize) -> usize {
    match lane {
        10 if n.is_multiple_of(3) => 1,
        11 if n.is_multiple_of(5) => 2,
        _ => 0,
    }
}

fn body(round: usize, n: usize) -> String {
    json!({ "round": round, "n": n }).to_string()
}

fn round_and_n(body: &str) -> (usize, usize) {
    let body: serde_json::Value = serde_json::from_str(body).expect("bodies are JSON");
    let number = |name: &str| usize::try_from(body[name].as_u64().expect("a number")).expect("small");
    (number("round"), number("n"))
}

/// Waits for the death that was ordered.
pub(crate) async fn dies(mut process: Nuncio, place: &str) {
    let status = process
        .wait(LONG)
        .await
        .unwrap_or_else(|error| panic!("not at {place}: {error:#}"));
    assert_eq!(
        status.signal(),
        Some(SIGABRT),
        "{place}: ended by itself: {status}"
    );
}

/// One app with its endpoints, and what arrived there.
pub(crate) struct Stage {
    pub(crate) deployment: Deployment,
    pub(crate) api: Nuncio,
    pub(crate) client: ApiClient,
    pub(crate) publisher: Publisher,
    pub(crate) app: String,
    pub(crate) ledger: Ledger,
    endpoints: Vec<String>,
    token: String,
    receiver: Receiver,
}

impl Stage {
    pub(crate) async fn open() -> Self {
        let concurrency = CONCURRENCY.to_string();
        let deployment = Deployment::shared().await.expect("a deployment");
        let deployment = deployment
            .with("NUNCIO_ENDPOINT_CONCURRENCY", &concurrency)
            .crashing()
            .await
            .expect("a binary with crash points");
        let api = deployment.start("api").await.expect("the API");
        let token = deployment.token(&[]).await.expect("a token");
        let client = ApiClient::new(api.api_url(), token.as_str()).expect("a client");
        let publisher = deployment.publisher().await.expect("a publisher");
        let receiver = Receiver::start().await.expect("a receiver");
        let app = client.create_app("Crash").await.expect("an app");
        let ledger = Ledger::default();
        let mut endpoints = Vec::new();
        for lane in 0..LANES {
            let (path, notes) = (lane_path(lane), ledger.clone());
            receiver.answer_with(&path, move |_, request| {
                let (_, n) = round_and_n(request.text());
                if notes.note(request) <= refusals(lane, n) {
                    Answer::status(500)
                } else {
                    Answer::ok().after(Duration::from_millis(2))
                }
            });
            let created = client.create_endpoint(&app, &receiver.url(&path)).await;
            endpoints.push(created.expect("an endpoint"));
        }
        Self {
            deployment,
            api,
            client,
            publisher,
            app,
            ledger,
            endpoints,
            token,
            receiver,
        }
    }

    /// Where the stage's receiver takes what is none of its endpoints'.
    pub(crate) fn url(&self, path: &str) -> String {
        self.receiver.url(path)
    }

    /// Answers well at a path that is no lane's, and notes what arrives there.
    pub(crate) fn watch(&self, path: &str) {
        self.ledger.watch(&self.receiver, path, Duration::ZERO);
    }

    /// A process that aborts when it reaches `place` for the `visit`th time.
    pub(crate) async fn doomed(&self, role: &str, place: &str, visit: usize) -> Nuncio {
        let doom = format!("{place}={visit}");
        let deployment = self.deployment.clone().with("FAILPOINTS", &doom);
        deployment
            .start(role)
            .await
            .unwrap_or_else(|error| panic!("{place}: {error:#}"))
    }

    /// The same caller as the stage's own client, at another API.
    pub(crate) fn client_of(&self, api: &Nuncio) -> ApiClient {
        ApiClient::new(api.api_url(), self.token.as_str()).expect("a client")
    }

    pub(crate) async fn start(&self, role: &str) -> Nuncio {
        self.deployment.start(role).await.expect("a process")
    }

    /// Publishes a round, all of it confirmed.
    async fn publish(&self, round: usize) {
        let event = |n| Event::new(&self.app, "load", body(round, n)).id(&format!("{round}-{n}"));
        let confirmed = self.publisher.publish_all((0..EVENTS).map(event)).await;
        assert_eq!(confirmed.expect("confirms"), EVENTS);
    }

    /// Waits until every event of all rounds so far reached every endpoint.
    async fn delivered(&self, rounds: usize) {
        self.ledger.wait_for(rounds * ALL).await;
    }

    /// One round for each place: `role` dies there, and a new one finishes.
    async fn rounds(&self, role: &str, table: &[(&str, usize, usize)]) {
        for (round, (place, visit, _)) in table.iter().enumerate() {
            let doomed = self.doomed(role, place, *visit).await;
            self.publish(round).await;
            dies(doomed, place).await;
            let mut next = self.start(role).await;
            self.delivered(round + 1).await;
            next.terminate(LONG).await.expect("an orderly end");
        }
        let heirs = self.start(role).await;
        self.judge(table).await;
        drop(heirs);
    }

    /// How many attempts are recorded of each delivery, by path and message.
    async fn recorded(&self) -> HashMap<(String, String), usize> {
        let mut counts = HashMap::new();
        for (lane, endpoint) in self.endpoints.iter().enumerate() {
            let attempts = self.client.attempts_by_endpoint(&self.app, endpoint).await;
            for attempt in attempts.expect("attempts") {
                let message = attempt["msgId"].as_str().expect("a message").to_owned();
                *counts.entry((lane_path(lane), message)).or_default() += 1;
            }
        }
        counts
    }

    /// Holds every delivery against the plan of its endpoint, and each round against the duplicates that it may have.
    async fn judge(&self, table: &[(&str, usize, usize)]) {
        let expected = (0..table.len())
            .flat_map(|round| (0..EVENTS).map(move |n| body(round, n)))
            .flat_map(|body| (0..LANES).map(move |lane| (lane_path(lane), body.clone())));
        self.ledger.settle(expected).await;
        let lanes: HashMap<String, usize> = (0..LANES).map(|lane| (lane_path(lane), lane)).collect();
        let mut surplus = vec![0; table.len()];
        let recorded = self.recorded().await;
        for ((path, body), arrivals) in self.ledger.copies() {
            let (round, n) = round_and_n(&body);
            let planned = refusals(lanes[&path], n) + 1;
            // One crash a round: the one request that was under way in it, and of which nobody could know, is repeated. A
            // second copy of a delivery makes no attempt that the first one made.
            let place = table[round].0;
            assert!(
                (planned..=planned + 1).contains(&arrivals.len()),
                "{place}: {path} {body} arrived {} times; planned {planned}: {arrivals:?}",
                arrivals.len(),
            );
            let recorded = recorded.get(&(path.clone(), arrivals[0].id.clone()));
            assert!(
                recorded.is_some_and(|recorded| (1..=planned).contains(recorded)),
                "{place}: {path} {body} has {recorded:?} recorded attempts; planned {planned}"
            );
            surplus[round] += arrivals.len() - planned;
        }
        for ((place, _, most), surplus) in table.iter().zip(surplus) {
            eprintln!("{place}: {surplus} came twice");
            assert!(
                surplus <= *most,
                "{place}: {surplus} came twice; at most {most} may"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_dies_between_any_two_steps_loses_nothing() {
    let _turn = turn().await;
    let stage = Stage::open().await;
    let _sender = stage.start("sender").await;
    let table = [
        ("router::received", 1, 0),
        ("router::claimed", 1, 0),
        ("publisher::sent", 50, ALL),
        // Between the two publishes of one event's fan-out.
        ("publisher::confirmed", 51, ALL),
        ("router::fanned-out", 1, ALL),
        ("router::marked", 1, ALL),
        ("router::acked", 20, ALL),
    ];
    stage.rounds("router", &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_dies_between_any_two_steps_loses_nothing_and_repeats_only_what_it_held() {
    let _turn = turn().await;
    let stage = Stage::open().await;
    let _router = stage.start("router").await;
    let table = [
        ("sender::received", 100, HELD),
        ("sender::posting", 100, HELD),
        ("egress::answering", 100, HELD),
        ("sender::posted", 100, HELD),
        ("sender::recorded", 100, HELD),
        ("publisher::sent", 20, HELD),
        ("publisher::confirmed", 20, HELD),
        ("sender::on-ladder", 20, HELD),
        ("sender::settled", 100, HELD),
        ("sender::acked", 100, HELD),
    ];
    stage.rounds("sender", &table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_and_a_sender_that_die_while_they_stop_lose_nothing() {
    let _turn = turn().await;
    let stage = Stage::open().await;
    let table = [("router::stopping", 1, ALL), ("sender::stopping", 1, HELD)];
    let (router, mut sender) = (
        stage.doomed("router", table[0].0, 1).await,
        stage.start("sender").await,
    );
    stage.publish(0).await;
    router.signal(e2e::process::Signal::TERM).expect("it runs");
    dies(router, table[0].0).await;
    let _router = stage.start("router").await;
    stage.delivered(1).await;
    // In order: a second crash in the round could repeat a second request.
    sender.terminate(LONG).await.expect("an orderly end");

    let sender = stage.doomed("sender", table[1].0, 1).await;
    stage.publish(1).await;
    stage.ledger.wait_for(ALL + 50).await;
    sender.signal(e2e::process::Signal::TERM).expect("it runs");
    dies(sender, table[1].0).await;
    let _sender = stage.start("sender").await;
    stage.judge(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_dies_on_the_side_ways_loses_nothing() {
    let stage = Stage::open().await;
    let mut sender = stage.start("sender").await;
    let doomed = stage.doomed("router", "router::set-aside", 1).await;
    let broken = Event::new(&stage.app, "load", "{").id("broken");
    stage.publisher.publish(&broken).await.expect("a confirm");
    dies(doomed, "router::set-aside").await;

    let doomed = stage.doomed("router", "router::sent-again", 1).await;
    let set_aside = stage.publisher.depth("set-aside").await.expect("a queue");
    assert!(
        (1..=2).contains(&set_aside),
        "{set_aside} set aside: once, or once more after the crash"
    );
    // An app with one endpoint: a lane that is missing among many is not told by the broker.
    let app = stage.client.create_app("One lane").await.expect("an app");
    let url = stage.url("/one");
    let endpoint = stage
        .client
        .create_endpoint(&app, &url)
        .await
        .expect("an endpoint");
    stage.ledger.watch(&stage.receiver, "/one", Duration::ZERO);
    // Nobody consumes from the lane, so that nobody else brings it back.
    sender.kill().expect("it runs");
    let lane = format!("{}.endpoint.{endpoint}", stage.deployment.namespace());
    let channel = stage.publisher.channel();
    let deleted = channel.queue_delete(lane.into(), QueueDeleteOptions::default());
    deleted.await.expect("its lane is there");
    let events = (0..EVENTS).map(|n| Event::new(&app, "load", body(0, n)).id(&format!("one-{n}")));
    let confirmed = stage.publisher.publish_all(events).await.expect("confirms");
    assert_eq!(confirmed, EVENTS);
    dies(doomed, "router::sent-again").await;
    let (_router, _sender) = (stage.start("router").await, stage.start("sender").await);
    let expected = (0..EVENTS).map(|n| ("/one".to_owned(), body(0, n)));
    stage.ledger.settle(expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_dies_and_is_run_again_publishes_every_event_under_one_id() {
    let stage = Stage::open().await;
    let (_router, _sender) = (stage.start("router").await, stage.start("sender").await);
    let table = [("publisher::sent", 20, ALL), ("publisher::confirmed", 20, ALL)];
    for (round, (place, visit, _)) in table.iter().enumerate() {
        let lines: String = (0..EVENTS)
            .map(|n| {
                let payload = body(round, n);
                format!("{{\"type\":\"load\",\"id\":\"{round}-{n}\",\"payload\":{payload}}}\n")
            })
            .collect();
        let arguments = ["publish", "--app", &stage.app];
        let doomed = stage
            .deployment
            .clone()
            .with("FAILPOINTS", &format!("{place}={visit}"));
        let died = doomed.run_with_input(&arguments, &lines).await.expect("it runs");
        assert_eq!(died.status.signal(), Some(SIGABRT), "{place}: {died:?}");
        let again = stage
            .deployment
            .run_with_input(&arguments, &lines)
            .await
            .expect("it runs");
        assert!(again.status.success(), "{again:?}");
        stage.delivered(round + 1).await;
    }
    stage.judge(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_build_holds_no_crash_point() {
    let default = Deployment::shared().await.expect("a deployment");
    let crashing = default
        .clone()
        .crashing()
        .await
        .expect("a binary with crash points");
    let places = BTreeSet::from([
        "router::claimed",
        "sender::on-ladder",
        "api::message-recorded",
        "FAILPOINTS",
    ]);
    for place in places {
        let holds = |binary: &std::path::Path| {
            let bytes = std::fs::read(binary).expect("a binary");
            bytes
                .windows(place.len())
                .any(|window| window == place.as_bytes())
        };
        assert!(holds(crashing.binary()), "{place} is a crash point");
        assert!(!holds(default.binary()), "{place} is in a default build");
    }
}

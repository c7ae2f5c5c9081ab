//! The oracle of tests with thousands of messages: what was published, what arrived how often, and when.
//!
//! Owns the ledger and its judgement: nothing lost, nothing twice, or duplicates under the same id only. Also owns the
//! turn: heavy tests run one at a time on a machine, however many copies of the suite there are.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use e2e::{Answer, Event, Received, Receiver, eventually};
use tokio::time::{Instant, sleep};

/// Deadline for thousands of deliveries on a machine that does other things, too.
pub(crate) const VERY_LONG: Duration = Duration::from_secs(240);

/// In which duplicates would have arrived: lost connections are noticed and what they held is delivered again.
pub(crate) const DUPLICATES_SHOW: Duration = Duration::from_secs(3);

/// A turn for a heavy test; the next begins when it is dropped.
pub(crate) struct Turn(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits for a turn.
pub(crate) async fn turn() -> Turn {
    let path = std::env::temp_dir().join(format!("nuncio-e2e-turn-{}", rustix::process::getuid().as_raw()));
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().append(true).create(true).open(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    });
    Turn(
        locked
            .await
            .expect("no panic")
            .expect("a file in the temporary directory can be locked"),
    )
}

/// One arrival of one event at one path.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) id: String,
}

type Arrivals = HashMap<(String, String), Vec<Arrival>>;

/// What arrived at the paths that it watches, by path and body. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Arrivals>>);

impl Ledger {
    /// Notes what arrives at `path`, where requests are answered with 200 after `delay`.
    pub(crate) fn watch(&self, receiver: &Receiver, path: &str, delay: Duration) {
        self.watch_with(receiver, path, move |_| Answer::ok().after(delay));
    }

    /// Notes what arrives at `path`, where the `nth` arrival of a body, from 1, is answered as `plan` says.
    pub(crate) fn watch_with(
        &self,
        receiver: &Receiver,
        path: &str,
        plan: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) {
        let ledger = self.clone();
        receiver.answer_with(path, move |_, request| plan(ledger.note(request)));
    }

    /// Notes a request; answers how many came for the same delivery so far, this one among them.
    pub(crate) fn note(&self, request: &Received) -> usize {
        let arrival = Arrival {
            at: request.at,
            id: request.id().to_owned(),
        };
        let mut arrivals = self.arrivals();
        let of_body = arrivals
            .entry((request.path.clone(), request.text().to_owned()))
            .or_default();
        of_body.push(arrival);
        of_body.len()
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many different deliveries arrived.
    pub(crate) fn distinct(&self) -> usize {
        self.arrivals().len()
    }

    /// How many requests arrived in all.
    pub(crate) fn total(&self) -> usize {
        self.arrivals().values().map(Vec::len).sum()
    }

    /// How many different deliveries arrived at one path, and how many requests.
    pub(crate) fn at(&self, path: &str) -> (usize, usize) {
        let arrivals = self.arrivals();
        let here = arrivals.iter().filter(|((at, _), _)| at == path);
        here.fold((0, 0), |(distinct, total), (_, copies)| {
            (distinct + 1, total + copies.len())
        })
    }

    /// What arrived how often, and under which id.
    pub(crate) fn copies(&self) -> Vec<((String, String), Vec<Arrival>)> {
        self.arrivals()
            .iter()
            .map(|(delivery, arrivals)| (delivery.clone(), arrivals.clone()))
            .collect()
    }

    /// Waits until so many different deliveries arrived.
    pub(crate) async fn wait_for(&self, deliveries: usize) {
        let deadline = Instant::now() + VERY_LONG;
        while self.distinct() < deliveries {
            assert!(
                Instant::now() < deadline,
                "{} of {deliveries} deliveries arrived within {VERY_LONG:?}",
                self.distinct()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Those that did not arrive yet.
    fn missing(&self, expected: &std::collections::HashSet<(String, String)>) -> Vec<(String, String)> {
        let arrivals = self.arrivals();
        let missing = expected
            .iter()
            .filter(|delivery| !arrivals.contains_key(*delivery));
        missing.cloned().collect()
    }

    /// Waits for each of these deliveries (path and body), then for duplicates, and returns those.
    ///
    /// Panics when one is lost, when something else arrived, and when one arrived under two ids.
    pub(crate) async fn settle(
        &self,
        expected: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<Vec<Arrival>> {
        let expected: std::collections::HashSet<_> = expected.into_iter().collect();
        let deadline = Instant::now() + VERY_LONG;
        while self.distinct() < expected.len() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let mut lost = self.missing(&expected);
        lost.sort();
        assert!(
            lost.is_empty(),
            "{} of {} are lost, among them {:?}",
            lost.len(),
            expected.len(),
            &lost[..lost.len().min(10)]
        );
        // A bounded quiet time: as long as more arrives, it is not over.
        let (mut total, mut quiet_since) = (self.total(), Instant::now());
        eventually("nothing more arrives", VERY_LONG, || {
            let now = self.total();
            if now != total {
                (total, quiet_since) = (now, Instant::now());
            }
            std::future::ready((quiet_since.elapsed() >= DUPLICATES_SHOW).then_some(()))
        })
        .await;
        let arrivals = self.arrivals();
        assert_eq!(
            arrivals.len(),
            expected.len(),
            "something arrived that nobody published"
        );
        let several: Vec<_> = arrivals
            .values()
            .filter(|arrivals| arrivals.len() > 1)
            .cloned()
            .collect();
        for copies in &several {
            assert!(
                copies.iter().all(|copy| copy.id == copies[0].id),
                "one delivery under two ids: {copies:?}"
            );
        }
        several
    }
}

/// The type of the events that go to the `lane`th endpoint, which asks for that type alone.
pub(crate) fn lane_type(lane: usize) -> String {
    format!("load.{lane}")
}

/// The path of the `lane`th endpoint.
pub(crate) fn lane_path(lane: usize) -> String {
    format!("/lane/{lane}")
}

/// The body of the `n`th event.
pub(crate) fn body(n: usize) -> String {
    format!(r#"{{"type":"load","n":{n}}}"#)
}

/// The `n`th event, for one of `lanes` endpoints, with a message id of its own: by that a redelivery is recognised, while
/// an event without one gets a new id when it is routed again after a crash.
pub(crate) fn event(app: &str, n: usize, lanes: usize) -> Event {
    Event::new(app, &lane_type(n % lanes), body(n)).id(&format!("load-{n}"))
}

/// The deliveries that events from the first to the `count`th make.
pub(crate) fn deliveries(count: usize, lanes: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(move |n| (lane_path(n % lanes), body(n)))
}

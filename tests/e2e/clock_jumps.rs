//! Wall clocks that jump or are apart: delays are what was said, signatures bear the time of their attempt, and nobody
//! looks dead. The clock of a process under test is shifted beneath it, by a library that is preloaded.

use std::{
    collections::{BTreeSet, HashMap},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    time::Duration,
};

use e2e::{Answer, Deployment, Event, LONG, Received, eventually};
use tempfile::TempDir;

use crate::delivery_stage::{QUIET, Stage, stays, user};

const HOUR: i64 = 3_600;
/// How far a signature's time may be from the clock that it was read from, on a busy machine.
const LATE: i64 = 120;

/// A wall clock that can be set for processes that are started with it.
struct ShiftedClock {
    directory: TempDir,
    file: std::fs::File,
}

impl ShiftedClock {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/clock_jumps/shift.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(directory.path().join("shift.so"))
            .arg(source)
            .arg("-ldl")
            .output()
            .expect("a C compiler, which links Rust, too");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .write(true)
            .create_new(true)
            .open(directory.path().join("seconds"));
        let clock = Self {
            directory,
            file: file.expect("a file"),
        };
        clock.shift(0);
        clock
    }

    /// Sets it so many seconds ahead of the machine's, or behind.
    fn shift(&self, seconds: i64) {
        self.file
            .write_all_at(&seconds.to_ne_bytes(), 0)
            .expect("a shift");
    }

    /// The deployment, with this clock for what is started from now on.
    fn worn_by(&self, deployment: Deployment) -> Deployment {
        let path = |name| self.directory.path().join(name).display().to_string();
        deployment
            .with("LD_PRELOAD", &path("shift.so"))
            .with("SHIFTED_CLOCK", &path("seconds"))
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// How many seconds the clock was ahead by which a request was signed, to the hour.
fn hours_ahead(request: &Received) -> i64 {
    let signed: i64 = request.header("webhook-timestamp").parse().expect("seconds");
    let ahead = signed - now();
    let hours = (ahead as f64 / HOUR as f64).round() as i64;
    assert!((ahead - hours * HOUR).abs() < LATE, "signed {ahead} s from now");
    hours
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_by_an_hour_move_no_retry_and_repeat_nothing() {
    const DELAY: Duration = Duration::from_secs(3);
    // Too few failures to open the breaker.
    const EVENTS: usize = 3;
    let clock = ShiftedClock::new();
    let settings = [
        ("NUNCIO_RETRY_FIRST", "3s"),
        ("NUNCIO_RETRY_FACTOR", "1"),
        ("NUNCIO_RETRY_CEILING", "3s"),
        ("NUNCIO_RETRY_JITTER", "0"),
        ("NUNCIO_RETRY_ATTEMPTS", "6"),
    ];
    let shared = Deployment::shared().await.unwrap();
    let shared = settings
        .iter()
        .fold(shared, |deployment, (key, value)| deployment.with(key, value));
    let stage = Stage::on(clock.worn_by(shared)).await;
    let endpoint = stage.endpoint("/a").await;
    let secret = stage.secret(&endpoint).await;
    stage.receiver.answer("/a", [Answer::status(500)]);
    let events = (0..EVENTS).map(|n| Event::new(&stage.app, "sync.user", user(n)));
    stage.publisher.publish_all(events).await.unwrap();
    let attempts_of_each = async |attempts: usize| {
        stage
            .receiver
            .wait_until("another attempt of each", LONG, || {
                let times = stage.receiver.times_by_id("/a");
                times.len() == EVENTS && times.values().all(|times| *times >= attempts)
            })
            .await;
    };
    // Each time after the attempts were made, and while the next ones wait.
    for (attempts, hours) in [(1, 1), (2, -1), (3, 0)] {
        attempts_of_each(attempts).await;
        clock.shift(hours * HOUR);
    }
    stage.receiver.answer("/a", [Answer::ok()]);
    attempts_of_each(4).await;

    let mut by_id = HashMap::<String, Vec<Received>>::new();
    for request in stage.receiver.requests("/a") {
        // Whoever verifies looks at the time, too.
        assert_eq!(request.is_signed_by(&secret), hours_ahead(&request) == 0);
        by_id.entry(request.id().to_owned()).or_default().push(request);
    }
    for requests in by_id.values() {
        let hours: Vec<_> = requests.iter().map(hours_ahead).collect();
        assert_eq!(hours[0], 0);
        assert!(hours.contains(&1) && hours.contains(&-1), "{hours:?}");
    }
    stays("each is delivered, and no copy of it comes", QUIET, || {
        stage.receiver.times_by_id("/a").len() == EVENTS
    })
    .await;
    for id in by_id.keys() {
        eventually("it is recorded as delivered", LONG, async || {
            let attempts = stage.api.attempts_by_message(&stage.app, id).await.ok()?;
            let delivered = attempts.iter().filter(|attempt| attempt["status"] == 0).count();
            (delivered == 1 && attempts.len() == stage.receiver.times_by_id("/a")[id]).then_some(())
        })
        .await;
    }
    for requests in by_id.into_values() {
        assert_delays(&requests, DELAY);
    }
}

/// Panics unless the attempts were as far apart as was said, whatever their clocks told.
fn assert_delays(requests: &[Received], delay: Duration) {
    for pair in requests.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= delay && gap < LONG, "{gap:?} between two attempts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_whose_clocks_are_an_hour_apart_share_the_endpoints() {
    const ENDPOINTS: usize = 24;
    let clock = ShiftedClock::new();
    let stage = Stage::set(&[]).await;
    clock.shift(HOUR);
    let ahead = clock.worn_by(stage.deployment.clone());
    let _ahead = ahead.start("sender").await.unwrap();
    for n in 0..ENDPOINTS {
        stage.endpoint(&format!("/{n}")).await;
    }
    eventually("both deliver", LONG, async || {
        stage.receiver.forget();
        stage.publish_user(1).await;
        let all = || stage.receiver.total() >= ENDPOINTS;
        stage
            .receiver
            .wait_until("every endpoint is delivered to", LONG, all)
            .await;
        let hours: BTreeSet<_> = stage.receiver.all().iter().map(hours_ahead).collect();
        (hours == BTreeSet::from([0, 1])).then_some(())
    })
    .await;
}

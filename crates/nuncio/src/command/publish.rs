//! `nuncio publish`: one event, one of the six changes, or one event a line from standard input.
//!
//! Owns the order of what it prints: message ids on standard output in the order of the input, everything else on
//! standard error. Guarantees that the exit code is zero only if every event was confirmed, and that a bad line is told
//! by its number while the others go on.
//! Refuses to know AMQP: it publishes with the library that applications use.

mod input;
mod progress;
mod trace;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use nuncio_producer::{Change, Event, Producer, PublishError, Receipt};
use nuncio_runtime::config::{MainSecret, Origin};
use nuncio_runtime::lifecycle::chain;
use nuncio_runtime::{Clock, Config, ConfigArgs, Dice, Signals, telemetry};
use tokio::io::BufReader;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;

use self::input::{Given, Read, Rules, next_line};
use self::progress::Progress;
use self::trace::Traced;
use crate::command::{EXIT_INTERRUPTED, block_on};
use crate::wiring::{self, Services};
use crate::{host, output};

/// How many events are on their way at most.
const WINDOW: usize = 4_096;
/// How many lines are read ahead at most.
const READ_AHEAD: usize = 256;
/// How often progress is told to a terminal, and to a log.
const TELL_TERMINAL: Duration = Duration::from_millis(500);
const TELL_LOG: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The app's id or uid; for lines from standard input, the app of those that name none
    #[arg(long, value_name = "ID_OR_UID")]
    app: Option<String>,
    /// The event's type, such as sync.user
    #[arg(long = "type", id = "event_type", value_name = "TYPE", requires = "data")]
    event_type: Option<String>,
    /// The JSON payload, delivered byte for byte
    #[arg(long, value_name = "JSON", requires = "event_type")]
    data: Option<String>,
    /// The event's own id: within the retention a second event with it is not delivered again
    #[arg(long, value_name = "ID", requires = "event_type")]
    id: Option<String>,
    /// A channel that endpoints may filter on; repeat it for several
    #[arg(long, value_name = "CHANNEL", requires = "event_type")]
    channel: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    change: Option<ChangeArgs>,
}

#[derive(Debug, Subcommand)]
enum ChangeArgs {
    /// A user was created
    UserCreated { user_id: String },
    /// A user was updated
    UserUpdated { user_id: String },
    /// A user was deleted
    UserDeleted { user_id: String },
    /// An organization was created
    OrganizationCreated { organization_id: String },
    /// An organization was updated
    OrganizationUpdated { organization_id: String },
    /// An organization was deleted
    OrganizationDeleted { organization_id: String },
}

impl From<ChangeArgs> for Change {
    fn from(change: ChangeArgs) -> Self {
        match change {
            ChangeArgs::UserCreated { user_id } => Self::UserCreated(user_id),
            ChangeArgs::UserUpdated { user_id } => Self::UserUpdated(user_id),
            ChangeArgs::UserDeleted { user_id } => Self::UserDeleted(user_id),
            ChangeArgs::OrganizationCreated { organization_id } => Self::OrganizationCreated(organization_id),
            ChangeArgs::OrganizationUpdated { organization_id } => Self::OrganizationUpdated(organization_id),
            ChangeArgs::OrganizationDeleted { organization_id } => Self::OrganizationDeleted(organization_id),
        }
    }
}

/// An event, or what is wrong with what was given, and the number of its line if it came on one.
struct Item {
    line: Option<u64>,
    event: Result<Event, String>,
}

pub(crate) fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Optional)?;
    let chosen = config
        .settings()
        .iter()
        .any(|setting| setting.key.name == "log" && setting.origin != Origin::Default);
    // Progress is told in its own words; the log's would stand between them.
    telemetry::init(if chosen { &config.log } else { "warn" }, config.log_format)?;
    let rules = Rules {
        app: args.app,
        payload_bytes_max: config.max_payload,
    };
    let one = match (args.change, args.event_type) {
        (Some(change), _) => {
            let app = rules
                .app
                .clone()
                .context("--app is needed: the app's id or uid")?;
            Some(Ok(Change::from(change).of(app)))
        }
        (None, Some(event_type)) => Some(rules.event(Given {
            app: None,
            event_type,
            payload: args.data.unwrap_or_default(),
            id: args.id,
            channels: args.channel,
        })),
        (None, None) => None,
    };
    block_on(publish(config, rules, one))
}

async fn publish(
    config: Config,
    rules: Rules,
    one: Option<Result<Event, String>>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    let producer = tokio::select! {
        producer = connect(&config) => producer?,
        _ = signals.next() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
    };
    let services = Services::new();
    let own = (&Clock::system(), &Dice::system());
    let traced = Traced::new(wiring::tracer(&config, "publish", &name(), own, &services)?);
    let (items, queue) = mpsc::channel(READ_AHEAD);
    let tracker = TaskTracker::new();
    tracker.spawn(async move {
        match one {
            // The receiver is gone only when this command is over.
            Some(event) => items.send(Item { line: None, event }).await.unwrap_or_default(),
            None => read_lines(&rules, &items).await,
        }
    });
    let mut publishing = Publishing {
        producer: &producer,
        traced: &traced,
        progress: Progress::default(),
        started: Instant::now(),
        terminal: std::io::stderr().is_terminal(),
        ids_are_read: true,
        stopped: None,
    };
    publishing.run(queue, &mut signals).await;
    let code = publishing.finish();
    producer.close().await;
    // What was recorded goes to the collector, if that is there.
    services.end().await;
    Ok(code)
}

async fn connect(config: &Config) -> anyhow::Result<Producer> {
    let mut urls = config.amqp_urls.iter();
    let first = urls.next().context("no address of RabbitMQ")?;
    let builder = Producer::builder(first.expose())
        .namespace(&config.namespace)
        .connection_name(name())
        .payload_bytes_max(config.max_payload);
    let builder = urls.fold(builder, |builder, url| builder.or_url(url.expose()));
    Ok(builder.connect().await?)
}

/// What this process calls itself.
fn name() -> String {
    format!("publish@{}", host::name())
}

/// Hands every line of standard input on, until its end or until nobody takes more.
async fn read_lines(rules: &Rules, items: &mpsc::Sender<Item>) {
    if std::io::stdin().is_terminal() {
        output::note("reading events from standard input, one JSON object a line; Ctrl-D ends");
    }
    let mut input = BufReader::new(tokio::io::stdin());
    let bytes_max = rules.line_bytes_max();
    for number in 1.. {
        let event = match next_line(&mut input, bytes_max).await {
            Ok(Read::End) => return,
            Ok(Read::Line(line)) if line.trim_ascii().is_empty() => continue,
            Ok(Read::Line(line)) => rules.read(&line),
            Ok(Read::TooLong) => Err(format!("longer than {bytes_max} bytes")),
            Err(error) => Err(format!("standard input cannot be read: {error}")),
        };
        let over = event
            .as_ref()
            .is_err_and(|error| error.starts_with("standard input"));
        let item = Item {
            line: Some(number),
            event,
        };
        if items.send(item).await.is_err() || over {
            return;
        }
    }
}

/// Why no more is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopped {
    Signal,
    /// Nothing further could be published either.
    Hopeless,
}

struct Publishing<'a> {
    producer: &'a Producer,
    traced: &'a Traced,
    progress: Progress,
    started: Instant,
    terminal: bool,
    ids_are_read: bool,
    stopped: Option<Stopped>,
}

impl Publishing<'_> {
    async fn run(&mut self, mut queue: mpsc::Receiver<Item>, signals: &mut Signals) {
        let every = if self.terminal { TELL_TERMINAL } else { TELL_LOG };
        let mut ticks = tokio::time::interval_at(self.started + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut in_flight = FuturesOrdered::new();
        let mut reading = true;
        while reading || !in_flight.is_empty() {
            tokio::select! {
                name = signals.next() => {
                    if self.stopped.replace(Stopped::Signal) == Some(Stopped::Signal) {
                        self.tell(&format!("{name} again: {} events may or may not have arrived", in_flight.len()));
                        return;
                    }
                    self.tell(&format!("{name}: waiting for what is under way"));
                    reading = false;
                }
                Some((line, result)) = in_flight.next(), if !in_flight.is_empty() => {
                    reading &= self.settle(line, result);
                }
                item = queue.recv(), if reading && in_flight.len() < WINDOW => match item {
                    None => reading = false,
                    Some(Item { line, event: Err(problem) }) => self.unreadable(line, &problem),
                    Some(Item { line, event: Ok(event) }) => {
                        self.progress.published += 1;
                        let (producer, traced) = (self.producer, self.traced);
                        in_flight.push_back(async move { (line, traced.publish(producer, event).await) });
                    }
                },
                _ = ticks.tick() => self.tell_progress(),
            }
        }
    }

    /// Counts and tells what became of one event; whether there is hope for the next.
    fn settle(&mut self, line: Option<u64>, result: Result<Receipt, PublishError>) -> bool {
        match result {
            Ok(receipt) => {
                self.progress.confirmed += 1;
                // Who reads only the first ids still wants all events published.
                self.ids_are_read = self.ids_are_read && output::line(&receipt.to_string()).is_ok();
                true
            }
            Err(error @ PublishError::Invalid { .. }) => {
                self.progress.published -= 1;
                self.unreadable(line, &chain(&error));
                true
            }
            Err(error) => {
                self.progress.unconfirmed += 1;
                self.tell(&at(line, &chain(&error)));
                let hopeless = !matches!(error, PublishError::Unconfirmed { .. });
                if hopeless && line.is_some() && self.stopped.is_none() {
                    self.stopped = Some(Stopped::Hopeless);
                }
                !hopeless
            }
        }
    }

    fn unreadable(&mut self, line: Option<u64>, problem: &str) {
        self.progress.unreadable += 1;
        self.tell(&at(line, problem));
    }

    /// A line of its own, whatever the progress has drawn on the terminal.
    fn tell(&self, text: &str) {
        let fresh = if self.terminal { "\r\x1b[K" } else { "" };
        output::note(&format!("{fresh}{text}"));
    }

    fn tell_progress(&self) {
        let line = self.progress.line(self.started.elapsed());
        if self.terminal {
            output::draw(&format!("\r\x1b[K{line}"));
        } else {
            output::note(&line);
        }
    }

    fn finish(&self) -> ExitCode {
        self.tell(&self.progress.line(self.started.elapsed()));
        match self.stopped {
            Some(Stopped::Signal) => ExitCode::from(EXIT_INTERRUPTED),
            Some(Stopped::Hopeless) => {
                self.tell("stopped: what was not read yet was not published");
                ExitCode::FAILURE
            }
            None if self.progress.is_complete() => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        }
    }
}

fn at(line: Option<u64>, problem: &str) -> String {
    match line {
        Some(number) => format!("line {number}: {problem}"),
        None => format!("nuncio: {problem}"),
    }
}

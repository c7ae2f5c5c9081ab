//! `nuncio set-aside`: look at the events that could not be read, publish them again, or forget them.
//!
//! Owns how they are shown and the question before anything is forgotten. Guarantees that an interruption loses nothing:
//! what was not dealt with is in its queue. Refuses to know rules of its own: they are the [`Operator`]'s, as for the
//! console.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use nuncio_domain::UnixMillis;
use nuncio_producer::{BrokerError, Chosen, Operator, SetAside, Walked};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::lifecycle::chain;
use nuncio_runtime::{Clock, Config, ConfigArgs, Signals, telemetry};
use serde_json::{Value, json};

use crate::command::{EXIT_INTERRUPTED, block_on};
use crate::output;
use crate::wiring::{self, Services};

/// How long a publish may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);
/// Events that are listed unless more are asked for.
const LISTED: usize = 250;
/// Events that are looked through for one.
const LOOKED_THROUGH: usize = 10_000;
/// Characters of a routing key in the table.
const KEY_WIDTH: usize = 48;

#[derive(Debug, Args)]
pub(crate) struct SetAsideArgs {
    #[command(subcommand)]
    what: What,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the oldest events that were set aside
    List {
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = LISTED)]
        limit: usize,
    },
    /// Show one event: why, whence and its body
    Show {
        /// Its name, as listed
        name: String,
    },
    /// Publish events again as they first were: after their app was created, say
    Replay(ChosenArgs),
    /// Forget events for good
    Purge {
        #[command(flatten)]
        chosen: ChosenArgs,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ChosenArgs {
    /// The one of this name, as listed
    name: Option<String>,
    /// Those that were set aside for this reason, such as unknown_app
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// All
    #[arg(long)]
    all: bool,
}

impl From<ChosenArgs> for Chosen {
    fn from(args: ChosenArgs) -> Self {
        match (args.name, args.reason) {
            (Some(name), _) => Self::One(name),
            (None, Some(reason)) => Self::Reason(reason),
            (None, None) => Self::All,
        }
    }
}

pub(crate) fn run(args: SetAsideArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Optional)?;
    telemetry::init("warn", config.log_format)?;
    block_on(async move {
        let mut signals = Signals::install()?;
        let services = Services::new();
        let mut broker = wiring::broker_config(&config, "set-aside")?;
        broker.declare = false;
        let operator = Operator::on(services.broker(broker)?, CONFIRM_WITHIN);
        let code = tokio::select! {
            code = work(&operator, args.what, args.json) => code,
            name = signals.next() => {
                output::note(&format!("{name}: what was not dealt with is still set aside"));
                Ok(ExitCode::from(EXIT_INTERRUPTED))
            }
        };
        // What was settled is told to RabbitMQ before the connection ends.
        if !services.end().await {
            output::note(
                "the connection to RabbitMQ did not end in time: some events may be set aside still",
            );
        }
        code
    })
}

async fn work(operator: &Operator, what: What, json: bool) -> anyhow::Result<ExitCode> {
    let now = UnixMillis(Clock::system().now());
    match what {
        What::List { limit } => list(&looked_at(operator, limit).await?, json),
        What::Show { name } => {
            let events = looked_at(operator, LOOKED_THROUGH).await?;
            let event = events.iter().find(|event| event.name() == name);
            show(
                event.with_context(|| format!("no event of the name {name} is set aside"))?,
                json,
            )
        }
        What::Replay(chosen) => {
            let walked = present(operator.replay_chosen(&chosen.into(), now).await)?;
            told("published again", &walked.unwrap_or_else(nothing), json)
        }
        What::Purge { chosen, yes } => {
            let chosen = Chosen::from(chosen);
            if !yes {
                confirm(&chosen)?;
            }
            let walked = present(operator.discard_chosen(&chosen, now).await)?;
            told("forgotten", &walked.unwrap_or_else(nothing), json)
        }
    }
}

/// A queue that does not exist holds nothing.
fn present<T>(answer: Result<T, BrokerError>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(BrokerError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn nothing() -> Walked {
    Walked {
        complete: true,
        ..Walked::default()
    }
}

async fn looked_at(operator: &Operator, most: usize) -> anyhow::Result<Vec<SetAside>> {
    Ok(present(operator.set_aside(most).await)?.unwrap_or_default())
}

fn list(events: &[SetAside], json: bool) -> anyhow::Result<ExitCode> {
    if json {
        for event in events {
            output::line(&described(event).to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if events.is_empty() {
        output::line("nothing is set aside")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = format!(
        "{:<24}  {:<20}  {:<16}  {:>8}  KEY\n",
        "NAME", "SET ASIDE", "REASON", "BYTES"
    );
    for event in events {
        let at = event.at.map_or_else(|| "-".to_owned(), time);
        let key: String = event.routing_key.chars().take(KEY_WIDTH).map(printable).collect();
        let (name, bytes) = (event.name(), event.body.len());
        table += &format!("{name}  {at:<20}  {:<16}  {bytes:>8}  {key}\n", event.reason);
    }
    output::print(&table)?;
    Ok(ExitCode::SUCCESS)
}

fn show(event: &SetAside, json: bool) -> anyhow::Result<ExitCode> {
    let body = String::from_utf8_lossy(&event.body);
    let mut described = described(event);
    if json {
        described["body"] = Value::from(body);
        output::line(&described.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    for (field, value) in described.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        output::line(&format!(
            "{field:<12} {}",
            text.chars().map(printable).collect::<String>()
        ))?;
    }
    output::line("")?;
    output::line(&body)?;
    Ok(ExitCode::SUCCESS)
}

fn described(event: &SetAside) -> Value {
    json!({
        "name": event.name(),
        "reason": event.reason,
        "detail": event.detail,
        "setAsideAt": event.at.map(time),
        "exchange": event.exchange,
        "routingKey": event.routing_key,
        "messageId": event.message_id,
        "bytes": event.body.len(),
        "bodySha256": event.body_sha256,
    })
}

fn time(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.0}"))
}

/// What came from outside does not draw on the terminal.
fn printable(character: char) -> char {
    if character.is_control() {
        '\u{fffd}'
    } else {
        character
    }
}

fn confirm(chosen: &Chosen) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("what is purged is gone for good: say --yes");
    }
    let which = match chosen {
        Chosen::One(name) => format!("the event {name}"),
        Chosen::Reason(reason) => format!("all events that were set aside as {reason}"),
        Chosen::All => "all events that are set aside".to_owned(),
    };
    output::draw(&format!("Forget {which} for good? [y/N] "));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("failed to read the answer")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was forgotten");
    }
    Ok(())
}

fn told(done: &str, walked: &Walked, json: bool) -> anyhow::Result<ExitCode> {
    let failed: Vec<_> = walked
        .failed
        .iter()
        .map(|(name, error)| (name, chain(error)))
        .collect();
    if json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(name, problem)| json!({"name": name, "problem": problem}))
            .collect();
        let told = json!({
            "done": walked.done, "failed": failed, "cameAgain": walked.again, "complete": walked.complete,
        });
        output::line(&told.to_string())?;
    } else {
        output::line(&format!("{done}: {}", walked.done))?;
        for (name, problem) in &failed {
            output::note(&format!("{name} stays: {problem}"));
        }
        if walked.again > 0 {
            output::note(&format!(
                "{} were set aside again, for the reason they were before",
                walked.again
            ));
        }
        if !walked.complete && failed.is_empty() {
            output::note("the queue was not seen to its end: too many events had to be passed over");
        }
    }
    Ok(if failed.is_empty() && walked.complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

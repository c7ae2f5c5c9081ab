//! `nuncio bench`: an open-loop load through a running pipeline, and what came out of it.
//!
//! Owns the load, a receiver in this very process (so that one clock tells send, confirm and arrival), and the endpoints
//! made for it. Guarantees that what was created is deleted again, also after Ctrl-C, and that an event is sent when it
//! is due however long those before it take.
//! Refuses to know how the pipeline works: it comes in by RabbitMQ or REST and listens where deliveries come out.

mod load;
mod receiver;
mod report;
mod setup;
mod timeline;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use nuncio_runtime::config::{MainSecret, Origin};
use nuncio_runtime::{Config, ConfigArgs, Dice, Signals, telemetry};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::load::Load;
use self::receiver::Receiver;
use self::report::Report;
use self::setup::{Api, Targets};
use self::timeline::Timeline;
use crate::command::{EXIT_INTERRUPTED, block_on, duration};
use crate::output;

/// How often it is looked whether all has arrived.
const LOOK: Duration = Duration::from_millis(20);
/// How long hanging endpoints hang, unless told otherwise: longer than a request may take by default.
const HANG: &str = "20s";
/// Smallest payload that holds what an event must carry.
const PAYLOAD_BYTES_MIN: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Add the endpoints to this app, by id or uid, rather than to new ones; whatever else it has gets the events too
    #[arg(long, value_name = "ID_OR_UID", conflicts_with = "apps")]
    app: Option<String>,
    /// Apps to create for the time; events go to each in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    apps: u32,
    /// Endpoints of each app: every event is delivered to all of them
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    endpoints: u32,
    /// Events a second, or `max` for as many as are confirmed
    #[arg(long, value_name = "PER_SECOND", default_value = "100", value_parser = rate)]
    rate: Rate,
    /// How long events are published
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Bytes of an event's payload
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    payload: usize,
    /// Share of the endpoints that hang before they answer, from 0 to 1; latencies are those of the others
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    hanging: f64,
    /// How long they hang
    #[arg(long, value_name = "DURATION", default_value = HANG, value_parser = duration)]
    hang_for: Duration,
    /// How events come in
    #[arg(long, value_enum, default_value_t = Via::Amqp)]
    via: Via,
    /// How long to wait for deliveries after the last event
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    patience: Duration,
    /// Where to receive; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    receive_on: SocketAddr,
    /// The address of the API [default: where the configuration has it]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// An admin token for the API [default: one is minted]
    #[arg(long, value_name = "TOKEN", env = "NUNCIO_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Write the result as JSON, `-` to standard output in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// How many events a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rate {
    Max,
    PerSecond(f64),
}

/// How events come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// Published to the exchange, with confirms
    Amqp,
    /// POST …/msg
    Rest,
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    text.parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate > 0.0)
        .map(Rate::PerSecond)
        .ok_or_else(|| "expected a number above 0, or max".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

pub(crate) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Optional)?;
    ensure!(
        (PAYLOAD_BYTES_MIN..=config.max_payload).contains(&args.payload),
        "--payload must be from {PAYLOAD_BYTES_MIN} to {} bytes",
        config.max_payload
    );
    let chosen = config
        .settings()
        .iter()
        .any(|setting| setting.key.name == "log" && setting.origin != Origin::Default);
    telemetry::init(if chosen { &config.log } else { "warn" }, config.log_format)?;
    block_on(bench(args, config))
}

async fn bench(args: BenchArgs, config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install()?;
    let interrupted = CancellationToken::new();
    let tracker = TaskTracker::new();
    let token = interrupted.clone();
    tracker.spawn(async move {
        signals.next().await;
        output::note("interrupted: deleting what was created");
        token.cancel();
    });

    let api = Api::connect(&config, args.api.as_deref(), args.token.as_deref())?;
    let lanes_hanging = (f64::from(args.apps * args.endpoints) * args.hanging).round() as u64;
    let timeline = Arc::new(Timeline::start(run_number()));
    let receiver = Receiver::start(
        args.receive_on,
        Arc::clone(&timeline),
        lanes_hanging,
        args.hang_for,
        &tracker,
    )
    .await?;

    let mut targets = Targets::default();
    let measured = measure(
        &args,
        &config,
        &api,
        &receiver,
        &timeline,
        &mut targets,
        &interrupted,
    )
    .await;
    // Whatever went wrong, nothing stays behind.
    let deleted = targets.delete(&api).await;
    let report = measured?;
    deleted?;
    report.publish(args.json.as_deref())?;
    Ok(if interrupted.is_cancelled() {
        ExitCode::from(EXIT_INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    })
}

async fn measure(
    args: &BenchArgs,
    config: &Config,
    api: &Api,
    receiver: &Receiver,
    timeline: &Arc<Timeline>,
    targets: &mut Targets,
    interrupted: &CancellationToken,
) -> anyhow::Result<Report> {
    let url = receiver.url();
    let endpoints = args.apps * args.endpoints;
    output::note(&format!("creating {endpoints} endpoints that point to {url}"));
    let create = targets.create(api, args.app.as_deref(), args.apps, args.endpoints, &url);
    tokio::select! {
        created = create => created?,
        () = interrupted.cancelled() => anyhow::bail!("interrupted"),
    }
    let load = Load::open(args.via, config, api).await?;
    warm_up(&load, targets, args, timeline, interrupted).await?;

    output::note(&format!("publishing for {:?}", args.duration));
    let sent = load
        .run(
            args.rate,
            args.duration,
            args.payload,
            targets.apps(),
            timeline,
            interrupted,
        )
        .await?;
    let due = timeline.due(
        sent,
        targets.apps().len() as u64,
        u64::from(args.endpoints),
        receiver.hanging(),
    );
    let deadline = Instant::now() + args.patience;
    while timeline.arrived(receiver.hanging()) < due
        && Instant::now() < deadline
        && !interrupted.is_cancelled()
    {
        sleep(LOOK).await;
    }
    load.close().await;
    Ok(Report::of(timeline, sent, due, receiver.hanging()))
}

/// One event through every app, so that what is measured is not how endpoints become known.
async fn warm_up(
    load: &Load,
    targets: &Targets,
    args: &BenchArgs,
    timeline: &Arc<Timeline>,
    interrupted: &CancellationToken,
) -> anyhow::Result<()> {
    let endpoints = targets.apps().len() as u64 * u64::from(args.endpoints);
    for app in targets.apps() {
        load.send(app, timeline.warm_up_payload(args.payload)).await?;
    }
    let deadline = Instant::now() + args.patience;
    while timeline.warm() < endpoints {
        ensure!(!interrupted.is_cancelled(), "interrupted");
        ensure!(
            Instant::now() < deadline,
            "{} of {endpoints} endpoints received the first event: is every role running, and may it deliver to \
             this machine (NUNCIO_EGRESS_ALLOW)?",
            timeline.warm()
        );
        sleep(LOOK).await;
    }
    Ok(())
}

/// Marks this run's events, so that a straggler of an earlier one is not taken for one of them.
fn run_number() -> u32 {
    (Dice::system().unit() * f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(rate("0.5"), Ok(Rate::PerSecond(0.5)));
        for wrong in ["0", "-1", "inf", "NaN", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        assert_eq!(share("0.2"), Ok(0.2));
        assert!(share("1.1").is_err());
    }
}

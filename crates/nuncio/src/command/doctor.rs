//! `nuncio doctor`: what is wrong, and what to do about it.
//!
//! Owns the order of the examinations, the table and the exit code. Guarantees that the canary is taken away again, also
//! when it is interrupted, and that nothing else is changed by looking.
//! Refuses to assume RabbitMQ's management interface: what can only be seen on a node is asked of `rabbitmqctl`, when its
//! path is given.

mod amqp;
mod canary;
mod finding;
mod host;
mod node;
mod redis;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Config, ConfigArgs, Signals, telemetry};

use self::finding::{Finding, Level, Report};
use crate::command::{EXIT_INTERRUPTED, block_on, duration};
use crate::output;
use crate::wiring::{self, Services};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Whose RabbitMQ user is examined: a router or sender need not publish events
    #[arg(long = "as", value_name = "ROLE", value_enum, default_value = "all")]
    role: Role,
    /// Do not send an event through the pipeline
    #[arg(long)]
    no_canary: bool,
    /// How long the event may take
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "20s")]
    canary_patience: Duration,
    /// The program rabbitmqctl on a node of RabbitMQ, for what only the node itself knows
    #[arg(long, value_name = "PATH")]
    rabbitmqctl: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Whose permissions are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Api,
    Router,
    Sender,
    All,
}

impl Role {
    fn publishes_events(self) -> bool {
        matches!(self, Self::Api | Self::All)
    }
}

pub(crate) fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    telemetry::init("off", config.log_format)?;
    block_on(async move {
        let mut signals = Signals::install()?;
        let services = Services::new();
        let mut report = Report::default();
        let interrupted = examine(&args, &config, &services, &mut signals, &mut report).await?;
        services.end().await;
        output::print(&if args.json { report.json() } else { report.table() })?;
        Ok(if interrupted {
            ExitCode::from(EXIT_INTERRUPTED)
        } else {
            ExitCode::from(report.exit_code())
        })
    })
}

/// Whether it was interrupted.
async fn examine(
    args: &DoctorArgs,
    config: &Config,
    services: &Services,
    signals: &mut Signals,
    report: &mut Report,
) -> anyhow::Result<bool> {
    report.add(Finding::good("config", "configuration", "valid".to_owned()));
    report.extend(host::examine(config));
    let store = wiring::store(config)?;
    let broker = wiring::broker_config(config, "doctor")?;
    let servers = async {
        let (mut redis, mut amqp) =
            tokio::join!(redis::examine(&store, config), amqp::examine(&broker, args.role));
        redis.append(&mut amqp);
        if let Some(program) = &args.rabbitmqctl {
            redis.append(&mut node::examine(program, config.request_timeout).await);
        }
        redis
    };
    tokio::select! {
        found = servers => report.extend(found),
        _ = signals.next() => return Ok(true),
    }
    if args.no_canary || report.level_of("redis") == Level::Bad || report.level_of("amqp") == Level::Bad {
        report.add(Finding::doubt(
            "canary",
            "canary",
            "not sent".to_owned(),
            if args.no_canary {
                "leave --no-canary out to try the whole pipeline"
            } else {
                "mend what is wrong above first"
            },
        ));
        return Ok(false);
    }
    let canary = canary::Canary::new(config, store, broker, services)?;
    let (finding, interrupted) = tokio::select! {
        finding = canary.fly(args.canary_patience) => (finding, false),
        _ = signals.next() => (Finding::doubt("canary", "canary", "interrupted".to_owned(), "run the doctor again"), true),
    };
    report.add(finding);
    if let Err(error) = canary.remove().await {
        report.add(Finding::doubt(
            "canary",
            "cleaning up",
            format!("the app {} could not be deleted: {error:#}", canary.app()),
            "delete it by the API or in the console",
        ));
    }
    Ok(interrupted)
}

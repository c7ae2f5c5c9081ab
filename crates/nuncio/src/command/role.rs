//! `nuncio api`, `router`, `sender`, `all`: the long-running roles.
//!
//! Owns the order in which a process starts and ends: health first, so that it can be watched; then what roles share;
//! then the roles; and back. Guarantees that readiness is not claimed before every role of the process has what it needs.
//! Refuses to know what the roles do.

mod depths;
mod parts;

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nuncio_broker::{Broker, LinkState};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Config, ConfigArgs, Health, Lifecycle, Metrics, telemetry};
use nuncio_store::{Directory, DirectoryStatus, Store};
use tokio::net::TcpStream;
use tokio::sync::watch;

use self::parts::Parts;
use crate::catalogue;
use crate::command::block_on;
use crate::wiring::{self, Services};
use crate::{journal, losses};

/// How often Redis is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How often it is tried whether the API takes connections yet.
const CONNECT_AGAIN: Duration = Duration::from_millis(10);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// REST API, portal, console.
    Api,
    /// Ingest queue to per-endpoint queues.
    Router,
    /// Per-endpoint queues to HTTP.
    Sender,
    /// The three in one process.
    All,
}

impl Role {
    pub(crate) fn has(self, part: Self) -> bool {
        self == part || self == Self::All
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Router => "router",
            Self::Sender => "sender",
            Self::All => "all",
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(role: Role, args: &RoleArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    telemetry::init(&config.log, config.log_format)?;
    block_on(serve(role, config))
}

async fn serve(role: Role, config: Config) -> anyhow::Result<ExitCode> {
    let life = Lifecycle::new();
    let services = Services::new();
    let health = Health::new();
    let metrics = Metrics::install().context("failed to install the metrics recorder")?;
    catalogue::describe(role);
    metrics::gauge!("nuncio_build_info", "version" => env!("CARGO_PKG_VERSION"), "role" => role.to_string())
        .set(1.0);
    metrics.keep_up(&life);
    let started = Arc::new(AtomicBool::new(false));
    health.check("start", {
        let started = Arc::clone(&started);
        move || {
            if started.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err("starting".to_owned())
            }
        }
    });
    let listen = config.metrics_listen;
    let bound = health
        .serve(listen, metrics, &life)
        .await
        .with_context(|| format!("failed to listen on {listen} for metrics and health"))?;
    tracing::info!(%role, version = env!("CARGO_PKG_VERSION"), health = wiring::shown(bound), "starting");
    let deadline = config.shutdown_deadline;
    life.start("start", {
        let (life, services) = (life.clone(), services.clone());
        async move {
            start(role, &config, &life, &services, &health).await?;
            started.store(true, Ordering::SeqCst);
            tracing::info!(%role, "started");
            Ok::<_, anyhow::Error>(())
        }
    });
    let ending = life.run_until_stopped(deadline).await?;
    if !services.end().await {
        tracing::warn!("shared services did not end in time");
    }
    tracing::info!(%role, ?ending, "stopped");
    Ok(ExitCode::from(ending.exit_code()))
}

/// Starts what the roles share, waits until it is there, and starts the roles.
async fn start(
    role: Role,
    config: &Config,
    life: &Lifecycle,
    services: &Services,
    health: &Health,
) -> anyhow::Result<()> {
    let broker = services.broker(wiring::broker_config(config, &role.to_string())?)?;
    let missing = broker.losses();
    check_broker(health, &broker);
    let store = wiring::store(config)?;
    services
        .tracker
        .spawn(losses::note(missing, store.clone(), services.stop.clone()));
    check_store(health, &store, services);
    tokio::select! {
        () = journal::fill_blank(&broker, &store) => {}
        () = life.soft.cancelled() => return Ok(()),
    }
    let parts = Parts::new(role, config, life, services, broker, store)?;
    let follow = Directory::follow(
        parts.store.clone(),
        &services.tracker,
        services.stop.clone(),
        role.has(Role::Sender),
    );
    let directory = tokio::select! {
        directory = follow => directory,
        () = life.soft.cancelled() => return Ok(()),
    };
    check_directory(health, &directory);
    if role.has(Role::Api) {
        life.start("api", nuncio_web::serve(parts.web(&directory)?));
        takes_connections(config.listen, life).await;
        depths::watch(parts.broker.clone(), wiring::retry_policy(config)?.rungs(), life);
    }
    if role.has(Role::Router) {
        life.start("router", nuncio_router::run(parts.router(&directory)?));
    }
    if role.has(Role::Sender) {
        life.start("sender", nuncio_sender::run(parts.sender(&directory)?));
    }
    Ok(())
}

/// Waits until `address` takes connections, or until the process stops, as it does when that fails. Which one "any port"
/// (0) became is not known here.
async fn takes_connections(address: SocketAddr, life: &Lifecycle) {
    while address.port() != 0 && !life.soft.is_cancelled() && TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

/// Both connections to RabbitMQ, and with them the topology, which is declared as they are made.
fn check_broker(health: &Health, broker: &Broker) {
    let state = broker.state();
    health.check("amqp", move || {
        let state = state.borrow();
        match state.problem() {
            Some(problem) => Err(problem),
            None if state.publishing == LinkState::Idle || state.consuming == LinkState::Idle => {
                Err("connecting to RabbitMQ".to_owned())
            }
            None => Ok(()),
        }
    });
}

/// Whether Redis answered when it was last asked.
fn check_store(health: &Health, store: &Store, services: &Services) {
    let (tell, told) = watch::channel(Err("connecting to Redis".to_owned()));
    health.check("redis", move || told.borrow().clone());
    let (store, stop) = (store.clone(), services.stop.clone());
    services.tracker.spawn(async move {
        loop {
            let answer = store.ping().await;
            let answer = answer.map_err(|error| nuncio_runtime::lifecycle::chain(&error));
            tell.send_if_modified(|last| {
                let changed = *last != answer;
                if changed {
                    *last = answer;
                }
                changed
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PING_EVERY) => {}
            }
        }
    });
}

/// Whether what is known of apps and endpoints is true.
fn check_directory(health: &Health, directory: &Directory) {
    let status = directory.status();
    health.check("directory", move || match *status.borrow() {
        DirectoryStatus::Following => Ok(()),
        DirectoryStatus::Loading => Err("loading apps and endpoints".to_owned()),
        DirectoryStatus::Away => Err("Redis is away: working from memory".to_owned()),
        DirectoryStatus::Emptied => Err("Redis was emptied: putting back what is known".to_owned()),
    });
}

//! `nuncio restore`: puts configuration back that Redis has lost.
//!
//! Owns what is printed. Guarantees that nothing which is there is overwritten. Refuses to know how anything is kept.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Config, ConfigArgs, telemetry};

use crate::command::block_on;
use crate::wiring::{self, Services};
use crate::{journal, output};

/// How long RabbitMQ may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// From the journal that RabbitMQ keeps: what is missing in Redis is put back, what is there stays as it is
    ///
    /// A process that finds an empty Redis as it starts does this by itself.
    #[arg(long, required = true)]
    journal: bool,
}

pub(crate) fn run(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    telemetry::init(&config.log, config.log_format)?;
    block_on(from_journal(config))
}

async fn from_journal(config: Config) -> anyhow::Result<ExitCode> {
    let services = Services::new();
    let mut broker = wiring::broker_config(&config, "restore")?;
    broker.declare = false;
    let broker = services.broker(broker)?;
    let store = wiring::store(&config)?;
    broker.wait_ready(PATIENCE).await?;
    let configuration = journal::replay(&broker).await?;
    let endpoints: usize = configuration.apps.iter().map(|app| app.endpoints.len()).sum();
    if configuration.is_empty() {
        anyhow::bail!("the journal {} holds nothing", broker.names().journal());
    }
    store.put_back(&configuration, false).await?;
    output::line(&format!(
        "The journal holds {} apps with {endpoints} endpoints and {} event types: what Redis lacked of them is back.",
        configuration.apps.len(),
        configuration.event_types.len()
    ))?;
    drop(broker);
    services.end().await;
    Ok(ExitCode::SUCCESS)
}

//! `nuncio restore`: puts configuration back that Redis has lost, from a backup or from the journal.
//!
//! Owns the order: a backup is read whole and held against what is there before anything is changed, and an endpoint has
//! its queue before anything can be routed to it. Guarantees that nothing is deleted, and nothing overwritten unless that
//! is asked for. Refuses to know how anything is kept.

mod file;
mod plan;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use nuncio_broker::Broker;
use nuncio_domain::{EndpointId, EventTypeName, UnixMillis};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Clock, Config, ConfigArgs, telemetry};
use nuncio_store::{EventTypeStands, PutBack, Store, version_at};
use nuncio_wire::journal::{AppImage, Configuration};

use self::plan::{How, Plan};
use crate::command::block_on;
use crate::progress::Progress;
use crate::wiring::{self, Services};
use crate::{journal, output};

/// How long RabbitMQ may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Apps that are compared at once.
const APPS_A_PAGE: usize = 100;
/// Queues that are declared at the same time.
const LANES_AT_ONCE: usize = 32;

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A backup that `nuncio backup` wrote; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "journal")]
    file: Option<PathBuf>,
    /// From the journal that RabbitMQ keeps: what is missing in Redis is put back, what is there stays as it is
    ///
    /// A process that finds an empty Redis as it starts does this by itself.
    #[arg(long, conflicts_with_all = ["file", "apps", "merge", "overwrite", "dry_run", "with_unopened"])]
    journal: bool,
    /// Only this app, by id or uid, and the event types; repeat it for several
    #[arg(long = "app", value_name = "ID_OR_UID")]
    apps: Vec<String>,
    /// Add what is missing to what is there, which stays as it is
    #[arg(long)]
    merge: bool,
    /// Also put back as it was what is there otherwise, even if it was changed since; what is not in the backup stays
    #[arg(long, conflicts_with = "merge")]
    overwrite: bool,
    /// Also restore endpoints whose secrets no main secret opens: nothing can be signed for them
    #[arg(long)]
    with_unopened: bool,
    /// Change nothing: tell what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    let Some(path) = &args.file else {
        telemetry::init(&config.log, config.log_format)?;
        return block_on(from_journal(config));
    };
    telemetry::init("warn", config.log_format)?;
    let mut backup = file::read(path)?;
    file::keep_only(&mut backup, &args.apps)?;
    let store = wiring::store(&config)?;
    file::seal(&mut backup, &store, args.with_unopened)?;
    block_on(from_backup(args, &config, &store, backup))
}

async fn from_backup(
    args: &RestoreArgs,
    config: &Config,
    store: &Store,
    backup: nuncio_wire::backup::Backup,
) -> anyhow::Result<ExitCode> {
    let header = &backup.header;
    output::note(&format!(
        "backup of the namespace {}, made {} by Nuncio {}: {}",
        header.namespace, header.created_at, header.nuncio, backup.counts
    ));
    let how = match (args.merge, args.overwrite) {
        (_, true) => How::Overwrite,
        (true, _) => How::Merge,
        _ => How::IntoEmpty,
    };
    let mut plan = compare(store, backup.configuration, how).await?;
    // One that was deleted since is newer than its deletion, for the journal and for every process.
    let now = version_at(UnixMillis(Clock::system().now()));
    for app in &mut plan.configuration.apps {
        app.version = app.version.max(now);
    }
    for remark in &plan.remarks {
        output::note(remark);
    }
    output::note(&plan.table());
    if let Some(refusal) = plan.refusal(how) {
        bail!("{refusal}");
    }
    if args.dry_run {
        output::line("nothing was changed: this was a dry run")?;
    } else {
        let changed_since = carry_out(config, store, &plan, how).await?;
        output::line(&format!("restored {}", plan.written))?;
        if changed_since > 0 {
            bail!("{changed_since} event types were changed meanwhile and stay as they are: restore again");
        }
    }
    Ok(if plan.left_out == 0 {
        ExitCode::SUCCESS
    } else {
        output::complain(&format!("{} could not be restored, see above", plan.left_out));
        ExitCode::FAILURE
    })
}

/// Holds a backup against what is there.
async fn compare(store: &Store, configuration: Configuration, how: How) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    let mut strangers = store.app_ids().await?.len();
    let Configuration {
        mut apps,
        event_types,
    } = configuration;
    let mut progress = Progress::of(apps.len(), "apps compared");
    while !apps.is_empty() {
        let page: Vec<AppImage> = apps.drain(..apps.len().min(APPS_A_PAGE)).collect();
        let stands = store.compare_apps(&page).await?;
        progress.advance(page.len());
        for (app, stands) in page.into_iter().zip(stands) {
            strangers = strangers.saturating_sub(usize::from(plan::is_there(&stands.app)));
            plan.take_app(app, stands, how);
        }
    }
    for (name, stands) in store.compare_event_types(&event_types).await? {
        let record = event_types.get(&name).cloned().unwrap_or_default();
        plan.take_event_type(name, record, stands, how);
    }
    plan.strangers = strangers;
    Ok(plan)
}

/// Does what is planned; answers how many event types others changed meanwhile.
async fn carry_out(config: &Config, store: &Store, plan: &Plan, how: How) -> anyhow::Result<usize> {
    let services = Services::new();
    let broker = services.broker(wiring::broker_config(config, "restore")?)?;
    let carried = async {
        broker
            .wait_ready(PATIENCE)
            .await
            .context("nothing was changed: RabbitMQ is needed for the queues of endpoints")?;
        declare_lanes(&broker, &plan.configuration.apps).await?;
        let changed_since = put_event_types_back(store, &plan.event_types).await?;
        let how = match how {
            How::IntoEmpty | How::Merge => PutBack::Merge,
            How::Overwrite => PutBack::Overwrite,
        };
        let mut progress = Progress::of(plan.configuration.apps.len(), "apps restored");
        store
            .put_back(&plan.configuration, how, |apps| progress.advance(apps))
            .await
            .context("not all was restored: restore again, which goes on where this stopped")?;
        Ok(changed_since)
    };
    let carried = carried.await;
    services.end().await;
    carried
}

async fn declare_lanes(broker: &Broker, apps: &[AppImage]) -> anyhow::Result<()> {
    let lanes = apps.iter().flat_map(|app| &app.endpoints);
    let lanes: Vec<EndpointId> = lanes
        .map(|one| EndpointId::parse(&one.id))
        .collect::<Result<_, _>>()?;
    let mut progress = Progress::of(lanes.len(), "queues declared");
    let mut declared = stream::iter(&lanes)
        .map(|lane| broker.declare_endpoint(lane))
        .buffer_unordered(LANES_AT_ONCE);
    while declared
        .try_next()
        .await
        .context("nothing was changed in Redis: a queue could not be declared")?
        .is_some()
    {
        progress.advance(1);
    }
    Ok(())
}

async fn put_event_types_back(
    store: &Store,
    types: &[(String, String, EventTypeStands)],
) -> anyhow::Result<usize> {
    let mut changed_since = 0;
    for (name, record, found) in types {
        let name = EventTypeName::parse(name)?;
        if !store.put_back_event_type(&name, record, found).await? {
            changed_since += 1;
        }
    }
    Ok(changed_since)
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
        bail!("the journal {} holds nothing", broker.names().journal());
    }
    store.put_back(&configuration, PutBack::Missing, |_| {}).await?;
    output::line(&format!(
        "The journal holds {} apps with {endpoints} endpoints and {} event types: what Redis lacked of them is back.",
        configuration.apps.len(),
        configuration.event_types.len()
    ))?;
    drop(broker);
    services.end().await;
    Ok(ExitCode::SUCCESS)
}

//! `nuncio import`: what another webhook service knows, brought over.
//!
//! Owns the order (event types, then each app with its endpoints) and what is printed. Guarantees that one part that
//! cannot be imported keeps no other from it, is told with what to do, and makes the exit code 1; and that running it
//! again goes on where it was interrupted. Refuses to know what may be imported: the use cases do.

mod model;
mod svix;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use futures_util::{StreamExt, stream};
use nuncio_domain::{App, UnixMillis};
use nuncio_producer::Operator;
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Clock, Config, ConfigArgs, telemetry};
use nuncio_web::usecase::import::{Foreign, Importer};
use nuncio_web::usecase::refusal::{Outcome, Refusal};

use self::model::{ForeignApp, ForeignEndpoint, ForeignEventType, Headers, Secret, Transformation};
use self::svix::Svix;
use self::tally::Tally;
use crate::command::block_on;
use crate::output;
use crate::wiring::{self, Services};

/// How long RabbitMQ may take to be there, and to confirm.
const PATIENCE: Duration = Duration::from_secs(10);
/// Endpoints that are read at the same time.
const ENDPOINTS_AT_ONCE: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Apps, endpoints with their ids, secrets and headers, and event types from a server that speaks Svix's API
    ///
    /// Ids, uids, secrets and times stay what they are, so that receivers notice nothing. What was imported before is
    /// brought in line, unless it was changed here later. Messages and attempts are not imported.
    Svix(SvixArgs),
}

#[derive(Debug, Args)]
struct SvixArgs {
    /// The address of the server, with its `https://`
    #[arg(long, value_name = "URL")]
    from: url::Url,
    /// Its API token; better in the environment or a file, as arguments can be seen by every user of this machine
    #[arg(long, value_name = "TOKEN", env = "SVIX_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with its API token, which is used rather than another one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Only this app, by id or uid, and the event types; repeat it for several
    #[arg(long = "app", value_name = "ID_OR_UID")]
    apps: Vec<String>,
    /// Where an endpoint has another secret here, let that of the server sign, and the one from here beside it for a day
    #[arg(long)]
    take_secrets: bool,
    /// Change nothing: tell what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl SvixArgs {
    fn token(&self) -> anyhow::Result<String> {
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => std::fs::read_to_string(path)
                .with_context(|| format!("failed to read the token from {}", path.display()))?,
            (None, Some(token)) => token.clone(),
            (None, None) => bail!("a token is needed: set SVIX_TOKEN, or give --token-file or --token"),
        };
        let token = token.trim().to_owned();
        if token.is_empty() {
            bail!("the token is empty");
        }
        Ok(token)
    }
}

pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let From::Svix(args) = &args.from;
    let config = Config::load(&args.config, MainSecret::Required)?;
    telemetry::init("warn", config.log_format)?;
    let svix = Svix::at(&args.from, &args.token()?)?;
    block_on(async {
        let services = Services::new();
        let done = import(args, &config, svix, &services).await;
        services.end().await;
        let tally = done?;
        output::print(&tally.table())?;
        if args.dry_run {
            output::line("nothing was changed: this was a dry run")?;
        }
        Ok(if tally.is_whole() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

async fn import(args: &SvixArgs, config: &Config, svix: Svix, services: &Services) -> anyhow::Result<Tally> {
    let store = wiring::store(config)?;
    store.ping().await?;
    let operator = if args.dry_run {
        None
    } else {
        let broker = services.broker(wiring::broker_config(config, "import")?)?;
        broker
            .wait_ready(PATIENCE)
            .await
            .context("nothing was changed: RabbitMQ is needed for the queues of endpoints")?;
        Some(Operator::on(broker, PATIENCE))
    };
    let mut import = Import {
        importer: Importer {
            store,
            operator,
            urls: wiring::url_rules(config),
            take_secrets: args.take_secrets,
            now: UnixMillis(Clock::system().now()),
        },
        svix,
        tally: Tally::new(),
    };
    import.event_types().await?;
    import.apps(&args.apps).await?;
    Ok(import.tally)
}

struct Import {
    svix: Svix,
    importer: Importer,
    tally: Tally,
}

impl Import {
    async fn event_types(&mut self) -> anyhow::Result<()> {
        let mut pages = self
            .svix
            .pages::<ForeignEventType>("event-type?with_content=true&include_archived=true");
        while let Some(types) = pages.next(&self.svix).await? {
            for event_type in types {
                let (name, draft, times) = event_type.described();
                let done = self.importer.event_type(&name, draft, times).await;
                self.tally
                    .event_type(&format!("the event type {name}"), settled(done)?);
            }
        }
        Ok(())
    }

    async fn apps(&mut self, chosen: &[String]) -> anyhow::Result<()> {
        for app in chosen {
            let app: ForeignApp = self
                .svix
                .read(&format!("app/{}", svix::segment(app)))
                .await?
                .with_context(|| format!("there is no app with the id or uid {app} on the server"))?;
            self.app(app).await?;
        }
        if !chosen.is_empty() {
            return Ok(());
        }
        let mut pages = self.svix.pages::<ForeignApp>("app");
        while let Some(apps) = pages.next(&self.svix).await? {
            for app in apps {
                self.app(app).await?;
            }
        }
        Ok(())
    }

    async fn app(&mut self, app: ForeignApp) -> anyhow::Result<()> {
        let (id, draft, times) = app.described();
        let done = settled(self.importer.app(&id, draft, times).await)?;
        let what = done
            .as_ref()
            .map(|(_, what)| *what)
            .map_err(|problem| format!("{problem}; none of its endpoints were imported"));
        self.tally.app(&format!("the app {id}"), what);
        let Ok((app, _)) = done else { return Ok(()) };
        let list = format!("app/{}/endpoint", svix::segment(&id));
        let mut pages = self.svix.pages::<ForeignEndpoint>(&list);
        while let Some(endpoints) = pages.next(&self.svix).await? {
            let (svix, importer, app, list) = (&self.svix, &self.importer, &app, &list);
            let mut done = stream::iter(endpoints)
                .map(|endpoint| async move {
                    let name = format!("the endpoint {} of {}", endpoint.id, app.id);
                    (name, endpoint_of(svix, importer, app, list, endpoint).await)
                })
                .buffered(ENDPOINTS_AT_ONCE);
            while let Some((name, done)) = done.next().await {
                self.tally.endpoint(&name, done?);
            }
        }
        Ok(())
    }
}

/// Reads what a list does not tell of an endpoint, and imports it.
async fn endpoint_of(
    svix: &Svix,
    importer: &Importer,
    app: &App,
    list: &str,
    endpoint: ForeignEndpoint,
) -> anyhow::Result<Result<nuncio_web::usecase::import::ImportedEndpoint, String>> {
    let path = format!("{list}/{}", svix::segment(&endpoint.id));
    let [secret, headers, transformation] =
        ["secret", "headers", "transformation"].map(|part| format!("{path}/{part}"));
    let (secret, headers, transformation) = tokio::try_join!(
        svix.read::<Secret>(&secret),
        svix.read::<Headers>(&headers),
        svix.read::<Transformation>(&transformation),
    )?;
    // Deleted while this ran.
    let Some(secret) = secret else {
        return Ok(Err("it was deleted on the server meanwhile".to_owned()));
    };
    if transformation.is_some_and(|transformation| transformation.enabled) {
        return Ok(Err(
            "the server transforms what it is sent, and Nuncio delivers what was published: let its receiver take that, \
             disable the transformation and import again"
                .to_owned(),
        ));
    }
    let foreign: Foreign = endpoint.described(secret, headers.unwrap_or_default());
    settled(importer.endpoint(app, foreign).await)
}

/// What keeps one part out is told and counted; what keeps everything out ends it.
fn settled<T>(done: Outcome<T>) -> anyhow::Result<Result<T, String>> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error @ (Refusal::Unavailable { .. } | Refusal::Broken { .. })) => {
            Err(error).context("not all was imported: import again, which goes on where this stopped")
        }
        Err(Refusal::Invalid(complaints)) => {
            let told = complaints.iter().map(|complaint| {
                let advice = tally::advice(&complaint.field);
                format!("{}: {}{advice}", complaint.field.join("."), complaint.message)
            });
            Ok(Err(told.collect::<Vec<_>>().join("; ")))
        }
        Err(refusal) => Ok(Err(format!("{refusal}{}", tally::advice_on(&refusal)))),
    }
}

//! `nuncio backup`: apps, endpoints with their secrets, and event types in one file.
//!
//! Owns which apps are saved and what is printed. Guarantees that a file is there complete or not at all, that nobody but
//! its owner reads it, and that an emptied Redis is not saved over an earlier backup.
//! Refuses to save messages and attempts: they are history, which Redis's own persistence keeps.

mod target;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use nuncio_domain::{AppId, EndpointId};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Clock, Config, ConfigArgs, Signals, telemetry};
use nuncio_store::{EndpointSecrets, Store};
use nuncio_wire::backup::{AppSecrets, Counts, FORMAT, Header, PlainSecrets, Secrecy, VERSION, Writer};
use nuncio_wire::journal::AppImage;
use secrecy::ExposeSecret;

use self::target::Target;
use crate::command::{EXIT_INTERRUPTED, block_on};
use crate::progress::Progress;
use crate::{output, wiring};

/// Apps that are read at once.
const APPS_A_PAGE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Where to write; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only this app, by id or uid, and the event types; repeat it for several
    #[arg(long = "app", value_name = "ID_OR_UID")]
    apps: Vec<String>,
    /// Write secrets readable, to be restored under another main secret: who has the file can sign as you
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    telemetry::init("warn", config.log_format)?;
    block_on(async {
        if args.file == Path::new("-") {
            return save(args, &config).await;
        }
        let mut signals = Signals::install()?;
        tokio::select! {
            code = save(args, &config) => code,
            name = signals.next() => {
                output::note(&format!("{name}: nothing was written"));
                Ok(ExitCode::from(EXIT_INTERRUPTED))
            }
        }
    })
}

async fn save(args: &BackupArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = wiring::store(config)?;
    if store.is_blank().await? {
        bail!(
            "Redis holds nothing in the namespace {}: nothing was written. If it lost what it held, see `nuncio restore`",
            config.namespace
        );
    }
    let mut target = Target::open(&args.file)?;
    let mut saving = Saving {
        store: &store,
        secrecy: if args.plain {
            Secrecy::Plain
        } else {
            Secrecy::Sealed
        },
        unopened: 0,
    };
    let header = header(config, saving.secrecy)?;
    let counts = saving
        .write(&mut target, &header, &chosen(&store, &args.apps).await?)
        .await?;
    let place = target.finish()?;
    let secrets = match saving.secrecy {
        Secrecy::Sealed => "sealed with the main secret, which is not in it",
        Secrecy::Plain => "READABLE",
    };
    output::note(&format!("saved {counts} to {place}; secrets are {secrets}"));
    Ok(if saving.unopened == 0 {
        ExitCode::SUCCESS
    } else {
        output::complain(&format!(
            "{} endpoints have secrets that no main secret opens",
            saving.unopened
        ));
        ExitCode::FAILURE
    })
}

fn header(config: &Config, secrets: Secrecy) -> anyhow::Result<Header> {
    let now = jiff::Timestamp::from_millisecond(Clock::system().now()).context("the clock is off by ages")?;
    Ok(Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        namespace: config.namespace.clone(),
        created_at: format!("{now:.0}"),
        nuncio: env!("CARGO_PKG_VERSION").to_owned(),
        secrets,
    })
}

/// The apps that were asked for, or all.
async fn chosen(store: &Store, apps: &[String]) -> anyhow::Result<Vec<AppId>> {
    if apps.is_empty() {
        return Ok(store.app_ids().await?);
    }
    let mut ids = Vec::with_capacity(apps.len());
    for app in apps {
        let found = store.app(app).await?;
        ids.push(
            found
                .with_context(|| format!("there is no app with the id or uid {app}"))?
                .id,
        );
    }
    Ok(ids)
}

struct Saving<'a> {
    store: &'a Store,
    secrecy: Secrecy,
    /// Endpoints whose secrets no main secret opens.
    unopened: usize,
}

impl Saving<'_> {
    async fn write(
        &mut self,
        target: &mut Target,
        header: &Header,
        apps: &[AppId],
    ) -> anyhow::Result<Counts> {
        let (mut writer, first) = Writer::begin(header);
        target.write(&first)?;
        let mut progress = Progress::of(apps.len(), "apps saved");
        for page in apps.chunks(APPS_A_PAGE) {
            // Those that were deleted meanwhile are gone.
            for image in self.store.app_images(page).await?.into_iter().flatten() {
                let (image, secrets) = self.with_secrets(image)?;
                target.write(&writer.app(image, secrets))?;
            }
            progress.advance(page.len());
        }
        let types = self.store.event_type_images().await?;
        target.write(&writer.event_types(types))?;
        let (counts, last) = writer.end();
        target.write(&last)?;
        Ok(counts)
    }

    /// The app with its secrets as they are to be saved.
    fn with_secrets(&mut self, mut image: AppImage) -> anyhow::Result<(AppImage, AppSecrets)> {
        let app = AppId::parse(&image.id)?;
        let mut secrets = AppSecrets::new();
        for endpoint in &mut image.endpoints {
            let id = EndpointId::parse(&endpoint.id)?;
            match self.store.open_secrets(&app, &id, &endpoint.sealed) {
                Ok(opened) if self.secrecy == Secrecy::Plain => {
                    secrets.insert(endpoint.id.clone(), plain(&opened));
                    endpoint.sealed.clear();
                }
                Ok(_) => {}
                Err(error) => {
                    output::complain(&format!("{app}: {error}"));
                    self.unopened += 1;
                }
            }
        }
        Ok((image, secrets))
    }
}

fn plain(secrets: &EndpointSecrets) -> PlainSecrets {
    let old = secrets
        .old
        .iter()
        .map(|(secret, until)| (secret.expose_secret().to_owned(), until.0));
    PlainSecrets {
        current: secrets.current.expose_secret().to_owned(),
        old: old.collect(),
    }
}

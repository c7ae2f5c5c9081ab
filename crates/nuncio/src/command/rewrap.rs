//! `nuncio rewrap`: seal every stored secret anew with the current main secret.
//!
//! What lets an earlier main secret be forgotten. Guarantees that a secret is replaced only by itself, sealed anew, and
//! only if nobody changed it meanwhile; that running it twice, or again after an interruption, is the same as once; and
//! that a secret which no main secret opens is told by its endpoint, left as it is, and makes the exit code 1.
//! Refuses to know how sealing works: that is the store's.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use nuncio_domain::AppId;
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Config, ConfigArgs};
use nuncio_store::{PageRequest, Start, Store, StoreError};

use crate::command::block_on;
use crate::{output, wiring};

/// Apps that are read at once.
const APPS_A_PAGE: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct RewrapArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    apps: usize,
    rewrapped: usize,
    current: usize,
    unopened: usize,
}

impl Tally {
    fn line(self) -> String {
        let mut line = format!(
            "{} apps: {} secrets sealed anew, {} were already",
            self.apps, self.rewrapped, self.current
        );
        if self.unopened > 0 {
            line.push_str(&format!(", {} OPENED BY NO MAIN SECRET", self.unopened));
        }
        line
    }
}

pub(crate) fn run(args: &RewrapArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    block_on(async {
        let store = wiring::store(&config)?;
        let tally = rewrap_all(&store).await?;
        output::line(&tally.line())?;
        Ok(if tally.unopened == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

async fn rewrap_all(store: &Store) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut request = PageRequest::oldest(APPS_A_PAGE);
    loop {
        let page = store
            .list_apps(&request)
            .await
            .context("failed to list the apps")?;
        for app in &page.items {
            rewrap_app(store, &app.id, &mut tally).await?;
            tally.apps += 1;
        }
        let Some(next) = page.next else { return Ok(tally) };
        output::note(&tally.line());
        request.start = Start::After(next);
    }
}

async fn rewrap_app(store: &Store, app: &AppId, tally: &mut Tally) -> anyhow::Result<()> {
    let endpoints = store
        .endpoints(app)
        .await
        .with_context(|| format!("failed to list the endpoints of {app}"))?;
    for endpoint in endpoints {
        match store.rewrap_secrets(app, &endpoint.id).await {
            Ok(true) => tally.rewrapped += 1,
            Ok(false) => tally.current += 1,
            Err(StoreError::Sealed(_)) => {
                output::complain(&format!(
                    "no main secret opens the secrets of {} of {app}",
                    endpoint.id
                ));
                tally.unopened += 1;
            }
            // Deleted while this ran: it has no secret any more.
            Err(StoreError::NotFound(_)) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("failed to seal the secrets of {} anew", endpoint.id));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_done_and_what_could_not_be() {
        let mut tally = Tally {
            apps: 2,
            rewrapped: 3,
            current: 4,
            unopened: 0,
        };
        assert_eq!(tally.line(), "2 apps: 3 secrets sealed anew, 4 were already");
        tally.unopened = 1;
        assert!(tally.line().ends_with(", 1 OPENED BY NO MAIN SECRET"));
    }
}

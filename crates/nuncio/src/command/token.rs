//! `nuncio token`: mint a bearer token for the API.
//!
//! Needs the secrets and the namespace alone: neither RabbitMQ nor Redis.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use nuncio_domain::{AppId, UnixMillis};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Clock, Config, ConfigArgs, Dice};
use nuncio_web::token::{ADMIN_LIFETIME, APP_LIFETIME, AppGrant, Scope, Tokens};

use crate::command::duration;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// For this app alone, by its id; without it, for everything
    #[arg(long, value_name = "ID", value_parser = app_id)]
    app: Option<AppId>,
    /// How long it is valid, such as 1h or 30d [default: 10 years, or 7d for an app]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<Duration>,
    #[command(flatten)]
    config: ConfigArgs,
}

fn app_id(text: &str) -> Result<AppId, String> {
    AppId::parse(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Required)?;
    let tokens = Tokens::new(&config.token_secrets, &config.namespace)?;
    let (scope, lifetime) = match &args.app {
        None => (Scope::Admin, ADMIN_LIFETIME),
        Some(app) => (Scope::App(AppGrant::full(app.clone())), APP_LIFETIME),
    };
    let lifetime = args.expires.unwrap_or(lifetime);
    ensure!(
        lifetime >= Duration::from_secs(1),
        "a token is valid for a second at least"
    );
    let now = UnixMillis(Clock::system().now());
    let token = Dice::system().with(|rng| tokens.mint(&scope, now, lifetime, rng));
    output::line(&token)?;
    Ok(ExitCode::SUCCESS)
}

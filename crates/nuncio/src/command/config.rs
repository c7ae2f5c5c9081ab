//! `nuncio config`: show, check, reference.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Config, ConfigArgs};

use crate::output;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the configuration in force as a TOML file, secrets redacted, each line with where it was given
    Show(ConfigArgs),
    /// Say whether the configuration is valid: exit code 0, or 2 and all its mistakes
    Check(ConfigArgs),
    /// Print every key, its default and its meaning as a Markdown table
    Reference,
}

pub(crate) fn run(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    match &command.what {
        What::Show(args) => output::print(&Config::load(args, MainSecret::Optional)?.show())?,
        What::Check(args) => {
            Config::load(args, MainSecret::Required)?;
            output::note("the configuration is valid");
        }
        What::Reference => output::print(&Config::reference())?,
    }
    Ok(ExitCode::SUCCESS)
}

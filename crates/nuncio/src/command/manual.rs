//! `nuncio man`: the manual pages, made from the command line itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::cli::CommandLine;

#[derive(Debug, Args)]
pub(crate) struct ManualArgs {
    /// The directory, which is made if it is not there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(crate) fn run(args: &ManualArgs) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    clap_mangen::generate_to(CommandLine::command(), directory)
        .with_context(|| format!("failed to write manual pages into {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

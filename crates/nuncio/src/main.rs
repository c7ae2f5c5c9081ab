//! The `nuncio` binary: subcommands and wiring.
//!
//! Owns the command line, the exit codes and which part is started with what. Guarantees that standard output carries
//! data alone, and that an error is told once, with its whole chain.
//! Refuses to know how anything works: it builds the parts of the other crates and hands them to each other.

mod catalogue;
mod cli;
mod command;
mod host;
mod journal;
mod losses;
mod output;
mod progress;
mod wiring;

use std::process::ExitCode;

use clap::Parser;
use nuncio_runtime::ConfigError;

use crate::cli::{Command, CommandLine};
use crate::command::role::Role;

/// Exit code for a configuration or command line that is wrong.
const EXIT_USAGE: u8 = 2;

/// Many short-lived texts and buffers on few threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        output::complain("failed to install the TLS provider: another one is installed");
        return ExitCode::FAILURE;
    }
    #[cfg(feature = "failpoints")]
    if std::env::var_os("NEXT_WIRE").is_some() {
        nuncio_wire::next::go_ahead();
    }
    match run(line.command) {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("{error:#}"));
            match error.downcast_ref::<ConfigError>() {
                Some(_) => ExitCode::from(EXIT_USAGE),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Api(args) => command::role::run(Role::Api, &args),
        Command::Router(args) => command::role::run(Role::Router, &args),
        Command::Sender(args) => command::role::run(Role::Sender, &args),
        Command::All(args) => command::role::run(Role::All, &args),
        Command::Publish(args) => command::publish::run(args),
        Command::Listen(args) => command::listen::run(args),
        Command::Bench(args) => command::bench::run(args),
        Command::Doctor(args) => command::doctor::run(args),
        Command::SetAside(args) => command::set_aside::run(args),
        Command::Token(args) => command::token::run(&args),
        Command::Backup(args) => command::backup::run(&args),
        Command::Restore(args) => command::restore::run(&args),
        Command::Import(args) => command::import::run(&args),
        Command::Rewrap(args) => command::rewrap::run(&args),
        Command::Config(args) => command::config::run(&args),
        Command::Health(args) => command::health::run(&args),
        Command::Manual(args) => command::manual::run(&args),
        Command::Completions(args) => command::completions::run(&args),
    }
}

//! The command line.
//!
//! Owns the names of subcommands and what `--help` says of them. Refuses to know what they do.

use clap::{Parser, Subcommand};

use crate::command::{
    backup, bench, completions, config, doctor, health, import, listen, manual, publish, restore, rewrap,
    role, set_aside, token,
};

/// Webhooks out of RabbitMQ: events in, signed deliveries out, retried until they arrive
#[derive(Debug, Parser)]
#[command(
    name = "nuncio",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the REST API, the portal and the console
    Api(role::RoleArgs),
    /// Fan events out to the queues of endpoints; any number of these may run
    Router(role::RoleArgs),
    /// Deliver what waits in the queues of endpoints; any number of these may run
    Sender(role::RoleArgs),
    /// Be api, router and sender in one process
    All(role::RoleArgs),
    /// Publish one event, one of the six changes, or events from standard input, and wait for the confirms
    ///
    /// Without --type and without one of the six changes, events are read from standard input, one JSON object a line:
    /// {"app": …, "type": …, "payload": …, "id": …, "channels": […]}, of which type and payload are needed.
    Publish(publish::PublishArgs),
    /// Receive deliveries on this machine, verify and print them; fail on purpose to try retries
    Listen(listen::ListenArgs),
    /// Drive a running pipeline with events at a fixed rate, receive the deliveries, and tell the latencies
    Bench(bench::BenchArgs),
    /// Examine configuration, RabbitMQ, Redis and clocks, and send an event through the whole pipeline
    ///
    /// Exit code 0: all is well; 1: something is doubtful; 2: something is wrong.
    Doctor(doctor::DoctorArgs),
    /// Look at events that could not be read, publish them again, or forget them
    SetAside(set_aside::SetAsideArgs),
    /// Mint an API token and print it
    Token(token::TokenArgs),
    /// Save apps, endpoints with their headers and secrets, and event types to one file
    ///
    /// May run beside everything else. Secrets stay sealed with the main secret, unless --plain is given. Messages and
    /// attempts are not saved: what is under way is in RabbitMQ, and history in Redis, which both write to their disks.
    Backup(backup::BackupArgs),
    /// Put apps, endpoints with their secrets, and event types back, from a backup or from the journal
    ///
    /// Ids, uids and secrets are what they were, so that receivers notice nothing; restored endpoints are delivered to at
    /// once. The backup is read and compared before anything is changed. Where Redis holds something else already, nothing
    /// is done without --merge or --overwrite. Nothing is ever deleted. Running it again goes on where it was interrupted.
    Restore(restore::RestoreArgs),
    /// Bring apps, endpoints and event types over from another webhook service
    Import(import::ImportArgs),
    /// Seal every stored secret anew with the current main secret, after the main secret was changed
    ///
    /// Needs the new main secret as NUNCIO_MAIN_SECRET and the one before it in NUNCIO_MAIN_SECRET_EARLIER. May run
    /// beside everything else, be interrupted and be run again: what is sealed anew already is left as it is.
    Rewrap(rewrap::RewrapArgs),
    /// Show, check or explain the configuration
    Config(config::ConfigCommand),
    /// Ask the Nuncio on this machine whether it is ready: exit code 0 if it is
    Health(health::HealthArgs),
    /// Write the manual pages into a directory
    #[command(name = "man")]
    Manual(manual::ManualArgs),
    /// Print a shell's completions
    Completions(completions::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        CommandLine::command().debug_assert();
    }
}

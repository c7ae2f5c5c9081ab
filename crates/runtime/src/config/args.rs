//! Command-line arguments of the configuration: `--config FILE` and a flag for each key that is not a secret.
//!
//! Owns their spelling. Guarantees that the flags follow the table of keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::keys::{KEYS, Key};

/// Heading under which `--help` lists the flags.
const HEADING: &str = "Configuration";

/// The spelling of each key's flag, in the order of the keys.
static FLAGS: LazyLock<Vec<Option<String>>> = LazyLock::new(|| KEYS.iter().map(Key::flag).collect());

/// Where the configuration comes from, as the command line says.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// TOML file with the configuration; every key can also be set by its flag or by an environment variable
    #[arg(long, env = "NUNCIO_CONFIG", value_name = "FILE", help_heading = HEADING)]
    pub config: Option<PathBuf>,
    /// Values that come before all others.
    #[command(flatten)]
    pub flags: Flags,
}

/// Values given as flags, by key.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub(crate) BTreeMap<&'static str, String>);

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS.iter().filter(|key| key.flag().is_some()) {
            if let Some(value) = matches.get_one::<String>(key.name) {
                self.0.insert(key.name, value.clone());
            }
        }
        Ok(())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        KEYS.iter()
            .zip(FLAGS.iter())
            .fold(command, |command, (key, flag)| {
                let Some(flag) = flag.as_deref() else {
                    return command;
                };
                command.arg(
                    Arg::new(key.name)
                        .long(flag)
                        .value_name("VALUE")
                        .help(format!(
                            "{} [{}]",
                            key.meaning.replace('`', ""),
                            key.environment()
                        ))
                        .help_heading(HEADING)
                        .hide_short_help(true),
                )
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

//! The subcommands, one module each.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod listen;
pub(crate) mod manual;
pub(crate) mod publish;
pub(crate) mod restore;
pub(crate) mod rewrap;
pub(crate) mod role;
pub(crate) mod set_aside;
pub(crate) mod token;

use std::future::Future;
use std::time::Duration;

use anyhow::Context;

/// Exit code after a signal.
const EXIT_INTERRUPTED: u8 = 130;

/// How long what is left on the runtime may take to go.
const LEFTOVERS: Duration = Duration::from_millis(200);

/// Runs `future` on a runtime of its own.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(LEFTOVERS);
    result
}

/// A duration on the command line, such as `500ms` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    nuncio_runtime::config::duration(text)
        .ok_or_else(|| "expected a duration such as 500ms, 15s or 24h".to_owned())
}

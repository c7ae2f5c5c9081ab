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

/// What says how many threads tokio works with, instead of [`workers`].
const WORKERS: &str = "TOKIO_WORKER_THREADS";

/// Threads to work with on so many processors: half of them. Connections to RabbitMQ are read and written by threads of
/// their own, and one more that finds nothing to do is woken, looks and sleeps again with every message.
fn workers(processors: usize) -> usize {
    (processors / 2).max(1)
}

/// Runs `future` on a runtime of its own.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os(WORKERS).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        builder.worker_threads(workers(processors));
    }
    let runtime = builder
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

#[cfg(test)]
mod tests {
    use super::workers;

    #[test]
    fn half_of_the_processors_work_and_one_at_least() {
        let cases = [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)];
        for (processors, expected) in cases {
            assert_eq!(workers(processors), expected, "{processors} processors");
        }
    }
}

//! The life of a process: every task belongs to it, and it ends in order.
//!
//! Owns the two tokens that stop work, the tracker of all tasks and the signals. Guarantees that the first SIGTERM or
//! Ctrl-C stops intake only, that what is in flight has until the deadline, and that the deadline or a second signal
//! aborts the rest.
//! Refuses to know what the tasks do.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks that were aborted may take to notice.
const ABORT_GRACE: Duration = Duration::from_secs(2);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every task finished by itself after it was asked to stop.
    Clean,
    /// A role failed; the rest was stopped in order.
    Failed,
    /// The deadline passed with tasks still at work.
    Overdue,
    /// A second signal came.
    Aborted,
}

impl Ending {
    /// The exit code that tells it: zero for a clean end alone.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Failed => 1,
            Self::Overdue => 3,
            Self::Aborted => 130,
        }
    }
}

/// The tokens and the tracker that every task of a process belongs to; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Cancelled first: take nothing new, finish what is in flight.
    pub soft: CancellationToken,
    /// Cancelled last: drop everything.
    pub hard: CancellationToken,
    /// Where every task is spawned.
    pub tracker: TaskTracker,
    failed: Arc<AtomicBool>,
}

impl Lifecycle {
    /// A life that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `role` as a task; when it fails, says so and stops the whole process in order.
    pub fn start<E>(&self, name: &'static str, role: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let life = self.clone();
        self.tracker.spawn(async move {
            match role.await {
                Ok(()) => tracing::debug!(role = name, "ended"),
                Err(error) => {
                    let error = error.into();
                    tracing::error!(role = name, error = chain(error.as_ref()), "failed");
                    life.failed.store(true, Ordering::SeqCst);
                    life.soft.cancel();
                }
            }
        });
    }

    /// Waits until the process is told to stop, by a signal or by the soft token, then ends it: gives tasks until
    /// `deadline`, aborts those that remain, and tells how it went.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub async fn run_until_stopped(self, deadline: Duration) -> std::io::Result<Ending> {
        let mut signals = Signals::install()?;
        Ok(self.run_until(&mut signals, deadline).await)
    }

    async fn run_until(self, signals: &mut Signals, deadline: Duration) -> Ending {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, deadline_seconds = deadline.as_secs_f64(), "stopping");
                self.soft.cancel();
            }
            () = self.soft.cancelled() => tracing::info!("stopping"),
        }
        self.tracker.close();
        let ending = tokio::select! {
            () = self.tracker.wait() => self.quiet_ending(),
            name = signals.next() => {
                tracing::warn!(signal = name, tasks = self.tracker.len(), "second signal: aborting");
                Ending::Aborted
            }
            () = tokio::time::sleep(deadline) => {
                tracing::warn!(tasks = self.tracker.len(), "deadline passed: aborting");
                Ending::Overdue
            }
        };
        self.hard.cancel();
        if timeout(ABORT_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "tasks did not notice the abort");
        }
        ending
    }

    fn quiet_ending(&self) -> Ending {
        if self.failed.load(Ordering::SeqCst) {
            Ending::Failed
        } else {
            Ending::Clean
        }
    }
}

/// The error and everything beneath it, as one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut beneath = error.source();
    while let Some(source) = beneath {
        line.push_str(": ");
        line.push_str(&source.to_string());
        beneath = source.source();
    }
    line
}

/// The signals that ask a process to end.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes them over from the system, which would end the process at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal that asks a process to end.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Takes it over from the system.
    ///
    /// # Errors
    /// Never.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no route to anywhere")]
    struct Broken;

    #[tokio::test(start_paused = true)]
    async fn tasks_that_finish_in_time_make_a_clean_end() {
        let life = Lifecycle::new();
        let soft = life.soft.clone();
        life.start("lane", {
            let soft = soft.clone();
            async move {
                soft.cancelled().await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok::<_, Broken>(())
            }
        });
        soft.cancel();
        let mut signals = Signals::install().unwrap();
        assert_eq!(
            life.run_until(&mut signals, Duration::from_secs(10)).await,
            Ending::Clean
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_overruns_the_deadline_is_aborted_and_the_end_is_not_clean() {
        let life = Lifecycle::new();
        let (soft, hard) = (life.soft.clone(), life.hard.clone());
        life.start("lane", {
            let hard = hard.clone();
            async move {
                hard.cancelled().await;
                Ok::<_, Broken>(())
            }
        });
        soft.cancel();
        let mut signals = Signals::install().unwrap();
        assert_eq!(
            life.run_until(&mut signals, Duration::from_secs(10)).await,
            Ending::Overdue
        );
        assert!(hard.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_fails_stops_the_others_in_order_and_fails_the_process() {
        let life = Lifecycle::new();
        let soft = life.soft.clone();
        life.start("api", {
            let soft = soft.clone();
            async move {
                soft.cancelled().await;
                Ok::<_, Broken>(())
            }
        });
        life.start("router", async { Err(Broken) });
        let mut signals = Signals::install().unwrap();
        assert_eq!(
            life.run_until(&mut signals, Duration::from_secs(10)).await,
            Ending::Failed
        );
    }

    #[test]
    fn only_a_clean_end_exits_with_zero() {
        let endings = [Ending::Clean, Ending::Failed, Ending::Overdue, Ending::Aborted];
        let zero: Vec<_> = endings.into_iter().filter(|e| e.exit_code() == 0).collect();
        assert_eq!(zero, [Ending::Clean]);
    }

    #[test]
    fn a_chain_tells_every_cause_once() {
        let io = std::io::Error::other(Broken);
        assert_eq!(chain(&io), "no route to anywhere");
    }
}

//! Child processes that cannot outlive the test process.
//!
//! Owns spawning and signals. Guarantees that each child is told to end when this process is gone, even by SIGKILL:
//! the kernel does it (`PR_SET_PDEATHSIG`, through `setpriv`). The kernel means the parent *thread*, so all children
//! are spawned by one thread that lives as long as the process.

use std::{
    io,
    process::{Child, Command, ExitStatus},
    sync::{LazyLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::time::{Instant, sleep};

type Order = (Command, mpsc::SyncSender<io::Result<Child>>);

static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || {
            for (mut command, reply) in inbox {
                // Whoever ordered waits for the answer below, so that it cannot be gone.
                reply
                    .send(command.spawn())
                    .expect("the spawner's caller waits for its child");
            }
        })
        .expect("the operating system grants one thread");
    orders
});

/// What the kernel sends to the child when this process is gone.
#[derive(Debug, Clone, Copy)]
pub enum AtParentsDeath {
    /// SIGKILL: the child has nothing to tidy.
    Kill,
    /// SIGTERM: the child tidies up after itself.
    Terminate,
}

/// A `Command` for `program` whose process gets the signal when this process dies. Spawn it with [`Process::spawn`].
#[must_use]
pub fn mortal(program: impl AsRef<std::ffi::OsStr>, at_death: AtParentsDeath) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg(match at_death {
        AtParentsDeath::Kill => "KILL",
        AtParentsDeath::Terminate => "TERM",
    });
    command.arg("--").arg(program);
    command
}

/// A child process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Spawns from the thread that outlives every test.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: impl Into<String>, command: Command) -> Result<Self> {
        let name = name.into();
        let (reply, answer) = mpsc::sync_channel(1);
        SPAWNER
            .send((command, reply))
            .context("the spawner thread is gone")?;
        let child = answer
            .recv()
            .context("the spawner thread is gone")?
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name, child })
    }

    /// The operating system's id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. The process is known to be this one, as it is reaped only through `&mut self`.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.pid(), signal).with_context(|| format!("failed to signal {}", self.name))
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// When it has not ended in time; it is left running.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {within:?}", self.name);
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills and reaps, whatever state the process is in.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{} may still run: {error:#}", self.name);
        }
    }
}

/// Sends a signal to a process that is known to be alive.
///
/// # Errors
/// When there is no such process.
pub fn signal_pid(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a pid")?;
    Ok(kill_process(pid, signal)?)
}

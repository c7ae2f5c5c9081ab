//! One private server under `deploy/local/serve.sh`.
//!
//! Owns its directory and its supervisor. Guarantees that a server killed and started again is the same one: same
//! ports, same data. Refuses to know what kind of server it is.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::process::{AtParentsDeath, Process, Signal, mortal, signal_pid};

const START: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Server {
    kind: &'static str,
    // Before `home`, so that the server is gone when its directory goes.
    supervisor: Option<Process>,
    home: TempDir,
}

impl Server {
    pub(crate) async fn start(kind: &'static str) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix(&format!("nuncio-{kind}-"))
            .tempdir()
            .context("failed to make a directory for a server")?;
        let mut server = Self {
            kind,
            supervisor: None,
            home,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Starts the server on the ports and the data that it has.
    pub(crate) async fn resume(&mut self) -> Result<()> {
        if self.supervisor.is_some() {
            bail!("{} runs already", self.kind);
        }
        fs::remove_file(self.ready()).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let said = self.directory().join("supervisor.log");
        let output = File::create(&said)?;
        let mut command = mortal("bash", AtParentsDeath::Terminate);
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/local/serve.sh"))
            .arg(self.kind)
            .arg(self.directory())
            .arg("--ephemeral")
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut supervisor = Process::spawn(self.kind, command)?;
        let deadline = Instant::now() + START;
        while !self.ready().exists() {
            if let Some(status) = supervisor.ended()? {
                bail!(
                    "{} did not start ({status}): {}",
                    self.kind,
                    fs::read_to_string(&said)?
                );
            }
            if Instant::now() >= deadline {
                bail!("{} was not ready within {START:?}", self.kind);
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.supervisor = Some(supervisor);
        Ok(())
    }

    /// SIGKILL to the server, as if the power had gone; returns when it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    /// SIGTERM to the server: an orderly shutdown.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.end(Signal::TERM).await
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        let pid = self.pid()?;
        let mut supervisor = self
            .supervisor
            .take()
            .with_context(|| format!("{} does not run", self.kind))?;
        signal_pid(pid, signal)?;
        // It ends with its server, and leaves the directory.
        supervisor.wait(STOP).await?;
        Ok(())
    }

    /// Removes the data of a server that was killed or stopped: it starts as a new one, on the same ports.
    pub(crate) fn wipe(&self) -> Result<()> {
        if self.supervisor.is_some() {
            bail!("{} still runs", self.kind);
        }
        fs::remove_dir_all(self.directory().join("data")).with_context(|| format!("no data of {}", self.kind))
    }

    /// SIGSTOP or SIGCONT to the server itself.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.pid()?, signal)
    }

    /// The server's own process.
    pub(crate) fn pid(&self) -> Result<u32> {
        let text = fs::read_to_string(self.directory().join("server.pid"))
            .with_context(|| format!("{} does not run", self.kind))?;
        text.split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
            .context("server.pid holds no pid")
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// The address from the server's `env` file.
    pub(crate) fn url(&self) -> Result<String> {
        let text = fs::read_to_string(self.directory().join("env"))?;
        let (_, url) = text
            .trim()
            .split_once('=')
            .context("the env file names no address")?;
        Ok(url.to_owned())
    }

    fn ready(&self) -> PathBuf {
        self.directory().join("ready")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut supervisor) = self.supervisor.take() else {
            return;
        };
        // Told to end, it kills the server, removes the directory and exits; a frozen server makes no difference.
        if let Err(error) = supervisor
            .signal(Signal::TERM)
            .and_then(|()| wait_blocking(&mut supervisor))
        {
            eprintln!("{} in {}: {error:#}", self.kind, Path::display(self.home.path()));
        }
    }
}

fn wait_blocking(supervisor: &mut Process) -> Result<()> {
    let deadline = Instant::now() + STOP;
    while supervisor.ended()?.is_none() {
        if Instant::now() >= deadline {
            bail!("did not end within {STOP:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

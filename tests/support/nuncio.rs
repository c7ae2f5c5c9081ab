//! A running `nuncio` process.
//!
//! Owns the process and its log. Guarantees that it is gone when dropped, and that its log is shown when the test
//! that holds it panics.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    ApiClient, Deployment, install_tls_provider,
    ports::free_address,
    process::{Process, Signal},
};

const START: Duration = Duration::from_secs(60);

/// How many lines of its log a process shows when its test fails.
const LOG_LINES_SHOWN: usize = 80;

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// One process of one role, ready for work.
#[derive(Debug)]
pub struct Nuncio {
    process: Process,
    role: String,
    api: SocketAddr,
    health: SocketAddr,
    log: PathBuf,
    deployment: Deployment,
}

impl Nuncio {
    pub(crate) async fn start(deployment: &Deployment, role: &str) -> Result<Self> {
        for _ in 0..2 {
            match Self::start_once(deployment, role).await {
                // Somebody took a port between the look and the bind.
                Err(error) if format!("{error:#}").contains("in use") => {}
                settled => return settled,
            }
        }
        Self::start_once(deployment, role).await
    }

    async fn start_once(deployment: &Deployment, role: &str) -> Result<Self> {
        let nth = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = deployment.logs().join(format!("{role}-{nth}.log"));
        let output = File::create(&log)?;
        let (api, health) = (free_address(), free_address());
        let mut command = deployment.command();
        command
            .arg(role)
            .env("NUNCIO_LISTEN", api.to_string())
            .env("NUNCIO_METRICS_LISTEN", health.to_string())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = Process::spawn(format!("nuncio {role}"), command)?;
        let deployment = deployment.clone();
        let mut nuncio = Self {
            process,
            role: role.to_owned(),
            api,
            health,
            log,
            deployment,
        };
        nuncio.become_ready().await?;
        Ok(nuncio)
    }

    async fn become_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.process.ended()? {
                bail!("nuncio {} ended ({status}):\n{}", self.role, self.log_tail());
            }
            if self.is_ready().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "nuncio {} was not ready within {START:?}:\n{}",
                    self.role,
                    self.log_tail()
                );
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// Does `/readyz` answer 200?
    pub async fn is_ready(&self) -> bool {
        self.fetch("/readyz").await.is_ok_and(|(status, _)| status == 200)
    }

    /// What `/metrics` says.
    ///
    /// # Errors
    /// When it does not answer 200.
    pub async fn metrics(&self) -> Result<String> {
        match self.fetch("/metrics").await? {
            (200, text) => Ok(text),
            (status, text) => bail!("/metrics answered {status}: {text}"),
        }
    }

    /// The value of one metric in `/metrics`, named with its labels; nothing when it is not there.
    ///
    /// # Errors
    /// When it does not answer 200, or the value is no number.
    pub async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let metrics = self.metrics().await?;
        let mut named = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(named.next().map(str::parse).transpose()?)
    }

    /// `GET` on the health listener (`/livez`, `/readyz`, `/metrics`): status and body.
    ///
    /// # Errors
    /// When there is no answer within two seconds.
    pub async fn fetch(&self, path: &str) -> Result<(u16, String)> {
        install_tls_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()?;
        let response = client.get(format!("http://{}{path}", self.health)).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// A client of this process's API (roles `api` and `all`) with an admin token.
    ///
    /// # Errors
    /// When no token can be minted.
    pub async fn client(&self) -> Result<ApiClient> {
        ApiClient::new(self.api_url(), self.deployment.token(&[]).await?)
    }

    /// Where the API of this process is.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The address of its health listener.
    #[must_use]
    pub fn health_address(&self) -> String {
        self.health.to_string()
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// SIGSTOP: holds everything, answers nothing.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }

    /// SIGTERM, and how the process then ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(within).await
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = self.process.wait(within).await;
        ended.with_context(|| format!("its log ends:\n{}", self.log_tail()))
    }

    /// Everything it has said so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Its resident memory now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    fn log_tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("(no log: {error:#})"));
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Nuncio {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the log of nuncio {} (pid {}) ends:\n{}",
                self.role,
                self.pid(),
                self.log_tail()
            );
        }
    }
}

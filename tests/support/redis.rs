//! A private Redis.
//!
//! Owns one server with the append-only file on, for tests that kill, freeze or empty it. Tests that only use Redis
//! share one: see [`crate::Deployment::shared`].

use anyhow::{Context, Result};

use crate::{process::Signal, server::Server};

/// One private Redis server; gone with its data when dropped.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    url: String,
}

impl Redis {
    /// Starts a server on a free port; returns when it answers.
    ///
    /// # Errors
    /// When it cannot be started, with what it said.
    pub async fn start() -> Result<Self> {
        let server = Server::start("redis").await?;
        let url = server.url()?;
        Ok(Self { server, url })
    }

    /// `redis://127.0.0.1:<port>/0`, the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// SIGKILL: what was not yet on disk (up to a second) is lost.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await
    }

    /// An orderly shutdown.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop().await
    }

    /// Starts again after [`Redis::kill`] or [`Redis::stop`], on the same port with the same data.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.resume().await
    }

    /// Removes its data after [`Redis::kill`] or [`Redis::stop`], as if its disk was lost.
    ///
    /// # Errors
    /// When it runs.
    pub fn wipe(&self) -> Result<()> {
        self.server.wipe()
    }

    /// SIGSTOP: connections stay open, nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal(Signal::CONT)
    }

    /// The server's process, for `/proc`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.server.pid()
    }

    /// Runs one command over a fresh connection, e.g. `["FLUSHALL"]` or `["CLIENT", "PAUSE", "2000"]`.
    ///
    /// # Errors
    /// When the server refuses the command or the connection.
    pub async fn command(&self, words: &[&str]) -> Result<redis::Value> {
        command(&self.url, words).await
    }
}

/// Runs one command on the server at `url`.
///
/// # Errors
/// When the server refuses the command or the connection.
pub async fn command(url: &str, words: &[&str]) -> Result<redis::Value> {
    let (name, arguments) = words.split_first().context("a command has a name")?;
    let mut connection = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let value = redis::cmd(name).arg(arguments).query_async(&mut connection).await;
    value.with_context(|| format!("redis refused {name}"))
}

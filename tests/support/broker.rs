//! A private RabbitMQ.
//!
//! Owns one node with its own epmd, for tests that kill it, freeze it or raise its alarms. Tests that only use
//! RabbitMQ share one, as each takes six seconds to start: see [`crate::Deployment::shared`].

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{process::Signal, server::Server};

/// One private RabbitMQ node; gone with its data when dropped.
#[derive(Debug)]
pub struct Broker {
    server: Server,
    url: String,
}

impl Broker {
    /// Starts a node on free ports; returns when it speaks AMQP.
    ///
    /// # Errors
    /// When it cannot be started, with what it said.
    pub async fn start() -> Result<Self> {
        let server = Server::start("rabbitmq").await?;
        let url = server.url()?;
        Ok(Self { server, url })
    }

    /// `amqp://guest:guest@127.0.0.1:<port>/%2f`, the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// SIGKILL to the node.
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

    /// Starts again after [`Broker::kill`] or [`Broker::stop`], on the same ports with the same data.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.resume().await
    }

    /// Removes its data after [`Broker::kill`] or [`Broker::stop`], as if its disk was lost.
    ///
    /// # Errors
    /// When it runs.
    pub fn wipe(&self) -> Result<()> {
        self.server.wipe()
    }

    /// SIGSTOP: connections stay open, nothing answers, heartbeats stop.
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

    /// The node's process, for `/proc`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.server.pid()
    }

    /// A program that is rabbitmqctl for this node, for commands that are told where theirs is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn ctl_program(&self) -> Result<PathBuf> {
        let directory = self.server.directory();
        let program = directory.join("ctl");
        let node = directory.join("node");
        let script = format!(
            "#!/usr/bin/env bash\n. '{}' && exec \"$NUNCIO_RABBITMQ_SBIN/rabbitmqctl\" \"$@\"\n",
            node.display()
        );
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        Ok(program)
    }

    /// Runs `rabbitmqctl` against this node and returns what it printed, e.g.
    /// `["set_vm_memory_high_watermark", "0.0001"]` or `["close_all_connections", "test"]`. Takes a second or two.
    ///
    /// # Errors
    /// When the node does not run, or rabbitmqctl fails, with what it said.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String> {
        // Without its node, rabbitmqctl would leave an epmd behind.
        self.pid()?;
        let mut command = Command::new("bash");
        command
            .args(["-c", r#". "$0" && exec "$NUNCIO_RABBITMQ_SBIN/rabbitmqctl" "$@""#])
            .arg(self.server.directory().join("node"))
            .args(arguments)
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if !output.status.success() {
            bail!(
                "rabbitmqctl {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        String::from_utf8(output.stdout).context("rabbitmqctl speaks UTF-8")
    }
}

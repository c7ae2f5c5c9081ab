//! One namespace on a pair of servers, and the configuration that its processes share.
//!
//! Owns the namespace, the main secret and the settings. Guarantees that two deployments share nothing but, at most,
//! the servers. Refuses to know which processes run: that is [`crate::Nuncio`]'s.

mod build;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use self::build::Flavour;
use crate::{
    Broker, Nuncio, Publisher, Redis,
    process::{AtParentsDeath, mortal},
};

/// The servers that this process's tests share, when none are named by the environment.
static SHARED: OnceCell<(Broker, Redis)> = OnceCell::const_new();

/// The binary under test.
static BINARY: OnceCell<PathBuf> = OnceCell::const_new();

/// The same with crash points.
static CRASHING: OnceCell<PathBuf> = OnceCell::const_new();

/// A namespace with its settings. Cheap to make; start processes with [`Deployment::start`].
#[derive(Debug, Clone)]
pub struct Deployment {
    binary: PathBuf,
    namespace: String,
    settings: BTreeMap<String, String>,
    logs: Arc<TempDir>,
}

impl Deployment {
    /// On the servers that tests share: those of `NUNCIO_TEST_AMQP_URL` and `NUNCIO_TEST_REDIS_URL`, or else a pair
    /// that this process starts when first asked.
    ///
    /// # Errors
    /// When the servers cannot be started or the binary cannot be built.
    pub async fn shared() -> Result<Self> {
        let named = |name| std::env::var(name).ok().filter(|url: &String| !url.is_empty());
        if let (Some(amqp), Some(redis)) = (named("NUNCIO_TEST_AMQP_URL"), named("NUNCIO_TEST_REDIS_URL")) {
            return Self::at(&amqp, &redis).await;
        }
        let start = || async { tokio::try_join!(Broker::start(), Redis::start()) };
        let (broker, redis) = SHARED.get_or_try_init(start).await?;
        Self::on(broker, redis).await
    }

    /// On servers of the test's own, which it may kill.
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub async fn on(broker: &Broker, redis: &Redis) -> Result<Self> {
        Self::at(broker.url(), redis.url()).await
    }

    /// On servers at these addresses, e.g. through a [`crate::FaultProxy`].
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub async fn at(amqp_url: &str, redis_url: &str) -> Result<Self> {
        let binary = BINARY
            .get_or_try_init(|| build::binary(Flavour::Default))
            .await?
            .clone();
        let namespace = format!("t{}", random_hex(6));
        let settings = [
            ("NUNCIO_AMQP_URL", amqp_url),
            ("NUNCIO_REDIS_URL", redis_url),
            ("NUNCIO_NAMESPACE", &namespace),
            ("NUNCIO_MAIN_SECRET", &random_hex(32)),
            ("NUNCIO_EGRESS_ALLOW", "127.0.0.0/8"),
            ("NUNCIO_LOG", "info"),
            ("NUNCIO_LOG_FORMAT", "json"),
            // A ladder that a test can wait for: 0.2 s, 0.4 s, 0.8 s.
            ("NUNCIO_RETRY_FIRST", "200ms"),
            ("NUNCIO_RETRY_FACTOR", "2"),
            ("NUNCIO_RETRY_CEILING", "2s"),
            ("NUNCIO_RETRY_ATTEMPTS", "4"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let logs = tempfile::Builder::new().prefix("nuncio-logs-").tempdir()?;
        Ok(Self {
            binary,
            namespace,
            settings: BTreeMap::from(settings),
            logs: Arc::new(logs),
        })
    }

    /// With one setting changed, e.g. `("NUNCIO_RETRY_ATTEMPTS", "3")`, for processes started after this.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With another program in place of the binary under test, such as a script that runs it elsewhere.
    #[must_use]
    pub fn through(mut self, program: &Path) -> Self {
        self.binary = program.to_owned();
        self
    }

    /// The binary under test.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.binary
    }

    /// With the binary that has crash points: what it is started with says which one ends it (`FAILPOINTS`, see
    /// [`Deployment::with`]).
    ///
    /// # Errors
    /// When that binary cannot be built.
    pub async fn crashing(self) -> Result<Self> {
        let binary = CRASHING
            .get_or_try_init(|| build::binary(Flavour::Failpoints))
            .await?
            .clone();
        Ok(Self { binary, ..self })
    }

    /// The binary that its processes run.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The prefix of every exchange, queue and key.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// One setting's value.
    ///
    /// # Panics
    /// When it was never set.
    #[must_use]
    pub fn setting(&self, key: &str) -> &str {
        self.settings
            .get(key)
            .map(String::as_str)
            .unwrap_or_else(|| panic!("{key} is not set"))
    }

    /// Starts `api`, `router`, `sender` or `all`, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or does not become ready, with what it said.
    pub async fn start(&self, role: &str) -> Result<Nuncio> {
        Nuncio::start(self, role).await
    }

    /// A publisher to this namespace. The exchange exists once a process is ready.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn publisher(&self) -> Result<Publisher> {
        Publisher::connect(self.setting("NUNCIO_AMQP_URL"), &self.namespace).await
    }

    /// Runs a subcommand to its end, e.g. `["publish", "--app", …]`.
    ///
    /// # Errors
    /// When it cannot be started; any exit status is an answer.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with_input(arguments, "").await
    }

    /// Like [`Deployment::run`], with something to read on stdin.
    ///
    /// # Errors
    /// When it cannot be started; any exit status is an answer.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = Command::new(&self.binary);
        self.configure(&mut command);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = input.to_owned();
        let finished = tokio::task::spawn_blocking(move || -> std::io::Result<Output> {
            let mut child = command.spawn()?;
            let mut stdin = child.stdin.take();
            std::thread::scope(|scope| {
                let writer = scope.spawn(move || match stdin.take() {
                    Some(mut stdin) => stdin.write_all(input.as_bytes()),
                    None => Ok(()),
                });
                let output = child.wait_with_output();
                match writer.join() {
                    // A subcommand need not read its input.
                    Ok(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
                    _ => output,
                }
            })
        });
        finished
            .await?
            .with_context(|| format!("failed to run nuncio {arguments:?}"))
    }

    /// Mints an admin token; more arguments, such as `["--app", id]`, narrow it.
    ///
    /// # Errors
    /// When the subcommand fails, with what it said.
    pub async fn token(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(&[&["token"], arguments].concat()).await?;
        ensure!(
            output.status.success(),
            "nuncio token: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// A long-running command with this configuration; it dies with the test process.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = mortal(&self.binary, AtParentsDeath::Kill);
        self.configure(&mut command);
        command
    }

    pub(crate) fn logs(&self) -> &Path {
        self.logs.path()
    }

    fn configure(&self, command: &mut Command) {
        // What the developer has set is none of a test's business.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("NUNCIO_") || name_text.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.envs(&self.settings).env("RUST_BACKTRACE", "1");
    }
}

fn random_hex(bytes: usize) -> String {
    let mut rng = rand::rng();
    (0..bytes)
        .map(|_| format!("{:02x}", rng.random::<u8>()))
        .collect()
}

//! The store: one handle for all of it.
//!
//! Owns how commands reach Redis: pipelined, bounded in time, on the connection of their lane, grouped by app where Redis
//! is a Cluster, with scripts loaded where the server does not know them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use nuncio_domain::UnixMillis;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value};
use secrecy::ExposeSecret;

use crate::error::{StoreError, spoils_connection};
use crate::keys::Keys;
use crate::link::{Lane, Link, Links};
use crate::seal::Sealer;
use crate::server::Server;
use crate::{StoreConfig, script};

/// Everything that Nuncio keeps in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: StoreConfig,
    pub(crate) keys: Keys,
    pub(crate) sealer: Sealer,
    links: Links,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

/// Commands whose keys share a hash tag, so that one node of a Cluster answers them all.
pub(crate) type Group = Vec<Cmd>;

impl Store {
    /// A store at that address. Connects when first used, and again whenever the connection is lost: a server that is
    /// down now is not an error here.
    ///
    /// # Errors
    /// When the address or the settings cannot be used at all.
    pub fn connect(config: StoreConfig) -> Result<Self, StoreError> {
        let server = Server::parse(config.url.expose_secret())?;
        if config.namespace.is_empty() || config.namespace.contains(['{', '}', ':']) {
            return Err(StoreError::Settings(
                "the namespace is empty or holds one of `{`, `}`, `:`",
            ));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                keys: Keys::new(&config.namespace),
                sealer: Sealer::new(&config.main_secrets)?,
                links: Links::new(server, &config)?,
                config,
            }),
        })
    }

    /// What the store was told.
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.one("reach Redis", redis::cmd("PING")).await
    }

    /// What the server says of itself (`INFO`), by name: version, persistence, eviction policy, memory. In a Cluster it is
    /// one of the nodes that answers.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn server_info(&self) -> Result<std::collections::BTreeMap<String, String>, StoreError> {
        let text: String = self.one("ask Redis about itself", redis::cmd("INFO")).await?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Ok(lines
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect())
    }

    /// One of the server's settings (`CONFIG GET`); nothing when there is none of that name.
    ///
    /// # Errors
    /// When Redis is away, or does not let this user ask, as hosted ones often do.
    pub async fn server_setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let mut cmd = redis::cmd("CONFIG");
        cmd.arg("GET").arg(name);
        let found: std::collections::HashMap<String, String> =
            self.one("ask Redis for a setting", cmd).await?;
        Ok(found.into_values().next())
    }

    /// What time it is on the server, for measuring clock skew.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn server_time(&self) -> Result<UnixMillis, StoreError> {
        let (seconds, micros): (i64, i64) = self.one("ask Redis for the time", redis::cmd("TIME")).await?;
        Ok(UnixMillis(seconds * 1_000 + micros / 1_000))
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn retention_seconds(&self) -> u64 {
        self.inner.config.retention.as_secs().max(1)
    }

    pub(crate) async fn dedicated(&self, action: &'static str, block: Duration) -> Result<Link, StoreError> {
        self.inner.links.dedicated(action, block).await
    }

    /// One command.
    pub(crate) async fn one<T: FromRedisValue>(
        &self,
        action: &'static str,
        cmd: Cmd,
    ) -> Result<T, StoreError> {
        let mut values = self.group(Lane::Calls, action, vec![cmd]).await?;
        read(action, values.pop())
    }

    /// Commands that one node answers, in one round trip; a command that fails fails all.
    pub(crate) async fn group(
        &self,
        lane: Lane,
        action: &'static str,
        group: Group,
    ) -> Result<Vec<Value>, StoreError> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        // Boxed: what waits for Redis lies in every future that may ask it, and few of them do.
        let exchange = Box::pin(self.exchange(lane, action, group));
        match tokio::time::timeout(self.inner.config.call_timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::timed_out(action)),
        }
    }

    /// Groups of commands: one round trip on one server, one for each group at the same time in a Cluster.
    pub(crate) async fn groups(
        &self,
        lane: Lane,
        action: &'static str,
        groups: Vec<Group>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        if self.inner.links.is_cluster() {
            return try_join_all(groups.into_iter().map(|group| self.group(lane, action, group))).await;
        }
        let lengths: Vec<_> = groups.iter().map(Vec::len).collect();
        let mut values = self
            .group(lane, action, groups.into_iter().flatten().collect())
            .await?
            .into_iter();
        Ok(lengths
            .into_iter()
            .map(|length| values.by_ref().take(length).collect())
            .collect())
    }

    /// Sends a group. A connection that turns out to be dead is replaced and the group is sent again, once: the server may
    /// have restarted while nobody used it, and whatever is sent here may be sent twice.
    async fn exchange(
        &self,
        lane: Lane,
        action: &'static str,
        group: Group,
    ) -> Result<Vec<Value>, StoreError> {
        let mut pipeline = Pipeline::with_capacity(group.len());
        for cmd in group {
            pipeline.add_command(cmd);
        }
        let mut again = true;
        loop {
            let (mut link, generation) = self.inner.links.link(lane, action).await?;
            let error = match send_with_scripts(&pipeline, &mut link).await {
                Ok(values) => return Ok(values),
                Err(error) => error,
            };
            if spoils_connection(&error) || error.is_timeout() {
                self.inner.links.spoil(lane, generation);
            }
            if !(again && error.is_connection_dropped()) {
                return Err(StoreError::redis(action, error));
            }
            again = false;
        }
    }
}

/// What a reply holds, or an error that names the action.
pub(crate) fn read<T: FromRedisValue>(action: &'static str, value: Option<Value>) -> Result<T, StoreError> {
    let value = value.unwrap_or(Value::Nil);
    redis::from_redis_value(value).map_err(|error| StoreError::Refused {
        action,
        source: error.into(),
    })
}

/// Sends a pipeline; the first error of any command is the error of all, with its code.
async fn send(pipeline: &Pipeline, link: &mut Link) -> Result<Vec<Value>, RedisError> {
    let values: Vec<Value> =
        redis::aio::ConnectionLike::req_packed_commands(link, pipeline, 0, pipeline.len()).await?;
    values.into_iter().map(Value::extract_error).collect()
}

/// How often the scripts are loaded for one pipeline: somebody may flush them in between.
const SCRIPT_LOADS_MAX: usize = 5;

/// Sends a pipeline; gives the server the scripts if it does not know them, and sends it again.
async fn send_with_scripts(pipeline: &Pipeline, link: &mut Link) -> Result<Vec<Value>, RedisError> {
    let mut answer = send(pipeline, link).await;
    for _ in 0..SCRIPT_LOADS_MAX {
        if !answer.as_ref().is_err_and(is_no_script) {
            break;
        }
        load_scripts(link).await?;
        answer = send(pipeline, link).await;
    }
    answer
}

fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

async fn load_scripts(link: &mut Link) -> Result<(), RedisError> {
    for (_, source) in script::all() {
        redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(source)
            .query_async::<Value>(link)
            .await?;
    }
    Ok(())
}

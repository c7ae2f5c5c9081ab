//! Connections.
//!
//! Owns the pool of deadpool-redis and how its connections are used: each lane leases one connection and shares it among
//! all its callers, whose commands the connection pipelines by itself; a connection that broke, timed out or leads to a
//! server without its role is thrown away, and the next caller leases another. A checkout per call would cost a ping and
//! a round trip each (`examples/checkout.rs` measures it).
//! Guarantees that no call hangs: connecting, waiting and answering are bounded, and while connecting fails, callers are
//! told so at once instead of queueing up behind it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::{PoolConfig, Runtime, Timeouts, cluster, sentinel};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisFuture, Value};
use tokio::time::Instant;

use crate::StoreConfig;
use crate::error::{Cause, StoreError};
use crate::server::Server;

/// After a failed connect, callers are refused at once for so long.
const FAILED_FOR: Duration = Duration::from_millis(100);

/// What a connection is used for: those who send large batches do not stand in the way of those who wait for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Single calls.
    Calls,
    /// Batches of claims.
    Claims,
    /// Batches of records.
    Records,
}

const LANES: usize = 3;

/// A connection, to a node or a Cluster.
#[derive(Clone)]
pub(crate) enum Link {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

enum Pool {
    Single(deadpool_redis::Pool),
    Sentinel(sentinel::Pool),
    Cluster(cluster::Pool),
}

/// A connection that was taken out of the pool and not given back, so that the pool counts it.
enum Object {
    Single(deadpool_redis::Connection),
    Sentinel(sentinel::Connection),
    Cluster(cluster::Connection),
}

impl Object {
    fn link(&self) -> Link {
        match self {
            Self::Single(connection) => Link::Node((**connection).clone()),
            Self::Sentinel(connection) => Link::Node((**connection).clone()),
            Self::Cluster(connection) => Link::Cluster((**connection).clone()),
        }
    }

    /// Takes it away from the pool, which may then make another one.
    fn discard(self) {
        match self {
            Self::Single(connection) => drop(deadpool_redis::Connection::take(connection)),
            Self::Sentinel(connection) => drop(sentinel::Connection::take(connection)),
            Self::Cluster(connection) => drop(cluster::Connection::take(connection)),
        }
    }
}

#[derive(Default)]
struct LaneState {
    lease: Option<(Object, Link)>,
    generation: u64,
    failure: Option<(Instant, String)>,
}

struct LaneSlot {
    state: Mutex<LaneState>,
    connecting: tokio::sync::Mutex<()>,
}

impl LaneSlot {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leased(&self) -> Option<(Link, u64)> {
        let state = self.state();
        state
            .lease
            .as_ref()
            .map(|(_, link)| (link.clone(), state.generation))
    }
}

/// All connections of a process to one store.
pub(crate) struct Links {
    server: Server,
    pool: Pool,
    lanes: [LaneSlot; LANES],
    response_timeout: Duration,
    connect_timeout: Duration,
}

impl Links {
    pub(crate) fn new(server: Server, config: &StoreConfig) -> Result<Self, StoreError> {
        let pool = pool(&server, config)?;
        Ok(Self {
            server,
            pool,
            lanes: std::array::from_fn(|_| LaneSlot {
                state: Mutex::default(),
                connecting: tokio::sync::Mutex::default(),
            }),
            response_timeout: config.response_timeout,
            connect_timeout: config.connect_timeout,
        })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.pool, Pool::Cluster(_))
    }

    /// The connection of that lane, and its generation for [`Links::spoil`].
    pub(crate) async fn link(&self, lane: Lane, action: &'static str) -> Result<(Link, u64), StoreError> {
        let slot = &self.lanes[lane as usize];
        if let Some(leased) = slot.leased() {
            return Ok(leased);
        }
        let asked_at = Instant::now();
        let _alone = slot.connecting.lock().await;
        if let Some(leased) = slot.leased() {
            return Ok(leased);
        }
        let failure = slot.state().failure.clone();
        if let Some((at, reason)) = failure
            && (at >= asked_at || at.elapsed() < FAILED_FOR)
        {
            return Err(StoreError::Unavailable {
                action,
                source: Cause::Pool(reason),
            });
        }
        match self.take().await {
            Ok(object) => {
                let link = object.link();
                let mut state = slot.state();
                state.generation += 1;
                state.failure = None;
                state.lease = Some((object, link.clone()));
                Ok((link, state.generation))
            }
            Err(reason) => {
                slot.state().failure = Some((Instant::now(), reason.clone()));
                Err(StoreError::Unavailable {
                    action,
                    source: Cause::Pool(reason),
                })
            }
        }
    }

    /// Throws the lane's connection away if it is still the one of that generation.
    pub(crate) fn spoil(&self, lane: Lane, generation: u64) {
        let mut state = self.lanes[lane as usize].state();
        if state.generation == generation
            && let Some((object, _)) = state.lease.take()
        {
            object.discard();
        }
    }

    async fn take(&self) -> Result<Object, String> {
        match &self.pool {
            Pool::Single(pool) => pool
                .get()
                .await
                .map(Object::Single)
                .map_err(|error| describe(&error)),
            Pool::Sentinel(pool) => pool
                .get()
                .await
                .map(Object::Sentinel)
                .map_err(|error| describe(&error)),
            Pool::Cluster(pool) => pool
                .get()
                .await
                .map(Object::Cluster)
                .map_err(|error| describe(&error)),
        }
    }

    /// A connection of its own, for a command that blocks up to `block`.
    pub(crate) async fn dedicated(&self, action: &'static str, block: Duration) -> Result<Link, StoreError> {
        let patience = block + self.response_timeout;
        let connect = async {
            match &self.server {
                Server::Single(url) => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(self.connect_timeout))
                        .set_response_timeout(Some(patience));
                    let client = redis::Client::open(url.as_str())?;
                    client
                        .get_multiplexed_async_connection_with_config(&config)
                        .await
                        .map(Link::Node)
                }
                Server::Cluster(nodes) => {
                    let client = redis::cluster::ClusterClientBuilder::new(nodes.iter().map(String::as_str))
                        .connection_timeout(self.connect_timeout)
                        .response_timeout(patience)
                        .build()?;
                    client.get_async_connection().await.map(Link::Cluster)
                }
                Server::Sentinel { .. } => match self.take().await {
                    Ok(Object::Sentinel(object)) => {
                        let mut connection = sentinel::Connection::take(object);
                        connection.set_response_timeout(patience);
                        Ok(Link::Node(connection))
                    }
                    Ok(other) => Ok(other.link()),
                    Err(reason) => Err(redis::RedisError::from(std::io::Error::other(reason))),
                },
            }
        };
        match tokio::time::timeout(self.connect_timeout * 2, connect).await {
            Ok(connected) => connected.map_err(|error| StoreError::redis(action, error)),
            Err(_) => Err(StoreError::timed_out(action)),
        }
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn pool(server: &Server, config: &StoreConfig) -> Result<Pool, StoreError> {
    const ACTION: &str = "prepare the pool of connections";
    let pool_config = PoolConfig {
        max_size: config.pool_size.max(LANES + 1),
        timeouts: Timeouts {
            wait: Some(config.call_timeout),
            create: Some(config.connect_timeout),
            recycle: Some(config.response_timeout),
        },
        ..PoolConfig::default()
    };
    let refused = |source| StoreError::redis(ACTION, source);
    let unbuilt = |_| StoreError::Settings("a pool of connections cannot be made from them");
    match server {
        Server::Single(url) => {
            let connection = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(config.connect_timeout))
                .set_response_timeout(Some(config.response_timeout));
            let manager =
                deadpool_redis::Manager::new_with_config(url.as_str(), connection).map_err(refused)?;
            let pool = deadpool_redis::Pool::builder(manager)
                .config(pool_config)
                .runtime(Runtime::Tokio1);
            Ok(Pool::Single(pool.build().map_err(unbuilt)?))
        }
        Server::Sentinel {
            sentinels,
            service,
            username,
            password,
            database,
            tls,
        } => {
            let node = sentinel::SentinelNodeConnectionInfo {
                tls_mode: tls.then_some(sentinel::TlsMode::Secure),
                redis_connection_info: Some(deadpool_redis::RedisConnectionInfo {
                    db: *database,
                    username: username.clone(),
                    password: password.clone(),
                    ..Default::default()
                }),
            };
            let urls: Vec<&str> = sentinels.iter().map(String::as_str).collect();
            let manager = sentinel::Manager::new(
                urls,
                service.clone(),
                Some(node),
                sentinel::SentinelServerType::Master,
            )
            .map_err(refused)?;
            let pool = sentinel::Pool::builder(manager)
                .config(pool_config)
                .runtime(Runtime::Tokio1);
            Ok(Pool::Sentinel(pool.build().map_err(unbuilt)?))
        }
        Server::Cluster(nodes) => {
            let urls: Vec<&str> = nodes.iter().map(String::as_str).collect();
            let manager = cluster::Manager::new(urls, false).map_err(refused)?;
            let pool = cluster::Pool::builder(manager)
                .config(pool_config)
                .runtime(Runtime::Tokio1);
            Ok(Pool::Cluster(pool.build().map_err(unbuilt)?))
        }
    }
}

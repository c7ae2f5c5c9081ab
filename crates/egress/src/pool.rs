//! Connections: how they are made, kept and let go.
//!
//! Guarantees that however many endpoints there are, no more than [`EgressConfig::connections_max`] connections wait
//! for their next request: a set of connections that has grown to that number is replaced by an empty one, and those
//! of the old set that are in use end with their request.

use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use nuncio_domain::limits::RESPONSE_HEADER_BYTES_MAX;
use url::Url;

use crate::client::{EgressConfig, EgressError};
use crate::connect::{Connector, Means};
use crate::own::OwnAddresses;
use crate::peer::PeerRules;
use crate::proxy::Proxy;
use crate::resolver::GuardedResolver;
use crate::tls;

/// What requests are made with.
pub(crate) type Client = legacy::Client<Connector, Full<Bytes>>;

/// What a connection buffers at most in each direction: a head that is too long by far is not read to its end.
const BUFFER_BYTES: usize = 2 * RESPONSE_HEADER_BYTES_MAX;
/// Bytes of a response that an HTTP/2 stream may send ahead of what is read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes that all streams of an HTTP/2 connection together may send ahead.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How often a busy HTTP/2 connection is asked whether it is alive, so that a dead peer does not fail every stream to come.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long it has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Pool {
    recipe: Recipe,
    connections_max: usize,
    current: RwLock<Generation>,
}

/// One set of connections.
struct Generation {
    client: Client,
    opened: Arc<AtomicUsize>,
}

/// What it takes to make a set of connections.
struct Recipe {
    means: Arc<Means>,
    idle_per_host: usize,
    idle_timeout: Duration,
}

impl Pool {
    /// The pool, the rules for its peers, and how many roots TLS trusts.
    pub(crate) fn new(config: EgressConfig) -> Result<(Self, Arc<PeerRules>, usize), EgressError> {
        let (tls, trusted_roots) = tls::client_config(config.extra_roots.as_deref())?;
        let mut own = config.own;
        let proxy = config
            .proxy
            .map(|url| checked_proxy(&url, &mut own))
            .transpose()?;
        let allow: Arc<[IpNet]> = config.allow.into();
        let rules = Arc::new(PeerRules {
            allow: Arc::clone(&allow),
            own,
        });
        let resolver = GuardedResolver {
            lookup: config.lookup,
            allow,
            proxy_host: proxy.as_ref().and_then(|proxy| proxy.uri().host()).map(Arc::from),
        };
        let user_agent = HeaderValue::try_from(config.user_agent).map_err(EgressError::UserAgent)?;
        let timeout = config.connect_timeout;
        let means = Means::new(tls, Arc::clone(&rules), proxy, user_agent, resolver, timeout);
        let recipe = Recipe {
            means: Arc::new(means),
            idle_per_host: config.idle_per_host,
            idle_timeout: config.idle_timeout,
        };
        let current = RwLock::new(recipe.generation());
        Ok((
            Self {
                recipe,
                connections_max: config.connections_max,
                current,
            },
            rules,
            trusted_roots,
        ))
    }

    /// What the client's requests and connections are made with.
    pub(crate) fn means(&self) -> &Means {
        &self.recipe.means
    }

    /// The client for the next request.
    pub(crate) fn client(&self) -> Client {
        {
            let current = self
                .current
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if !self.is_full(&current) {
                return current.client.clone();
            }
        }
        let mut current = self
            .current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.is_full(&current) {
            *current = self.recipe.generation();
        }
        current.client.clone()
    }

    fn is_full(&self, generation: &Generation) -> bool {
        generation.opened.load(Ordering::Relaxed) >= self.connections_max
    }
}

impl Recipe {
    fn generation(&self) -> Generation {
        let opened = Arc::new(AtomicUsize::new(0));
        let connector = Connector::new(Arc::clone(&self.means), Arc::clone(&opened));
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(BUFFER_BYTES)
            .pool_max_idle_per_host(self.idle_per_host)
            .pool_idle_timeout(self.idle_timeout)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(u32::try_from(RESPONSE_HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector);
        Generation { client, opened }
    }
}

/// The proxy, which from now on is one of Nuncio's own addresses.
fn checked_proxy(url: &Url, own: &mut OwnAddresses) -> Result<Proxy, EgressError> {
    let proxy = Proxy::new(url).ok_or(EgressError::Proxy)?;
    own.add_url(url, proxy.port());
    Ok(proxy)
}

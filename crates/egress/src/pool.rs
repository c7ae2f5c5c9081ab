//! Connections: how they are made, kept and let go.
//!
//! Guarantees that however many endpoints there are, no more than [`EgressConfig::connections_max`] connections wait
//! for their next request: a set of connections that has grown to that number is replaced by an empty one, and those
//! of the old set that are in use end with their request.

use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use nuncio_domain::limits::RESPONSE_HEADER_BYTES_MAX;
use rustls::ClientConfig;
use url::Url;

use crate::client::{EgressConfig, EgressError};
use crate::own::OwnAddresses;
use crate::peer::{CheckPeer, PeerRules};
use crate::resolver::{GuardedResolver, Lookup};
use crate::tls;

/// Bytes of a response that an HTTP/2 stream may send ahead of what is read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes that all streams of an HTTP/2 connection together may send ahead.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How often a busy HTTP/2 connection is asked whether it is alive, so that a dead peer does not fail every stream to come.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long it has to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The port of a SOCKS proxy whose URL names none.
const SOCKS_PORT: u16 = 1080;

pub(crate) struct Pool {
    recipe: Recipe,
    connections_max: usize,
    current: RwLock<Generation>,
}

/// One set of connections.
struct Generation {
    client: reqwest::Client,
    opened: Arc<AtomicUsize>,
}

/// What it takes to make a set of connections.
struct Recipe {
    tls: ClientConfig,
    rules: Arc<PeerRules>,
    lookup: Arc<dyn Lookup>,
    proxy: Option<(Url, reqwest::Proxy)>,
    user_agent: String,
    connect_timeout: Duration,
    idle_per_host: usize,
    idle_timeout: Duration,
}

impl Pool {
    /// The pool, the rules for its peers, and how many roots TLS trusts.
    pub(crate) fn new(config: EgressConfig) -> Result<(Self, Arc<PeerRules>, usize), EgressError> {
        let (tls, trusted_roots) = tls::client_config(config.extra_roots.as_deref())?;
        let allow: Arc<[IpNet]> = config.allow.into();
        let mut own = config.own;
        let proxy = config.proxy.map(|url| checked_proxy(url, &mut own)).transpose()?;
        let rules = Arc::new(PeerRules { allow, own });
        let recipe = Recipe {
            tls,
            rules: Arc::clone(&rules),
            lookup: config.lookup,
            proxy,
            user_agent: config.user_agent,
            connect_timeout: config.connect_timeout,
            idle_per_host: config.idle_per_host,
            idle_timeout: config.idle_timeout,
        };
        let current = RwLock::new(recipe.generation()?);
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

    /// The client for the next request.
    pub(crate) fn client(&self) -> Result<reqwest::Client, EgressError> {
        {
            let current = self
                .current
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if !self.is_full(&current) {
                return Ok(current.client.clone());
            }
        }
        let mut current = self
            .current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.is_full(&current) {
            *current = self.recipe.generation()?;
        }
        Ok(current.client.clone())
    }

    fn is_full(&self, generation: &Generation) -> bool {
        generation.opened.load(Ordering::Relaxed) >= self.connections_max
    }
}

impl Recipe {
    fn generation(&self) -> Result<Generation, EgressError> {
        let opened = Arc::new(AtomicUsize::new(0));
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            // What HTTP/2 says was not processed is sent again, at most twice; that is reqwest's own policy, and all of it.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(self.idle_per_host)
            .pool_idle_timeout(self.idle_timeout)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(u32::try_from(RESPONSE_HEADER_BYTES_MAX).unwrap_or(u32::MAX))
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT);
        let proxy_host = self
            .proxy
            .as_ref()
            .and_then(|(url, _)| url.host_str())
            .map(str::to_owned);
        // Through a proxy the peer is the proxy, which may well be at a private address.
        let rules = self.proxy.is_none().then(|| Arc::clone(&self.rules));
        if let Some((_, proxy)) = &self.proxy {
            builder = builder.proxy(proxy.clone());
        }
        let client = builder
            .connector_layer(CheckPeer {
                rules,
                opened: Arc::clone(&opened),
            })
            .dns_resolver(GuardedResolver {
                lookup: Arc::clone(&self.lookup),
                allow: Arc::clone(&self.rules.allow),
                proxy_host,
            })
            .build()
            .map_err(EgressError::Client)?;
        Ok(Generation { client, opened })
    }
}

/// The proxy, which from now on is one of Nuncio's own addresses.
fn checked_proxy(url: Url, own: &mut OwnAddresses) -> Result<(Url, reqwest::Proxy), EgressError> {
    let known = matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h");
    if !known || url.host_str().is_none() {
        return Err(EgressError::Proxy);
    }
    own.add_url(&url, SOCKS_PORT);
    let proxy = reqwest::Proxy::all(url.clone()).map_err(EgressError::Client)?;
    Ok((url, proxy))
}

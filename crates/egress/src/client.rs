//! The guarded HTTP client: one POST, bounded in every way, and what it met.
//!
//! Guarantees that an attempt ends within its timeout, body included, or right after it when the process was held up
//! meanwhile; that at most [`RESPONSE_BODY_BYTES_MAX`] bytes of a body are read, and a connection with more to come is
//! closed; that nothing is sent again once a byte of the request may have left, unless an HTTP/2 server itself says that
//! it did not look at it.
//! Refuses to decide what follows from an outcome.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;
use nuncio_domain::limits::{RESPONSE_BODY_BYTES_MAX, RESPONSE_HEADER_BYTES_MAX};
use nuncio_domain::{Outcome, Phase, Reason, UnixMillis};
use tokio::time::Instant;
use url::Url;

use crate::endpoint_url::{EndpointUrl, UrlError, check_target};
use crate::failure;
use crate::own::OwnAddresses;
use crate::peer::{PeerRefused, PeerRules};
use crate::pool::Pool;
use crate::resolver::{Lookup, SystemLookup};
use crate::retry_after::retry_after;

/// By how much a timer is late when the process was held up.
const HELD_UP: Duration = Duration::from_millis(200);
/// How long it then takes to read what has come.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How the client behaves for all endpoints.
#[derive(Clone)]
pub struct EgressConfig {
    /// Networks that may be dialled although they are not public.
    pub allow: Vec<IpNet>,
    /// Nuncio's own services, which are never dialled.
    pub own: OwnAddresses,
    /// The operator's HTTP(S) or SOCKS5 proxy; it has to keep endpoints' names away from private addresses itself,
    /// unless it is `socks5://`, for which names are resolved and judged here. The environment's proxies are ignored.
    pub proxy: Option<Url>,
    /// How long a connection may take: DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// The `user-agent` header.
    pub user_agent: String,
    /// Idle connections kept for each host and port.
    pub idle_per_host: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Connections that are opened before all idle ones are let go: the most that can be idle at any time.
    pub connections_max: usize,
    /// A PEM file of certificates to trust beside the system's.
    pub extra_roots: Option<PathBuf>,
    /// Where names are looked up.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            own: OwnAddresses::none(),
            proxy: None,
            connect_timeout: Duration::from_secs(5),
            user_agent: concat!("Nuncio/", env!("CARGO_PKG_VERSION")).to_owned(),
            // Lanes share hosts: what many of them had open at once is to be there when they come again.
            idle_per_host: 256,
            idle_timeout: Duration::from_secs(30),
            connections_max: 16_384,
            extra_roots: None,
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// The extra roots cannot be read.
    #[error("failed to read certificates from {path}")]
    LoadRoots {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file with extra roots has none.
    #[error("no certificate in {path}")]
    NoRoots {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// The proxy's URL cannot be used.
    #[error("the egress proxy must be an http, https, socks5 or socks5h URL with a host")]
    Proxy,
    /// The HTTP client cannot be set up.
    #[error("failed to set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// One request.
#[derive(Debug)]
pub struct Post<'a> {
    /// Where to.
    pub url: &'a EndpointUrl,
    /// All headers but the user agent and those of the protocol.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
    /// How long the attempt may take, the response's body included.
    pub timeout: Duration,
    /// What time it is, for `Retry-After` dates.
    pub now: UnixMillis,
}

/// What came back, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseParts {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's first bytes, at most [`RESPONSE_BODY_BYTES_MAX`].
    pub body: Bytes,
    /// Whether the body had more, or broke off.
    pub truncated: bool,
}

/// What an attempt met, how long it took and what came back.
#[derive(Debug)]
pub struct Attempted {
    /// What it met.
    pub outcome: Outcome,
    /// What came back; also present when the body failed after the head had come.
    pub response: Option<ResponseParts>,
    /// From the first step to the last byte.
    pub duration: Duration,
}

/// The client; cheap to clone, with one pool of connections behind all clones.
#[derive(Clone)]
pub struct HttpClient {
    pool: Arc<Pool>,
    rules: Arc<PeerRules>,
    proxied: bool,
    trusted_roots: usize,
}

impl HttpClient {
    /// Makes a client.
    ///
    /// # Errors
    /// When certificates cannot be read or the proxy's URL is none.
    pub fn new(config: EgressConfig) -> Result<Self, EgressError> {
        let proxied = config.proxy.is_some();
        let (pool, rules, trusted_roots) = Pool::new(config)?;
        Ok(Self {
            pool: Arc::new(pool),
            rules,
            proxied,
            trusted_roots,
        })
    }

    /// How many root certificates are trusted; with none, every `https` endpoint fails.
    #[must_use]
    pub fn trusted_roots(&self) -> usize {
        self.trusted_roots
    }

    /// Posts once and tells what it met; never an error, and never longer than the timeout, but for what a process
    /// that was held up has yet to read.
    ///
    /// Dropping the future closes the connection that it used.
    pub async fn post(&self, post: Post<'_>) -> Attempted {
        let started = Instant::now();
        let mut response = None;
        let exchange = self.exchange(post.url, post.headers, post.body, post.now, &mut response);
        let outcome = within(post.timeout, exchange)
            .await
            .unwrap_or(Outcome::TimedOut(Phase::Response));
        Attempted {
            outcome,
            response: response.map(Received::finish),
            duration: started.elapsed(),
        }
    }

    async fn exchange(
        &self,
        url: &EndpointUrl,
        headers: HeaderMap,
        body: Bytes,
        now: UnixMillis,
        received: &mut Option<Received>,
    ) -> Outcome {
        // The rules may be stricter than when the URL was stored, and the resolver never sees a literal.
        if let Err(error) = check_target(url.as_url(), &self.rules.allow, &self.rules.own) {
            return Outcome::Unreachable(refused_target(&error));
        }
        let mut request = reqwest::Request::new(Method::POST, url.as_url().clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        let client = match self.pool.client() {
            Ok(client) => client,
            Err(error) => return Outcome::Unreachable(Reason::Other(error.to_string())),
        };
        let mut response = match client.execute(request).await {
            Ok(response) => response,
            Err(error) => return failure::outcome(&error, self.proxied),
        };
        if let Err(reason) = self.check_response(&response) {
            return Outcome::Unreachable(reason);
        }
        nuncio_failpoints::hit!("egress::answering");
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let outcome = judge(status, &headers, now);
        let received = received.insert(Received {
            status,
            headers,
            body: Vec::new(),
            truncated: true,
        });
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if received.take(&chunk) => {}
                // More than is kept: dropping the response closes its connection.
                Ok(Some(_)) => return outcome,
                Ok(None) => {
                    received.truncated = false;
                    return outcome;
                }
                Err(error) => return failure::outcome(&error, self.proxied),
            }
        }
    }

    fn check_response(&self, response: &reqwest::Response) -> Result<(), Reason> {
        if self.proxied {
            return if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
                Err(Reason::Proxy)
            } else {
                check_size(response.headers())
            };
        }
        let peer = response.remote_addr().ok_or(Reason::AddressRefused(None))?;
        self.rules.check(peer).map_err(|refused| match refused {
            PeerRefused::Address(refused) => Reason::AddressRefused(Some(refused.address)),
            PeerRefused::Own(_) => Reason::AddressRefused(None),
        })?;
        check_size(response.headers())
    }
}

/// What comes of a future within its time; nothing when that is up.
///
/// A timer that comes late tells that this process was held up, frozen perhaps, and looked at nothing meanwhile. What the
/// server said in time may lie here unread, and whoever takes it for silence delivers twice.
async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let deadline = Instant::now() + time;
    match tokio::time::timeout_at(deadline, &mut future).await {
        Ok(done) => Some(done),
        Err(_) if deadline.elapsed() >= HELD_UP => tokio::time::timeout(LOOK_AGAIN, future).await.ok(),
        Err(_) => None,
    }
}

/// A response while it is read.
struct Received {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    truncated: bool,
}

impl Received {
    /// Keeps what fits; false when something did not.
    fn take(&mut self, chunk: &[u8]) -> bool {
        let room = RESPONSE_BODY_BYTES_MAX - self.body.len();
        self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        chunk.len() <= room
    }

    fn finish(self) -> ResponseParts {
        ResponseParts {
            status: self.status.as_u16(),
            headers: self.headers,
            body: self.body.into(),
            truncated: self.truncated,
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, now: UnixMillis) -> Outcome {
    let value = headers.get(RETRY_AFTER).map(http::HeaderValue::as_bytes);
    match status.as_u16() {
        accepted @ 200..=299 => Outcome::Accepted(accepted),
        410 => Outcome::Gone,
        status => Outcome::Refused {
            status,
            retry_after: retry_after(status, value, now),
        },
    }
}

fn refused_target(error: &UrlError) -> Reason {
    match error {
        UrlError::PrivateAddress(refused) => Reason::AddressRefused(Some(refused.address)),
        UrlError::OwnAddress => Reason::AddressRefused(None),
        _ => Reason::InvalidRequest,
    }
}

fn check_size(headers: &HeaderMap) -> Result<(), Reason> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > RESPONSE_HEADER_BYTES_MAX {
        Err(Reason::Protocol)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_came_while_the_process_was_held_up_is_read_before_it_is_called_late() {
        let answer = async {
            // Nothing is looked at meanwhile, the timer neither, as in a process that is frozen.
            std::thread::sleep(TIME + HELD_UP);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            "it came"
        };
        assert_eq!(within(TIME, answer).await, Some("it came"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_waited_for_as_long_as_was_said() {
        let begun = Instant::now();
        assert_eq!(within(TIME, std::future::pending::<()>()).await, None);
        assert!(begun.elapsed() < TIME + HELD_UP);
    }
}

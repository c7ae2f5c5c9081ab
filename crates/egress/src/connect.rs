//! How a connection is made, from a URL to where HTTP can begin: name, judged addresses, TCP, the operator's proxy, TLS.
//!
//! Guarantees that a connection is made within the connect timeout or not at all, and that before a byte is written to
//! it, the address that it really leads to has been judged once more.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::header::HeaderValue;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{BoxError, Service};

use crate::peer::PeerRules;
use crate::proxy::{Kind, Proxy, at};
use crate::resolver::GuardedResolver;
use crate::stream::{Conn, Peer, Speech, Stream};

/// How often a connection without traffic is asked whether it is alive.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How often that is repeated before the connection is given up.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long bytes of ours may stay unacknowledged.
const UNACKNOWLEDGED_MOST: Duration = Duration::from_secs(30);
const ALPN_HTTP2: &[u8] = b"h2";

/// A connection took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("the connection took too long")]
pub(crate) struct ConnectTimedOut;

/// A URL whose host is no name for TLS.
#[derive(Debug, thiserror::Error)]
#[error("the URL has no host to connect to")]
struct NoHost;

/// What all connections are made with.
pub(crate) struct Means {
    tls: TlsConnector,
    /// For the way to a proxy, on which HTTP/2 is not spoken.
    tls_to_proxy: TlsConnector,
    rules: Arc<PeerRules>,
    proxy: Option<Proxy>,
    user_agent: HeaderValue,
    resolver: GuardedResolver,
    timeout: Duration,
}

impl Means {
    pub(crate) fn new(
        tls: ClientConfig,
        rules: Arc<PeerRules>,
        proxy: Option<Proxy>,
        user_agent: HeaderValue,
        resolver: GuardedResolver,
        timeout: Duration,
    ) -> Self {
        let mut to_proxy = tls.clone();
        to_proxy.alpn_protocols.clear();
        Self {
            tls: Arc::new(tls).into(),
            tls_to_proxy: Arc::new(to_proxy).into(),
            rules,
            proxy,
            user_agent,
            resolver,
            timeout,
        }
    }

    pub(crate) fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    pub(crate) fn user_agent(&self) -> &HeaderValue {
        &self.user_agent
    }
}

/// Makes connections, and counts them.
#[derive(Clone)]
pub(crate) struct Connector {
    means: Arc<Means>,
    tcp: HttpConnector<GuardedResolver>,
    opened: Arc<AtomicUsize>,
}

impl Connector {
    pub(crate) fn new(means: Arc<Means>, opened: Arc<AtomicUsize>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(means.resolver.clone());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(means.timeout));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MOST));
        Self { means, tcp, opened }
    }

    async fn connect(mut self, target: Uri) -> Result<Conn, BoxError> {
        let means = Arc::clone(&self.means);
        let encrypted = target.scheme() == Some(&Scheme::HTTPS);
        let (stream, peer) = match &means.proxy {
            None => self.direct(target.clone()).await?,
            Some(proxy) => self.through(proxy, &target).await?,
        };
        self.opened.fetch_add(1, Ordering::Relaxed);
        if !encrypted {
            let to_proxy = matches!(means.proxy.as_ref().map(Proxy::kind), Some(Kind::Http { .. }));
            let speech = if to_proxy { Speech::OneToProxy } else { Speech::One };
            return Ok(Conn::new(stream, peer, speech));
        }
        let stream = means.tls.connect(server_name(&target)?, stream).await?;
        let speech = match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => Speech::Two,
            _ => Speech::One,
        };
        Ok(Conn::new(Box::new(stream), peer, speech))
    }

    async fn dial(&mut self, target: Uri) -> Result<(TcpStream, SocketAddr), BoxError> {
        let stream = self.tcp.call(target).await?.into_inner();
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }

    async fn direct(&mut self, target: Uri) -> Result<(Stream, Peer), BoxError> {
        let (stream, peer) = self.dial(target).await?;
        self.means.rules.check(peer)?;
        Ok((Box::new(stream), Peer(peer)))
    }

    async fn through(&mut self, proxy: &Proxy, target: &Uri) -> Result<(Stream, Peer), BoxError> {
        let target = match proxy.kind() {
            Kind::Socks { resolves_here } => self.for_socks(target, resolves_here).await?,
            Kind::Http { .. } => target.clone(),
        };
        let (stream, peer) = self.dial(proxy.uri().clone()).await?;
        let mut stream: Stream = Box::new(stream);
        if proxy.kind() == (Kind::Http { tls: true }) {
            let name = server_name(proxy.uri())?;
            stream = Box::new(self.means.tls_to_proxy.connect(name, stream).await?);
        }
        let stream = match proxy.kind() {
            Kind::Socks { .. } => proxy.socks(stream, target).await?,
            Kind::Http { .. } if target.scheme() == Some(&Scheme::HTTPS) => {
                proxy.tunnel(stream, &self.means.user_agent, target).await?
            }
            Kind::Http { .. } => stream,
        };
        Ok((stream, Peer(peer)))
    }

    /// What a SOCKS proxy is asked for: a judged address and a port, or else a name and a port.
    async fn for_socks(&self, target: &Uri, resolves_here: bool) -> Result<Uri, BoxError> {
        let encrypted = target.scheme() == Some(&Scheme::HTTPS);
        let port = target.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let host = target.host().ok_or(NoHost)?;
        if !resolves_here || bare(host).parse::<IpAddr>().is_ok() {
            return Ok(at(&format!("{host}:{port}"))?);
        }
        let addresses = self.means.resolver.judged(host).await?;
        let first = addresses.first().ok_or(NoHost)?;
        Ok(at(&SocketAddr::new(*first, port).to_string())?)
    }
}

impl Service<Uri> for Connector {
    type Response = Conn;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Conn, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let timeout = self.means.timeout;
        let connecting = self.clone().connect(target);
        Box::pin(async move {
            tokio::time::timeout(timeout, connecting)
                .await
                .map_err(|_| ConnectTimedOut)?
        })
    }
}

fn server_name(target: &Uri) -> Result<ServerName<'static>, BoxError> {
    let host = target.host().ok_or(NoHost)?;
    Ok(ServerName::try_from(bare(host).to_owned())?)
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

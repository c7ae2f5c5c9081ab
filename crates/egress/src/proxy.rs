//! The operator's proxy: how a connection gets through it to where it is to lead.
//!
//! Owns the handshakes of `http(s)://` (CONNECT) and `socks5(h)://` proxies, and what they are told about us. Refuses to
//! dial, and to judge addresses.

use std::future::ready;

use http::Uri;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tower::{BoxError, Service, service_fn};
use url::Url;

use crate::stream::Stream;

/// The port of a SOCKS proxy whose URL names none.
const SOCKS_PORT: u16 = 1080;

/// What is spoken with the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP: whole URLs for `http` endpoints, CONNECT for the others.
    Http {
        /// Whether the way to the proxy is encrypted.
        tls: bool,
    },
    /// SOCKS5.
    Socks {
        /// Whether names are resolved, and judged, here.
        resolves_here: bool,
    },
}

/// The operator's proxy.
pub(crate) struct Proxy {
    kind: Kind,
    uri: Uri,
    port: u16,
    basic: Option<HeaderValue>,
    login: Option<(String, String)>,
}

impl Proxy {
    /// Reads a proxy's URL; nothing when it is not one that can be used.
    pub(crate) fn new(url: &Url) -> Option<Self> {
        let kind = match url.scheme() {
            "http" => Kind::Http { tls: false },
            "https" => Kind::Http { tls: true },
            "socks5" => Kind::Socks { resolves_here: true },
            "socks5h" => Kind::Socks { resolves_here: false },
            _ => return None,
        };
        let port = url.port_or_known_default().unwrap_or(SOCKS_PORT);
        let uri = at(&format!("{}:{port}", url.host_str()?)).ok()?;
        let matched = Matcher::builder()
            .all(url.as_str().to_owned())
            .build()
            .intercept(&uri)?;
        let login = matched
            .raw_auth()
            .map(|(user, word)| (user.to_owned(), word.to_owned()));
        Some(Self {
            kind,
            uri,
            port,
            basic: matched.basic_auth().cloned(),
            login,
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the proxy is.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What a plain request to the proxy has to carry as `proxy-authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.basic.as_ref()
    }

    /// Asks an HTTP proxy for a tunnel.
    pub(crate) async fn tunnel(
        &self,
        stream: Stream,
        user_agent: &HeaderValue,
        target: Uri,
    ) -> Result<Stream, BoxError> {
        let mut tunnel = Tunnel::new(self.uri.clone(), once(stream))
            .with_headers(HeaderMap::from_iter([(USER_AGENT, user_agent.clone())]));
        if let Some(basic) = &self.basic {
            tunnel = tunnel.with_auth(basic.clone());
        }
        Ok(tunnel.call(target).await?.into_inner())
    }

    /// Asks a SOCKS5 proxy for a connection.
    pub(crate) async fn socks(&self, stream: Stream, target: Uri) -> Result<Stream, BoxError> {
        let mut socks = SocksV5::new(self.uri.clone(), once(stream));
        if let Some((user, word)) = &self.login {
            socks = socks.with_auth(user.clone(), word.clone());
        }
        Ok(socks.call(target).await?.into_inner())
    }
}

/// A host and port as what a connector is asked for.
pub(crate) fn at(authority: &str) -> Result<Uri, http::Error> {
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query("/")
        .build()
}

/// The connection that is there already, in the shape of a connector.
fn once(stream: Stream) -> impl Service<Uri, Response = TokioIo<Stream>, Error = BoxError, Future = Once> {
    let mut stream = Some(TokioIo::new(stream));
    service_fn(move |_: Uri| {
        ready(
            stream
                .take()
                .ok_or_else(|| BoxError::from("the connection was used")),
        )
    })
}

type Once = std::future::Ready<Result<TokioIo<Stream>, BoxError>>;

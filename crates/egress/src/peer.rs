//! The last check: the address of a connection that was made, before a request is written to it.
//!
//! Guarantees that whatever was decided before, by URL, by name, by connector, no request goes to an address that must
//! not be dialled or that is Nuncio's own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use ipnet::IpNet;
use tower::{BoxError, Layer, Service};

use crate::address::{Refused, refusal};
use crate::own::OwnAddresses;

/// A connection to one of Nuncio's own services.
#[derive(Debug, thiserror::Error)]
#[error("the address is this service's own")]
pub(crate) struct OwnAddressRefused;

/// What both checks of a peer need.
pub(crate) struct PeerRules {
    pub(crate) allow: Arc<[IpNet]>,
    pub(crate) own: OwnAddresses,
}

/// Why a peer is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerRefused {
    #[error(transparent)]
    Address(#[from] Refused),
    #[error(transparent)]
    Own(#[from] OwnAddressRefused),
}

impl PeerRules {
    pub(crate) fn check(&self, peer: std::net::SocketAddr) -> Result<(), PeerRefused> {
        if let Some(refused) = refusal(peer.ip(), &self.allow) {
            return Err(refused.into());
        }
        if self.own.contains_socket(peer.ip(), peer.port()) {
            return Err(OwnAddressRefused.into());
        }
        Ok(())
    }
}

/// Puts the check around a connector, and counts the connections that it makes.
#[derive(Clone)]
pub(crate) struct CheckPeer {
    /// None where the peer is the operator's proxy.
    pub(crate) rules: Option<Arc<PeerRules>>,
    pub(crate) opened: Arc<AtomicUsize>,
}

impl<S> Layer<S> for CheckPeer {
    type Service = CheckedConnector<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CheckedConnector {
            inner,
            check: self.clone(),
        }
    }
}

/// A connector whose connections are checked.
#[derive(Clone)]
pub(crate) struct CheckedConnector<S> {
    inner: S,
    check: CheckPeer,
}

impl<S, R> Service<R> for CheckedConnector<S>
where
    S: Service<R, Error = BoxError>,
    S::Response: Connection,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.inner.call(request);
        let CheckPeer { rules, opened } = self.check.clone();
        Box::pin(async move {
            let connection = connecting.await?;
            opened.fetch_add(1, Ordering::Relaxed);
            let Some(rules) = rules else { return Ok(connection) };
            let mut extras = http::Extensions::new();
            connection.connected().get_extras(&mut extras);
            let peer = extras.get::<HttpInfo>().ok_or(NoPeer)?;
            match rules.check(peer.remote_addr()) {
                Ok(()) => Ok(connection),
                Err(PeerRefused::Address(refused)) => Err(refused.into()),
                Err(PeerRefused::Own(refused)) => Err(refused.into()),
            }
        })
    }
}

/// A connection that does not say where it leads is not used.
#[derive(Debug, thiserror::Error)]
#[error("the connection does not tell its peer's address")]
struct NoPeer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_refused_for_its_address_or_as_our_own_and_no_other_is() {
        let mut own = OwnAddresses::none();
        own.add_socket("203.0.114.7:5672".parse().unwrap());
        own.add_socket("10.1.0.7:6379".parse().unwrap());
        let rules = PeerRules {
            allow: ["10.1.0.0/16".parse().unwrap()].into(),
            own,
        };
        let check = |peer: &str| rules.check(peer.parse().unwrap());
        for private in ["10.2.0.1:443", "127.0.0.1:80", "[::1]:80", "169.254.169.254:80"] {
            assert!(
                matches!(check(private), Err(PeerRefused::Address(_))),
                "{private}"
            );
        }
        for own in ["203.0.114.7:5672", "10.1.0.7:6379"] {
            assert!(matches!(check(own), Err(PeerRefused::Own(_))), "{own}");
        }
        for fine in ["203.0.114.7:443", "10.1.0.7:443", "[2606:4700::1]:443"] {
            assert!(check(fine).is_ok(), "{fine}");
        }
    }
}

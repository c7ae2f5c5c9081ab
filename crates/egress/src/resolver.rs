//! Names to addresses, judged.
//!
//! Guarantees that a name of which any address must not be dialled is not dialled at all, and that what is dialled is
//! what was judged: the connector gets these very addresses, so that a second answer cannot slip in between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use ipnet::IpNet;
use tower::{BoxError, Service};

use crate::address::refusal;
use crate::own::is_localhost;

/// The addresses of a name, when they come.
pub type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A source of addresses for names.
pub trait Lookup: Send + Sync + 'static {
    /// Looks a name up.
    fn lookup(&self, name: &str) -> LookupFuture;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> LookupFuture {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|socket| socket.ip()).collect())
        })
    }
}

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
pub(crate) struct NoAddress(#[source] Option<io::Error>);

/// The resolver that connections are made with.
#[derive(Clone)]
pub(crate) struct GuardedResolver {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) allow: Arc<[IpNet]>,
    /// The operator's proxy, which may be at a private address.
    pub(crate) proxy_host: Option<Arc<str>>,
}

impl GuardedResolver {
    /// The addresses of a name, all of which may be dialled.
    pub(crate) fn judged(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Vec<IpAddr>, BoxError>> + Send + use<> {
        let lookup = self.lookup.lookup(name);
        let allow = Arc::clone(&self.allow);
        let is_proxy = self.proxy_host.as_deref() == Some(name);
        let is_localhost = is_localhost(name);
        async move {
            let mut addresses = lookup.await.map_err(|error| NoAddress(Some(error)))?;
            if !is_proxy {
                if is_localhost {
                    // Loopback by definition: with one of the two families allowed, the other is merely left out.
                    let any_allowed = addresses.iter().any(|ip| refusal(*ip, &allow).is_none());
                    addresses.retain(|ip| !any_allowed || refusal(*ip, &allow).is_none());
                }
                if let Some(refused) = addresses.iter().find_map(|ip| refusal(*ip, &allow)) {
                    return Err(refused.into());
                }
            }
            if addresses.is_empty() {
                return Err(NoAddress(None).into());
            }
            Ok(addresses)
        }
    }
}

/// Addresses for a connector, which adds the port.
type Sockets = std::iter::Map<std::vec::IntoIter<IpAddr>, fn(IpAddr) -> SocketAddr>;

impl Service<Name> for GuardedResolver {
    type Response = Sockets;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Sockets, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let judged = self.judged(name.as_str());
        Box::pin(async move {
            let socket: fn(IpAddr) -> SocketAddr = |ip| SocketAddr::new(ip, 0);
            Ok(judged.await?.into_iter().map(socket))
        })
    }
}

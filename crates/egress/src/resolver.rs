//! Names to addresses, judged.
//!
//! Guarantees that a name of which any address must not be dialled is not dialled at all, and that what is dialled is
//! what was judged: the connector gets these very addresses, so that a second answer cannot slip in between.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

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

/// The name exists but has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
struct NoAddress;

pub(crate) struct GuardedResolver {
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) allow: Arc<[IpNet]>,
    /// The operator's proxy, which may be at a private address.
    pub(crate) proxy_host: Option<String>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup.lookup(name.as_str());
        let allow = Arc::clone(&self.allow);
        let is_proxy = self.proxy_host.as_deref() == Some(name.as_str());
        Box::pin(async move {
            let mut addresses = lookup.await?;
            if !is_proxy {
                if is_localhost(name.as_str()) {
                    // Loopback by definition: with one of the two families allowed, the other is merely left out.
                    let any_allowed = addresses.iter().any(|ip| refusal(*ip, &allow).is_none());
                    addresses.retain(|ip| !any_allowed || refusal(*ip, &allow).is_none());
                }
                if let Some(refused) = addresses.iter().find_map(|ip| refusal(*ip, &allow)) {
                    return Err(refused.into());
                }
            }
            if addresses.is_empty() {
                return Err(NoAddress.into());
            }
            let sockets = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(sockets) as Addrs)
        })
    }
}

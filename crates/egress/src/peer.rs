//! The last check: the address of a connection that was made, before a request is written to it.
//!
//! Guarantees that whatever was decided before, by URL, by name, by connector, no request goes to an address that must
//! not be dialled or that is Nuncio's own.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use nuncio_domain::Reason;

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

impl PeerRefused {
    /// In the domain's words.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Address(refused) => Reason::AddressRefused(Some(refused.address)),
            Self::Own(_) => Reason::AddressRefused(None),
        }
    }
}

impl PeerRules {
    pub(crate) fn check(&self, peer: SocketAddr) -> Result<(), PeerRefused> {
        if let Some(refused) = refusal(peer.ip(), &self.allow) {
            return Err(refused.into());
        }
        if self.own.contains_socket(peer.ip(), peer.port()) {
            return Err(OwnAddressRefused.into());
        }
        Ok(())
    }
}

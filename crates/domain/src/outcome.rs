//! The outcome: what an attempt met.
//!
//! Owns the cases that decisions and people tell apart. Refuses to know HTTP libraries and their errors.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Where the time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// While the connection was made, TLS included.
    Connect,
    /// While the response's head or body was awaited.
    Response,
}

/// Why no response came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The name has no address.
    Dns,
    /// The address is one that must not be dialled.
    AddressRefused(Option<IpAddr>),
    /// Nobody listens there.
    ConnectionRefused,
    /// The connection ended before the response was complete.
    ConnectionReset,
    /// The TLS handshake failed; the text says why (expired, wrong host, unknown issuer …).
    Tls(String),
    /// The configured proxy did not let it through.
    Proxy,
    /// What came was not HTTP, or had more headers than are read.
    Protocol,
    /// The stored URL or headers cannot be used for a request.
    InvalidRequest,
    /// Anything else, in the words of the library.
    Other(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("the host name has no address"),
            Self::AddressRefused(Some(ip)) => {
                write!(f, "the address {ip} is not a public one and was not dialled")
            }
            Self::AddressRefused(None) => f.write_str("the address is not a public one and was not dialled"),
            Self::ConnectionRefused => f.write_str("the connection was refused"),
            Self::ConnectionReset => f.write_str("the connection ended before the response was complete"),
            Self::Tls(detail) => write!(f, "TLS failed: {detail}"),
            Self::Proxy => f.write_str("the proxy did not let the request through"),
            Self::Protocol => f.write_str("the response was not valid HTTP"),
            Self::InvalidRequest => f.write_str("the endpoint's URL or headers cannot be used for a request"),
            Self::Other(detail) => f.write_str(detail),
        }
    }
}

/// What an attempt met.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A 2xx, with the status.
    Accepted(u16),
    /// Any other status but 410.
    Refused {
        /// The status.
        status: u16,
        /// How long the endpoint asked to be left alone (429, 502, 503, 504 only).
        retry_after: Option<Duration>,
    },
    /// 410: the endpoint wants nothing any more.
    Gone,
    /// The time for the attempt ran out.
    TimedOut(Phase),
    /// No response came.
    Unreachable(Reason),
}

impl Outcome {
    /// The response's status, if a response came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Accepted(status) | Self::Refused { status, .. } => Some(*status),
            Self::Gone => Some(410),
            Self::TimedOut(_) | Self::Unreachable(_) => None,
        }
    }

    /// A short name with a bounded number of values, for metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Refused { status, .. } if (300..400).contains(status) => "redirected",
            Self::Refused { status: 429, .. } => "throttled",
            Self::Refused { status, .. } if (400..500).contains(status) => "refused_4xx",
            Self::Refused { .. } => "refused_5xx",
            Self::Gone => "gone",
            Self::TimedOut(Phase::Connect) => "connect_timed_out",
            Self::TimedOut(Phase::Response) => "timed_out",
            Self::Unreachable(Reason::Dns) => "dns_failed",
            Self::Unreachable(Reason::AddressRefused(_)) => "address_refused",
            Self::Unreachable(Reason::ConnectionRefused) => "connection_refused",
            Self::Unreachable(Reason::ConnectionReset) => "connection_reset",
            Self::Unreachable(Reason::Tls(_)) => "tls_failed",
            Self::Unreachable(Reason::Proxy) => "proxy_failed",
            Self::Unreachable(Reason::Protocol) => "invalid_response",
            Self::Unreachable(Reason::InvalidRequest) => "invalid_request",
            Self::Unreachable(Reason::Other(_)) => "unreachable",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(status) | Self::Refused { status, .. } => write!(f, "status {status}"),
            Self::Gone => f.write_str("status 410"),
            Self::TimedOut(Phase::Connect) => f.write_str("timed out while connecting"),
            Self::TimedOut(Phase::Response) => f.write_str("timed out while waiting for the response"),
            Self::Unreachable(reason) => reason.fmt(f),
        }
    }
}

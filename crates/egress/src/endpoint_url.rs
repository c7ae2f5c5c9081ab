//! The URL of an endpoint: read once, by rules, into a canonical form.
//!
//! Guarantees that what is stored is what is dialled: raw bytes are judged before any parser may repair them, and an
//! address in whatever notation is judged as the address it is.
//! Refuses to resolve names: what a name leads to is judged each time it is dialled.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nuncio_domain::limits::URL_BYTES_MAX;
use url::{Host, ParseError, Url};

use crate::address::{Refused, refusal};
use crate::own::{OwnAddresses, is_localhost};

/// Bytes of one label of a host name.
const LABEL_BYTES_MAX: usize = 63;
/// Bytes of a host name.
const HOST_BYTES_MAX: usize = 253;
/// Ports below this one belong to the system's services; of those, only HTTP's are open.
const FIRST_FREE_PORT: u16 = 1024;
/// Ports of message brokers, caches and cluster internals, where a POST could only do harm.
const INTERNAL_PORTS: &[u16] = &[
    2379, 2380, 4369, 5671, 5672, 6379, 10250, 11211, 15672, 16379, 25672, 26379,
];

/// What an endpoint's URL must keep to.
#[derive(Debug, Clone, Default)]
pub struct UrlRules {
    /// Whether `http://` is refused.
    pub https_only: bool,
    /// Networks that may be named although they are not public.
    pub allow: Vec<IpNet>,
    /// Hosts and sockets that must never be endpoints.
    pub own: OwnAddresses,
}

/// Why a text cannot be an endpoint's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing there.
    #[error("the URL is empty")]
    Empty,
    /// Longer than [`URL_BYTES_MAX`].
    #[error("the URL has {0} bytes, the most is {URL_BYTES_MAX}")]
    TooLong(usize),
    /// A byte that URLs do not contain, and that parsers would drop or replace.
    #[error("the URL contains {what} at byte {at}; percent-encode it or leave it out")]
    Character {
        /// What was found.
        what: &'static str,
        /// Where, from 0.
        at: usize,
    },
    /// Not `http` or `https`.
    #[error("the URL must start with `http://` or `https://`{}", found(.0))]
    Scheme(String),
    /// `http` where only `https` is taken.
    #[error("the URL must start with `https://`: plain `http://` is switched off here")]
    HttpsOnly,
    /// Not a URL for another reason.
    #[error("the URL is malformed: {0}")]
    Syntax(String),
    /// A user name or a password before the host.
    #[error("the URL must not contain a user name or password (`@` before the host): use a header instead")]
    Userinfo,
    /// A fragment, which is never sent.
    #[error("the URL must not contain a fragment (`#`): it would never be sent")]
    Fragment,
    /// A port that is no port, or not a port for endpoints.
    #[error("the port {0}")]
    Port(PortError),
    /// A host that cannot be a DNS name or an address.
    #[error("the host {0}")]
    Host(HostError),
    /// An address that is not public.
    #[error("the host cannot be used: {0}")]
    PrivateAddress(Refused),
    /// One of Nuncio's own services.
    #[error("the host and port are this service's own")]
    OwnAddress,
}

/// What is wrong with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a number up to 65535.
    #[error("must be a number from 1 to 65535")]
    Invalid,
    /// Zero.
    #[error("must not be 0")]
    Zero,
    /// Belongs to another kind of service.
    #[error("{0} is not one that endpoints may use: 80, 443 and most ports from {FIRST_FREE_PORT} are")]
    Forbidden(u16),
}

/// What is wrong with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No host.
    #[error("is missing")]
    Missing,
    /// Two dots in a row, or one at the start.
    #[error("has an empty label (two dots in a row, or one at the start)")]
    EmptyLabel,
    /// A label longer than DNS has.
    #[error("has a label of more than {LABEL_BYTES_MAX} bytes")]
    LabelTooLong,
    /// A name longer than DNS has.
    #[error("has more than {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// A character that host names do not have.
    #[error("contains a character that host names do not have")]
    Character,
    /// An address in square brackets or with a number at the end that is none.
    #[error("is not a valid IP address")]
    Address,
}

impl UrlError {
    /// A short name for the kind of mistake, for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty | Self::Character { .. } | Self::Syntax(_) => "url_syntax",
            Self::TooLong(_) => "too_long",
            Self::Scheme(_) => "scheme",
            Self::HttpsOnly => "https_only",
            Self::Userinfo => "userinfo",
            Self::Fragment => "fragment",
            Self::Port(_) => "port",
            Self::Host(_) => "host",
            Self::PrivateAddress(_) => "private_address",
            Self::OwnAddress => "own_address",
        }
    }
}

/// A URL that may be an endpoint's, in canonical form: lower-case punycode host, normal address notation, no default
/// port, no user, no fragment.
///
/// ```
/// use nuncio_egress::{EndpointUrl, UrlRules};
///
/// let url = EndpointUrl::parse("HTTPS://Bücher.example:443/hook?a=1", &UrlRules::default())?;
/// assert_eq!(url.as_str(), "https://xn--bcher-kva.example/hook?a=1");
///
/// let refused = EndpointUrl::parse("http://0x7f.1/", &UrlRules::default()).expect_err("loopback");
/// assert_eq!(refused.kind(), "private_address");
/// assert!(refused.to_string().contains("127.0.0.1"));
/// # Ok::<(), nuncio_egress::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// Reads a URL by the rules.
    ///
    /// # Errors
    /// Names the part that is wrong; nothing is repaired in silence.
    pub fn parse(text: &str, rules: &UrlRules) -> Result<Self, UrlError> {
        check_bytes(text)?;
        let rest = after_scheme(text)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError::Userinfo);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        if authority.is_empty() {
            return Err(UrlError::Host(HostError::Missing));
        }
        let url = Url::parse(text).map_err(parse_error)?;
        check_length(url.as_str())?;
        if let Err(error) = url.as_str().parse::<http::Uri>() {
            return Err(UrlError::Syntax(error.to_string()));
        }
        if rules.https_only && url.scheme() != "https" {
            return Err(UrlError::HttpsOnly);
        }
        check_host_and_port(&url, rules)?;
        Ok(Self(url))
    }

    /// The canonical form, as it is stored and dialled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The parsed URL.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the host or port of `url` is one that must not be dialled; names are judged by name only.
pub(crate) fn check_target(url: &Url, allow: &[IpNet], own: &OwnAddresses) -> Result<(), UrlError> {
    let Some(host) = url.host() else {
        return Err(UrlError::Host(HostError::Missing));
    };
    let port = url
        .port_or_known_default()
        .ok_or(UrlError::Port(PortError::Invalid))?;
    let refused = match host {
        Host::Ipv4(ip) => refusal(IpAddr::V4(ip), allow),
        Host::Ipv6(ip) => refusal(IpAddr::V6(ip), allow),
        Host::Domain(name) if is_localhost(name) => {
            let v4 = refusal(IpAddr::V4(Ipv4Addr::LOCALHOST), allow);
            // One of the two loopbacks is enough: the resolver dials only that one.
            v4.filter(|_| refusal(IpAddr::V6(Ipv6Addr::LOCALHOST), allow).is_some())
        }
        Host::Domain(_) => None,
    };
    if let Some(refused) = refused {
        return Err(UrlError::PrivateAddress(refused));
    }
    if own.contains(&host, port) {
        Err(UrlError::OwnAddress)
    } else {
        Ok(())
    }
}

/// The slash of an empty path does not count: the canonical form has it where the text that was given need not.
fn check_length(text: &str) -> Result<(), UrlError> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    let uncounted = usize::from(path == "/" || path.starts_with("/?"));
    let bytes = text.len() - uncounted;
    if bytes > URL_BYTES_MAX {
        return Err(UrlError::TooLong(bytes));
    }
    Ok(())
}

fn check_bytes(text: &str) -> Result<(), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    check_length(text)?;
    let bad = text.char_indices().find_map(|(at, found)| {
        let what = match found {
            '\t' => "a tab",
            '\r' | '\n' => "a line break",
            '\0' => "a NUL",
            '\\' => "a backslash",
            _ if found.is_control() => "a control character",
            _ if found.is_whitespace() => "a space",
            _ => return None,
        };
        Some(UrlError::Character { what, at })
    });
    bad.map_or(Ok(()), Err)
}

/// What follows `http://` or `https://`.
fn after_scheme(text: &str) -> Result<&str, UrlError> {
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => return Err(UrlError::Scheme(String::new())),
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(UrlError::Scheme(scheme.to_ascii_lowercase()));
    }
    rest.strip_prefix("//")
        .ok_or_else(|| UrlError::Syntax(format!("`//` is missing after `{scheme}:`")))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn found(scheme: &str) -> String {
    if scheme.is_empty() {
        String::new()
    } else {
        format!(", not `{}:`", clipped(scheme))
    }
}

/// The first bytes of an ASCII text, so that a message does not repeat two thousand of them.
fn clipped(ascii: &str) -> &str {
    ascii.get(..32).unwrap_or(ascii)
}

fn parse_error(error: ParseError) -> UrlError {
    match error {
        ParseError::InvalidPort => UrlError::Port(PortError::Invalid),
        ParseError::EmptyHost => UrlError::Host(HostError::Missing),
        ParseError::IdnaError | ParseError::InvalidDomainCharacter => UrlError::Host(HostError::Character),
        ParseError::InvalidIpv4Address | ParseError::InvalidIpv6Address => UrlError::Host(HostError::Address),
        other => UrlError::Syntax(other.to_string()),
    }
}

fn check_host_and_port(url: &Url, rules: &UrlRules) -> Result<(), UrlError> {
    if let Some(Host::Domain(name)) = url.host() {
        check_name(name).map_err(UrlError::Host)?;
    }
    check_target(url, &rules.allow, &rules.own)?;
    match url.port_or_known_default() {
        Some(80 | 443) => Ok(()),
        Some(0) => Err(UrlError::Port(PortError::Zero)),
        Some(port) if port < FIRST_FREE_PORT || INTERNAL_PORTS.contains(&port) => {
            Err(UrlError::Port(PortError::Forbidden(port)))
        }
        Some(_) => Ok(()),
        None => Err(UrlError::Port(PortError::Invalid)),
    }
}

fn check_name(name: &str) -> Result<(), HostError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(HostError::EmptyLabel);
        }
        if label.len() > LABEL_BYTES_MAX {
            return Err(HostError::LabelTooLong);
        }
        if !label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err(HostError::Character);
        }
    }
    Ok(())
}

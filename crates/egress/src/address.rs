//! Which addresses may be dialled.
//!
//! Owns the table of address ranges that are not on the public Internet, or that lead back inside, from the IANA
//! special-purpose registries and the metadata services of clouds.
//! Guarantees that an IPv6 address which carries an IPv4 address is judged by that one too, and that IPv6 is refused
//! unless it is known to be global unicast. Refuses to know names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address that must not be dialled, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub struct Refused {
    /// The address, with an IPv4-mapped one written as the IPv4 address that it is.
    pub address: IpAddr,
    /// What kind of address this is.
    pub range: &'static str,
    /// The IPv4 address that a transition mechanism would lead to.
    pub leads_to: Option<Ipv4Addr>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a public address ({}", self.address, self.range)?;
        if let Some(leads_to) = self.leads_to {
            write!(f, ", it leads to {leads_to}")?;
        }
        f.write_str(")")
    }
}

/// Says why `ip` must not be dialled; nothing when it may be.
///
/// What `allow` contains may be dialled although it is not public. An allowed NAT64 prefix opens the way to public
/// IPv4 addresses only, unless those behind it are allowed as well.
///
/// ```
/// use nuncio_egress::address::refusal;
///
/// assert_eq!(refusal("93.184.215.14".parse()?, &[]), None);
/// let refused = refusal("::ffff:169.254.169.254".parse()?, &[]).expect("link-local");
/// assert_eq!(refused.address, "169.254.169.254".parse::<std::net::IpAddr>()?);
/// assert_eq!(refusal("10.1.2.3".parse()?, &["10.0.0.0/8".parse()?]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn refusal(ip: IpAddr, allow: &[IpNet]) -> Option<Refused> {
    let address = ip.to_canonical();
    let allowed = allow.iter().any(|net| net.contains(&address));
    match address {
        _ if allowed && leads_to_nat64(address).is_none() => None,
        IpAddr::V4(v4) => special_v4(v4).map(|range| Refused {
            address,
            range,
            leads_to: None,
        }),
        IpAddr::V6(v6) => refusal_v6(v6, allowed, allow),
    }
}

fn refusal_v6(v6: Ipv6Addr, allowed: bool, allow: &[IpNet]) -> Option<Refused> {
    let address = IpAddr::V6(v6);
    let leads_to = embedded_v4(v6);
    if allowed {
        // Only a NAT64 prefix comes here: behind it lies an IPv4 address with rules of its own.
        let behind = leads_to.and_then(|v4| refusal(IpAddr::V4(v4), allow))?;
        return Some(Refused {
            address,
            range: behind.range,
            leads_to,
        });
    }
    special_v6(v6).map(|range| Refused {
        address,
        range,
        leads_to,
    })
}

fn leads_to_nat64(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V6(v6) if in_v6(v6, NAT64, 96) || in_v6(v6, NAT64_LOCAL, 48) => embedded_v4(v6),
        IpAddr::V6(_) | IpAddr::V4(_) => None,
    }
}

/// IPv4 ranges that are not public: network, prefix length, name.
const SPECIAL_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        10,
        "shared between carriers and clouds",
    ),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "cloud platform service"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "multicast tunnelling"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "AS112"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
const NAT64_LOCAL: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0);
const TRANSLATED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0);
const SIX_TO_FOUR: Ipv6Addr = Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0);
const TEREDO: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0);
const GLOBAL_UNICAST: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0);

/// IPv6 ranges with a name of their own; those outside `2000::/3` would be refused without it.
const SPECIAL_V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::UNSPECIFIED, 96, "IPv4-compatible"),
    (TRANSLATED, 96, "IPv4-translated"),
    (NAT64, 96, "NAT64"),
    (NAT64_LOCAL, 48, "NAT64"),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "discard-only"),
    (TEREDO, 32, "Teredo"),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "protocol assignments",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "documentation",
    ),
    (SIX_TO_FOUR, 16, "6to4"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112"),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, "6bone"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
    (Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0), 16, "segment routing"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4
        .iter()
        .find(|(network, length, _)| in_v4(ip, *network, *length))
        .map(|(_, _, name)| *name)
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let named = SPECIAL_V6
        .iter()
        .find(|(network, length, _)| in_v6(ip, *network, *length));
    match named {
        Some((_, _, name)) => Some(name),
        None if !in_v6(ip, GLOBAL_UNICAST, 3) => Some("not global unicast"),
        None if isatap(ip).is_some_and(|v4| special_v4(v4).is_some()) => Some("ISATAP"),
        None => None,
    }
}

/// The IPv4 address that an IPv6 address carries for a transition mechanism.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    let v4 = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    if ip.is_unspecified() || ip.is_loopback() {
        None
    } else if in_v6(ip, Ipv6Addr::UNSPECIFIED, 96)
        || in_v6(ip, TRANSLATED, 96)
        || in_v6(ip, NAT64, 96)
        || in_v6(ip, NAT64_LOCAL, 48)
    {
        Some(v4(12))
    } else if in_v6(ip, SIX_TO_FOUR, 16) {
        Some(v4(2))
    } else if in_v6(ip, TEREDO, 32) {
        // The client's address is stored inverted.
        Some(Ipv4Addr::from_bits(!v4(12).to_bits()))
    } else {
        isatap(ip)
    }
}

/// The IPv4 address in an ISATAP interface identifier (`::0:5efe:a.b.c.d` or `::200:5efe:a.b.c.d`).
fn isatap(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., high, low, a, b] = ip.segments();
    let marked = matches!(high, 0 | 0x200) && low == 0x5efe;
    marked.then(|| Ipv4Addr::from_bits(u32::from(a) << 16 | u32::from(b)))
}

fn in_v4(ip: Ipv4Addr, network: Ipv4Addr, length: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    ip.to_bits() & mask == network.to_bits()
}

fn in_v6(ip: Ipv6Addr, network: Ipv6Addr, length: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    ip.to_bits() & mask == network.to_bits()
}

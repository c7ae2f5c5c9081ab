//! Free ports on loopback.
//!
//! Owns the choice of a port that a server can be killed and started on again. Does not reserve: whoever binds later
//! must be ready to lose a race, and tests that need a *dead* port can rely on it being outside the ephemeral range.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::RngExt;

/// Ports below this are left to well-known servers.
const FLOOR: u16 = 10_240;
/// Ports above that which no endpoint may have, so that no receiver may either.
const REFUSED: [u16; 6] = [10_250, 11_211, 15_672, 16_379, 25_672, 26_379];

/// A port on which nothing listens, below the range from which the kernel picks for outgoing connections.
///
/// # Panics
/// When hundreds of random ports in a row are taken.
#[must_use]
pub fn free_port() -> u16 {
    let ceiling = ephemeral_floor();
    let mut rng = rand::rng();
    (0..500)
        .map(|_| rng.random_range(FLOOR..ceiling))
        .filter(|port| !REFUSED.contains(port))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("some port is free on loopback")
}

/// `127.0.0.1` with a [`free_port`].
#[must_use]
pub fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

fn ephemeral_floor() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|floor| *floor > FLOOR + 2_000)
        .unwrap_or(60_000)
}

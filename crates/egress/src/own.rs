//! The addresses that Nuncio itself uses: its broker, its Redis, its own listeners and its proxy.
//!
//! Guarantees that they are never endpoints, even where the allow list opens their network.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::address::refusal;

/// Hosts and sockets that must never be endpoints.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses {
    sockets: Vec<SocketAddr>,
    hosts: Vec<(String, u16)>,
}

impl OwnAddresses {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a socket; one that listens on every interface (`0.0.0.0:8071`) stands for all addresses that are not public.
    pub fn add_socket(&mut self, socket: SocketAddr) {
        self.sockets
            .push(SocketAddr::new(socket.ip().to_canonical(), socket.port()));
    }

    /// Adds a host, which is a name or an address, with its port.
    pub fn add_host(&mut self, host: &str, port: u16) {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>() {
            Ok(ip) => self.add_socket(SocketAddr::new(ip, port)),
            Err(_) => self.hosts.push((normal(host), port)),
        }
    }

    /// Adds the host of a URL of any scheme, with its port or else `default_port`.
    pub fn add_url(&mut self, url: &Url, default_port: u16) {
        if let Some(host) = url.host_str() {
            self.add_host(host, url.port_or_known_default().unwrap_or(default_port));
        }
    }

    /// Whether a connection to this socket would reach Nuncio's own services.
    #[must_use]
    pub fn contains_socket(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        self.sockets.iter().any(|own| {
            let everywhere = own.ip().is_unspecified() && refusal(ip, &[]).is_some();
            own.port() == port
                && (own.ip() == ip || everywhere || (ip.is_unspecified() && own.ip().is_loopback()))
        })
    }

    /// Whether this host and port, as an endpoint's URL has them, are Nuncio's own.
    #[must_use]
    pub fn contains(&self, host: &Host<&str>, port: u16) -> bool {
        match host {
            Host::Ipv4(ip) => self.contains_socket(IpAddr::V4(*ip), port),
            Host::Ipv6(ip) => self.contains_socket(IpAddr::V6(*ip), port),
            Host::Domain(name) => self.contains_name(name, port),
        }
    }

    fn contains_name(&self, name: &str, port: u16) -> bool {
        let name = normal(name);
        let loopback = is_localhost(&name)
            && self
                .sockets
                .iter()
                .any(|own| own.port() == port && (own.ip().is_loopback() || own.ip().is_unspecified()));
        loopback
            || self
                .hosts
                .iter()
                .any(|(own, own_port)| *own_port == port && *own == name)
    }
}

/// Whether a name means this machine by convention, whatever a resolver says.
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = normal(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || matches!(
            name.as_str(),
            "localhost.localdomain" | "ip6-localhost" | "ip6-loopback"
        )
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn own_sockets_are_found_under_every_name_of_this_machine() {
        let mut own = OwnAddresses::none();
        own.add_socket(socket("127.0.0.1:5672"));
        own.add_socket(socket("0.0.0.0:8071"));
        own.add_url(&Url::parse("redis://cache.internal/0").unwrap(), 6379);
        own.add_url(&Url::parse("https://[2606:4700::1]/").unwrap(), 0);
        for (url, expected) in [
            ("http://127.0.0.1:5672/", true),
            ("http://localhost:5672/", true),
            ("http://0.0.0.0:5672/", true),
            ("http://[::ffff:127.0.0.1]:5672/", true),
            ("http://127.0.0.1:5673/", false),
            ("http://127.0.0.9:8071/", true),
            ("http://[::1]:8071/", true),
            ("http://10.0.0.7:8071/", true),
            ("http://LocalHost.:8071/", true),
            ("http://93.184.215.14:8071/", false),
            ("http://cache.internal:6379/", true),
            ("http://CACHE.internal.:6379/", true),
            ("http://cache.internal:80/", false),
            ("https://[2606:4700::1]/", true),
        ] {
            let parsed = Url::parse(url).unwrap();
            let found = own.contains(&parsed.host().unwrap(), parsed.port_or_known_default().unwrap());
            assert_eq!(found, expected, "{url}");
        }
    }
}

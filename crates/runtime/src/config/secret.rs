//! Addresses with credentials in them.
//!
//! Owns the redaction of passwords. Guarantees that neither `Debug` nor `Display` shows one.

use std::fmt;

/// An address that may hold a password: shown without it, used by [`ConnectUrl::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectUrl(String);

impl ConnectUrl {
    /// The address `text`, whatever its form.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole address, for connecting with.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its scheme, such as `amqps`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The hosts that it names, each with its port where it has one; a path to a socket names none.
    #[must_use]
    pub fn hosts(&self) -> Vec<(String, Option<u16>)> {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority
            .split(',')
            .filter(|host| !host.is_empty())
            .map(|host| match host.rsplit_once(':') {
                // A colon inside brackets belongs to an IPv6 address.
                Some((name, port)) if !port.ends_with(']') => (name.to_owned(), port.parse().ok()),
                _ => (host.to_owned(), None),
            })
            .collect()
    }
}

impl fmt::Display for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for ConnectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// `url` with what could be secret replaced by `***`: the password, a user without password, the query.
pub(crate) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    let (rest, query) = match rest.split_once(['?', '#']) {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    match rest.rsplit_once('@') {
        None => format!("{scheme}://{rest}{query}"),
        Some((credentials, rest)) => {
            let user = match credentials.split_once(':') {
                Some((user, _)) => format!("{user}:"),
                None => String::new(),
            };
            format!("{scheme}://{user}***@{rest}{query}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_behind_credentials() {
        let cases = [
            ("amqp://u:p@a:5672/%2f", "a 5672"),
            ("redis://[::1]/0", "[::1]"),
            ("redis://[::1]:6380", "[::1] 6380"),
            ("redis+sentinel://u:p@a:1,b/main", "a 1, b"),
            ("unix:///run/redis.sock", ""),
        ];
        for (url, expected) in cases {
            let hosts = ConnectUrl::new(url).hosts();
            let found: Vec<_> = hosts
                .into_iter()
                .map(|(host, port)| port.map_or(host.clone(), |port| format!("{host} {port}")))
                .collect();
            assert_eq!(found.join(", "), expected, "{url}");
        }
        assert_eq!(ConnectUrl::new("amqps://a").scheme(), "amqps");
    }

    #[test]
    fn passwords_never_show() {
        let cases = [
            (
                "amqp://guest:guest@127.0.0.1:5672/%2f",
                "amqp://guest:***@127.0.0.1:5672/%2f",
            ),
            ("amqp://a:p@ss/w:rd@h/v", "amqp://a:***@h/v"),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://:pw@h:1/0", "redis://:***@h:1/0"),
            (
                "redis+sentinel://pw@h:1,i:2/main/0",
                "redis+sentinel://***@h:1,i:2/main/0",
            ),
            ("rediss://h?password=pw", "rediss://h?***"),
            ("not an address: pw", "***"),
        ];
        for (url, shown) in cases {
            assert_eq!(ConnectUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", ConnectUrl::new(url)), format!("\"{shown}\""));
            assert_eq!(ConnectUrl::new(url).expose(), url);
        }
    }
}

//! Where Redis is.
//!
//! Owns the three forms of an address: one server, Sentinel, Cluster. Refuses to print passwords.

use std::fmt;

use crate::StoreError;

/// Where Redis is.
///
/// | form | meaning |
/// |-|-|
/// | `redis://[user:password@]host[:port][/db]`, `rediss://…` | one server (Redis or Valkey), without or with TLS; `unix:` sockets too |
/// | `redis+sentinel://[user:password@]host[:26379],host…/service[/db]`, `rediss+sentinel://…` | the master that the Sentinels name; user and password are the master's |
/// | `redis+cluster://[user:password@]host[:port],host…`, `rediss+cluster://…` | a Cluster, found through any of these nodes |
#[derive(Clone, PartialEq, Eq)]
pub enum Server {
    /// One server.
    Single(String),
    /// The master that Sentinels name.
    Sentinel {
        /// URLs of the Sentinels.
        sentinels: Vec<String>,
        /// The name of the master.
        service: String,
        /// User of the master.
        username: Option<String>,
        /// Password of the master.
        password: Option<String>,
        /// Database of the master.
        database: i64,
        /// Whether the master is reached by TLS.
        tls: bool,
    },
    /// A Cluster.
    Cluster(Vec<String>),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(_) => f.write_str("Single(…)"),
            Self::Sentinel {
                service, sentinels, ..
            } => {
                write!(f, "Sentinel({service} by {} sentinels)", sentinels.len())
            }
            Self::Cluster(nodes) => write!(f, "Cluster({} seeds)", nodes.len()),
        }
    }
}

impl Server {
    /// The server in `text`.
    ///
    /// # Errors
    /// When it has none of the forms above; the error does not repeat the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = text
            .split_once(':')
            .ok_or(StoreError::Address("it has no scheme such as redis://"))?;
        let authority = rest.strip_prefix("//");
        let tls = scheme.starts_with("rediss");
        match (scheme, authority) {
            ("redis" | "rediss", Some(authority)) if !authority.is_empty() => {
                Ok(Self::Single(text.to_owned()))
            }
            ("unix" | "redis+unix", _) if !rest.is_empty() => Ok(Self::Single(text.to_owned())),
            ("redis+sentinel" | "rediss+sentinel", Some(authority)) => sentinel(authority, tls),
            ("redis+cluster" | "rediss+cluster", Some(authority)) => cluster(authority, tls),
            _ => Err(StoreError::Address(
                "expected redis://, rediss://, redis+sentinel:// or redis+cluster:// and a host",
            )),
        }
    }
}

fn hosts(list: &str) -> Result<Vec<&str>, StoreError> {
    let hosts: Vec<_> = list.split(',').map(str::trim).collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err(StoreError::Address("a host in the list is empty"));
    }
    Ok(hosts)
}

fn sentinel(authority: &str, tls: bool) -> Result<Server, StoreError> {
    const NO_SERVICE: StoreError =
        StoreError::Address("the name of the Sentinel service is missing after the hosts");
    let (user, rest) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, rest)| (Some(user), rest));
    let (list, path) = rest.split_once('/').ok_or(NO_SERVICE)?;
    let (service, database) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(NO_SERVICE);
    }
    let database = match database {
        "" => 0,
        number => number
            .parse()
            .map_err(|_| StoreError::Address("the database is not a number"))?,
    };
    let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        None => (None, None),
        Some((name, password)) => (Some(name).filter(|name| !name.is_empty()), Some(password)),
    };
    Ok(Server::Sentinel {
        sentinels: hosts(list)?
            .into_iter()
            .map(|host| {
                let port = if host
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
                {
                    ""
                } else {
                    ":26379"
                };
                format!("redis://{host}{port}")
            })
            .collect(),
        service: service.to_owned(),
        username: username.map(decoded).transpose()?,
        password: password
            .filter(|password| !password.is_empty())
            .map(decoded)
            .transpose()?,
        database,
        tls,
    })
}

fn cluster(authority: &str, tls: bool) -> Result<Server, StoreError> {
    let scheme = if tls { "rediss" } else { "redis" };
    let (user, list) = match authority.rsplit_once('@') {
        Some((user, list)) => (format!("{user}@"), list),
        None => (String::new(), authority),
    };
    let list = list.trim_end_matches('/');
    Ok(Server::Cluster(
        hosts(list)?
            .into_iter()
            .map(|host| format!("{scheme}://{user}{host}"))
            .collect(),
    ))
}

/// Undoes percent-encoding, which passwords in URLs need.
fn decoded(text: &str) -> Result<String, StoreError> {
    const BAD: StoreError = StoreError::Address("the user or the password is not percent-encoded");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = after
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .ok_or(BAD)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BAD)?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_understood() {
        assert_eq!(
            Server::parse("redis://h:1/2").unwrap(),
            Server::Single("redis://h:1/2".into())
        );
        assert_eq!(
            Server::parse("rediss+cluster://u:p@a:1,b").unwrap(),
            Server::Cluster(vec!["rediss://u:p@a:1".into(), "rediss://u:p@b".into()])
        );
        assert_eq!(
            Server::parse("redis+sentinel://:p%40ss@a,b:7/main/3").unwrap(),
            Server::Sentinel {
                sentinels: vec!["redis://a:26379".into(), "redis://b:7".into()],
                service: "main".into(),
                username: None,
                password: Some("p@ss".into()),
                database: 3,
                tls: false,
            }
        );
    }

    #[test]
    fn other_texts_are_refused_without_being_repeated() {
        for text in [
            "",
            "host",
            "redis:",
            "redis://",
            "http://h",
            "redis+sentinel://a",
            "redis+cluster://a,,b",
            "redis+sentinel://:%zz@a/m",
        ] {
            let error = Server::parse(text).unwrap_err();
            assert!(matches!(error, StoreError::Address(_)), "{text:?}");
        }
        let error = Server::parse("redis+sentinel://u:canary@a").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
    }
}

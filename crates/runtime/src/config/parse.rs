//! Values out of texts.
//!
//! Owns the form of durations, sizes, addresses and choices. Guarantees that what is out of range is no value.
//! Refuses to know keys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::{ConnectUrl, EndpointQueueType, LogFormat, SignatureHeaders};
use crate::telemetry;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;
const KIB: usize = 1_024;
/// Fewest bytes of a main secret.
const MAIN_SECRET_BYTES_MIN: usize = 32;
/// Longest namespace; names of queues have 255 bytes in all.
const NAMESPACE_BYTES_MAX: usize = 64;

/// A duration: whole numbers, each with its unit, such as `500ms`, `15s`, `24h`, `7d`, `1h30m`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, behind) = behind.split_at(letters);
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(MINUTE)?),
            "h" => Duration::from_secs(number.checked_mul(60 * MINUTE)?),
            "d" => Duration::from_secs(number.checked_mul(DAY)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = behind;
    }
    Some(total)
}

/// A size: a whole number and its unit, such as `256KiB`; bytes where there is none.
pub(super) fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => KIB * KIB,
        "GiB" => KIB * KIB * KIB,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

fn duration_within(text: &str, shortest: Duration, longest: Duration) -> Option<Duration> {
    duration(text).filter(|found| (shortest..=longest).contains(found))
}

pub(super) fn positive_duration(text: &str) -> Option<Duration> {
    duration(text).filter(|found| !found.is_zero())
}

pub(super) fn retry_delay(text: &str) -> Option<Duration> {
    duration_within(text, Duration::from_millis(1), Duration::from_secs(7 * DAY))
}

pub(super) fn timeout(text: &str) -> Option<Duration> {
    duration_within(text, Duration::from_millis(1), Duration::from_secs(5 * MINUTE))
}

pub(super) fn retention(text: &str) -> Option<Duration> {
    duration_within(text, Duration::from_secs(MINUTE), Duration::from_secs(366 * DAY))
}

pub(super) fn retry_factor(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|factor| (1.0..=100.0).contains(factor))
}

pub(super) fn retry_attempts(text: &str) -> Option<u16> {
    text.trim()
        .parse()
        .ok()
        .filter(|attempts| (1..=100).contains(attempts))
}

pub(super) fn share(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
}

pub(super) fn endpoint_concurrency(text: &str) -> Option<u16> {
    text.trim()
        .parse()
        .ok()
        .filter(|count| (1..=1_000).contains(count))
}

pub(super) fn sender_concurrency(text: &str) -> Option<u32> {
    text.trim()
        .parse()
        .ok()
        .filter(|count| (1..=100_000).contains(count))
}

pub(super) fn count(text: &str) -> Option<usize> {
    text.trim()
        .parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count))
}

pub(super) fn max_payload(text: &str) -> Option<usize> {
    size(text).filter(|size| (KIB..=16 * KIB * KIB).contains(size))
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

pub(super) fn address(text: &str) -> Option<SocketAddr> {
    text.trim().parse().ok()
}

pub(super) fn namespace(text: &str) -> Option<String> {
    let fits = (1..=NAMESPACE_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    fits.then(|| text.to_owned())
}

pub(super) fn amqp_urls(text: &str) -> Option<Vec<ConnectUrl>> {
    text.split(',')
        .map(|part| connect_url(part, &["amqp", "amqps"]))
        .collect()
}

pub(super) fn redis_url(text: &str) -> Option<ConnectUrl> {
    const ONE: [&str; 2] = ["redis", "rediss"];
    const MANY: [&str; 4] = [
        "redis+sentinel",
        "rediss+sentinel",
        "redis+cluster",
        "rediss+cluster",
    ];
    const SOCKET: [&str; 2] = ["unix", "redis+unix"];
    let text = text.trim();
    let (scheme, rest) = text.split_once("://")?;
    if SOCKET.contains(&scheme) {
        rest.starts_with('/').then(|| ConnectUrl::new(text))
    } else if MANY.contains(&scheme) {
        // Several hosts are no URL: one is taken out to check the rest.
        let (hosts, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, hosts) = hosts.rsplit_once('@').unwrap_or(("", hosts));
        let each = hosts.split(',').all(|host| {
            let alone = if credentials.is_empty() {
                format!("redis://{host}{tail}")
            } else {
                format!("redis://{credentials}@{host}{tail}")
            };
            connect_url(&alone, &ONE).is_some()
        });
        let named = scheme.ends_with("cluster") || tail.trim_matches('/').split('/').next() != Some("");
        (each && named).then(|| ConnectUrl::new(text))
    } else {
        connect_url(text, &ONE)
    }
}

pub(super) fn proxy(text: &str) -> Option<ConnectUrl> {
    connect_url(text, &["http", "https", "socks5", "socks5h"])
}

fn connect_url(text: &str, schemes: &[&str]) -> Option<ConnectUrl> {
    let text = text.trim();
    let url = Url::parse(text).ok()?;
    let fits = schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty());
    fits.then(|| ConnectUrl::new(text))
}

pub(super) fn http_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

pub(super) fn plain_http_url(text: &str) -> Option<Url> {
    let plain = |url: &Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    http_url(text).filter(plain)
}

pub(super) fn main_secret(text: &str) -> Option<SecretString> {
    (text.len() >= MAIN_SECRET_BYTES_MIN).then(|| SecretString::from(text))
}

pub(super) fn main_secrets(text: &str) -> Option<Vec<SecretString>> {
    text.split(',').map(str::trim).map(main_secret).collect()
}

pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect()
}

/// Event types, each with the field by which it is coalesced.
pub(super) fn coalesce(text: &str) -> Option<Vec<(String, String)>> {
    let is_type = |name: &str| {
        (1..=256).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, field) = part.split_once('=')?;
            let (name, field) = (name.trim(), field.trim());
            (is_type(name) && !field.is_empty()).then(|| (name.to_owned(), field.to_owned()))
        })
        .collect()
}

/// Origins as browsers write them: scheme and authority, nothing else.
pub(super) fn origins(text: &str) -> Option<Vec<String>> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let origin = Url::parse(part).ok()?.origin();
            let origin = origin.is_tuple().then(|| origin.ascii_serialization());
            origin.filter(|origin| origin == part.trim_end_matches('/'))
        })
        .collect()
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

pub(super) fn endpoint_queue_type(text: &str) -> Option<EndpointQueueType> {
    match text.trim() {
        "classic" => Some(EndpointQueueType::Classic),
        "quorum" => Some(EndpointQueueType::Quorum),
        _ => None,
    }
}

pub(super) fn signature_headers(text: &str) -> Option<SignatureHeaders> {
    match text.trim() {
        "webhook" => Some(SignatureHeaders::Webhook),
        "svix" => Some(SignatureHeaders::Svix),
        "both" => Some(SignatureHeaders::Both),
        _ => None,
    }
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text.trim() {
        "pretty" => Some(LogFormat::Pretty),
        "json" => Some(LogFormat::Json),
        "auto" => Some(LogFormat::Auto),
        _ => None,
    }
}

pub(super) fn log_filter(text: &str) -> Option<String> {
    telemetry::is_filter(text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        let cases = [
            ("500ms", Some(500)),
            ("15s", Some(15_000)),
            ("24h", Some(86_400_000)),
            ("7d", Some(604_800_000)),
            ("1h30m", Some(5_400_000)),
            ("0s", Some(0)),
            ("15", None),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 s", None),
            ("5weeks", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        let cases = [
            ("262144", Some(262_144)),
            ("262144B", Some(262_144)),
            ("256KiB", Some(262_144)),
            ("256 KiB", Some(262_144)),
            ("1MiB", Some(1_048_576)),
            ("256KB", None),
            ("KiB", None),
            ("-1KiB", None),
            ("99999999999999999GiB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn redis_comes_alone_with_sentinels_or_as_a_cluster() {
        let good = [
            "redis://127.0.0.1:6379/0",
            "rediss://user:pw@redis.example:6380",
            "redis+sentinel://a:26379,b:26379/main/0",
            "redis+sentinel://user:pw@a:26379,b:26379/main",
            "rediss+cluster://:pw@a:6379,b:6379",
            "unix:///run/redis.sock",
        ];
        for text in good {
            assert_eq!(
                redis_url(text).map(|url| url.expose().to_owned()).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "127.0.0.1:6379",
            "http://h",
            "redis+sentinel://a:1,b:2",
            "redis+cluster://a:1,,b:2",
            "redis+cluster://a:x",
        ] {
            assert!(redis_url(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn several_brokers_are_separated_by_commas() {
        let urls = amqp_urls("amqp://a:1/%2f, amqps://b:2").unwrap();
        assert_eq!(
            urls.iter().map(ConnectUrl::expose).collect::<Vec<_>>(),
            ["amqp://a:1/%2f", "amqps://b:2"]
        );
        assert!(amqp_urls("amqp://a,redis://b").is_none());
        assert!(amqp_urls("").is_none());
    }

    #[test]
    fn origins_have_no_path_and_no_wildcard() {
        assert_eq!(origins(""), Some(Vec::new()));
        let two = origins("https://app.example.com, http://127.0.0.1:3000/").unwrap();
        assert_eq!(two, ["https://app.example.com", "http://127.0.0.1:3000"]);
        for text in [
            "*",
            "https://a.example/path",
            "app.example.com",
            "https://a.example; script-src *",
            "data:x",
        ] {
            assert_eq!(origins(text), None, "{text}");
        }
    }

    #[test]
    fn coalesced_types_have_a_field_each() {
        let user = ("sync.user".to_owned(), "userId".to_owned());
        assert_eq!(coalesce(""), Some(Vec::new()));
        assert_eq!(coalesce(" sync.user=userId, "), Some(vec![user]));
        for bad in ["sync.user", "sync.user=", "=userId", "sync user=userId"] {
            assert!(coalesce(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn networks_may_be_none_but_not_nonsense() {
        assert_eq!(networks(""), Some(Vec::new()));
        assert_eq!(networks("127.0.0.0/8, fd00::/8").unwrap().len(), 2);
        assert!(networks("127.0.0.1").is_none());
    }
}

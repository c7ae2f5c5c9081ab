//! The table of keys: name, default, what is expected, what it means.
//!
//! Owns the text that people read about each key. Guarantees that flags, environment, file, errors and reference all
//! spell it alike.
//! Refuses to know how values are parsed.

/// What of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All of it.
    Whole,
    /// An address without its password.
    WithoutPassword,
    /// Nothing.
    Nothing,
}

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file: lower case.
    pub name: &'static str,
    /// The value where none is given.
    pub default: Option<&'static str>,
    /// How the reference describes the default where there is none, or where it follows from another key.
    pub without: &'static str,
    /// What its value must be.
    pub expects: &'static str,
    /// What it is for.
    pub meaning: &'static str,
    pub(crate) shown: Shown,
}

impl Key {
    /// Its name in the environment.
    #[must_use]
    pub fn environment(&self) -> String {
        let upper = self.name.to_ascii_uppercase();
        if self.name.starts_with("otel_") {
            upper
        } else {
            format!("NUNCIO_{upper}")
        }
    }

    /// Its flag without the dashes; a secret has none, because command lines are seen by every user of a machine.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        (self.shown != Shown::Nothing).then(|| self.name.replace('_', "-"))
    }

    /// The key called `name` in the file.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, default: &'static str, expects: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default: Some(default),
        without: "",
        expects,
        meaning,
        shown: Shown::Whole,
    }
}

const fn optional(
    name: &'static str,
    without: &'static str,
    expects: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        default: None,
        without,
        expects,
        meaning,
        shown: Shown::Whole,
    }
}

const fn shown(key: Key, shown: Shown) -> Key {
    Key { shown, ..key }
}

const DURATION: &str = "a duration such as 500ms, 15s, 24h or 7d, longer than nothing";
const RETRY_DELAY: &str = "a duration from 1ms to 7d, such as 5s or 24h";

/// Every key, in the order of the reference.
pub static KEYS: &[Key] = &[
    shown(
        key(
            "amqp_url",
            "amqp://guest:guest@127.0.0.1:5672/%2f",
            "one or more comma-separated addresses that start with amqp:// or amqps://",
            "RabbitMQ 3.10 to 4.x; `amqps://` for TLS; several comma-separated nodes are tried in turn",
        ),
        Shown::WithoutPassword,
    ),
    shown(
        key(
            "redis_url",
            "redis://127.0.0.1:6379/0",
            "an address that starts with redis:// or rediss://, or with redis+sentinel:// or redis+cluster:// \
             (rediss+… for TLS) and comma-separated hosts",
            "Redis 6.2 or newer, or Valkey; `rediss://` for TLS; `redis+sentinel://host1:26379,host2:26379/name/0` for \
             Sentinel; `redis+cluster://host1:6379,host2:6379` for Cluster",
        ),
        Shown::WithoutPassword,
    ),
    key(
        "namespace",
        "nuncio",
        "1 to 64 of a-z A-Z 0-9 _ . -",
        "prefix of every exchange, queue and Redis key: two namespaces share nothing",
    ),
    key(
        "listen",
        "127.0.0.1:8071",
        "an IP address and a port, such as 127.0.0.1:8071 or [::]:8071",
        "where the API, portal and console listen",
    ),
    optional(
        "public_url",
        "`http://<listen>`",
        "an http:// or https:// URL without query or fragment",
        "what portal links start with",
    ),
    key(
        "metrics_listen",
        "127.0.0.1:9464",
        "an IP address and a port, such as 127.0.0.1:9464",
        "where every role serves `/metrics`, `/livez`, `/readyz`",
    ),
    shown(
        optional(
            "main_secret",
            "none: required",
            "a text of at least 32 bytes, such as `openssl rand -base64 33` prints",
            "encrypts endpoint secrets at rest, keys tokens, iterators and cookies; at least 32 bytes",
        ),
        Shown::Nothing,
    ),
    shown(
        optional(
            "main_secret_earlier",
            "none",
            "comma-separated texts of at least 32 bytes",
            "earlier main secrets, comma-separated: still read, never written with",
        ),
        Shown::Nothing,
    ),
    shown(
        optional(
            "token_secret",
            "the main secret",
            "a text of at least 32 bytes, such as `openssl rand -base64 33` prints",
            "keys tokens, iterators and cookies in place of the main secret, so that routers and senders need not know \
             that key; for `api` and `token` alone",
        ),
        Shown::Nothing,
    ),
    shown(
        optional(
            "token_secret_earlier",
            "none",
            "comma-separated texts of at least 32 bytes",
            "earlier token secrets, comma-separated: tokens minted under them are still accepted",
        ),
        Shown::Nothing,
    ),
    key(
        "endpoint_queue_type",
        "classic",
        "classic or quorum",
        "kind of the per-endpoint queues: `classic` (durable) or `quorum`; all others are always quorum",
    ),
    key(
        "retry_first",
        "5s",
        RETRY_DELAY,
        "delay after the first failed attempt",
    ),
    key(
        "retry_factor",
        "4",
        "a number from 1 to 100",
        "by how much each further delay grows: 5 s, 20 s, 80 s …",
    ),
    key(
        "retry_ceiling",
        "24h",
        RETRY_DELAY,
        "longest delay between two attempts",
    ),
    key(
        "retry_attempts",
        "11",
        "a whole number from 1 to 100",
        "attempts in all; with the other defaults spread over 78 hours",
    ),
    key(
        "retry_jitter",
        "0.2",
        "a number from 0 to 1",
        "a delay is stretched at random by up to this share: never early",
    ),
    key(
        "request_timeout",
        "15s",
        "a duration from 1ms to 5m, such as 15s",
        "longest a whole attempt may take, the body included",
    ),
    key(
        "connect_timeout",
        "5s",
        "a duration from 1ms to 5m, such as 5s",
        "longest connecting may take, within the whole attempt",
    ),
    key(
        "endpoint_concurrency",
        "16",
        "a whole number from 1 to 1000",
        "requests in flight per endpoint and sender",
    ),
    key(
        "sender_concurrency",
        "4096",
        "a whole number from 1 to 100000",
        "requests in flight per sender",
    ),
    key(
        "api_concurrency",
        "512",
        "a whole number from 1 to 1000000",
        "requests that the API works on at once; four times as many wait, more are answered 503",
    ),
    key(
        "disable_after",
        "120h",
        DURATION,
        "an endpoint that only failed for so long is disabled, and an operational event says so",
    ),
    key(
        "retention",
        "7d",
        "a duration from 1m to 366d, such as 7d",
        "how long messages and attempts can be seen and replayed",
    ),
    key(
        "coalesce",
        "",
        "comma-separated event types with a field of their payload each, such as sync.user=userId",
        "of events that wait for an endpoint which fails, is paused or does not keep up, send only the last about the same \
         thing: event types, and the payload's field that names the thing, such as \
         `sync.user=userId,sync.organization=organizationId`",
    ),
    key(
        "egress_allow",
        "",
        "comma-separated networks such as 10.1.0.0/16 or fd00::/8",
        "networks that may be dialled although not public",
    ),
    shown(
        optional(
            "egress_proxy",
            "none",
            "an address that starts with http://, https://, socks5:// or socks5h://",
            "proxy for all requests to endpoints; the environment's proxies are ignored",
        ),
        Shown::WithoutPassword,
    ),
    optional(
        "extra_root_ca",
        "none",
        "the path of a PEM file",
        "certificates trusted beside the system's when endpoints are dialled",
    ),
    key(
        "https_only",
        "false",
        "true or false",
        "refuse `http://` endpoint URLs",
    ),
    key(
        "signature_headers",
        "both",
        "webhook, svix or both",
        "id, timestamp and signature headers of a delivery: `webhook`, `svix` or `both` sets",
    ),
    key(
        "portal_frame_ancestors",
        "",
        "comma-separated origins such as https://app.example.com",
        "origins beside Nuncio's own whose pages may show the portal in a frame",
    ),
    key(
        "max_payload",
        "256KiB",
        "a size from 1KiB to 16MiB, such as 256KiB",
        "biggest payload: more is refused (413) or set aside",
    ),
    key(
        "endpoints_per_app_max",
        "100",
        "a whole number from 1 to 1000000",
        "most endpoints of one app",
    ),
    key(
        "attempts_per_endpoint_max",
        "100000",
        "a whole number from 1 to 1000000",
        "most attempts kept of one endpoint, whatever their age",
    ),
    key(
        "shutdown_deadline",
        "20s",
        DURATION,
        "how long a stopping process may finish what is in flight",
    ),
    key(
        "log",
        "info",
        "a tracing filter such as info or warn,nuncio_sender=debug",
        "log filter",
    ),
    key(
        "log_format",
        "auto",
        "pretty, json or auto",
        "`pretty`, `json`, or `auto`: pretty on a terminal, else JSON",
    ),
    optional(
        "otel_exporter_otlp_endpoint",
        "none",
        "an http:// or https:// URL",
        "where traces go, over OTLP/HTTP (`v1/traces` is added), such as `http://127.0.0.1:4318`; without it none are recorded",
    ),
];

//! Configuration: flag before environment before file before default.
//!
//! Owns every key, its default and its meaning. Guarantees that all mistakes are told at once, each with its key and
//! what was expected; that unknown keys are refused; that no secret is printed.
//! Refuses to know what the values are used for.

mod args;
mod keys;
mod layers;
mod mistake;
mod parse;
mod reader;
mod secret;
mod show;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

pub use args::{ConfigArgs, Flags};
pub use keys::{KEYS, Key};
pub use layers::Origin;
pub use mistake::{ConfigError, Mistake};
pub use parse::duration;
pub use secret::ConnectUrl;
pub use show::Setting;

use layers::Layers;
use reader::Reader;

/// Kind of the per-endpoint queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointQueueType {
    /// Durable classic queues: cheap, up to some 50,000 a node.
    Classic,
    /// Quorum queues: replicated, up to some 5,000 a node.
    Quorum,
}

/// Which sets of id, timestamp and signature headers a delivery carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureHeaders {
    /// `webhook-*`.
    Webhook,
    /// `svix-*`.
    Svix,
    /// Both sets.
    Both,
}

/// Shape of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Pretty,
    /// One JSON object a line.
    Json,
    /// Pretty on a terminal, else JSON.
    Auto,
}

/// Whether the command at hand can do without the main secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainSecret {
    /// Its absence is a mistake.
    Required,
    /// It is not used.
    Optional,
}

/// The whole configuration, read and checked. Its `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// RabbitMQ nodes, tried in turn; never empty.
    pub amqp_urls: Vec<ConnectUrl>,
    /// Redis, in any of its forms.
    pub redis_url: ConnectUrl,
    /// Prefix of every exchange, queue and Redis key.
    pub namespace: String,
    /// Where the API, portal and console listen.
    pub listen: SocketAddr,
    /// What portal links start with, where it is not the address listened on.
    pub public_url: Option<Url>,
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub metrics_listen: SocketAddr,
    /// The main secret, then the earlier ones that are still read; empty where it may be missing and is.
    pub main_secrets: Vec<SecretString>,
    /// What keys tokens, iterators and cookies: the token secret and the earlier ones; the main secrets where it has
    /// none of its own.
    pub token_secrets: Vec<SecretString>,
    /// Kind of the per-endpoint queues.
    pub endpoint_queue_type: EndpointQueueType,
    /// First delay of the retry schedule.
    pub retry_first: Duration,
    /// By how much each delay grows.
    pub retry_factor: f64,
    /// Longest delay.
    pub retry_ceiling: Duration,
    /// Most attempts of one run.
    pub retry_attempts: u16,
    /// Share by which a delay is stretched at random.
    pub retry_jitter: f64,
    /// Longest an attempt may take, body included.
    pub request_timeout: Duration,
    /// Longest connecting may take.
    pub connect_timeout: Duration,
    /// Requests in flight per endpoint and sender.
    pub endpoint_concurrency: u16,
    /// Requests in flight per sender.
    pub sender_concurrency: u32,
    /// Requests that the API works on at once.
    pub api_concurrency: usize,
    /// How long an endpoint may only fail before it is disabled.
    pub disable_after: Duration,
    /// How long messages and attempts are kept.
    pub retention: Duration,
    /// Event types that are coalesced, each with the field of the payload that names what an event is about.
    pub coalesce: Vec<(String, String)>,
    /// Networks that may be dialled although not public.
    pub egress_allow: Vec<IpNet>,
    /// Proxy for every request to an endpoint.
    pub egress_proxy: Option<ConnectUrl>,
    /// PEM file of certificates trusted beside the system's when endpoints are dialled.
    pub extra_root_ca: Option<PathBuf>,
    /// Whether `http://` endpoint URLs are refused.
    pub https_only: bool,
    /// Header sets of a delivery.
    pub signature_headers: SignatureHeaders,
    /// Origins beside our own whose pages may show the portal in a frame.
    pub portal_frame_ancestors: Vec<String>,
    /// Bytes of the biggest payload.
    pub max_payload: usize,
    /// Most endpoints of one app.
    pub endpoints_per_app_max: usize,
    /// Most attempts kept of one endpoint.
    pub attempts_per_endpoint_max: usize,
    /// How long a stopping process may finish what is in flight.
    pub shutdown_deadline: Duration,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
    /// Where traces go.
    pub otlp_endpoint: Option<Url>,
    settings: Vec<Setting>,
}

impl Config {
    /// Reads the configuration from `args`, the process's environment and the file that `args` names.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(args: &ConfigArgs, main_secret: MainSecret) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os().filter_map(|(key, value)| {
            let key = key.into_string().ok()?;
            Some((key, value.to_string_lossy().into_owned()))
        });
        Self::from_layers(Layers::read(args, environment), main_secret)
    }

    /// Reads the configuration from `pairs` in the form of environment variables alone.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn from_environment<K, V>(
        pairs: impl IntoIterator<Item = (K, V)>,
        main_secret: MainSecret,
    ) -> Result<Self, ConfigError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let environment = pairs.into_iter().map(|(key, value)| (key.into(), value.into()));
        Self::from_layers(Layers::read(&ConfigArgs::default(), environment), main_secret)
    }

    fn from_layers(layers: Layers, main_secret: MainSecret) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers);
        let mut config = Self {
            amqp_urls: reader.read("amqp_url", parse::amqp_urls),
            redis_url: reader.read("redis_url", parse::redis_url),
            namespace: reader.read("namespace", parse::namespace),
            listen: reader.read("listen", parse::address),
            public_url: reader.read_optional("public_url", parse::plain_http_url),
            metrics_listen: reader.read("metrics_listen", parse::address),
            main_secrets: Vec::new(),
            token_secrets: Vec::new(),
            endpoint_queue_type: reader.read("endpoint_queue_type", parse::endpoint_queue_type),
            retry_first: reader.read("retry_first", parse::retry_delay),
            retry_factor: reader.read("retry_factor", parse::retry_factor),
            retry_ceiling: reader.read("retry_ceiling", parse::retry_delay),
            retry_attempts: reader.read("retry_attempts", parse::retry_attempts),
            retry_jitter: reader.read("retry_jitter", parse::share),
            request_timeout: reader.read("request_timeout", parse::timeout),
            connect_timeout: reader.read("connect_timeout", parse::timeout),
            endpoint_concurrency: reader.read("endpoint_concurrency", parse::endpoint_concurrency),
            sender_concurrency: reader.read("sender_concurrency", parse::sender_concurrency),
            api_concurrency: reader.read("api_concurrency", parse::count),
            disable_after: reader.read("disable_after", parse::positive_duration),
            retention: reader.read("retention", parse::retention),
            coalesce: reader.read("coalesce", parse::coalesce),
            egress_allow: reader.read("egress_allow", parse::networks),
            egress_proxy: reader.read_optional("egress_proxy", parse::proxy),
            extra_root_ca: reader.read_optional("extra_root_ca", parse::path),
            https_only: reader.read("https_only", parse::boolean),
            signature_headers: reader.read("signature_headers", parse::signature_headers),
            portal_frame_ancestors: reader.read("portal_frame_ancestors", parse::origins),
            max_payload: reader.read("max_payload", parse::max_payload),
            endpoints_per_app_max: reader.read("endpoints_per_app_max", parse::count),
            attempts_per_endpoint_max: reader.read("attempts_per_endpoint_max", parse::count),
            shutdown_deadline: reader.read("shutdown_deadline", parse::positive_duration),
            log: reader.read("log", parse::log_filter),
            log_format: reader.read("log_format", parse::log_format),
            otlp_endpoint: reader.read_optional("otel_exporter_otlp_endpoint", parse::plain_http_url),
            settings: Vec::new(),
        };
        let comparable = reader.are_sound(&["retry_first", "retry_ceiling"]);
        if comparable && config.retry_ceiling < config.retry_first {
            reader.expected("retry_ceiling", "a duration not shorter than the first delay");
        }
        let current = reader.read_optional("main_secret", parse::main_secret);
        let earlier = reader.read_optional("main_secret_earlier", parse::main_secrets);
        if current.is_none() && main_secret == MainSecret::Required {
            reader.missing("main_secret");
        }
        config.main_secrets = current.into_iter().chain(earlier.into_iter().flatten()).collect();
        config.token_secrets = match reader.read_optional("token_secret", parse::main_secret) {
            Some(secret) => vec![secret],
            None => config.main_secrets.clone(),
        };
        let earlier = reader.read_optional("token_secret_earlier", parse::main_secrets);
        config.token_secrets.extend(earlier.into_iter().flatten());
        config.settings = reader.finish()?;
        Ok(config)
    }

    /// What portal links start with when the API listens on `bound`.
    #[must_use]
    pub fn public_url_at(&self, bound: SocketAddr) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{bound}"),
        }
    }
}

#[cfg(test)]
mod tests;

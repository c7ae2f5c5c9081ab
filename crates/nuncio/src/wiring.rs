//! The parts that roles share, made from the configuration.
//!
//! Owns the translation of configured values into what each crate asks for, and the order in which shared services start
//! and stop: they outlive the roles, because what a role has in flight still needs them.
//! Refuses to know what the roles do with them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use nuncio_broker::{Broker, BrokerConfig, EndpointQueueType};
use nuncio_domain::{CoalesceFields, EventTypeName, NameError, RetryPolicy};
use nuncio_egress::{EgressConfig, HttpClient, OwnAddresses, UrlRules};
use nuncio_runtime::config;
use nuncio_runtime::{Clock, Config, ConnectUrl, Dice};
use nuncio_store::{Store, StoreConfig};
use nuncio_traces::{Collector, Tracer};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::host;

/// How long shared services may take to end after the roles have: records are flushed meanwhile.
const SERVICES_DEADLINE: Duration = Duration::from_secs(6);
/// Ports that addresses mean when they name none.
const HTTP_PORT: u16 = 80;
const AMQP_PORT: u16 = 5_672;
const AMQPS_PORT: u16 = 5_671;
const REDIS_PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;

/// The retry schedule.
pub(crate) fn retry_policy(config: &Config) -> anyhow::Result<RetryPolicy> {
    RetryPolicy::try_new(
        config.retry_first,
        config.retry_factor,
        config.retry_ceiling,
        config.retry_attempts,
        config.retry_jitter,
    )
    .context("the retry schedule is not one")
}

/// Which event types are coalesced, and by which field.
pub(crate) fn coalesce_fields(config: &Config) -> anyhow::Result<CoalesceFields> {
    let read = |(name, field): &(String, String)| Ok((EventTypeName::parse(name)?, field.clone()));
    let fields: Result<CoalesceFields, NameError> = config.coalesce.iter().map(read).collect();
    fields.context("a coalesced event type has no name that one could have")
}

/// How to reach RabbitMQ for `role`.
pub(crate) fn broker_config(config: &Config, role: &str) -> anyhow::Result<BrokerConfig> {
    let urls = config
        .amqp_urls
        .iter()
        .map(|url| url.expose().to_owned())
        .collect();
    let mut broker = BrokerConfig::new(urls, &config.namespace, format!("{role}@{}", host::name()));
    broker.endpoint_queue_type = match config.endpoint_queue_type {
        config::EndpointQueueType::Classic => EndpointQueueType::Classic,
        config::EndpointQueueType::Quorum => EndpointQueueType::Quorum,
    };
    broker.rungs = retry_policy(config)?.rungs();
    Ok(broker)
}

/// The connections to Redis; none is opened yet.
pub(crate) fn store(config: &Config) -> anyhow::Result<Store> {
    let main_secret = config
        .main_secrets
        .first()
        .cloned()
        .unwrap_or_else(|| SecretString::from(""));
    let mut store = StoreConfig::new(config.redis_url.expose(), &config.namespace, main_secret);
    store.main_secrets.clone_from(&config.main_secrets);
    store.retention = config.retention;
    store.endpoints_per_app_max = config.endpoints_per_app_max;
    store.attempts_per_endpoint_max = config.attempts_per_endpoint_max;
    Store::connect(store).context("failed to set up the store")
}

/// What an endpoint's URL must keep to.
pub(crate) fn url_rules(config: &Config) -> UrlRules {
    UrlRules {
        https_only: config.https_only,
        allow: config.egress_allow.clone(),
        own: own_addresses(config),
    }
}

/// The client that posts deliveries.
pub(crate) fn http_client(config: &Config) -> anyhow::Result<HttpClient> {
    let proxy = config
        .egress_proxy
        .as_ref()
        .map(|proxy| Url::parse(proxy.expose()));
    HttpClient::new(EgressConfig {
        allow: config.egress_allow.clone(),
        own: own_addresses(config),
        proxy: proxy
            .transpose()
            .context("failed to read the egress proxy's address")?,
        connect_timeout: config.connect_timeout,
        user_agent: concat!("Nuncio/", env!("CARGO_PKG_VERSION")).to_owned(),
        idle_per_host: usize::from(config.endpoint_concurrency),
        extra_roots: config.extra_root_ca.clone(),
        ..EgressConfig::default()
    })
    .context("failed to set up the HTTP client")
}

/// What must never be an endpoint, whatever networks are allowed.
fn own_addresses(config: &Config) -> OwnAddresses {
    let mut own = OwnAddresses::none();
    own.add_socket(config.listen);
    own.add_socket(config.metrics_listen);
    for url in config.public_url.iter().chain(&config.otlp_endpoint) {
        own.add_url(url, HTTP_PORT);
    }
    let services = config
        .amqp_urls
        .iter()
        .chain([&config.redis_url])
        .chain(&config.egress_proxy);
    for url in services {
        for (host, port) in url.hosts() {
            own.add_host(&host, port.unwrap_or_else(|| usual_port(url)));
        }
    }
    own
}

fn usual_port(url: &ConnectUrl) -> u16 {
    match url.scheme() {
        "amqp" => AMQP_PORT,
        "amqps" => AMQPS_PORT,
        "http" => HTTP_PORT,
        "https" => 443,
        "socks5" | "socks5h" => 1_080,
        sentinel if sentinel.ends_with("+sentinel") => SENTINEL_PORT,
        _ => REDIS_PORT,
    }
}

/// What records spans of the process `member` as `role`, if there is a collector to send them to.
pub(crate) fn tracer(
    config: &Config,
    role: &str,
    member: &str,
    (clock, dice): (&Clock, &Dice),
    services: &Services,
) -> anyhow::Result<Tracer> {
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok(Tracer::off());
    };
    let collector = Collector {
        endpoint: endpoint.clone(),
        resource: vec![
            ("service.name", "nuncio".to_owned()),
            ("service.namespace", config.namespace.clone()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", member.to_owned()),
            ("host.name", host::name()),
            ("nuncio.role", role.to_owned()),
        ],
    };
    let (clock, dice) = (clock.clone(), dice.clone());
    Tracer::start(collector, clock, dice, &services.tracker, services.stop.clone())
        .context("failed to set up traces")
}

/// The tasks that all roles need until they have ended; cheap to clone.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Services {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn broker(&self, config: BrokerConfig) -> anyhow::Result<Broker> {
        Broker::start(config, &self.tracker, self.stop.clone()).context("failed to set up the broker")
    }

    /// Ends them; whether all did in time.
    pub(crate) async fn end(self) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(SERVICES_DEADLINE, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Where the API can be reached on this machine, for people.
pub(crate) fn shown(bound: SocketAddr) -> String {
    format!("http://{bound}")
}

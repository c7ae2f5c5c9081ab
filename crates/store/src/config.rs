//! What the store needs to be told.
//!
//! Owns the typed settings and their defaults. Refuses to know where they come from.

use std::time::Duration;

use nuncio_domain::limits::ENDPOINTS_PER_APP_MAX;
use secrecy::SecretString;

/// Where Redis is, and how much of what is kept there.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where Redis is: one URL (`redis://`, `rediss://`), or one of the forms in [`Server`](crate::Server).
    pub url: SecretString,
    /// What every key starts with.
    pub namespace: String,
    /// The main secrets: the first seals endpoint secrets, all of them open what was sealed before a rotation.
    pub main_secrets: Vec<SecretString>,
    /// How long messages and attempts are kept.
    pub retention: Duration,
    /// How many endpoints one app may have.
    pub endpoints_per_app_max: usize,
    /// How many attempts are kept of one endpoint, about.
    pub attempts_per_endpoint_max: usize,
    /// How many messages are kept listed of one app, about.
    pub messages_per_app_max: usize,
    /// How many connections one process keeps, at most.
    pub pool_size: usize,
    /// How long one call may take, connecting included, before it fails with [`StoreError::Unavailable`](crate::StoreError).
    pub call_timeout: Duration,
    /// How long the server may take to answer one command or one pipeline.
    pub response_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl StoreConfig {
    /// The defaults, for that server, namespace and main secret.
    #[must_use]
    pub fn new(url: &str, namespace: &str, main_secret: SecretString) -> Self {
        Self {
            url: SecretString::from(url),
            namespace: namespace.to_owned(),
            main_secrets: vec![main_secret],
            retention: Duration::from_secs(7 * 24 * 3_600),
            endpoints_per_app_max: ENDPOINTS_PER_APP_MAX,
            attempts_per_endpoint_max: 100_000,
            messages_per_app_max: 1_000_000,
            pool_size: 8,
            call_timeout: Duration::from_millis(1_500),
            response_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(1),
        }
    }
}

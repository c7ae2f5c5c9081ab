//! The spelling of every key.
//!
//! Owns the key schema. Guarantees that all keys of an app carry its id as hash tag, so that one script may touch them in
//! a Cluster, and that two namespaces share no key.

use nuncio_domain::{AppId, EndpointId, MessageId};

/// Spells keys in one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    namespace: String,
}

macro_rules! global_keys {
    ($($(#[$doc:meta])* $name:ident => $text:literal),* $(,)?) => {
        $($(#[$doc])* pub(crate) fn $name(&self) -> String { format!("{}:{}", self.namespace, $text) })*
    };
}

macro_rules! app_keys {
    ($($(#[$doc:meta])* $name:ident => $text:literal),* $(,)?) => {
        $($(#[$doc])* pub(crate) fn $name(&self, app: &AppId) -> String {
            format!("{}:{{{app}}}:{}", self.namespace, $text)
        })*
    };
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
        }
    }

    global_keys! {
        /// ZSET of app ids, all with score 0, so in lexicographic order, which is that of their creation.
        apps => "apps",
        /// HASH uid → app id.
        app_uids => "apps:uid",
        /// STREAM of changes to apps and endpoints.
        changes => "changes",
        /// STRING, random: another or none means that the store was emptied.
        epoch => "epoch",
        /// STRING, held by the process that restores after the store was emptied.
        restore_lock => "epoch:restoring",
        /// STRING, names the queue by which the broker's data is recognised.
        broker_mark => "broker",
        /// HASH loss → word, what the broker lost and is not made up for.
        losses => "broker:lost",
        /// STRING, held by the process that queues unfinished deliveries again.
        sweep => "broker:sweeping",
        /// HASH app or app and endpoint → since when it is being made or deleted.
        in_doubt => "in-doubt",
        /// HASH name → replay under way.
        replays => "replays",
        /// STRING, held by the process that keeps the journal of configuration.
        journal_keeper => "journal:keeping",
        /// HASH name → event type.
        event_types => "event-types",
        /// STRING, present once the event types of the start were written.
        seeded => "event-types:seeded",
    }

    app_keys! {
        /// STRING, the app's record.
        app => "app",
        /// HASH endpoint → record.
        endpoints => "endpoints",
        /// HASH uid → endpoint id.
        endpoint_uids => "endpoint-uids",
        /// HASH endpoint → sealed secrets.
        secrets => "secrets",
        /// Counter, raised by every change of the app, its endpoints or their secrets.
        version => "version",
        /// STREAM of the app's messages.
        messages => "ms",
        /// ZSET `<message>:<endpoint>` → when the delivery is due.
        unfinished => "unfinished",
        /// STRING, the microsecond of the next start that a throttled app may make.
        pace => "pace",
        /// HASH endpoint → since when it only fails.
        failing => "failing",
    }

    /// ZSET member → heartbeat.
    pub(crate) fn members(&self, role: &str) -> String {
        format!("{}:{role}s", self.namespace)
    }

    /// HASH, a request with an idempotency key: print, draft, who works on it until when; or print and answer.
    pub(crate) fn idempotency(&self, digest: &str) -> String {
        format!("{}:once:{digest}", self.namespace)
    }

    /// What the keys of an app start with; scripts append names of messages to it.
    pub(crate) fn app_prefix(&self, app: &AppId) -> String {
        format!("{}:{{{app}}}:", self.namespace)
    }

    /// HASH, a message's record.
    pub(crate) fn message(&self, app: &AppId, message: &MessageId) -> String {
        format!("{}:{{{app}}}:m:{message}", self.namespace)
    }

    /// STRING, a message's payload.
    pub(crate) fn payload(&self, app: &AppId, message: &MessageId) -> String {
        format!("{}:{{{app}}}:p:{message}", self.namespace)
    }

    /// STRING, the message that an event id became.
    pub(crate) fn event_id(&self, app: &AppId, event_id: &str) -> String {
        format!("{}:{{{app}}}:uid:{event_id}", self.namespace)
    }

    /// STREAM of an endpoint's attempts.
    pub(crate) fn attempts(&self, app: &AppId, endpoint: &EndpointId) -> String {
        format!("{}:{{{app}}}:a:{endpoint}", self.namespace)
    }

    /// HASH key → the latest message about it that was routed to an endpoint.
    pub(crate) fn latest(&self, app: &AppId, endpoint: &EndpointId) -> String {
        format!("{}:{{{app}}}:k:{endpoint}", self.namespace)
    }

    /// HASH of the URLs that an endpoint had while its attempts were made.
    pub(crate) fn urls(&self, app: &AppId, endpoint: &EndpointId) -> String {
        format!("{}:{{{app}}}:u:{endpoint}", self.namespace)
    }

    /// HASH position → attempt whose response was expunged.
    pub(crate) fn expunged(&self, app: &AppId, endpoint: &EndpointId) -> String {
        format!("{}:{{{app}}}:x:{endpoint}", self.namespace)
    }

    /// HASH of an endpoint's counters on one day, as `yyyymmdd`.
    pub(crate) fn statistics(&self, app: &AppId, endpoint: &EndpointId, day: &str) -> String {
        format!("{}:{{{app}}}:s:{endpoint}:{day}", self.namespace)
    }
}

//! The endpoint: a URL that receives.
//!
//! Owns what is known of an endpoint but its secrets, which the store hands out only to those who sign.
//! Refuses to know whether the URL may be dialled: that is egress.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{AppId, Channel, EndpointId, EventTypeName, Uid, UnixMillis};

/// Why an endpoint is disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisabledReason {
    /// A person or a program asked for it.
    Manual,
    /// It answered 410 Gone.
    Gone,
    /// It only failed for longer than the configured time.
    Failing,
}

impl DisabledReason {
    /// The reason in one word, as events and pages show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an endpoint does with its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EndpointState {
    /// It receives.
    #[default]
    Active,
    /// Its messages wait in its queue until it is resumed.
    Paused {
        /// Since when.
        since: UnixMillis,
    },
    /// Nothing is routed to it.
    Disabled {
        /// Since when.
        since: UnixMillis,
        /// Why.
        reason: DisabledReason,
    },
}

/// A URL that receives, and what it wants to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The app it belongs to.
    pub app_id: AppId,
    /// The caller's own id for it, unique in the app.
    pub uid: Option<Uid>,
    /// Where to post, in canonical form.
    pub url: String,
    /// A description for people; empty when there is none.
    pub description: String,
    /// Whether it receives.
    pub state: EndpointState,
    /// A number that the caller may raise when the endpoint's expectations change; kept, not interpreted.
    pub version: u32,
    /// The event types it wants; none means all.
    pub event_types: Option<BTreeSet<EventTypeName>>,
    /// The channels it listens to; none means that channels do not matter.
    pub channels: Option<BTreeSet<Channel>>,
    /// Messages a second that it may be sent; none means no limit.
    pub throttle_rate: Option<u32>,
    /// Its own request headers.
    pub headers: BTreeMap<String, String>,
    /// The caller's own keys and values.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

impl Endpoint {
    /// An active endpoint of which nothing else was said yet, not even where to post.
    #[must_use]
    pub fn blank(app_id: AppId, id: EndpointId, now: UnixMillis) -> Self {
        Self {
            id,
            app_id,
            uid: None,
            url: String::new(),
            description: String::new(),
            state: EndpointState::Active,
            version: 1,
            event_types: None,
            channels: None,
            throttle_rate: None,
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it is disabled.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        matches!(self.state, EndpointState::Disabled { .. })
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.state, EndpointState::Paused { .. })
    }
}

//! The app: one project's webhook configuration.
//!
//! Owns what is known of an app. Refuses to know its endpoints: they point to it.

use std::collections::BTreeMap;

use crate::{AppId, Uid, UnixMillis};

/// One project's webhook configuration, empty until endpoints are added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// The caller's own id for it.
    pub uid: Option<Uid>,
    /// A name for people.
    pub name: String,
    /// Messages a second that the whole app may be sent; none means no limit.
    pub throttle_rate: Option<u32>,
    /// The caller's own keys and values.
    pub metadata: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

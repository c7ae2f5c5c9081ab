//! The six changes of an authentication platform's users and organizations.
//!
//! Owns their two event types and exact bodies. Guarantees that a body holds the type and the id, in this order, and
//! nothing else. Refuses to look into ids: `user_…` and `org_…` of any length, made by the platform.

use nuncio_domain::{Event, EventTypeName};
use serde::Serialize;

/// Something that happened to a user or an organization. Receivers get its id and fetch the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// A user was created.
    UserCreated(String),
    /// A user was updated.
    UserUpdated(String),
    /// A user was deleted.
    UserDeleted(String),
    /// An organization was created.
    OrganizationCreated(String),
    /// An organization was updated.
    OrganizationUpdated(String),
    /// An organization was deleted.
    OrganizationDeleted(String),
}

const USER: &str = "sync.user";
const ORGANIZATION: &str = "sync.organization";

#[derive(Serialize)]
struct UserBody<'a> {
    r#type: &'static str,
    #[serde(rename = "userId")]
    user_id: &'a str,
}

#[derive(Serialize)]
struct OrganizationBody<'a> {
    r#type: &'static str,
    #[serde(rename = "organizationId")]
    organization_id: &'a str,
}

impl Change {
    /// How the six are called on a command line.
    pub const NAMES: [&'static str; 6] = [
        "user-created",
        "user-updated",
        "user-deleted",
        "organization-created",
        "organization-updated",
        "organization-deleted",
    ];

    /// The change called `name`, one of [`NAMES`](Self::NAMES), of the user or organization `id`.
    #[must_use]
    pub fn named(name: &str, id: impl Into<String>) -> Option<Self> {
        let change = match name {
            "user-created" => Self::UserCreated,
            "user-updated" => Self::UserUpdated,
            "user-deleted" => Self::UserDeleted,
            "organization-created" => Self::OrganizationCreated,
            "organization-updated" => Self::OrganizationUpdated,
            "organization-deleted" => Self::OrganizationDeleted,
            _ => return None,
        };
        Some(change(id.into()))
    }

    /// Its event type: `sync.user` or `sync.organization`.
    #[must_use]
    pub fn event_type(&self) -> EventTypeName {
        let name = match self {
            Self::UserCreated(_) | Self::UserUpdated(_) | Self::UserDeleted(_) => USER,
            Self::OrganizationCreated(_) | Self::OrganizationUpdated(_) | Self::OrganizationDeleted(_) => {
                ORGANIZATION
            }
        };
        EventTypeName::parse(name).expect("both names follow the grammar")
    }

    /// Its body: `{"type":"sync.user","userId":"…"}` or `{"type":"sync.organization","organizationId":"…"}`.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let body = match self {
            Self::UserCreated(id) | Self::UserUpdated(id) | Self::UserDeleted(id) => {
                serde_json::to_vec(&UserBody {
                    r#type: USER,
                    user_id: id,
                })
            }
            Self::OrganizationCreated(id) | Self::OrganizationUpdated(id) | Self::OrganizationDeleted(id) => {
                serde_json::to_vec(&OrganizationBody {
                    r#type: ORGANIZATION,
                    organization_id: id,
                })
            }
        };
        body.expect("two texts can be written as JSON")
    }

    /// The event of this change in `app`, an app's id or uid.
    #[must_use]
    pub fn of(&self, app: impl Into<String>) -> Event {
        Event {
            app: app.into(),
            event_type: self.event_type(),
            payload: self.body(),
            event_id: None,
            channels: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_byte_for_byte_those_of_the_contract() {
        for name in Change::NAMES {
            let change = Change::named(name, "some_1Az").unwrap();
            let (event_type, body) = if name.starts_with("user") {
                ("sync.user", r#"{"type":"sync.user","userId":"some_1Az"}"#)
            } else {
                (
                    "sync.organization",
                    r#"{"type":"sync.organization","organizationId":"some_1Az"}"#,
                )
            };
            assert_eq!(change.event_type().as_str(), event_type);
            assert_eq!(String::from_utf8(change.body()).unwrap(), body);
        }
        assert_eq!(Change::named("user-promoted", "user_1"), None);
    }

    #[test]
    fn an_id_cannot_break_out_of_the_body() {
        let body = Change::UserDeleted(r#"u","admin":"1"#.into()).body();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 2);
    }
}

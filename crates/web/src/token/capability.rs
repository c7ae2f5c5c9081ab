//! What a customer's token may do in its app.
//!
//! Owns the capabilities of the Svix API and their implications. Refuses to know which route needs which.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that a customer's token may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Capability {
    /// See endpoints, messages and attempts, but no secret.
    ViewBase,
    /// See endpoint secrets.
    ViewEndpointSecret,
    /// See and rotate endpoint secrets.
    ManageEndpointSecret,
    /// Accepted for the sake of Svix clients; there are no transformations.
    ManageTransformations,
    /// Resend, recover, replay, send examples.
    CreateAttempts,
    /// Create, change and delete endpoints, their secrets and headers.
    ManageEndpoint,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ViewBase,
        Self::ViewEndpointSecret,
        Self::ManageEndpointSecret,
        Self::ManageTransformations,
        Self::CreateAttempts,
        Self::ManageEndpoint,
    ];

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    /// All that a customer may do.
    pub const FULL: Self = Self(0b11_1111);
    /// Looking, but no secrets.
    pub const READ_ONLY: Self = Self(1);

    /// Whether `capability` is among them, by itself or because another one includes it.
    #[must_use]
    pub fn allow(self, capability: Capability) -> bool {
        let included: &[Capability] = match capability {
            Capability::ViewBase => &Capability::ALL,
            Capability::ViewEndpointSecret => &[Capability::ManageEndpointSecret, Capability::ManageEndpoint],
            Capability::ManageEndpointSecret => &[Capability::ManageEndpoint],
            _ => &[],
        };
        self.has(capability) || included.iter().any(|other| self.has(*other))
    }

    /// Those that are in the set by themselves.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |capability| self.has(*capability))
    }

    fn has(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(
            capabilities
                .into_iter()
                .fold(0, |set, capability| set | capability.bit()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managing_endpoints_includes_their_secrets_and_looking_includes_nothing() {
        let manage: Capabilities = [Capability::ManageEndpoint].into_iter().collect();
        for capability in [
            Capability::ViewBase,
            Capability::ViewEndpointSecret,
            Capability::ManageEndpointSecret,
        ] {
            assert!(manage.allow(capability), "{capability:?}");
            assert_eq!(
                Capabilities::READ_ONLY.allow(capability),
                capability == Capability::ViewBase
            );
        }
        assert!(!manage.allow(Capability::CreateAttempts));
        assert!(!Capabilities::default().allow(Capability::ViewBase));
        assert!(
            Capability::ALL
                .into_iter()
                .all(|capability| Capabilities::FULL.allow(capability))
        );
    }

    #[test]
    fn a_set_lists_what_was_put_into_it() {
        let put = [Capability::CreateAttempts, Capability::ViewBase];
        let set: Capabilities = put.into_iter().collect();
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Capability::ViewBase, Capability::CreateAttempts]
        );
        assert_eq!(Capabilities::FULL.iter().count(), Capability::ALL.len());
    }
}

//! Routing: which endpoints of an app want a message, and why the others do not.
//!
//! Owns the one rule that fan-out, the routing explanation and replay share.

use crate::{Channel, Endpoint, EndpointState, EventTypeName};

/// Why an endpoint does or does not get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Routing {
    /// It gets it.
    Matched,
    /// It gets it once it is resumed; until then the message waits in its queue.
    Buffered,
    /// It is disabled.
    Disabled,
    /// It wants other event types.
    OtherEventTypes,
    /// It listens to other channels.
    OtherChannels,
}

impl Routing {
    /// Whether the message goes into the endpoint's queue.
    #[must_use]
    pub fn is_routed(self) -> bool {
        matches!(self, Self::Matched | Self::Buffered)
    }

    /// The reason in words that the API and the portal show.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Buffered => "paused",
            Self::Disabled => "disabled",
            Self::OtherEventTypes => "event_type_filtered",
            Self::OtherChannels => "channel_filtered",
        }
    }
}

/// Whether `endpoint` gets a message of `event_type` on `channels`, and why.
///
/// An endpoint without event types wants all; one with channels wants only messages that share one with it.
#[must_use]
pub fn route(endpoint: &Endpoint, event_type: &EventTypeName, channels: &[Channel]) -> Routing {
    if endpoint.is_disabled() {
        return Routing::Disabled;
    }
    if endpoint
        .event_types
        .as_ref()
        .is_some_and(|wanted| !wanted.contains(event_type))
    {
        return Routing::OtherEventTypes;
    }
    if endpoint
        .channels
        .as_ref()
        .is_some_and(|wanted| !channels.iter().any(|channel| wanted.contains(channel)))
    {
        return Routing::OtherChannels;
    }
    match endpoint.state {
        EndpointState::Paused { .. } => Routing::Buffered,
        _ => Routing::Matched,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppId, DisabledReason, EndpointId, UnixMillis};

    fn endpoint(types: Option<&[&str]>, channels: Option<&[&str]>, state: EndpointState) -> Endpoint {
        let at = UnixMillis(0);
        Endpoint {
            id: EndpointId::parse("ep_1").unwrap(),
            app_id: AppId::parse("app_1").unwrap(),
            uid: None,
            url: "https://example.com/".into(),
            description: String::new(),
            state,
            version: 1,
            event_types: types.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
            channels: channels.map(|names| names.iter().map(|name| name.parse().unwrap()).collect()),
            throttle_rate: None,
            headers: Default::default(),
            metadata: Default::default(),
            created_at: at,
            updated_at: at,
        }
    }

    #[test]
    fn the_first_reason_against_an_endpoint_is_the_one_given() {
        let active = EndpointState::Active;
        let paused = EndpointState::Paused { since: UnixMillis(1) };
        let disabled = EndpointState::Disabled {
            since: UnixMillis(1),
            reason: DisabledReason::Manual,
        };
        type Names = Option<&'static [&'static str]>;
        let cases: [(Names, Names, EndpointState, &[&str], Routing); 10] = [
            (None, None, active, &[], Routing::Matched),
            (None, None, active, &["c"], Routing::Matched),
            (Some(&["sync.user"]), None, active, &[], Routing::Matched),
            (
                Some(&["sync.organization"]),
                None,
                active,
                &[],
                Routing::OtherEventTypes,
            ),
            (Some(&[]), None, active, &[], Routing::OtherEventTypes),
            (None, Some(&["a", "b"]), active, &["b", "c"], Routing::Matched),
            (None, Some(&["a"]), active, &["b"], Routing::OtherChannels),
            (None, Some(&["a"]), active, &[], Routing::OtherChannels),
            (None, None, paused, &[], Routing::Buffered),
            (
                Some(&["sync.organization"]),
                None,
                disabled,
                &[],
                Routing::Disabled,
            ),
        ];
        let user: EventTypeName = "sync.user".parse().unwrap();
        for (types, wanted, state, carried, expected) in cases {
            let carried: Vec<Channel> = carried.iter().map(|name| name.parse().unwrap()).collect();
            let got = route(&endpoint(types, wanted, state), &user, &carried);
            assert_eq!(
                got, expected,
                "types {types:?}, channels {wanted:?}, carried {carried:?}"
            );
        }
    }
}

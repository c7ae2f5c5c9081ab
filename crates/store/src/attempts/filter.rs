//! Which attempts, and which attempted messages, are listed.

use nuncio_domain::{
    Attempt, AttemptStatus, Channel, DeliveryState, DeliveryStatus, EndpointId, EventTypeName, UnixMillis,
};
use nuncio_wire::record::MessageRecord;

/// Which attempts are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptFilter {
    /// Those that ended so.
    pub status: Option<AttemptStatus>,
    /// Those whose response had a status of that class: 2 for 200 to 299, and so on; 0 where no response came.
    pub status_code_class: Option<u16>,
    /// Those of messages of one of these types; empty means all.
    pub event_types: Vec<EventTypeName>,
    /// Those of messages on that channel.
    pub channel: Option<Channel>,
    /// Those to that endpoint (where a message's attempts are listed).
    pub endpoint: Option<EndpointId>,
    /// Those that began before.
    pub before: Option<UnixMillis>,
    /// Those that began then or later.
    pub after: Option<UnixMillis>,
}

impl AttemptFilter {
    pub(super) fn matches(&self, attempt: &Attempt) -> bool {
        let class = attempt.outcome.status().map_or(0, |status| status / 100);
        self.status.is_none_or(|status| attempt.status() == status)
            && self.status_code_class.is_none_or(|wanted| class == wanted)
            && (self.event_types.is_empty() || self.event_types.contains(&attempt.event_type))
            && self.before.is_none_or(|before| attempt.started_at < before)
            && self.after.is_none_or(|after| attempt.started_at >= after)
    }
}

/// Which of the messages that an endpoint was sent are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptedFilter {
    /// Those whose delivery stands so: delivered, failed for good, or waiting for another attempt.
    pub status: Option<DeliveryOutlook>,
    /// Those of one of these types; empty means all.
    pub event_types: Vec<EventTypeName>,
    /// Those on that channel.
    pub channel: Option<Channel>,
    /// Those last attempted before.
    pub before: Option<UnixMillis>,
    /// Those last attempted then or later.
    pub after: Option<UnixMillis>,
}

/// How a delivery stands, in the three words that lists know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOutlook {
    /// A 2xx came.
    Succeeded,
    /// An attempt is to come.
    Waiting,
    /// Nothing more will happen by itself.
    Failed,
}

impl DeliveryOutlook {
    /// The outlook of a delivery in that state.
    #[must_use]
    pub fn of(state: &DeliveryState) -> Self {
        match state.status {
            DeliveryStatus::Delivered => Self::Succeeded,
            status if status.is_final() => Self::Failed,
            _ => Self::Waiting,
        }
    }
}

impl AttemptedFilter {
    pub(super) fn matches(&self, record: &MessageRecord, last: &Attempt) -> bool {
        let state = record
            .deliveries
            .first()
            .and_then(|(_, delivery)| delivery.state());
        let outlook = state.map(|state| DeliveryOutlook::of(&state));
        self.status.is_none_or(|wanted| outlook == Some(wanted))
            && (self.event_types.is_empty() || self.event_types.contains(&record.message.event_type))
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| record.message.channels.contains(channel))
            && self.before.is_none_or(|before| last.started_at < before)
            && self.after.is_none_or(|after| last.started_at >= after)
    }
}

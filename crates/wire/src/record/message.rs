//! A message's record: the fields of one Redis hash, one more per endpoint.
//!
//! Owns the names of the fields. Endpoints' fields are named by the endpoint's id, so no name here may start with `ep_`.

use nuncio_domain::{AppId, EndpointId, Message, MessageId, UnixMillis};

use super::{DeliveryRecord, RecordError};

/// The names of a message's fields.
pub mod field {
    /// The event type.
    pub const EVENT_TYPE: &str = "t";
    /// The caller's own id.
    pub const EVENT_ID: &str = "e";
    /// The channels, separated by commas, which their grammar does not allow.
    pub const CHANNELS: &str = "ch";
    /// When it was published, in milliseconds since the epoch.
    pub const PUBLISHED: &str = "at";
    /// The hash of the body.
    pub const BODY_HASH: &str = "h";
    /// The token of the claim while a router has the message; empty once its fan-out is done.
    pub const CLAIM: &str = "c";
    /// The payload, where it is short and kept as long as the rest; others have a key of their own.
    pub const PAYLOAD: &str = "b";
    /// Present once the API knows that the broker has the message.
    pub const QUEUED: &str = "q";
    /// Present once the payload was expunged on request.
    pub const EXPUNGED: &str = "x";
}

/// A message's record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRecord {
    /// The message.
    pub message: Message,
    /// Whether its fan-out is known to be done.
    pub routed: bool,
    /// Whether its payload was expunged on request.
    pub expunged: bool,
    /// What is known for each endpoint that was there when the message was routed.
    pub deliveries: Vec<(EndpointId, DeliveryRecord)>,
}

impl MessageRecord {
    /// The record in the fields of a hash; nothing when the hash is empty. Unknown fields are ignored.
    ///
    /// # Errors
    /// When a known field holds something unexpected.
    pub fn parse<'a>(
        app_id: &AppId,
        id: &MessageId,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, RecordError> {
        const NOUN: &str = "a message";
        let mut event_type = None;
        let mut published = None;
        let mut event_id = None;
        let mut channels = Vec::new();
        let (mut routed, mut expunged, mut empty) = (false, false, true);
        let mut endpoints = Vec::new();
        for (name, value) in fields {
            empty = false;
            match name {
                field::EVENT_TYPE => {
                    let parsed = value
                        .parse()
                        .map_err(|_| RecordError::field(NOUN, field::EVENT_TYPE))?;
                    event_type = Some(parsed);
                }
                field::PUBLISHED => {
                    let parsed = value
                        .parse()
                        .map_err(|_| RecordError::field(NOUN, field::PUBLISHED))?;
                    published = Some(UnixMillis(parsed));
                }
                field::EVENT_ID => event_id = Some(value.to_owned()),
                field::CHANNELS => {
                    channels = value
                        .split(',')
                        .map(str::parse)
                        .collect::<Result<_, _>>()
                        .map_err(|_| RecordError::field(NOUN, field::CHANNELS))?;
                }
                field::CLAIM => routed = value.is_empty(),
                field::EXPUNGED => expunged = true,
                _ if name.starts_with(EndpointId::PREFIX) => endpoints.push((name, value)),
                _ => {}
            }
        }
        if empty {
            return Ok(None);
        }
        let created_at = published.ok_or(RecordError::field(NOUN, field::PUBLISHED))?;
        let deliveries = endpoints
            .into_iter()
            .filter_map(|(name, value)| {
                let endpoint = EndpointId::parse(name).ok()?;
                Some((endpoint, DeliveryRecord::parse(value, created_at)?))
            })
            .collect();
        Ok(Some(Self {
            message: Message {
                id: id.clone(),
                app_id: app_id.clone(),
                event_id,
                event_type: event_type.ok_or(RecordError::field(NOUN, field::EVENT_TYPE))?,
                channels,
                created_at,
            },
            routed,
            expunged,
            deliveries,
        }))
    }

    /// The fields that do not change, for a script that writes the record.
    #[must_use]
    pub fn fields(message: &Message) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            (field::EVENT_TYPE, message.event_type.as_str().to_owned()),
            (field::PUBLISHED, message.created_at.0.to_string()),
        ];
        if let Some(event_id) = &message.event_id {
            fields.push((field::EVENT_ID, event_id.clone()));
        }
        if !message.channels.is_empty() {
            let names: Vec<_> = message.channels.iter().map(AsRef::as_ref).collect();
            fields.push((field::CHANNELS, names.join(",")));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            id: MessageId::parse("msg_1").unwrap(),
            app_id: AppId::parse("app_1").unwrap(),
            event_id: Some("order, 1".into()),
            event_type: "sync.user".parse().unwrap(),
            channels: vec!["a.b".parse().unwrap(), "c".parse().unwrap()],
            created_at: UnixMillis(5),
        }
    }

    fn read(fields: &[(&str, &str)]) -> Result<Option<MessageRecord>, RecordError> {
        let message = message();
        MessageRecord::parse(&message.app_id, &message.id, fields.iter().copied())
    }

    #[test]
    fn a_message_reads_back_as_it_was_written_and_unknown_fields_are_ignored() {
        let written = MessageRecord::fields(&message());
        let mut fields: Vec<_> = written
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        fields.extend([
            ("ep_1", "d1|0"),
            ("ep_2", "from the future"),
            ("zz", "1"),
            (field::CLAIM, ""),
        ]);
        let record = read(&fields).unwrap().unwrap();
        assert_eq!(record.message, message());
        assert!(record.routed && !record.expunged);
        assert_eq!(record.deliveries.len(), 1, "what cannot be read is left out");
    }

    #[test]
    fn nothing_is_no_message_and_half_a_message_is_an_error() {
        assert_eq!(read(&[]).unwrap(), None);
        let error = read(&[(field::EVENT_TYPE, "a")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the field `at` of a message holds something else than expected"
        );
        assert!(read(&[(field::EVENT_TYPE, "a b"), (field::PUBLISHED, "1")]).is_err());
    }
}

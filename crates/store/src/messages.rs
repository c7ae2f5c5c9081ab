//! Messages: accepted by the API, read, listed, expunged.
//!
//! Owns what is shown of messages, and the two steps by which the API accepts one: written before it is published,
//! forgotten when it could not be.

use std::time::Duration;

use nuncio_domain::{AppId, Channel, EndpointId, EventTypeName, Message, MessageId, UnixMillis};
use nuncio_wire::record::{DeliveryRecord, MessageRecord, field};
use redis::{Cmd, Value};

use crate::claim::encode_hash;
use crate::link::Lane;
use crate::page::{Gathered, Page, PageRequest, Position};
use crate::script::{self, ACCEPT, FORGET};
use crate::store::read;
use crate::stream::{StreamId, Walk};
use crate::{Store, StoreError};

/// What came of accepting a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It is written. Publish it, then [`Store::mark_queued`].
    Accepted,
    /// The event id is known with the same body under that id, but whether the broker has the message is not: publish it
    /// under that id (should the broker have it after all, the router recognises it).
    Unpublished(MessageId),
    /// The event id is taken by that message.
    EventIdTaken(MessageId),
}

/// A message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message.
    pub message: Message,
    /// Whether its fan-out is known to be done.
    pub routed: bool,
    /// Whether its payload was expunged on request.
    pub expunged: bool,
    /// For each endpoint that was there when the message was routed: its delivery, or why there is none. Only where they
    /// were asked for.
    pub deliveries: Vec<(EndpointId, DeliveryRecord)>,
}

impl From<MessageRecord> for StoredMessage {
    fn from(record: MessageRecord) -> Self {
        Self {
            message: record.message,
            routed: record.routed,
            expunged: record.expunged,
            deliveries: record.deliveries,
        }
    }
}

/// Which deliveries are read with messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Deliveries {
    /// None.
    #[default]
    None,
    /// The one to that endpoint.
    Of(EndpointId),
    /// All.
    All,
}

/// Which messages are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageFilter {
    /// Those of one of these types; empty means all.
    pub event_types: Vec<EventTypeName>,
    /// Those on that channel.
    pub channel: Option<Channel>,
    /// Those published before.
    pub before: Option<UnixMillis>,
    /// Those published then or later.
    pub after: Option<UnixMillis>,
    /// Which deliveries are read with them.
    pub deliveries: Deliveries,
}

impl MessageFilter {
    pub(crate) fn matches(&self, message: &Message) -> bool {
        (self.event_types.is_empty() || self.event_types.contains(&message.event_type))
            && self
                .channel
                .as_ref()
                .is_none_or(|channel| message.channels.contains(channel))
            && self.before.is_none_or(|before| message.created_at < before)
            && self.after.is_none_or(|after| message.created_at >= after)
    }
}

impl Store {
    /// Writes a message that is about to be published, with its event id, in one round trip.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn accept_message(
        &self,
        message: &Message,
        payload: &[u8],
        body_hash: &[u8; 16],
        payload_retention: Option<Duration>,
    ) -> Result<Acceptance, StoreError> {
        const ACTION: &str = "accept a message";
        let keys = self.keys();
        let app = &message.app_id;
        let own = [
            keys.message(app, &message.id),
            keys.payload(app, &message.id),
            keys.messages(app),
        ];
        let event_id = message.event_id.as_ref().map(|id| keys.event_id(app, id));
        let names: Vec<&str> = own.iter().chain(&event_id).map(String::as_str).collect();
        let mut fields = MessageRecord::fields(message);
        let separate = self.place_payload(&mut fields, payload, payload_retention);
        let mut cmd = script::call(&ACCEPT, &names);
        cmd.arg(message.id.as_str())
            .arg(keys.app_prefix(app))
            .arg(separate);
        cmd.arg(self.payload_seconds(payload_retention))
            .arg(self.retention_seconds());
        cmd.arg(self.inner.config.messages_per_app_max)
            .arg(encode_hash(body_hash));
        for (name, value) in fields {
            cmd.arg(name).arg(value);
        }
        let answer: Vec<String> = self.one(ACTION, cmd).await?;
        let owner = || {
            let id = answer.get(1).and_then(|id| MessageId::parse(id).ok());
            id.unwrap_or_else(|| message.id.clone())
        };
        Ok(match answer.first().map(String::as_str) {
            Some("U") => Acceptance::Unpublished(owner()),
            Some("T") => Acceptance::EventIdTaken(owner()),
            _ => Acceptance::Accepted,
        })
    }

    /// Notes that the broker has the message. Nobody needs to wait for it.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn mark_queued(&self, app: &AppId, id: &MessageId) -> Result<(), StoreError> {
        let mut cmd = script::call(&script::MARK, &[&self.keys().message(app, id)]);
        cmd.arg(field::QUEUED);
        self.one::<Value>("mark a message as queued", cmd).await?;
        Ok(())
    }

    /// Forgets a message that was accepted but could not be published. One that a router has meanwhile stays.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn forget_message(&self, message: &Message) -> Result<(), StoreError> {
        let keys = self.keys();
        let app = &message.app_id;
        let own = [keys.message(app, &message.id), keys.payload(app, &message.id)];
        let event_id = message.event_id.as_ref().map(|id| keys.event_id(app, id));
        let names: Vec<&str> = own.iter().chain(&event_id).map(String::as_str).collect();
        let mut cmd = script::call(&FORGET, &names);
        cmd.arg(message.id.as_str());
        self.one::<Value>("forget a message", cmd).await?;
        Ok(())
    }

    /// The message with that id or event id, with all its deliveries.
    ///
    /// # Errors
    /// When Redis is away or the record cannot be read.
    pub async fn message(
        &self,
        app: &AppId,
        id_or_event_id: &str,
    ) -> Result<Option<StoredMessage>, StoreError> {
        if let Ok(id) = MessageId::parse(id_or_event_id)
            && let Some(found) = self.message_record(app, &id).await?
        {
            return Ok(Some(found.into()));
        }
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().event_id(app, id_or_event_id));
        let id: Option<String> = self.one("look an event id up", cmd).await?;
        match id.and_then(|id| MessageId::parse(&id).ok()) {
            Some(id) => Ok(self.message_record(app, &id).await?.map(Into::into)),
            None => Ok(None),
        }
    }

    pub(crate) async fn message_record(
        &self,
        app: &AppId,
        id: &MessageId,
    ) -> Result<Option<MessageRecord>, StoreError> {
        let mut records = self
            .message_records(app, std::slice::from_ref(id), &Deliveries::All)
            .await?;
        Ok(records.pop().flatten())
    }

    /// A message's payload; none when it was expunged, has expired, or never was.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn payload(&self, app: &AppId, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let mut payloads = self.payloads(app, std::slice::from_ref(id)).await?;
        Ok(payloads.pop().flatten())
    }

    /// The payloads of some messages, in their order.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn payloads(&self, app: &AppId, ids: &[MessageId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        const ACTION: &str = "read payloads";
        let group = ids.iter().flat_map(|id| {
            let mut short = redis::cmd("HGET");
            short.arg(self.keys().message(app, id)).arg(field::PAYLOAD);
            let mut long = redis::cmd("GET");
            long.arg(self.keys().payload(app, id));
            [short, long]
        });
        let mut values = self
            .group(Lane::Calls, ACTION, group.collect())
            .await?
            .into_iter();
        let mut payloads = Vec::with_capacity(ids.len());
        for _ in ids {
            let short: Option<Vec<u8>> = read(ACTION, values.next())?;
            let long: Option<Vec<u8>> = read(ACTION, values.next())?;
            payloads.push(short.or(long));
        }
        Ok(payloads)
    }

    /// Deletes a message's payload for good and notes that it was on request. Answers whether the message is kept.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn expunge_payload(&self, app: &AppId, id: &MessageId) -> Result<bool, StoreError> {
        const ACTION: &str = "expunge a payload";
        let mut mark = script::call(&script::MARK, &[&self.keys().message(app, id)]);
        mark.arg(field::EXPUNGED);
        let mut delete = redis::cmd("DEL");
        delete.arg(self.keys().payload(app, id));
        let mut clear = redis::cmd("HDEL");
        clear.arg(self.keys().message(app, id)).arg(field::PAYLOAD);
        let values = self.group(Lane::Calls, ACTION, vec![mark, delete, clear]).await?;
        read(ACTION, values.into_iter().next())
    }

    /// A page of an app's messages.
    ///
    /// # Errors
    /// When Redis is away, a record cannot be read, or the position is not one of this list.
    pub async fn list_messages(
        &self,
        app: &AppId,
        filter: &MessageFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredMessage>, StoreError> {
        let mut walk = Walk::new(self.keys().messages(app), request, filter.after, filter.before)?;
        let mut page = Gathered::new(request.limit);
        let position = |at: StreamId| Position(at.to_string());
        while let Some(entries) = walk.next(self, "list messages").await? {
            let (places, ids): (Vec<StreamId>, Vec<MessageId>) = entries
                .iter()
                .filter_map(|(place, id)| Some((*place, MessageId::parse(id).ok()?)))
                .unzip();
            let records = self.message_records(app, &ids, &filter.deliveries).await?;
            for (place, record) in places.into_iter().zip(records) {
                // Listed but not kept: it was forgotten, or is about to expire.
                let matching = record
                    .filter(|record| filter.matches(&record.message))
                    .map(StoredMessage::from);
                if !page.offer(place, matching) {
                    return Ok(page.finish(request, true, position));
                }
            }
        }
        Ok(page.finish(request, walk.has_more(), position))
    }

    /// The records of some messages, in their order.
    pub(crate) async fn message_records(
        &self,
        app: &AppId,
        ids: &[MessageId],
        deliveries: &Deliveries,
    ) -> Result<Vec<Option<MessageRecord>>, StoreError> {
        const ACTION: &str = "read messages";
        let names = match deliveries {
            Deliveries::All => Vec::new(),
            Deliveries::None => FIELDS.to_vec(),
            Deliveries::Of(endpoint) => FIELDS.iter().copied().chain([endpoint.as_str()]).collect(),
        };
        let group = ids
            .iter()
            .map(|id| self.read_message_cmd(app, id, &names))
            .collect();
        let values = self.group(Lane::Calls, ACTION, group).await?;
        ids.iter()
            .zip(values)
            .map(|(id, value)| {
                let fields: Vec<(String, String)> = if names.is_empty() {
                    read(ACTION, Some(value))?
                } else {
                    let values: Vec<Option<String>> = read(ACTION, Some(value))?;
                    let named = names.iter().zip(values);
                    named
                        .filter_map(|(name, value)| Some(((*name).to_owned(), value?)))
                        .collect()
                };
                let pairs = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                MessageRecord::parse(app, id, pairs).map_err(StoreError::record(id.as_str()))
            })
            .collect()
    }

    fn read_message_cmd(&self, app: &AppId, id: &MessageId, names: &[&str]) -> Cmd {
        let key = self.keys().message(app, id);
        if names.is_empty() {
            let mut cmd = redis::cmd("HGETALL");
            cmd.arg(key);
            return cmd;
        }
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(key).arg(names);
        cmd
    }
}

/// The fields that say what a message is, without its deliveries.
const FIELDS: &[&str] = &[
    field::EVENT_TYPE,
    field::PUBLISHED,
    field::EVENT_ID,
    field::CHANNELS,
    field::CLAIM,
    field::EXPUNGED,
];

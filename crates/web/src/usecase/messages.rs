//! Messages: accepted, shown, expunged.
//!
//! Guarantees that a message that was accepted is confirmed by the broker, that its payload is the caller's bytes, that
//! it can be read at once, and that the same request again (by its idempotency key) is the same message.

use std::time::Duration;

use nuncio_domain::limits::CHANNELS_MAX;
use nuncio_domain::{App, Channel, Event, EventTypeName, Message, MessageId};
use nuncio_producer::{Extras, TraceContext};
use nuncio_store::{
    Acceptance, AcceptedOnce, MessageFilter, Once, Page, PageRequest, StoredMessage, body_hash,
};
use sha2::{Digest, Sha256};

use super::apps::AppDraft;
use super::refusal::{Complaints, Noun, Outcome, Refusal};
use super::{UseCases, broker, check, store, trace};
use crate::json::check_json_object;

const VALUE: &str = "value_error";
const DAY: Duration = Duration::from_secs(24 * 3_600);
const HOUR: Duration = Duration::from_secs(3_600);
/// The longest that a payload's retention may be asked to be.
const RETENTION_DAYS_MAX: u64 = 90;

/// An event as a caller describes it.
#[derive(Debug, Default)]
pub struct MessageDraft {
    /// Its type.
    pub event_type: String,
    /// The JSON text, to be delivered byte for byte.
    pub payload: Option<String>,
    /// The caller's own id.
    pub event_id: Option<String>,
    /// Channels that endpoints may filter on.
    pub channels: Option<Vec<String>>,
    /// How long the payload is kept.
    pub payload_retention_days: Option<u64>,
    /// How long the payload is kept; goes before the days.
    pub payload_retention_hours: Option<u64>,
    /// An app to make, where there is none yet.
    pub application: Option<AppDraft>,
    /// Whether it was asked to be delivered later.
    pub deliver_at: bool,
    /// The caller's trace.
    pub trace: TraceContext,
}

/// A draft that was checked.
struct Checked {
    event_type: EventTypeName,
    payload: String,
    event_id: Option<String>,
    channels: Vec<Channel>,
    payload_retention: Option<Duration>,
    trace: TraceContext,
}

/// A message that was accepted, with its payload.
#[derive(Debug)]
pub struct Accepted {
    /// The message.
    pub message: Message,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A request's own name for itself, and who makes it: the same pair is the same request.
#[derive(Debug, Clone)]
pub struct RequestKey {
    /// A digest of the caller and the key.
    pub digest: String,
}

impl UseCases {
    /// Accepts an event for the app with that id or uid, and answers once the broker has confirmed it.
    ///
    /// # Errors
    /// When fields cannot be accepted, the event id is taken, or the store or the broker are away. What was not
    /// confirmed may be asked for again under the same request key: it is the same message then.
    pub async fn send(
        &self,
        id_or_uid: &str,
        mut draft: MessageDraft,
        request: Option<&RequestKey>,
    ) -> Outcome<Accepted> {
        let application = draft.application.take();
        let check = async {
            let checked = self.check_message(draft)?;
            self.check_schema(&checked).await?;
            Ok::<_, Refusal>(checked)
        };
        let (app, checked) = match self.directory.app(id_or_uid) {
            Some(entry) => (entry.app.clone(), check.await?),
            None if application.is_none() => (self.app(id_or_uid).await?, check.await?),
            None => {
                // What is refused makes no app.
                let checked = check.await?;
                let app = self.app_or_new(id_or_uid, application, &self.occasion()).await?;
                (app, checked)
            }
        };
        let now = self.now();
        let mut message = Message {
            id: self.dice.with(|mut rng| MessageId::generate(now, &mut rng)),
            app_id: app.id,
            event_id: checked.event_id,
            event_type: checked.event_type,
            channels: checked.channels,
            created_at: now,
        };
        let payload = checked.payload.into_bytes();
        let retention = checked.payload_retention;
        let span = trace::begin(&self.tracer, &checked.trace);
        let context = span.as_ref().map_or(checked.trace, |span| span.context().clone());
        let accepted = self
            .record_and_publish(&mut message, &payload, retention, context, request)
            .await;
        trace::end(span, &message, accepted.as_ref().err());
        accepted?;
        nuncio_failpoints::hit!("api::message-accepted");
        Ok(Accepted { message, payload })
    }

    async fn record_and_publish(
        &self,
        message: &mut Message,
        payload: &[u8],
        retention: Option<Duration>,
        trace: TraceContext,
        request: Option<&RequestKey>,
    ) -> Outcome<()> {
        self.record(message, payload, retention, request).await?;
        nuncio_failpoints::hit!("api::message-recorded");
        tracing::debug!(
            trace = trace.trace().map(tracing::field::display),
            message_id = %message.id,
            app = %message.app_id,
            "recorded, to be published"
        );
        let extras = Extras {
            message_id: Some(message.id.clone()),
            trace,
            payload_retention_days: retention.map(whole_days),
        };
        self.publish(message, payload, extras, request.is_none()).await
    }

    /// Accepts once more what was asked for under this request key, and answers with it and its payload, if that is still
    /// kept; nothing when the key is not known.
    ///
    /// # Errors
    /// When the store or the broker are away: it may be asked for again.
    pub async fn send_again(
        &self,
        id_or_uid: &str,
        request: &RequestKey,
    ) -> Outcome<Option<(Message, Option<Vec<u8>>)>> {
        let app = match self.app(id_or_uid).await {
            Ok(app) => app,
            Err(Refusal::NotFound(_)) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let Some(id) = store(self.store.accepted_once(&app.id, &request.digest).await)? else {
            return Ok(None);
        };
        let Some(stored) = store(self.store.message(&app.id, id.as_str()).await)? else {
            return Ok(None);
        };
        let message = stored.message;
        let payload = self.payloads(&app, std::slice::from_ref(&message.id)).await?;
        let payload = payload.into_iter().next().flatten();
        if let Some(payload) = &payload {
            // Whether the broker has it is not known: should it have it, the router recognises it.
            let extras = Extras {
                message_id: Some(message.id.clone()),
                ..Extras::default()
            };
            self.publish(&message, payload, extras, false).await?;
        }
        Ok(Some((message, payload)))
    }

    /// Writes the message; it gets the id and the time under which it is known already, if it is.
    async fn record(
        &self,
        message: &mut Message,
        payload: &[u8],
        retention: Option<Duration>,
        request: Option<&RequestKey>,
    ) -> Outcome<()> {
        let hash = body_hash(message.event_type.as_str(), payload);
        let acceptance = match request {
            None => {
                let accepted = self.store.accept_message(message, payload, &hash, retention);
                store(accepted.await)?
            }
            Some(key) => {
                let once = Once {
                    digest: key.digest.clone(),
                    request_hash: request_hash(message, payload, retention),
                };
                let accepted = self
                    .store
                    .accept_message_once(message, payload, &hash, retention, &once);
                match store(accepted.await)? {
                    AcceptedOnce::New(acceptance) => acceptance,
                    AcceptedOnce::Again { id, created_at } => {
                        message.id = id;
                        message.created_at = created_at;
                        return Ok(());
                    }
                    AcceptedOnce::Mismatch => {
                        return Err(Refusal::Conflict {
                            code: "idempotency_key_reused",
                            detail: "the idempotency key was used for another request".to_owned(),
                        });
                    }
                }
            }
        };
        match acceptance {
            Acceptance::Accepted => Ok(()),
            Acceptance::Unpublished(id) => {
                message.id = id;
                Ok(())
            }
            Acceptance::EventIdTaken(id) => Err(Refusal::Conflict {
                code: "conflict",
                detail: format!("the event id is taken by {id}"),
            }),
        }
    }

    async fn publish(&self, message: &Message, payload: &[u8], extras: Extras, forget: bool) -> Outcome<()> {
        let event = Event {
            app: message.app_id.to_string(),
            event_type: message.event_type.clone(),
            payload: payload.to_vec(),
            event_id: message.event_id.clone(),
            channels: message.channels.clone(),
        };
        if let Err(refusal) = broker(self.producer.publish_with(event, extras).await) {
            // With a request key the record stays: the same request again is then the same message.
            if forget && let Err(error) = self.store.forget_message(message).await {
                tracing::warn!(
                    message_id = %message.id,
                    error = nuncio_runtime::lifecycle::chain(&error),
                    "a message that was not published could not be forgotten"
                );
            }
            return Err(refusal);
        }
        nuncio_failpoints::hit!("api::message-published");
        if message.event_id.is_some() {
            store(self.store.mark_queued(&message.app_id, &message.id).await)?;
        }
        Ok(())
    }

    fn check_message(&self, draft: MessageDraft) -> Outcome<Checked> {
        let mut complaints = Complaints::new();
        let event_type = complaints.keep("eventType", VALUE, draft.event_type.parse());
        let event_id = check::uid(
            &mut complaints,
            "eventId",
            draft.event_id.as_deref(),
            MessageId::PREFIX,
        );
        let channels = check::names::<Channel>(
            &mut complaints,
            "channels",
            draft.channels.as_deref(),
            CHANNELS_MAX,
        );
        if draft.deliver_at {
            complaints.add(
                "deliverAt",
                VALUE,
                "messages are sent at once: this is not supported",
            );
        }
        let payload = match draft.payload {
            None => {
                complaints.add("payload", "value_error.missing", "missing field `payload`");
                None
            }
            Some(payload) if payload.len() > self.rules.payload_bytes_max => {
                return Err(Refusal::TooLarge {
                    what: "the payload",
                    bytes_max: self.rules.payload_bytes_max,
                });
            }
            Some(payload) => match check_json_object(&payload) {
                Ok(()) => Some(payload),
                Err(error) => {
                    complaints.add("payload", VALUE, error);
                    None
                }
            },
        };
        let payload_retention = self.check_retention(
            &mut complaints,
            draft.payload_retention_days,
            draft.payload_retention_hours,
        );
        let checked = event_type.zip(payload).map(|(event_type, payload)| Checked {
            event_type,
            payload,
            event_id: event_id.map(|id| id.to_string()),
            channels: channels.into_iter().flatten().collect(),
            payload_retention,
            trace: draft.trace,
        });
        complaints.or(checked)
    }

    fn check_retention(
        &self,
        complaints: &mut Complaints,
        days: Option<u64>,
        hours: Option<u64>,
    ) -> Option<Duration> {
        if days.is_some_and(|days| !(5..=RETENTION_DAYS_MAX).contains(&days)) {
            complaints.add(
                "payloadRetentionPeriod",
                VALUE,
                format_args!("must be from 5 to {RETENTION_DAYS_MAX} days"),
            );
            return None;
        }
        let hours_max = RETENTION_DAYS_MAX * 24;
        if hours.is_some_and(|hours| !(1..=hours_max).contains(&hours)) {
            complaints.add(
                "payloadRetentionHours",
                VALUE,
                format_args!("must be from 1 to {hours_max} hours"),
            );
            return None;
        }
        let asked = match (days, hours) {
            (_, Some(hours)) => HOUR * u32::try_from(hours).ok()?,
            (Some(days), None) => DAY * u32::try_from(days).ok()?,
            (None, None) => return None,
        };
        (asked < self.rules.retention).then_some(asked)
    }

    async fn check_schema(&self, checked: &Checked) -> Outcome<()> {
        let Some(schema) = self.enforced_schema(&checked.event_type).await? else {
            return Ok(());
        };
        let mut complaints = Complaints::new();
        for mistake in schema.mistakes(&checked.payload) {
            complaints.add("payload", "value_error.schema", mistake);
        }
        complaints.or(Some(()))
    }

    /// One page of an app's messages.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list_messages(
        &self,
        app: &App,
        filter: &MessageFilter,
        page: &PageRequest,
    ) -> Outcome<Page<StoredMessage>> {
        store(self.store.list_messages(&app.id, filter, page).await)
    }

    /// The app's message with that id or event id.
    ///
    /// # Errors
    /// When there is none, or it is no longer kept.
    pub async fn message(&self, app: &App, id_or_event_id: &str) -> Outcome<StoredMessage> {
        store(self.store.message(&app.id, id_or_event_id).await)?.ok_or(Refusal::NotFound(Noun::Message))
    }

    /// The payloads of messages, in their order; nothing where one is no longer kept.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn payloads(&self, app: &App, ids: &[MessageId]) -> Outcome<Vec<Option<Vec<u8>>>> {
        store(self.store.payloads(&app.id, ids).await)
    }

    /// Deletes a message's payload: it cannot be sent again then.
    ///
    /// # Errors
    /// When there is no such message.
    pub async fn expunge_payload(&self, app: &App, id_or_event_id: &str) -> Outcome<()> {
        let id = self.message(app, id_or_event_id).await?.message.id;
        store(self.store.expunge_payload(&app.id, &id).await)?;
        Ok(())
    }
}

/// Days that are not fewer.
fn whole_days(retention: Duration) -> u16 {
    u16::try_from(retention.as_secs().div_ceil(DAY.as_secs())).unwrap_or(u16::MAX)
}

/// What two requests under one key must have in common.
fn request_hash(message: &Message, payload: &[u8], retention: Option<Duration>) -> [u8; 16] {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(message.event_type.as_str().as_bytes());
    part(message.event_id.as_deref().unwrap_or_default().as_bytes());
    for channel in &message.channels {
        part(channel.as_str().as_bytes());
    }
    part(&retention.map_or(0, |retention| retention.as_secs()).to_be_bytes());
    part(payload);
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest.finalize()[..16]);
    hash
}

//! Messages that the API accepts under a request's own key: the same request again is the same message.
//!
//! Guarantees that the message, its event id and the request's key are written together, in one round trip. Refuses to
//! know where the key came from: it is given a digest of it.

use std::time::Duration;

use nuncio_domain::{AppId, Message, MessageId, UnixMillis};
use nuncio_wire::record::MessageRecord;
use sha2::{Digest, Sha256};

use crate::claim::encode_hash;
use crate::script::{self, ACCEPT_ONCE};
use crate::{Acceptance, Store, StoreError};

/// How long a request is known.
const KEPT: Duration = Duration::from_secs(12 * 3_600);

/// A request, by its own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// A digest of the caller, the app and the key, in characters that a key may have.
    pub digest: String,
    /// What two requests under one key must have in common.
    pub request_hash: [u8; 16],
}

/// What came of accepting a message under a request's own key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptedOnce {
    /// The request is new.
    New(Acceptance),
    /// The request is known: it is this message. Whether the broker has it is not known: publish it again under its id
    /// (should the broker have it, the router recognises it).
    Again {
        /// The message's id.
        id: MessageId,
        /// When it was accepted.
        created_at: UnixMillis,
    },
    /// The key was used for another request.
    Mismatch,
}

/// What two events of one id must have in common not to be in conflict: type and payload.
#[must_use]
pub fn body_hash(event_type: &str, payload: &[u8]) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(event_type)
        .chain_update([0])
        .chain_update(payload)
        .finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

impl Store {
    /// Writes a message that is about to be published, with its event id and the key of the request, in one round trip.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn accept_message_once(
        &self,
        message: &Message,
        payload: &[u8],
        body_hash: &[u8; 16],
        payload_retention: Option<Duration>,
        once: &Once,
    ) -> Result<AcceptedOnce, StoreError> {
        const ACTION: &str = "accept a message once";
        let keys = self.keys();
        let app = &message.app_id;
        let own = [
            self.request_key(app, &once.digest),
            keys.message(app, &message.id),
            keys.payload(app, &message.id),
            keys.messages(app),
        ];
        let event_id = message.event_id.as_ref().map(|id| keys.event_id(app, id));
        let names: Vec<&str> = own.iter().chain(&event_id).map(String::as_str).collect();
        let request_hash = encode_hash(&once.request_hash);
        let mut fields = MessageRecord::fields(message);
        let separate = self.place_payload(&mut fields, payload, payload_retention);
        let mut cmd = script::call(&ACCEPT_ONCE, &names);
        cmd.arg(message.id.as_str())
            .arg(keys.app_prefix(app))
            .arg(separate);
        cmd.arg(self.payload_seconds(payload_retention))
            .arg(self.retention_seconds());
        cmd.arg(self.inner.config.messages_per_app_max)
            .arg(encode_hash(body_hash));
        cmd.arg(&request_hash)
            .arg(KEPT.as_secs())
            .arg(message.created_at.0);
        for (name, value) in fields {
            cmd.arg(name).arg(value);
        }
        let answer: Vec<String> = self.one(ACTION, cmd).await?;
        let text = |at: usize| answer.get(at).map(String::as_str);
        let id = text(1).and_then(|id| MessageId::parse(id).ok());
        let id = id.unwrap_or_else(|| message.id.clone());
        Ok(match text(0) {
            Some("R") if text(3) == Some(request_hash.as_str()) => AcceptedOnce::Again {
                id,
                created_at: text(2)
                    .and_then(|at| at.parse().ok())
                    .map_or(message.created_at, UnixMillis),
            },
            Some("R") => AcceptedOnce::Mismatch,
            Some("U") => AcceptedOnce::New(Acceptance::Unpublished(id)),
            Some("T") => AcceptedOnce::New(Acceptance::EventIdTaken(id)),
            _ => AcceptedOnce::New(Acceptance::Accepted),
        })
    }

    /// The message that was accepted under the key with that digest; nothing when the key is not known.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn accepted_once(&self, app: &AppId, digest: &str) -> Result<Option<MessageId>, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.request_key(app, digest));
        let known: Option<String> = self.one("look a request's key up", cmd).await?;
        let id = known.as_deref().and_then(|known| known.split(' ').next());
        Ok(id.and_then(|id| MessageId::parse(id).ok()))
    }

    fn request_key(&self, app: &AppId, digest: &str) -> String {
        format!("{}once:{digest}", self.keys().app_prefix(app))
    }
}

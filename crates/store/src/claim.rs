//! Claims: which router fans a message out, and the first record of it.
//!
//! Guarantees that a message is written with its payload, its listing, its event id and its deliveries in one step, that
//! of several routers one claims it, and that a claim whose answer was lost is the same claim when it is repeated.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use nuncio_domain::{AppId, EndpointId, Message, MessageId, Routing};
use nuncio_wire::record::{MessageRecord, encode_routing};
use redis::{Cmd, Value};

use crate::link::Lane;
use crate::script::{self, CLAIM, ROUTED};
use crate::store::{Group, read};
use crate::{Store, StoreError};

/// A router's claim on a message, with all that is to be kept of it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The message. Its id gives way to the one under which its event id is known already.
    pub message: Message,
    /// The payload.
    pub payload: Bytes,
    /// How long the payload is kept, if not as long as the rest.
    pub payload_retention: Option<Duration>,
    /// What two events of one id must have in common.
    pub body_hash: [u8; 16],
    /// What routing decided for each endpoint of the app.
    pub routes: Vec<(EndpointId, Routing)>,
    /// The version of the app that routing saw.
    pub app_version: u64,
    /// Unique to this router and this delivery from the broker: who repeats it is the same claimant.
    pub token: String,
    /// Whether the broker says that it delivered the event before.
    pub redelivered: bool,
    /// Whether the message's id was made up for this very delivery, so that nobody can know it.
    pub anonymous: bool,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The message is new and now this router's.
    New,
    /// The message is known under that id, was not routed as far as is known, and is now this router's.
    Again(MessageId),
    /// The message was routed, or another router has it.
    Duplicate,
    /// The id is known with another body.
    Conflict,
    /// The app has another version; nothing was written.
    Stale {
        /// The version that it has.
        version: u64,
    },
}

const ACTION: &str = "claim messages";

impl Store {
    /// Claims messages, all in one round trip.
    ///
    /// # Errors
    /// When Redis is away: each claim may have been made, and repeating them all is safe.
    pub async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        let groups = claims
            .iter()
            .map(|claim| vec![self.claim_cmd(claim, false)])
            .collect();
        let answers = self.groups(Lane::Claims, ACTION, groups).await?;
        claims
            .iter()
            .zip(answers)
            .map(|(claim, mut answer)| parse_claimed(claim, answer.pop()))
            .collect()
    }

    /// Marks messages as routed: their fan-out is confirmed, so that they are not fanned out again.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn mark_routed(&self, messages: &[(AppId, MessageId)]) -> Result<(), StoreError> {
        let groups = by_app(messages.iter().map(|(app, message)| (app, message)))
            .into_iter()
            .map(|(app, messages)| {
                let keys: Vec<String> = messages.iter().map(|id| self.keys().message(app, id)).collect();
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                keys.chunks(KEYS_A_CALL)
                    .map(|keys| script::call(&ROUTED, keys))
                    .collect::<Group>()
            });
        self.groups(Lane::Claims, "mark messages as routed", groups.collect())
            .await?;
        Ok(())
    }

    /// Records messages that were fanned out while the store was away. Those that are known stay as they are.
    pub(crate) async fn save_routed(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let groups = claims
            .iter()
            .map(|claim| vec![self.claim_cmd(claim, true)])
            .collect();
        self.groups(Lane::Records, "record routed messages", groups)
            .await?;
        Ok(())
    }

    fn claim_cmd(&self, claim: &Claim, routed: bool) -> Cmd {
        let keys = self.keys();
        let (app, message) = (&claim.message.app_id, &claim.message);
        let own = [
            keys.message(app, &message.id),
            keys.payload(app, &message.id),
            keys.messages(app),
            keys.unfinished(app),
            keys.version(app),
        ];
        let event_id = message.event_id.as_ref().map(|id| keys.event_id(app, id));
        let names: Vec<&str> = own.iter().chain(&event_id).map(String::as_str).collect();
        let fields = MessageRecord::fields(message);
        let mut cmd = script::call(&CLAIM, &names);
        cmd.arg(message.id.as_str())
            .arg(keys.app_prefix(app))
            .arg(claim.payload.as_ref());
        cmd.arg(self.payload_seconds(claim.payload_retention))
            .arg(self.retention_seconds());
        cmd.arg(self.inner.config.messages_per_app_max);
        cmd.arg(encode_hash(&claim.body_hash)).arg(&claim.token);
        cmd.arg(u8::from(claim.redelivered))
            .arg(claim.app_version)
            .arg(message.created_at.0)
            .arg(u8::from(routed));
        cmd.arg(fields.len() * 2);
        for (name, value) in &fields {
            cmd.arg(*name).arg(value);
        }
        for (endpoint, routing) in &claim.routes {
            cmd.arg(endpoint.as_str()).arg(encode_routing(*routing));
        }
        cmd
    }

    /// How long a payload is kept, in seconds.
    pub(crate) fn payload_seconds(&self, asked: Option<Duration>) -> u64 {
        let retention = self.retention_seconds();
        asked.map_or(retention, |asked| asked.as_secs().clamp(1, retention))
    }
}

/// How many keys one call of a script touches at most, so that none occupies the server for long.
const KEYS_A_CALL: usize = 128;

pub(crate) fn encode_hash(hash: &[u8; 16]) -> String {
    STANDARD_NO_PAD.encode(hash)
}

/// Groups items by app, keeping the order within each.
pub(crate) fn by_app<'a, T>(items: impl Iterator<Item = (&'a AppId, T)>) -> Vec<(&'a AppId, Vec<T>)> {
    let mut groups: Vec<(&AppId, Vec<T>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (app, item) in items {
        let place = *places.entry(app).or_insert_with(|| {
            groups.push((app, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(item);
    }
    groups
}

fn parse_claimed(claim: &Claim, answer: Option<Value>) -> Result<Claimed, StoreError> {
    let answer: Vec<Value> = read(ACTION, answer)?;
    let mut answer = answer.into_iter();
    let kind: String = read(ACTION, answer.next())?;
    Ok(match kind.as_str() {
        "N" => Claimed::New,
        "A" => {
            let id: String = read(ACTION, answer.next())?;
            Claimed::Again(MessageId::parse(&id).unwrap_or_else(|_| claim.message.id.clone()))
        }
        "C" => Claimed::Conflict,
        "S" => Claimed::Stale {
            version: read(ACTION, answer.next())?,
        },
        _ => Claimed::Duplicate,
    })
}

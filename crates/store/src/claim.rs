//! Claims: which router fans a message out, and the first record of it.
//!
//! Guarantees that a message is written with its payload, its listing, its event id and its deliveries in one step, that
//! of several routers one claims it, and that a claim whose answer was lost is the same claim when it is repeated.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use nuncio_domain::{AppId, CoalesceKey, EndpointId, Latest, Message, MessageId, Routing, UnixMillis};
use nuncio_wire::record::{DeliveryRecord, MessageRecord, encode_routing, field};
use redis::Cmd;

use crate::link::Lane;
use crate::script::{self, CLAIM, LATEST, ROUTED};
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
    /// What it is about, if its type is coalesced.
    pub coalesce: Option<CoalesceKey>,
    /// The version of the app that routing saw.
    pub app_version: u64,
    /// Unique to this router and this delivery from the broker: who repeats it is the same claimant.
    pub token: String,
    /// Whether the broker says that it delivered the event before.
    pub redelivered: bool,
    /// Whether the message's id was made up for this very delivery, so that nobody else can know it: spares a look.
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
        let calls = self.claim_calls(claims, false);
        let mut claimed = vec![Claimed::Duplicate; claims.len()];
        let (places, groups): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|(_, places, group)| (places, group))
            .unzip();
        let answers = self.groups(Lane::Claims, ACTION, groups).await?;
        for (places, values) in places.iter().zip(answers) {
            let mut places = places.iter();
            for value in values {
                for answer in read::<Vec<Vec<String>>>(ACTION, Some(value))? {
                    let Some(place) = places.next() else { break };
                    claimed[*place] = parse_claimed(&claims[*place], &answer);
                }
            }
        }
        Ok(claimed)
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
        let groups = self.claim_calls(claims, true);
        let groups = groups.into_iter().map(|(_, _, group)| group).collect();
        self.groups(Lane::Records, "record routed messages", groups)
            .await?;
        Ok(())
    }

    /// The latest message about `key` that was routed to an endpoint, and how its delivery stands.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn latest(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        key: &CoalesceKey,
    ) -> Result<Option<Latest>, StoreError> {
        const ACTION: &str = "read the latest message of a key";
        let mut cmd = script::call(&LATEST, &[&self.keys().latest(app, endpoint)]);
        cmd.arg(key.as_str())
            .arg(self.keys().app_prefix(app))
            .arg(endpoint.as_str());
        let group: Group = std::iter::once(cmd).collect();
        let answers = self.groups(Lane::Calls, ACTION, vec![group]).await?;
        let value = answers.into_iter().flatten().next();
        let found: Vec<String> = read(ACTION, value)?;
        let [message, text] = found.as_slice() else {
            return Ok(None);
        };
        let record = DeliveryRecord::parse(text, UnixMillis(0));
        let status = record.and_then(|record| record.state()).map(|state| state.status);
        Ok(MessageId::parse(message)
            .ok()
            .map(|message| Latest { message, status }))
    }

    /// The calls for some claims: for each app, which of the claims are its, and the calls that make them, in order.
    fn claim_calls<'a>(&self, claims: &'a [Claim], routed: bool) -> Vec<(&'a AppId, Vec<usize>, Group)> {
        let apps = by_app(
            claims
                .iter()
                .enumerate()
                .map(|(place, claim)| (&claim.message.app_id, place)),
        );
        let calls = apps.into_iter().map(|(app, places)| {
            let mut group = Group::new();
            let mut cmd = self.claim_cmd(app);
            let mut size = 0;
            for claim in places.iter().map(|place| &claims[*place]) {
                if size >= CLAIM_SIZE_MAX {
                    group.push(std::mem::replace(&mut cmd, self.claim_cmd(app)));
                    size = 0;
                }
                size += CLAIM_SIZE + claim.routes.len();
                self.add_claim(&mut cmd, claim, routed);
            }
            group.push(cmd);
            (app, places, group)
        });
        calls.collect()
    }

    fn claim_cmd(&self, app: &AppId) -> Cmd {
        let keys = self.keys();
        let mut cmd = script::call(
            &CLAIM,
            &[&keys.messages(app), &keys.unfinished(app), &keys.version(app)],
        );
        cmd.arg(keys.app_prefix(app)).arg(self.retention_seconds());
        cmd.arg(self.inner.config.messages_per_app_max);
        cmd
    }

    fn add_claim(&self, cmd: &mut Cmd, claim: &Claim, routed: bool) {
        let message = &claim.message;
        let mut fields = MessageRecord::fields(message);
        let payload = self.place_payload(&mut fields, &claim.payload, claim.payload_retention);
        let mut flags = String::new();
        for (flag, holds) in [('r', claim.redelivered), ('n', claim.anonymous), ('d', routed)] {
            if holds {
                flags.push(flag);
            }
        }
        cmd.arg(message.id.as_str())
            .arg(message.event_id.as_deref().unwrap_or_default());
        cmd.arg(payload)
            .arg(self.payload_seconds(claim.payload_retention));
        cmd.arg(encode_hash(&claim.body_hash))
            .arg(&claim.token)
            .arg(flags);
        cmd.arg(claim.app_version).arg(message.created_at.0);
        cmd.arg(claim.coalesce.as_ref().map_or("", CoalesceKey::as_str));
        cmd.arg(fields.len() * 2);
        for (name, value) in &fields {
            cmd.arg(*name).arg(value);
        }
        cmd.arg(claim.routes.len() * 2);
        for (endpoint, routing) in &claim.routes {
            cmd.arg(endpoint.as_str()).arg(encode_routing(*routing));
        }
    }

    /// Puts a short payload that is kept as long as its message among the message's fields, which spares a key; answers
    /// what is to be kept under a key of its own.
    pub(crate) fn place_payload<'a>(
        &self,
        fields: &mut Vec<(&'static str, String)>,
        payload: &'a [u8],
        retention: Option<Duration>,
    ) -> &'a [u8] {
        let as_long = self.payload_seconds(retention) == self.retention_seconds();
        match std::str::from_utf8(payload) {
            Ok(text) if as_long && (1..=SHORT_PAYLOAD_MAX).contains(&text.len()) => {
                fields.push((field::PAYLOAD, text.to_owned()));
                &[]
            }
            _ => payload,
        }
    }

    /// How long a payload is kept, in seconds.
    pub(crate) fn payload_seconds(&self, asked: Option<Duration>) -> u64 {
        let retention = self.retention_seconds();
        asked.map_or(retention, |asked| asked.as_secs().clamp(1, retention))
    }
}

/// How many keys one call of a script touches at most, so that none occupies the server for long.
const KEYS_A_CALL: usize = 128;
/// Likewise for claims, where each message counts for so many of its endpoints.
const CLAIM_SIZE: usize = 8;
const CLAIM_SIZE_MAX: usize = 400;
/// Bytes of a payload that is kept in its message's record: no field may be longer if the hash is to stay compact
/// (`hash-max-listpack-value`).
const SHORT_PAYLOAD_MAX: usize = 64;

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

fn parse_claimed(claim: &Claim, answer: &[String]) -> Claimed {
    let detail = answer.get(1).map(String::as_str);
    match answer.first().map(String::as_str) {
        Some("N") => Claimed::New,
        Some("A") => {
            let id = detail.and_then(|id| MessageId::parse(id).ok());
            Claimed::Again(id.unwrap_or_else(|| claim.message.id.clone()))
        }
        Some("C") => Claimed::Conflict,
        Some("S") => Claimed::Stale {
            version: detail.and_then(|version| version.parse().ok()).unwrap_or(0),
        },
        _ => Claimed::Duplicate,
    }
}

//! Idempotency of requests: the same key gets the same answer.
//!
//! Owns the state of a key: under way, or answered. Refuses to know HTTP: an answer is a status and bytes.

use std::time::Duration;

use redis::Value;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Store, StoreError};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(12 * 3_600);
/// How long a request may be under way before its key is free again.
const UNDER_WAY_MAX: Duration = Duration::from_secs(60);

/// An answer that is given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// Its status.
    #[serde(rename = "s")]
    pub status: u16,
    /// Its body.
    #[serde(rename = "b")]
    pub body: String,
}

/// What a key is found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The key is new: do the work, then [`Store::finish_request`] or [`Store::abandon_request`].
    New,
    /// Another request with the key is under way.
    UnderWay,
    /// The request was answered.
    Answered(StoredResponse),
    /// The key was used for another request.
    Mismatch,
}

/// A request, as far as it must be the same when it is repeated.
#[derive(Debug, Clone, Copy)]
pub struct RequestOnce<'a> {
    /// Its method, path and query.
    pub name: &'a str,
    /// Its body; a repetition may have none, because some clients lose theirs.
    pub body: &'a [u8],
}

impl RequestOnce<'_> {
    fn name_print(&self) -> String {
        hexadecimal(&Sha256::digest(self.name)[..16])
    }

    fn print(&self) -> String {
        self.name_print() + &hexadecimal(&Sha256::digest(self.body)[..16])
    }

    fn repeats(&self, held: &str) -> bool {
        held == self.print() || (self.body.is_empty() && held.starts_with(&self.name_print()))
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    h: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<StoredResponse>,
}

impl Store {
    /// Begins a request: `caller` and `key` together name it, `request` is what must be the same when it is repeated.
    ///
    /// # Errors
    /// When Redis is away or the state cannot be read.
    pub async fn begin_request(
        &self,
        caller: &str,
        key: &str,
        request: RequestOnce<'_>,
    ) -> Result<Begun, StoreError> {
        const ACTION: &str = "begin a request with an idempotency key";
        let state = State {
            h: request.print(),
            r: None,
        };
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.idempotency_key(caller, key)).arg(to_json(&state));
        cmd.arg("NX").arg("GET").arg("PX").arg(millis(UNDER_WAY_MAX));
        let held: Option<String> = match self.one(ACTION, cmd).await {
            // Redis 6.2 does not know NX together with GET.
            Err(StoreError::Refused { .. }) => self.begin_in_two_steps(ACTION, caller, key, &state).await?,
            answer => answer?,
        };
        let Some(held) = held else { return Ok(Begun::New) };
        Ok(match serde_json::from_str::<State>(&held) {
            Ok(held) if !request.repeats(&held.h) => Begun::Mismatch,
            Ok(State {
                r: Some(response), ..
            }) => Begun::Answered(response),
            Ok(_) | Err(_) => Begun::UnderWay,
        })
    }

    async fn begin_in_two_steps(
        &self,
        action: &'static str,
        caller: &str,
        key: &str,
        state: &State,
    ) -> Result<Option<String>, StoreError> {
        let name = self.idempotency_key(caller, key);
        let mut take = redis::cmd("SET");
        take.arg(&name)
            .arg(to_json(state))
            .arg("NX")
            .arg("PX")
            .arg(millis(UNDER_WAY_MAX));
        let taken: Option<String> = self.one(action, take).await?;
        if taken.is_some() {
            return Ok(None);
        }
        let mut held = redis::cmd("GET");
        held.arg(&name);
        self.one(action, held).await
    }

    /// Keeps the answer to a request that was begun, for 12 hours.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn finish_request(
        &self,
        caller: &str,
        key: &str,
        request: RequestOnce<'_>,
        response: &StoredResponse,
    ) -> Result<(), StoreError> {
        let state = State {
            h: request.print(),
            r: Some(response.clone()),
        };
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.idempotency_key(caller, key))
            .arg(to_json(&state))
            .arg("PX")
            .arg(millis(KEPT));
        self.one::<Value>("keep the answer to a request", cmd).await?;
        Ok(())
    }

    /// Frees the key of a request that was begun and came to nothing, so that it can be tried again.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn abandon_request(&self, caller: &str, key: &str) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("DEL");
        cmd.arg(self.idempotency_key(caller, key));
        self.one::<Value>("free an idempotency key", cmd).await?;
        Ok(())
    }

    /// Neither the caller's token nor the key is kept, only a digest of both.
    fn idempotency_key(&self, caller: &str, key: &str) -> String {
        let digest = Sha256::new()
            .chain_update((caller.len() as u64).to_be_bytes())
            .chain_update(caller)
            .chain_update(key)
            .finalize();
        self.keys().idempotency(&hexadecimal(&digest))
    }
}

fn to_json(state: &State) -> String {
    serde_json::to_string(state).expect("strings and numbers always serialise")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Idempotency of requests: the same key gets the same answer, and what is done again is done with the same draft.
//!
//! Owns the state of a key: under way under a lease, let go, or answered. Guarantees that one works on a request at a
//! time for as long as the lease is renewed, and that whoever takes over from one that died gets the draft that the
//! request began with. Refuses to know HTTP, and what is in a draft: an answer is a status and text.

use std::time::Duration;

use redis::Value;
use sha2::{Digest, Sha256};

use crate::link::Lane;
use crate::script::{self, BEGIN_REQUEST, HOLD_REQUEST};
use crate::store::read;
use crate::{Store, StoreError};

/// How long a request and its answer are known.
const KEPT: Duration = Duration::from_secs(12 * 3_600);
/// How long a request is its worker's own unless that renews it.
pub const REQUEST_LEASE: Duration = Duration::from_secs(5);

/// An answer that is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// What a key is found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The key is new: do the work, then [`Store::finish_request`], [`Store::release_request`] or
    /// [`Store::forget_request`].
    New,
    /// The request was begun before with this draft, and may have been done in part or as a whole: do it again with the
    /// draft, then as above.
    Again(String),
    /// Another one works on the request.
    UnderWay,
    /// The request was answered.
    Answered(StoredResponse),
    /// The key was used for another request.
    Mismatch,
}

/// A request with a key of its own, and who works on it.
#[derive(Debug, Clone, Copy)]
pub struct RequestOnce<'a> {
    /// Who makes it: keys of others are others.
    pub caller: &'a str,
    /// Its key.
    pub key: &'a str,
    /// Its method, path and query, which are the same when it is repeated.
    pub name: &'a str,
    /// Its body, likewise; but a repetition may have none, because some clients lose theirs.
    pub body: &'a [u8],
    /// A name of its own for whoever works on it, another one each time that it comes.
    pub worker: &'a str,
}

impl RequestOnce<'_> {
    fn name_print(&self) -> String {
        hexadecimal(&Sha256::digest(self.name)[..16])
    }

    fn print(&self) -> String {
        self.name_print() + &hexadecimal(&Sha256::digest(self.body)[..16])
    }

    /// What the print of the request that it repeats begins with.
    fn repeated_print(&self) -> String {
        if self.body.is_empty() {
            self.name_print()
        } else {
            self.print()
        }
    }
}

impl Store {
    /// Begins a request, or takes it over from one that let go of it or is gone. `draft` is kept until it is answered,
    /// for whoever has to do it again.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn begin_request(&self, request: RequestOnce<'_>, draft: &str) -> Result<Begun, StoreError> {
        const ACTION: &str = "begin a request with an idempotency key";
        let mut cmd = script::call(&BEGIN_REQUEST, &[&self.idempotency_key(request)]);
        cmd.arg(request.print()).arg(request.repeated_print());
        cmd.arg(request.worker).arg(draft);
        cmd.arg(millis(REQUEST_LEASE)).arg(KEPT.as_secs());
        let answer: Vec<Value> = self.one(ACTION, cmd).await?;
        let mut answer = answer.into_iter();
        let kind: String = read(ACTION, answer.next())?;
        Ok(match kind.as_str() {
            "N" => Begun::New,
            "G" => Begun::Again(read(ACTION, answer.next())?),
            "U" => Begun::UnderWay,
            "D" => Begun::Answered(StoredResponse {
                status: read(ACTION, answer.next())?,
                body: read(ACTION, answer.next())?,
            }),
            _ => Begun::Mismatch,
        })
    }

    /// Goes on holding a request that was begun, for another [`REQUEST_LEASE`]. Answers whether it is still this worker's.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn renew_request(&self, request: RequestOnce<'_>) -> Result<bool, StoreError> {
        let lease = millis(REQUEST_LEASE).to_string();
        self.hold("hold on to an idempotency key", request, &lease).await
    }

    /// Lets go of a request that failed and may have had its effect: it can be done again at once, with its draft.
    ///
    /// # Errors
    /// When Redis is away: the lease runs out then.
    pub async fn release_request(&self, request: RequestOnce<'_>) -> Result<(), StoreError> {
        self.hold("let go of an idempotency key", request, "free").await?;
        Ok(())
    }

    /// Forgets a request that was begun and had no effect: its key can be used for any.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn forget_request(&self, request: RequestOnce<'_>) -> Result<(), StoreError> {
        self.hold("free an idempotency key", request, "forget").await?;
        Ok(())
    }

    async fn hold(
        &self,
        action: &'static str,
        request: RequestOnce<'_>,
        what: &str,
    ) -> Result<bool, StoreError> {
        let mut cmd = script::call(&HOLD_REQUEST, &[&self.idempotency_key(request)]);
        cmd.arg(request.worker).arg(what);
        self.one(action, cmd).await
    }

    /// Keeps the answer to a request that was begun, for 12 hours.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn finish_request(
        &self,
        request: RequestOnce<'_>,
        response: &StoredResponse,
    ) -> Result<(), StoreError> {
        let key = self.idempotency_key(request);
        let mut print = redis::cmd("HSETNX");
        print.arg(&key).arg("h").arg(request.print());
        let mut answer = redis::cmd("HSET");
        answer.arg(&key).arg("s").arg(response.status);
        answer.arg("b").arg(&response.body);
        let mut done = redis::cmd("HDEL");
        done.arg(&key).arg("d").arg("o").arg("u");
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&key).arg(KEPT.as_secs());
        let commands = vec![print, answer, done, expire];
        self.group(Lane::Calls, "keep the answer to a request", commands)
            .await?;
        Ok(())
    }

    /// Neither the caller's token nor the key is kept, only a digest of both.
    fn idempotency_key(&self, request: RequestOnce<'_>) -> String {
        let digest = Sha256::new()
            .chain_update((request.caller.len() as u64).to_be_bytes())
            .chain_update(request.caller)
            .chain_update(request.key)
            .finalize();
        self.keys().idempotency(&hexadecimal(&digest))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

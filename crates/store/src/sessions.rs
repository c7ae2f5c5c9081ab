//! Customers' tokens that were ended before they expired.
//!
//! Owns who was ended until when. Guarantees that what is kept of a token goes when the token would have expired.
//! Refuses to know tokens: it is given their ids and when they were minted.

use std::time::Duration;

use nuncio_domain::{AppId, UnixMillis};
use redis::Value;

use crate::link::Lane;
use crate::store::read;
use crate::{Store, StoreError};

impl Store {
    /// Ends the token of that id, which would be good for `left` yet.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn end_token(&self, app: &AppId, token: &str, left: Duration) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("SET");
        cmd.arg(self.ended_token(app, token)).arg(1);
        cmd.arg("EX").arg(left.as_secs().saturating_add(1));
        self.one::<Value>("end a token", cmd).await?;
        Ok(())
    }

    /// Ends the tokens of an app that were minted until `minted_until`, or only those of some sessions, from `from` on.
    /// What is kept of it is kept for `kept`.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn end_tokens(
        &self,
        app: &AppId,
        sessions: &[String],
        minted_until: UnixMillis,
        from: UnixMillis,
        kept: Duration,
    ) -> Result<(), StoreError> {
        let all = sessions.is_empty().then(|| self.ended_tokens(app));
        let some = sessions.iter().map(|session| self.ended_session(app, session));
        let group = some.chain(all).map(|key| {
            let mut cmd = redis::cmd("SET");
            cmd.arg(key).arg(format!("{} {}", minted_until.0, from.0));
            cmd.arg("EX").arg(kept.as_secs().saturating_add(1));
            cmd
        });
        self.group(Lane::Calls, "end tokens", group.collect()).await?;
        Ok(())
    }

    /// Whether a token was ended: itself, its session, or all of its app.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn is_token_ended(
        &self,
        app: &AppId,
        token: &str,
        session: Option<&str>,
        minted_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "look whether a token was ended";
        let session = session.map(|session| self.ended_session(app, session));
        let keys = [self.ended_token(app, token), self.ended_tokens(app)];
        let mut cmd = redis::cmd("MGET");
        cmd.arg(keys.iter().chain(&session).collect::<Vec<_>>());
        let values = self.group(Lane::Calls, ACTION, vec![cmd]).await?;
        let mut held: Vec<Option<String>> = read(ACTION, values.into_iter().next())?;
        let itself = !held.is_empty() && held.remove(0).is_some();
        let with_others = held.into_iter().flatten().any(|text| {
            let times = text
                .split_once(' ')
                .and_then(|(until, from)| Some((until.parse::<i64>().ok()?, from.parse::<i64>().ok()?)));
            times.is_some_and(|(until, from)| minted_at.0 <= until && now.0 >= from)
        });
        Ok(itself || with_others)
    }

    fn ended_token(&self, app: &AppId, token: &str) -> String {
        format!("{}ended:token:{token}", self.keys().app_prefix(app))
    }

    fn ended_tokens(&self, app: &AppId) -> String {
        format!("{}ended:all", self.keys().app_prefix(app))
    }

    fn ended_session(&self, app: &AppId, session: &str) -> String {
        format!("{}ended:session:{session}", self.keys().app_prefix(app))
    }
}

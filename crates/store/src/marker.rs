//! The mark of the broker's data: how one knows that a broker came back empty.
//!
//! Owns a random word that also names a queue in the broker. When the word is here and the queue is not, the broker has
//! lost what it held. Refuses to know the broker: whoever has it looks for the queue.

use std::time::Duration;

use nuncio_domain::{AppId, DeliveryId, EndpointId, MessageId, UnixMillis};

use crate::sweep::Unfinished;
use crate::{Store, StoreError};

/// Where a reading of unfinished deliveries goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnfinishedFrom {
    due: Option<i64>,
    seen_at_due: usize,
}

impl Store {
    /// The mark of the broker's data; none before the first was set.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn broker_mark(&self) -> Result<Option<String>, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().broker_mark());
        self.one("read the mark of the broker's data", cmd).await
    }

    /// Replaces the mark `before` by `after`. Answers false when it is another one by now.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn replace_broker_mark(&self, before: Option<&str>, after: &str) -> Result<bool, StoreError> {
        let script = "local held = redis.call('GET', KEYS[1]) or ''\n\
             if held ~= ARGV[1] then return 0 end\n\
             redis.call('SET', KEYS[1], ARGV[2])\n\
             return 1";
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(script)
            .arg(1)
            .arg(self.keys().broker_mark())
            .arg(before.unwrap_or_default())
            .arg(after);
        self.one("replace the mark of the broker's data", cmd).await
    }

    /// Takes the task of queueing unfinished deliveries again, for as long as `hold`. Answers whether nobody else has it;
    /// whoever has it takes it again to keep it.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn take_sweep(&self, member: &str, hold: Duration) -> Result<bool, StoreError> {
        self.take_task("take the sweep", self.keys().sweep(), member, hold)
            .await
    }

    /// Takes the task of keeping the journal of configuration, as [`take_sweep`](Self::take_sweep) takes its own.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn take_journal(&self, member: &str, hold: Duration) -> Result<bool, StoreError> {
        self.take_task("take the journal", self.keys().journal_keeper(), member, hold)
            .await
    }

    async fn take_task(
        &self,
        action: &'static str,
        key: String,
        member: &str,
        hold: Duration,
    ) -> Result<bool, StoreError> {
        let script = "local held = redis.call('GET', KEYS[1])\n\
             if held and held ~= ARGV[1] then return 0 end\n\
             redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n\
             return 1";
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(script)
            .arg(1)
            .arg(key)
            .arg(member)
            .arg(hold.as_millis() as u64);
        self.one(action, cmd).await
    }

    /// An app's unfinished deliveries by the time they are due, from where the last reading ended.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn unfinished_from(
        &self,
        app: &AppId,
        from: UnfinishedFrom,
        limit: usize,
    ) -> Result<(Vec<Unfinished>, UnfinishedFrom), StoreError> {
        let mut cmd = redis::cmd("ZRANGEBYSCORE");
        cmd.arg(self.keys().unfinished(app));
        cmd.arg(from.due.map_or("-inf".to_owned(), |due| due.to_string()))
            .arg("+inf");
        cmd.arg("WITHSCORES")
            .arg("LIMIT")
            .arg(from.seen_at_due)
            .arg(limit);
        let members: Vec<(String, f64)> = self.one("read unfinished deliveries", cmd).await?;
        let mut next = from;
        let mut found = Vec::with_capacity(members.len());
        for (member, due) in members {
            let due = due as i64;
            next.seen_at_due = if next.due == Some(due) {
                next.seen_at_due + 1
            } else {
                1
            };
            next.due = Some(due);
            found.extend(parse(&member, due));
        }
        Ok((found, next))
    }
}

fn parse(member: &str, due: i64) -> Option<Unfinished> {
    let (message, endpoint) = member.split_once(':')?;
    let delivery = DeliveryId {
        message: MessageId::parse(message).ok()?,
        endpoint: EndpointId::parse(endpoint).ok()?,
    };
    Some(Unfinished {
        delivery,
        due: UnixMillis(due),
    })
}

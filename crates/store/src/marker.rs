//! The mark of the broker's data: how one knows that a broker came back empty.
//!
//! Owns a random word that also names a queue in the broker. When the word is here and the queue is not, the broker has
//! lost what it held. Refuses to know the broker: whoever has it looks for the queue.

use std::collections::HashSet;
use std::time::Duration;

use nuncio_domain::{AppId, DeliveryId, EndpointId, MessageId, UnixMillis};

use crate::sweep::Unfinished;
use crate::{Store, StoreError};

/// Where a reading of unfinished deliveries goes on. What was read is remembered by name and not by number: others are
/// finished, and go, while it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnfinishedFrom {
    due: Option<i64>,
    seen_at_due: HashSet<String>,
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

    /// At most `limit` of an app's unfinished deliveries by the time they are due, from where the last reading ended; none
    /// at the end. Each that is there from the beginning to the end of all readings is read.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn unfinished_from(
        &self,
        app: &AppId,
        from: &mut UnfinishedFrom,
        limit: usize,
    ) -> Result<Vec<Unfinished>, StoreError> {
        loop {
            let mut cmd = redis::cmd("ZRANGEBYSCORE");
            cmd.arg(self.keys().unfinished(app));
            cmd.arg(from.due.map_or("-inf".to_owned(), |due| due.to_string()))
                .arg("+inf");
            cmd.arg("WITHSCORES")
                .arg("LIMIT")
                .arg(0)
                .arg(limit + from.seen_at_due.len());
            let members: Vec<(String, f64)> = self.one("read unfinished deliveries", cmd).await?;
            let mut fresh = 0;
            let mut found = Vec::with_capacity(limit);
            for (member, due) in members {
                let due = due as i64;
                if from.due != Some(due) {
                    from.due = Some(due);
                    from.seen_at_due.clear();
                }
                if from.seen_at_due.contains(&member) {
                    continue;
                }
                fresh += 1;
                found.extend(parse(&member, due));
                from.seen_at_due.insert(member);
            }
            // Nobody else's names are taken for the end.
            if fresh == 0 || !found.is_empty() {
                return Ok(found);
            }
        }
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

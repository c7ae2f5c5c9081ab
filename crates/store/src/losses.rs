//! Losses of the broker that are still to be made up for.
//!
//! Owns the list: who finds something missing notes it before it is put back, so that a crash in between forgets nothing;
//! who has queued again what was in it strikes it off. Guarantees that striking off does not cover a loss that was noted
//! meanwhile. Refuses to know the broker, and what follows from a loss.

use nuncio_domain::Loss;
use redis::Value;

use crate::life::word;
use crate::{Store, StoreError};

/// A loss that was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedLoss {
    /// What was lost.
    pub loss: Loss,
    /// Which of the times that it was.
    word: String,
}

impl Store {
    /// Notes losses.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn note_losses(&self, losses: &[Loss]) -> Result<(), StoreError> {
        if losses.is_empty() {
            return Ok(());
        }
        let mut cmd = redis::cmd("HSET");
        cmd.arg(self.keys().losses());
        for loss in losses {
            cmd.arg(loss.to_string()).arg(word());
        }
        self.one::<Value>("note what RabbitMQ has lost", cmd).await?;
        Ok(())
    }

    /// The losses that were noted and not struck off.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn noted_losses(&self) -> Result<Vec<NotedLoss>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().losses());
        let noted: Vec<(String, String)> = self.one("read what RabbitMQ has lost", cmd).await?;
        let parsed = noted.into_iter().filter_map(|(text, word)| {
            let loss = Loss::parse(&text)?;
            Some(NotedLoss { loss, word })
        });
        Ok(parsed.collect())
    }

    /// Strikes a loss off, unless it was noted once more since it was read.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn strike_off(&self, noted: &NotedLoss) -> Result<(), StoreError> {
        let script = "if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then\n\
             redis.call('HDEL', KEYS[1], ARGV[1])\n\
             end\n\
             return 1";
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(script)
            .arg(1)
            .arg(self.keys().losses())
            .arg(noted.loss.to_string())
            .arg(&noted.word);
        self.one::<Value>("strike off what RabbitMQ had lost", cmd)
            .await?;
        Ok(())
    }
}

//! The sweeper's view: deliveries that should have been made by now.
//!
//! Owns the set of unfinished deliveries as it is read. Refuses to queue them again: that is who has the broker.

use nuncio_domain::{AppId, DeliveryId, EndpointId, MessageId, UnixMillis};
use redis::Value;

use crate::link::Lane;
use crate::store::read;
use crate::{Store, StoreError};

/// How many apps are asked about in one round trip.
const APPS_A_BATCH: usize = 1_000;

/// A delivery that is not at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Which.
    pub delivery: DeliveryId,
    /// When it was due.
    pub due: UnixMillis,
}

impl Store {
    /// Those of the apps that have deliveries which were due before `due_before`.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn apps_with_unfinished(
        &self,
        apps: &[AppId],
        due_before: UnixMillis,
    ) -> Result<Vec<AppId>, StoreError> {
        const ACTION: &str = "look for unfinished deliveries";
        let mut found = Vec::new();
        for apps in apps.chunks(APPS_A_BATCH) {
            let groups = apps.iter().map(|app| {
                let mut cmd = redis::cmd("ZCOUNT");
                cmd.arg(self.keys().unfinished(app))
                    .arg("-inf")
                    .arg(format!("({}", due_before.0));
                vec![cmd]
            });
            let answers = self.groups(Lane::Calls, ACTION, groups.collect()).await?;
            for (app, mut answer) in apps.iter().zip(answers) {
                if read::<u64>(ACTION, answer.pop())? > 0 {
                    found.push(app.clone());
                }
            }
        }
        Ok(found)
    }

    /// An app's deliveries that were due before `due_before`, the longest due first.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn unfinished_before(
        &self,
        app: &AppId,
        due_before: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Unfinished>, StoreError> {
        let mut cmd = redis::cmd("ZRANGEBYSCORE");
        cmd.arg(self.keys().unfinished(app))
            .arg("-inf")
            .arg(format!("({}", due_before.0));
        cmd.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
        let members: Vec<(String, f64)> = self.one("look for unfinished deliveries", cmd).await?;
        let parsed = members.into_iter().filter_map(|(member, due)| {
            let (message, endpoint) = member.split_once(':')?;
            Some(Unfinished {
                delivery: DeliveryId {
                    message: MessageId::parse(message).ok()?,
                    endpoint: EndpointId::parse(endpoint).ok()?,
                },
                due: UnixMillis(due as i64),
            })
        });
        Ok(parsed.collect())
    }

    /// How many deliveries of an app are not at their end.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn unfinished_count(&self, app: &AppId) -> Result<u64, StoreError> {
        let mut cmd = redis::cmd("ZCARD");
        cmd.arg(self.keys().unfinished(app));
        self.one("count unfinished deliveries", cmd).await
    }

    /// Moves the time at which unfinished deliveries are looked at again, where they are still unfinished; for the sweeper,
    /// so that what it queued again is not found at once.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn postpone_unfinished(
        &self,
        app: &AppId,
        deliveries: &[DeliveryId],
        until: UnixMillis,
    ) -> Result<(), StoreError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let mut cmd = redis::cmd("ZADD");
        cmd.arg(self.keys().unfinished(app)).arg("XX");
        for DeliveryId { message, endpoint } in deliveries {
            cmd.arg(until.0).arg(format!("{message}:{endpoint}"));
        }
        self.one::<Value>("postpone unfinished deliveries", cmd).await?;
        Ok(())
    }

    /// Forgets unfinished deliveries: their message has expired, or their endpoint is gone.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn drop_unfinished(&self, app: &AppId, deliveries: &[DeliveryId]) -> Result<(), StoreError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(self.keys().unfinished(app));
        for DeliveryId { message, endpoint } in deliveries {
            cmd.arg(format!("{message}:{endpoint}"));
        }
        self.one::<Value>("forget unfinished deliveries", cmd).await?;
        Ok(())
    }
}

//! The streak: since when an endpoint has only failed.
//!
//! Owns this sender's memory of it, so that Redis is asked once a streak and not once a delivery. The record decides:
//! another sender may have seen a success.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nuncio_domain::{Attempt, AttemptStatus, Endpoint, UnixMillis};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{Health, Store};

/// Nothing is known yet.
const UNKNOWN: i64 = -1;
/// It answered well last.
const HEALTHY: i64 = 0;

/// Since when an endpoint has only failed, as far as this sender knows.
pub(crate) struct Streak(AtomicI64);

impl Streak {
    pub(crate) fn unknown() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }

    /// Notes an attempt; answers what the record is to be told, which is nothing when it knows already.
    pub(crate) fn note(&self, attempt: &Attempt) -> Option<Health> {
        match attempt.status() {
            AttemptStatus::Succeeded => {
                (self.0.swap(HEALTHY, Ordering::Relaxed) != HEALTHY).then_some(Health::Healthy)
            }
            AttemptStatus::Failed => {
                let since = attempt.started_at.0.max(1);
                let known = self
                    .0
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |streak| {
                        (streak <= HEALTHY).then_some(since)
                    });
                known.is_ok().then_some(Health::Failing {
                    since: attempt.started_at,
                })
            }
        }
    }

    /// Since when the endpoint has only failed, if that is longer than `limit`.
    pub(crate) async fn too_long(
        &self,
        store: &Store,
        endpoint: &Endpoint,
        limit: Duration,
        now: UnixMillis,
    ) -> Option<UnixMillis> {
        let known = self.0.load(Ordering::Relaxed);
        if known > HEALTHY && now.since(UnixMillis(known)) < limit && !self.is_first(known, now) {
            return None;
        }
        match store.failing_since(&endpoint.app_id, &endpoint.id).await {
            Ok(Some(since)) => {
                self.0.store(since.0.max(1), Ordering::Relaxed);
                (now.since(since) >= limit).then_some(since)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(error = chain(&error), endpoint = %endpoint.id, "since when an endpoint fails is not known");
                None
            }
        }
    }

    /// Whether this sender has only just begun to see failures, so that the record may know of earlier ones.
    fn is_first(&self, since: i64, now: UnixMillis) -> bool {
        now.since(UnixMillis(since)) < Duration::from_secs(20)
    }
}

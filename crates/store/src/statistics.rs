//! Statistics: how many attempts an endpoint had in each hour, how they ended, and how long they took.
//!
//! Owns counters by endpoint and day, one field per hour and count. They are a view, not a ledger: an increment whose
//! answer was lost may count twice.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use nuncio_domain::{AppId, Attempt, AttemptStatus, EndpointId, UnixMillis};

use crate::claim::by_app;
use crate::link::Lane;
use crate::store::{Group, read};
use crate::{Store, StoreError};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Upper ends of the buckets of durations, in milliseconds; the last bucket has none.
pub const LATENCY_BUCKETS: [u64; 9] = [10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 15_000];
/// Of how many endpoints and hours counts are kept while they cannot be written.
const KEPT_MAX: usize = 100_000;

/// What happened at one endpoint in one hour, or in any span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Attempts that a 2xx ended.
    pub succeeded: u64,
    /// Attempts that anything else ended.
    pub failed: u64,
    /// Attempts that were answered, by duration: up to each of [`LATENCY_BUCKETS`], and longer.
    pub durations: [u64; LATENCY_BUCKETS.len() + 1],
}

impl Counts {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        for (mine, theirs) in self.durations.iter_mut().zip(other.durations) {
            *mine += theirs;
        }
    }

    fn field(&mut self, kind: &str) -> Option<&mut u64> {
        match kind {
            "s" => Some(&mut self.succeeded),
            "f" => Some(&mut self.failed),
            bucket => self
                .durations
                .get_mut(bucket.strip_prefix('l')?.parse::<usize>().ok()?),
        }
    }

    fn fields(&self) -> impl Iterator<Item = (String, u64)> {
        let outcomes = [("s".to_owned(), self.succeeded), ("f".to_owned(), self.failed)];
        let durations = self
            .durations
            .into_iter()
            .enumerate()
            .map(|(at, count)| (format!("l{at}"), count));
        outcomes
            .into_iter()
            .chain(durations)
            .filter(|(_, count)| *count > 0)
    }
}

fn bucket(duration: Duration) -> usize {
    let millis = duration.as_millis();
    LATENCY_BUCKETS
        .iter()
        .position(|end| millis <= u128::from(*end))
        .unwrap_or(LATENCY_BUCKETS.len())
}

/// What was counted and not written yet.
#[derive(Default)]
pub(crate) struct Statistics {
    counted: HashMap<(AppId, EndpointId, i64), Counts>,
}

impl Statistics {
    pub(crate) fn count(&mut self, app: &AppId, attempt: &Attempt) {
        let hour = attempt.started_at.0.div_euclid(HOUR);
        let counts = self
            .counted
            .entry((app.clone(), attempt.endpoint_id.clone(), hour))
            .or_default();
        match attempt.status() {
            AttemptStatus::Succeeded => counts.succeeded += 1,
            AttemptStatus::Failed => counts.failed += 1,
        }
        // How long nobody answered is no response time.
        if attempt.outcome.status().is_some() {
            counts.durations[bucket(attempt.duration)] += 1;
        }
    }

    pub(crate) fn groups(&self, store: &Store) -> Vec<Group> {
        let grouped = by_app(
            self.counted
                .iter()
                .map(|((app, endpoint, hour), counts)| (app, (endpoint, hour, counts))),
        );
        let groups = grouped.into_iter().map(|(app, items)| {
            let mut group = Group::new();
            for (endpoint, hour, counts) in items {
                let key = store.keys().statistics(app, endpoint, &day_name(hour * HOUR));
                for (kind, count) in counts.fields() {
                    let mut cmd = redis::cmd("HINCRBY");
                    cmd.arg(&key)
                        .arg(format!("{}{kind}", hour.rem_euclid(24)))
                        .arg(count);
                    group.push(cmd);
                }
                let mut expire = redis::cmd("EXPIRE");
                expire.arg(&key).arg(store.retention_seconds() + 24 * 3_600);
                group.push(expire);
            }
            group
        });
        groups.collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.counted.clear();
    }

    /// Forgets everything rather than growing without end.
    pub(crate) fn bound(&mut self) {
        if self.counted.len() > KEPT_MAX {
            self.counted.clear();
        }
    }
}

impl Store {
    /// What happened at an endpoint, hour by hour, from the hour of `since` to that of `until`; hours without attempts are
    /// left out. Each hour is given by its beginning.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn hourly_counts(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Result<BTreeMap<UnixMillis, Counts>, StoreError> {
        const ACTION: &str = "read the statistics of an endpoint";
        let retention = i64::try_from(self.inner.config.retention.as_millis()).unwrap_or(i64::MAX);
        let first = since
            .0
            .max(until.0.saturating_sub(retention).saturating_sub(DAY))
            .div_euclid(DAY);
        let days: Vec<i64> = (first..=until.0.div_euclid(DAY)).collect();
        let group = days.iter().map(|day| {
            let mut cmd = redis::cmd("HGETALL");
            cmd.arg(self.keys().statistics(app, endpoint, &day_name(day * DAY)));
            cmd
        });
        let values = self.group(Lane::Calls, ACTION, group.collect()).await?;
        let mut hours: BTreeMap<UnixMillis, Counts> = BTreeMap::new();
        for (day, value) in days.into_iter().zip(values) {
            for (name, count) in read::<Vec<(String, u64)>>(ACTION, Some(value))? {
                let Some(kind) = name.find(|c: char| !c.is_ascii_digit()) else {
                    continue;
                };
                let Ok(hour) = name[..kind].parse::<i64>() else {
                    continue;
                };
                let at = UnixMillis(day * DAY + hour * HOUR);
                if at.0 + HOUR <= since.0 || at.0 > until.0 {
                    continue;
                }
                if let Some(field) = hours.entry(at).or_default().field(&name[kind..]) {
                    *field += count;
                }
            }
        }
        Ok(hours)
    }

    /// What happened at an endpoint from the hour of `since` to that of `until`, in all.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn counts(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Result<Counts, StoreError> {
        let mut total = Counts::default();
        for hour in self.hourly_counts(app, endpoint, since, until).await?.values() {
            total.add(hour);
        }
        Ok(total)
    }
}

/// The day of an instant as `yyyymmdd`, in UTC.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn day_name(at: i64) -> String {
    let z = at.div_euclid(DAY) + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}")
}

#[cfg(test)]
mod tests {
    use nuncio_domain::{AttemptId, AttemptNumber, MessageId, Outcome, Reason, Trigger};

    use super::*;

    #[test]
    fn days_have_their_names() {
        for (at, name) in [
            (0, "19700101"),
            (DAY - 1, "19700101"),
            (951_782_400_000, "20000229"),
            (1_763_900_000_000, "20251123"),
            (4_107_542_400_000, "21000301"),
        ] {
            assert_eq!(day_name(at), name);
        }
    }

    #[test]
    fn how_long_nobody_answered_is_no_response_time() {
        let (app, at) = (AppId::parse("app_1").unwrap(), UnixMillis(0));
        let attempt = |outcome| Attempt {
            id: AttemptId::generate(at, &mut rand::rng()),
            message_id: MessageId::generate(at, &mut rand::rng()),
            endpoint_id: EndpointId::parse("ep_1").unwrap(),
            event_type: "sync.user".parse().unwrap(),
            url: "https://example.com/".to_owned(),
            number: AttemptNumber::FIRST,
            trigger: Trigger::Scheduled,
            outcome,
            started_at: at,
            duration: Duration::from_millis(7),
            next_due: None,
            response_body: String::new(),
            response_headers: Vec::new(),
        };
        let mut statistics = Statistics::default();
        statistics.count(&app, &attempt(Outcome::Unreachable(Reason::ConnectionRefused)));
        statistics.count(&app, &attempt(Outcome::Gone));
        let counts = statistics.counted.values().next().unwrap();
        assert_eq!((counts.failed, counts.durations[0]), (2, 1));
    }

    #[test]
    fn every_duration_has_its_bucket() {
        let at = |millis| bucket(Duration::from_millis(millis));
        assert_eq!((at(0), at(10), at(11), at(15_000), at(15_001)), (0, 0, 1, 8, 9));
    }
}

//! One flush: many records, one round trip.
//!
//! Owns how records become calls of the record script, and the upkeep of an endpoint's history (its URLs, its age), which
//! is done now and then rather than with every record.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nuncio_domain::{AppId, Attempt, DeliveryId, DeliveryState, DeliveryStatus, EndpointId, UnixMillis};
use nuncio_wire::record::{AttemptRecord, encode_state, url_key};
use redis::Cmd;
use tokio::time::Instant;

use crate::claim::by_app;
use crate::link::Lane;
use crate::recorder::buffer::{Entry, Item};
use crate::recorder::{Health, Record, Recorded};
use crate::script::{self, RECORD, UPKEEP};
use crate::statistics::Statistics;
use crate::store::{Group, read};
use crate::{Claim, Store, StoreError};

const ACTION: &str = "record attempts";
/// How many records one call of the script writes, so that none occupies the server for long.
const RECORDS_A_CALL: usize = 32;
/// How often the upkeep of one endpoint's history is done.
const UPKEEP_EVERY: Duration = Duration::from_secs(600);
/// Of how many endpoints the last upkeep is remembered.
const UPKEPT_MAX: usize = 50_000;

/// What the script answers for a record that was new, and for one whose attempt another one was recorded as.
const NEW: u8 = 1;
const ANOTHERS: u8 = 2;

/// One delivery's news, from either kind of record.
struct News<'a> {
    /// Its place in the batch.
    at: usize,
    app: &'a AppId,
    delivery: DeliveryId,
    /// When the message was published.
    published_at: UnixMillis,
    state: &'a DeliveryState,
    attempt: Option<&'a Attempt>,
}

pub(crate) struct Flusher {
    store: Store,
    /// When the upkeep was done last, by endpoint and URL.
    upkept: HashMap<(EndpointId, String), Instant>,
}

impl Flusher {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            upkept: HashMap::new(),
        }
    }

    /// Writes a batch; counts what was new. Answers the places of attempts that another copy of their delivery had made
    /// before.
    pub(crate) async fn flush(
        &mut self,
        batch: &[Entry],
        statistics: &mut Statistics,
    ) -> Result<HashSet<usize>, StoreError> {
        let routed: Vec<Claim> = batch
            .iter()
            .filter_map(|entry| match &entry.item {
                Item::Routed(claim) => Some((**claim).clone()),
                _ => None,
            })
            .collect();
        if !routed.is_empty() {
            self.store.save_routed(&routed).await?;
        }
        let news = by_app(
            batch
                .iter()
                .enumerate()
                .filter_map(|(at, entry)| news(&entry.item, at))
                .map(|news| (news.app, news)),
        );
        let mut upkeep = by_app(batch.iter().filter_map(|entry| match &entry.item {
            Item::Attempt(record) => Some((&record.app_id, &**record)),
            _ => None,
        }))
        .into_iter()
        .map(|(app, records)| (app, self.upkeep(app, &records)))
        .collect::<HashMap<_, _>>();
        let mut groups = Vec::with_capacity(news.len());
        let mut calls = Vec::with_capacity(news.len());
        for (app, items) in &news {
            let mut group: Group = items
                .chunks(RECORDS_A_CALL)
                .map(|chunk| self.record_cmd(app, chunk))
                .collect();
            calls.push(group.len());
            group.extend(upkeep.remove(app).unwrap_or_default());
            groups.push(group);
        }
        let answers = self.store.groups(Lane::Records, ACTION, groups).await?;
        let mut made_before = HashSet::new();
        for (((app, items), calls), answer) in news.iter().zip(calls).zip(answers) {
            let mut items = items.iter();
            for value in answer.into_iter().take(calls) {
                for answer in read::<Vec<u8>>(ACTION, Some(value))? {
                    match (items.next(), answer) {
                        (Some(news), ANOTHERS) => {
                            made_before.insert(news.at);
                        }
                        (
                            Some(News {
                                attempt: Some(attempt),
                                ..
                            }),
                            NEW,
                        ) => statistics.count(app, attempt),
                        _ => {}
                    }
                }
            }
        }
        Ok(made_before)
    }

    /// Writes each record of a batch that failed for a reason other than the store being away, so that one that cannot be
    /// written does not take the others with it.
    pub(crate) async fn one_by_one(
        &mut self,
        batch: Vec<Entry>,
        statistics: &mut Statistics,
        error: &StoreError,
    ) {
        tracing::warn!(%error, records = batch.len(), "a batch of records was refused and is written one by one");
        for entry in batch {
            let entry = [entry];
            let flushed = self.flush(&entry, statistics).await;
            let [entry] = entry;
            match flushed {
                Ok(made_before) if !made_before.is_empty() => entry.tell(Recorded::MadeBefore),
                Ok(_) => entry.tell(Recorded::Saved),
                Err(error) => {
                    let cause = std::error::Error::source(&error)
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    tracing::error!(%error, cause, "a record cannot be written and is lost");
                    metrics::counter!("nuncio_store_records_dropped_total").increment(1);
                    entry.tell(Recorded::Saved);
                }
            }
        }
    }

    /// Writes what was counted; what cannot be written now is kept for the next time.
    pub(crate) async fn write_statistics(&self, statistics: &mut Statistics) {
        let groups = statistics.groups(&self.store);
        if groups.is_empty() {
            return;
        }
        match self.store.groups(Lane::Records, "count attempts", groups).await {
            Ok(_) => statistics.clear(),
            Err(error) => {
                tracing::debug!(%error, "statistics are kept for later");
                statistics.bound();
            }
        }
    }

    fn record_cmd(&self, app: &AppId, news: &[News<'_>]) -> Cmd {
        let keys = self.store.keys();
        let mut cmd = script::call(&RECORD, &[&keys.unfinished(app)]);
        cmd.arg(keys.app_prefix(app)).arg(self.store.retention_seconds());
        cmd.arg(self.store.config().attempts_per_endpoint_max);
        for News {
            delivery,
            published_at,
            state,
            attempt,
            ..
        } in news
        {
            cmd.arg(delivery.message.as_str()).arg(delivery.endpoint.as_str());
            cmd.arg(state.series.0)
                .arg(state.attempt.map_or(0, |number| number.number()));
            cmd.arg(letter(state)).arg(due(state, *published_at));
            cmd.arg(attempt.map_or_else(String::new, |attempt| AttemptRecord::new(attempt).to_json()));
            cmd.arg(published_at.0)
                .arg(attempt.map_or("", |attempt| attempt.event_type.as_str()));
        }
        cmd
    }

    /// What is to be done beside the records: health, and the upkeep of those histories whose turn it is.
    fn upkeep(&mut self, app: &AppId, records: &[&Record]) -> Group {
        let store = &self.store;
        let keys = store.keys();
        let mut group = Group::new();
        let mut health = HashMap::new();
        for record in records {
            let attempt = &record.attempt;
            if let Some(now) = record.health {
                health.insert(&attempt.endpoint_id, now);
            }
            let url = url_key(&attempt.url);
            let upkept = self.upkept.get(&(attempt.endpoint_id.clone(), url.clone()));
            if upkept.is_some_and(|at| at.elapsed() < UPKEEP_EVERY) {
                continue;
            }
            let history = keys.attempts(app, &attempt.endpoint_id);
            let mut cmd = script::call(&UPKEEP, &[&history, &keys.urls(app, &attempt.endpoint_id)]);
            cmd.arg(&url).arg(&attempt.url).arg(store.retention_seconds());
            group.push(cmd);
            if self.upkept.len() >= UPKEPT_MAX {
                self.upkept.clear();
            }
            self.upkept
                .insert((attempt.endpoint_id.clone(), url), Instant::now());
        }
        for (endpoint, health) in health {
            let mut cmd;
            match health {
                Health::Healthy => {
                    cmd = redis::cmd("HDEL");
                    cmd.arg(keys.failing(app)).arg(endpoint.as_str());
                }
                Health::Failing { since } => {
                    cmd = redis::cmd("HSETNX");
                    cmd.arg(keys.failing(app)).arg(endpoint.as_str()).arg(since.0);
                }
            }
            group.push(cmd);
        }
        group
    }
}

fn news(item: &Item, at: usize) -> Option<News<'_>> {
    match item {
        Item::Attempt(record) => Some(News {
            at,
            app: &record.app_id,
            delivery: DeliveryId {
                message: record.attempt.message_id.clone(),
                endpoint: record.attempt.endpoint_id.clone(),
            },
            published_at: record.published_at,
            state: &record.state,
            attempt: Some(&record.attempt),
        }),
        Item::State {
            app_id,
            delivery,
            state,
        } => Some(News {
            at,
            app: app_id,
            delivery: delivery.clone(),
            // A state alone says nothing of a message that is not kept.
            published_at: delivery.message.made_at().unwrap_or_default(),
            state,
            attempt: None,
        }),
        Item::Routed(_) => None,
    }
}

/// The status alone, as the first letter of the text that wire makes of the state.
fn letter(state: &DeliveryState) -> String {
    encode_state(state).chars().take(1).collect()
}

/// When the sweeper may wonder: the time of the next attempt, or of the request for this one.
fn due(state: &DeliveryState, published: UnixMillis) -> String {
    match state.status {
        DeliveryStatus::Retrying { due } => due.0.to_string(),
        DeliveryStatus::Pending => state.series.0.max(published.0).to_string(),
        _ => String::new(),
    }
}

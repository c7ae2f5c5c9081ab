//! Overviews: many endpoints at a glance, and how the pipeline as a whole stands.
//!
//! Guarantees that what is asked for many endpoints is asked side by side and is bounded. Figures are a view, not a
//! ledger.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use nuncio_domain::{App, AppId, Endpoint, EndpointId, UnixMillis};
use nuncio_producer::QueueDepth;
use nuncio_store::{Counts, Role};

use super::refusal::Outcome;
use super::{UseCases, broker, store};

/// Questions under way at the same time.
const SIDE_BY_SIDE: usize = 16;
/// Endpoints whose counts are compared with each other.
pub const COMPARED_MAX: usize = 500;
/// After how long without a sign a sender is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// One endpoint at a glance.
#[derive(Debug, Clone)]
pub struct Glance {
    /// What happened, hour by hour.
    pub hours: BTreeMap<UnixMillis, Counts>,
    /// What waits in its queue; nothing while the broker cannot tell.
    pub depth: Option<u64>,
    /// Since when it only fails; nothing when it does not.
    pub failing_since: Option<UnixMillis>,
}

/// How the pipeline as a whole stands.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Events that wait for a router, and how many consumers take them.
    pub ingest: Option<QueueDepth>,
    /// Events that were set aside.
    pub set_aside: u64,
    /// Deliveries that found no queue.
    pub unroutable: u64,
    /// Deliveries that wait for another attempt, by how long they wait.
    pub ladder: Vec<(Duration, u64)>,
    /// Names of the senders that are alive.
    pub senders: Vec<String>,
}

/// What one endpoint did in a span of time.
#[derive(Debug, Clone)]
pub struct Load {
    /// Its app.
    pub app: App,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What happened.
    pub counts: Counts,
}

impl UseCases {
    /// What happened at an endpoint, hour by hour.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn hourly(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        since: UnixMillis,
        until: UnixMillis,
    ) -> Outcome<BTreeMap<UnixMillis, Counts>> {
        store(self.store.hourly_counts(app, endpoint, since, until).await)
    }

    /// The endpoints of an app at a glance, in their order.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn glances(
        &self,
        app: &App,
        endpoints: &[Endpoint],
        since: UnixMillis,
        until: UnixMillis,
    ) -> Outcome<Vec<Glance>> {
        let failing: HashMap<_, _> = store(self.store.failing(&app.id).await)?.into_iter().collect();
        let failing = &failing;
        let asked = stream::iter(endpoints.iter().cloned()).map(|endpoint| async move {
            let (hours, depth) = tokio::join!(
                self.hourly(&app.id, &endpoint.id, since, until),
                self.operator.backlog(&endpoint.id),
            );
            let depth = match depth {
                Ok(depth) => Some(depth.map_or(0, |depth| u64::from(depth.messages))),
                Err(error) => {
                    tracing::debug!(
                        endpoint = %endpoint.id,
                        error = nuncio_runtime::lifecycle::chain(&error),
                        "a backlog cannot be told"
                    );
                    None
                }
            };
            Ok(Glance {
                hours: hours?,
                depth,
                failing_since: failing.get(&endpoint.id).copied(),
            })
        });
        let glances: Vec<_> = asked.buffered(SIDE_BY_SIDE).collect().await;
        glances.into_iter().collect()
    }

    /// The endpoints of those apps that have only failed, and since when.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn failing_of(&self, apps: HashSet<AppId>) -> Outcome<HashMap<EndpointId, UnixMillis>> {
        let asked = stream::iter(apps).map(|app| async move { store(self.store.failing(&app).await) });
        let mut asked = asked.buffered(SIDE_BY_SIDE);
        let mut failing = HashMap::new();
        while let Some(found) = asked.next().await {
            failing.extend(found?);
        }
        Ok(failing)
    }

    /// Apps whose name, uid or id holds `text`, the newest first, and how many there are in all.
    #[must_use]
    pub fn search_apps(&self, text: &str) -> Vec<App> {
        let wanted = text.to_lowercase();
        let matches = |app: &App| {
            let uid = app.uid.as_ref().map_or("", |uid| uid.as_str());
            [app.name.as_str(), uid, app.id.as_str()]
                .iter()
                .any(|known| known.to_lowercase().contains(&wanted))
        };
        let mut apps: Vec<_> = self
            .directory
            .app_ids()
            .iter()
            .filter_map(|id| self.directory.app(id.as_str()))
            .filter(|entry| matches(&entry.app))
            .map(|entry| entry.app.clone())
            .collect();
        apps.sort_unstable_by(|a, b| b.id.cmp(&a.id));
        apps
    }

    /// How many endpoints an app has, as far as this process knows.
    #[must_use]
    pub fn endpoint_count(&self, app: &AppId) -> usize {
        self.directory
            .app(app.as_str())
            .map_or(0, |entry| entry.endpoints.len())
    }

    /// How the pipeline as a whole stands.
    ///
    /// # Errors
    /// When the store or the broker are away.
    pub async fn pipeline(&self, rungs: &[Duration]) -> Outcome<Pipeline> {
        let waiting = |depth: Option<QueueDepth>| depth.map_or(0, |depth| u64::from(depth.messages));
        let ladder = broker(self.operator.ladder_depths(rungs).await)?;
        Ok(Pipeline {
            ingest: broker(self.operator.ingest_depth().await)?,
            set_aside: waiting(broker(self.operator.set_aside_depth().await)?),
            unroutable: waiting(broker(self.operator.unroutable_depth().await)?),
            ladder: ladder
                .into_iter()
                .map(|(rung, depth)| (rung, waiting(depth)))
                .collect(),
            senders: store(self.store.members(Role::Sender, SILENCE_MAX).await)?,
        })
    }

    /// What endpoints did in a span of time: of [`COMPARED_MAX`] at most.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn loads(&self, since: UnixMillis, until: UnixMillis) -> Outcome<Vec<Load>> {
        let known = self.directory.endpoint_ids();
        let entries = known
            .iter()
            .take(COMPARED_MAX)
            .filter_map(|id| self.directory.endpoint(id))
            .filter_map(|entry| {
                let app = self.directory.app(entry.endpoint.app_id.as_str())?;
                Some((app.app.clone(), entry.endpoint.clone()))
            });
        let entries: Vec<_> = entries.collect();
        let asked = stream::iter(entries).map(|(app, endpoint)| async move {
            let counts = self.store.counts(&app.id, &endpoint.id, since, until).await;
            store(counts).map(|counts| Load {
                app,
                endpoint,
                counts,
            })
        });
        let loads: Vec<_> = asked.buffered(SIDE_BY_SIDE).collect().await;
        loads.into_iter().collect()
    }
}

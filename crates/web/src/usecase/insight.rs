//! Insight: pause and backlog of an endpoint, why a message went where it went, what happened in a span of time.
//!
//! Guarantees that a pause loses nothing: messages wait in the endpoint's queue. Figures are a view, not a ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use nuncio_domain::{
    App, DeliveryState, DeliveryStatus, Endpoint, EndpointId, EndpointState, Routing, UnixMillis,
};
use nuncio_producer::EndpointChange;
use nuncio_store::{
    AttemptFilter, Counts, Deliveries, DeliveryRecord, MessageFilter, Order, PageRequest, Start,
};

use super::refusal::{Outcome, Refusal};
use super::replay::refuse_disabled;
use super::{UseCases, broker, store};

/// Messages that statistics of deliveries look at, at most.
const COUNTED_MAX: usize = 10_000;
/// Messages that are looked at together.
const BATCH: usize = 250;
/// How far statistics look back unless said otherwise.
pub const LOOK_BACK: Duration = Duration::from_secs(28 * 24 * 3_600);
/// What a span may reach further back than is allowed: who asks for "now less 28 days" has computed that before.
pub const LEEWAY: Duration = Duration::from_secs(5 * 60);
/// How far back the rate of an endpoint is measured.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// Unfinished deliveries of an app that are looked through for the oldest of one endpoint.
const UNFINISHED_MAX: usize = 5_000;

/// How the deliveries to an endpoint stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryCounts {
    /// A 2xx came.
    pub success: u64,
    /// Not tried yet.
    pub pending: u64,
    /// Failed for good.
    pub fail: u64,
    /// Tried, and to be tried again.
    pub sending: u64,
    /// Given up because the endpoint went, or something newer took its place.
    pub canceled: u64,
}

impl DeliveryCounts {
    fn add(&mut self, state: DeliveryState) {
        let field = match state.status {
            DeliveryStatus::Delivered => &mut self.success,
            DeliveryStatus::Pending => &mut self.pending,
            DeliveryStatus::Retrying { .. } => &mut self.sending,
            DeliveryStatus::Exhausted | DeliveryStatus::Disabled => &mut self.fail,
            DeliveryStatus::Deleted | DeliveryStatus::Superseded => &mut self.canceled,
        };
        *field += 1;
    }
}

/// What waits for an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Backlog {
    /// Messages in its queue.
    pub depth: u64,
    /// Deliveries that wait for another attempt.
    pub retrying: u64,
    /// When the longest waiting was due.
    pub oldest_due: Option<UnixMillis>,
    /// Attempts a second in the last minute.
    pub rate: f64,
    /// Whether its queue is being emptied.
    pub consumed: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Since when it only fails; nothing when it does not. Its breaker then lets few attempts through.
    pub failing_since: Option<UnixMillis>,
}

impl Backlog {
    /// How long it takes until nothing waits, at the rate of the last minute; nothing when that cannot be told.
    #[must_use]
    pub fn drain(&self) -> Option<Duration> {
        if self.depth == 0 {
            return Some(Duration::ZERO);
        }
        let seconds = self.depth as f64 / self.rate;
        (seconds.is_finite() && !self.paused).then(|| Duration::from_secs_f64(seconds.min(1e9)))
    }
}

/// Why an endpoint did or did not get a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingOf {
    /// The endpoint's id.
    pub endpoint: EndpointId,
    /// The endpoint; none when it was deleted since.
    pub now: Option<Endpoint>,
    /// What was decided; none when it was not there.
    pub decided: Option<Routing>,
    /// How the delivery stands, where there is one.
    pub state: Option<DeliveryState>,
}

/// Why a message went where it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingReport {
    /// The message's id.
    pub message: nuncio_domain::MessageId,
    /// Whether it was decided already.
    pub routed: bool,
    /// For each endpoint that was there then or is there now.
    pub endpoints: Vec<RoutingOf>,
}

/// What happened in an app in a span of time.
#[derive(Debug, Clone, PartialEq)]
pub struct AppReport {
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Those that only fail, and since when.
    pub failing: Vec<(EndpointId, UnixMillis)>,
    /// Deliveries that are not at their end.
    pub unfinished: u64,
    /// Attempts, by endpoint.
    pub counts: BTreeMap<EndpointId, Counts>,
    /// Attempts, by hour.
    pub hours: BTreeMap<UnixMillis, Counts>,
}

impl UseCases {
    /// Lets an endpoint's messages wait in its queue.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is disabled.
    pub async fn pause(&self, app: &App, id_or_uid: &str) -> Outcome<Endpoint> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        refuse_disabled(&endpoint)?;
        if endpoint.is_paused() {
            return Ok(endpoint);
        }
        self.declare_lane(&endpoint.id).await?;
        let now = self.now();
        let state = EndpointState::Paused { since: now };
        let paused = store(
            self.store
                .set_endpoint_state(&app.id, &endpoint.id, state, now)
                .await,
        )?;
        self.tell(app, &paused, EndpointChange::Paused).await;
        Ok(paused)
    }

    /// Lets a paused endpoint receive again; what waited is sent first.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is disabled.
    pub async fn resume(&self, app: &App, id_or_uid: &str) -> Outcome<Endpoint> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        refuse_disabled(&endpoint)?;
        if !endpoint.is_paused() {
            return Ok(endpoint);
        }
        let now = self.now();
        let resumed = self
            .store
            .set_endpoint_state(&app.id, &endpoint.id, EndpointState::Active, now)
            .await;
        let resumed = store(resumed)?;
        self.tell(app, &resumed, EndpointChange::Resumed).await;
        Ok(resumed)
    }

    /// What waits for an endpoint.
    ///
    /// # Errors
    /// When there is no such endpoint, or the broker or the store are away.
    pub async fn backlog(&self, app: &App, id_or_uid: &str) -> Outcome<Backlog> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let now = self.now();
        let depth = broker(self.operator.backlog(&endpoint.id).await)?;
        let failing_since = store(self.store.failing_since(&app.id, &endpoint.id).await)?;
        let everything = UnixMillis(i64::MAX / 2);
        let unfinished = store(
            self.store
                .unfinished_before(&app.id, everything, UNFINISHED_MAX)
                .await,
        )?;
        let own: Vec<_> = unfinished
            .iter()
            .filter(|waiting| waiting.delivery.endpoint == endpoint.id)
            .collect();
        let recent = AttemptFilter {
            after: Some(now.minus(RATE_SPAN)),
            ..AttemptFilter::default()
        };
        let attempts = self
            .store
            .attempts_of_endpoint(&app.id, &endpoint.id, &recent, &PageRequest::first(BATCH))
            .await;
        let attempts = store(attempts)?;
        let oldest = attempts.items.last().map(|stored| stored.attempt.started_at);
        // A full page covers less than the span: the rate is that of what it covers.
        let span = match (attempts.next, oldest) {
            (Some(_), Some(oldest)) => now.since(oldest).max(Duration::from_millis(1)),
            _ => RATE_SPAN,
        };
        let depth_now = depth.as_ref().map_or(0, |depth| u64::from(depth.messages));
        let retrying = own.iter().filter(|waiting| waiting.due > now).count();
        Ok(Backlog {
            depth: depth_now,
            retrying: u64::try_from(retrying).unwrap_or(u64::MAX),
            oldest_due: own.first().map(|waiting| waiting.due),
            rate: attempts.items.len() as f64 / span.as_secs_f64(),
            consumed: depth.is_some_and(|depth| depth.consumers > 0),
            paused: endpoint.is_paused(),
            failing_since,
        })
    }

    /// Why a message went where it went.
    ///
    /// # Errors
    /// When there is no such message.
    pub async fn routing(&self, app: &App, id_or_event_id: &str) -> Outcome<RoutingReport> {
        let stored = self.message(app, id_or_event_id).await?;
        let mut present: BTreeMap<EndpointId, Endpoint> = store(self.store.endpoints(&app.id).await)?
            .into_iter()
            .map(|endpoint| (endpoint.id.clone(), endpoint))
            .collect();
        let mut endpoints: Vec<_> = stored
            .deliveries
            .into_iter()
            .map(|(id, record)| RoutingOf {
                now: present.remove(&id),
                endpoint: id,
                state: record.state(),
                decided: Some(match record {
                    DeliveryRecord::NotRouted(reason) => reason,
                    DeliveryRecord::Routed { buffered: true, .. } => Routing::Buffered,
                    DeliveryRecord::Routed { .. } => Routing::Matched,
                }),
            })
            .collect();
        endpoints.extend(present.into_iter().map(|(id, endpoint)| RoutingOf {
            endpoint: id,
            now: Some(endpoint),
            decided: None,
            state: None,
        }));
        endpoints.sort_unstable_by(|a, b| a.endpoint.cmp(&b.endpoint));
        Ok(RoutingReport {
            message: stored.message.id,
            routed: stored.routed || endpoints.iter().any(|of| of.decided.is_some()),
            endpoints,
        })
    }

    /// How the deliveries of messages of a span of time to an endpoint stand: of the newest ten thousand, where there are
    /// more.
    ///
    /// # Errors
    /// When there is no such endpoint.
    pub async fn endpoint_stats(
        &self,
        app: &App,
        id_or_uid: &str,
        since: Option<UnixMillis>,
        until: Option<UnixMillis>,
    ) -> Outcome<DeliveryCounts> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let earliest = until.unwrap_or_else(|| self.now()).minus(LOOK_BACK);
        let since = since.unwrap_or(earliest);
        if since < earliest.minus(LEEWAY) {
            return Err(Refusal::Impossible {
                code: "invalid_range",
                detail: "the span is longer than 28 days".to_owned(),
            });
        }
        let filter = MessageFilter {
            after: Some(since),
            before: until,
            deliveries: Deliveries::Of(endpoint.id),
            ..MessageFilter::default()
        };
        let mut request = PageRequest {
            limit: BATCH,
            start: Start::Beginning,
            order: Order::NewestFirst,
        };
        let (mut counts, mut seen) = (DeliveryCounts::default(), 0);
        loop {
            let page = store(self.store.list_messages(&app.id, &filter, &request).await)?;
            seen += page.items.len();
            for (_, record) in page.items.iter().flat_map(|stored| &stored.deliveries) {
                if let Some(state) = record.state() {
                    counts.add(state);
                }
            }
            match page.next {
                Some(next) if seen < COUNTED_MAX => request.start = Start::After(next),
                _ => return Ok(counts),
            }
        }
    }

    /// What happened in an app in a span of time, by hour and by endpoint.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn app_report(&self, app: &App, since: UnixMillis, until: UnixMillis) -> Outcome<AppReport> {
        let endpoints = store(self.store.endpoints(&app.id).await)?;
        let mut hours: BTreeMap<UnixMillis, Counts> = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for endpoint in &endpoints {
            let hourly = self
                .store
                .hourly_counts(&app.id, &endpoint.id, since, until)
                .await;
            let mut total = Counts::default();
            for (hour, count) in store(hourly)? {
                total.add(&count);
                hours.entry(hour).or_default().add(&count);
            }
            counts.insert(endpoint.id.clone(), total);
        }
        Ok(AppReport {
            failing: store(self.store.failing(&app.id).await)?,
            unfinished: store(self.store.unfinished_count(&app.id).await)?,
            endpoints,
            counts,
            hours,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(depth: u64, rate: f64, paused: bool) -> Backlog {
        Backlog {
            depth,
            retrying: 0,
            oldest_due: None,
            rate,
            consumed: true,
            paused,
            failing_since: None,
        }
    }

    #[test]
    fn a_backlog_drains_at_the_rate_of_the_last_minute() {
        assert_eq!(backlog(100, 10.0, false).drain(), Some(Duration::from_secs(10)));
        assert_eq!(backlog(0, 0.0, false).drain(), Some(Duration::ZERO));
        assert_eq!(
            backlog(5, 0.0, false).drain(),
            None,
            "nothing was sent: nobody knows"
        );
        assert_eq!(
            backlog(5, 10.0, true).drain(),
            None,
            "a paused endpoint does not drain"
        );
    }
}

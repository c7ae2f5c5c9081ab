//! Routes that show what happens: statistics, backlog, routing; and those that pause and resume.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use nuncio_domain::UnixMillis;
use nuncio_store::{Counts, LATENCY_BUCKETS};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::attempt::body::MessageStatus;
use super::auth::{InApp, Look, Manage};
use super::endpoint::body::EndpointOut;
use super::path::{At, EndpointAt, MessageAt};
use super::query::{Params, Time};
use super::{Answer, Api};
use crate::usecase::insight::{Backlog, RoutingReport};

/// How far an app's statistics look back unless said otherwise.
const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(backlog))
        .routes(routes!(routing))
        .routes(routes!(endpoint_stats))
        .routes(routes!(app_stats))
}

/// Pause an endpoint: its messages wait in its queue until it is resumed.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/pause", operation_id = "nuncio.endpoint.pause",
    tag = "Beyond Svix",
    responses((status = 200, description = "The endpoint as it is now", body = EndpointOut))
)]
async fn pause(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
) -> Answer<Json<EndpointOut>> {
    let endpoint = api.use_cases.pause(&app, &at.endpoint_id).await?;
    Ok(Json(endpoint.into()))
}

/// Resume a paused endpoint: what waited is sent.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/resume", operation_id = "nuncio.endpoint.resume",
    tag = "Beyond Svix",
    responses((status = 200, description = "The endpoint as it is now", body = EndpointOut))
)]
async fn resume(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Manage>,
    At(at): At<EndpointAt>,
) -> Answer<Json<EndpointOut>> {
    let endpoint = api.use_cases.resume(&app, &at.endpoint_id).await?;
    Ok(Json(endpoint.into()))
}

/// What waits for an endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BacklogOut {
    /// Messages in its queue.
    depth: u64,
    /// Deliveries that wait for another attempt.
    retrying: u64,
    /// Seconds since the longest waiting delivery was due; null when none waits.
    #[schema(required = true)]
    oldest_age_seconds: Option<f64>,
    /// Attempts a second in the last minute.
    rate_per_second: f64,
    /// Seconds until nothing waits, at that rate; null when that cannot be told.
    #[schema(required = true)]
    drain_estimate_seconds: Option<f64>,
    /// Whether its queue is being emptied.
    consumed: bool,
    /// Whether it is paused.
    paused: bool,
    /// Since when it only fails; null when it does not. While it does, it is tried one delivery at a time.
    #[serde(with = "crate::api::time::optional")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    failing_since: Option<UnixMillis>,
}

impl BacklogOut {
    fn new(backlog: &Backlog, now: UnixMillis) -> Self {
        Self {
            depth: backlog.depth,
            retrying: backlog.retrying,
            oldest_age_seconds: backlog.oldest_due.map(|due| now.since(due).as_secs_f64()),
            rate_per_second: backlog.rate,
            drain_estimate_seconds: backlog.drain().map(|drain| drain.as_secs_f64()),
            consumed: backlog.consumed,
            paused: backlog.paused,
            failing_since: backlog.failing_since,
        }
    }
}

/// Get what waits for an endpoint.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/backlog", operation_id = "nuncio.endpoint.backlog",
    tag = "Beyond Svix",
    responses((status = 200, description = "The backlog", body = BacklogOut))
)]
async fn backlog(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<EndpointAt>,
) -> Answer<Json<BacklogOut>> {
    let backlog = api.use_cases.backlog(&app, &at.endpoint_id).await?;
    Ok(Json(BacklogOut::new(&backlog, api.use_cases.now())))
}

/// Why an endpoint did or did not get a message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RoutingOfOut {
    /// The endpoint.
    endpoint_id: String,
    /// The caller's own id for it.
    #[schema(required = true)]
    endpoint_uid: Option<String>,
    /// Its URL as it is now; null when it was deleted.
    #[schema(required = true)]
    url: Option<String>,
    /// `matched`, `paused` (it gets it once resumed), `disabled`, `event_type_filtered`, `channel_filtered`, or
    /// `not_there` when it was created later.
    #[schema(example = "matched")]
    decision: &'static str,
    /// Whether it got the message, or will.
    routed: bool,
    /// How the delivery stands (0 success, 1 pending, 2 fail, 3 sending); null where there is none.
    #[schema(required = true, minimum = 0, maximum = 3)]
    status: Option<u8>,
    /// The status in a word.
    #[schema(required = true)]
    status_text: Option<&'static str>,
}

/// Why a message went where it went.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RoutingOut {
    /// The message.
    msg_id: String,
    /// Whether it was decided already.
    routed: bool,
    /// Whether it was decided that nobody gets it.
    matched_nobody: bool,
    /// For each endpoint that was there then or is there now.
    endpoints: Vec<RoutingOfOut>,
}

impl From<RoutingReport> for RoutingOut {
    fn from(report: RoutingReport) -> Self {
        let endpoints: Vec<_> = report
            .endpoints
            .into_iter()
            .map(|of| {
                let status = of.state.map(|state| MessageStatus::from(state.status));
                RoutingOfOut {
                    endpoint_id: of.endpoint.to_string(),
                    endpoint_uid: of
                        .now
                        .as_ref()
                        .and_then(|endpoint| endpoint.uid.as_ref().map(ToString::to_string)),
                    url: of.now.map(|endpoint| endpoint.url),
                    decision: of.decided.map_or("not_there", |decided| decided.as_str()),
                    routed: of.decided.is_some_and(|decided| decided.is_routed()),
                    status: status.map(MessageStatus::number),
                    status_text: status.map(MessageStatus::text),
                }
            })
            .collect();
        Self {
            msg_id: report.message.to_string(),
            routed: report.routed,
            matched_nobody: report.routed && !endpoints.iter().any(|of| of.routed),
            endpoints,
        }
    }
}

/// Get why each endpoint did or did not get a message.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/msg/{msg_id}/routing", operation_id = "nuncio.message.routing",
    tag = "Beyond Svix",
    responses((status = 200, description = "The reasons", body = RoutingOut))
)]
async fn routing(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<MessageAt>,
) -> Answer<Json<RoutingOut>> {
    let report = api.use_cases.routing(&app, &at.msg_id).await?;
    Ok(Json(report.into()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatsSpan {
    /// The beginning of the span.
    #[param(value_type = String, format = DateTime, required = false)]
    since: Option<Time>,
    /// The end of the span; now by default.
    #[param(value_type = String, format = DateTime, required = false)]
    until: Option<Time>,
}

/// How the deliveries to an endpoint stand.
#[derive(Debug, Serialize, ToSchema)]
struct EndpointStats {
    /// A 2xx came.
    success: u64,
    /// Not tried yet.
    pending: u64,
    /// Failed for good.
    fail: u64,
    /// Tried, and to be tried again.
    sending: u64,
    /// Given up because the endpoint went, or something newer took its place.
    canceled: u64,
}

/// Get how the deliveries to an endpoint stand, of messages of a span of time (28 days by default).
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats", operation_id = "v1.endpoint.get-stats",
    tag = "Endpoint", params(StatsSpan),
    responses((status = 200, description = "The counts", body = EndpointStats))
)]
async fn endpoint_stats(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<EndpointAt>,
    Params(span): Params<StatsSpan>,
) -> Answer<Json<EndpointStats>> {
    let (since, until) = (span.since.map(|Time(at)| at), span.until.map(|Time(at)| at));
    let counts = api
        .use_cases
        .endpoint_stats(&app, &at.endpoint_id, since, until)
        .await?;
    Ok(Json(EndpointStats {
        success: counts.success,
        pending: counts.pending,
        fail: counts.fail,
        sending: counts.sending,
        canceled: counts.canceled,
    }))
}

/// Attempts, counted.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptCounts {
    /// Attempts that a 2xx ended.
    success: u64,
    /// Attempts that anything else ended.
    fail: u64,
    /// Attempts that were answered, by duration: the key is the longest in milliseconds, `more` for those beyond.
    durations_ms: BTreeMap<String, u64>,
}

impl From<&Counts> for AttemptCounts {
    fn from(counts: &Counts) -> Self {
        let names = LATENCY_BUCKETS
            .iter()
            .map(ToString::to_string)
            .chain(["more".to_owned()]);
        Self {
            success: counts.succeeded,
            fail: counts.failed,
            durations_ms: names
                .zip(counts.durations)
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

/// Attempts in one hour.
#[derive(Debug, Serialize, ToSchema)]
struct HourCounts {
    /// The hour's beginning.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    hour: UnixMillis,
    #[serde(flatten)]
    #[schema(inline)]
    counts: AttemptCounts,
}

/// What happened at one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EndpointReport {
    /// The endpoint.
    endpoint_id: String,
    /// Whether it is disabled.
    disabled: bool,
    /// Whether it is paused.
    paused: bool,
    /// Since when it only fails; null when it does not.
    #[serde(with = "crate::api::time::optional")]
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    failing_since: Option<UnixMillis>,
    /// Its attempts.
    attempts: AttemptCounts,
}

/// What happened in an app in a span of time.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AppStats {
    /// The beginning of the span.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    since: UnixMillis,
    /// The end of the span.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    until: UnixMillis,
    /// Deliveries that are not at their end.
    unfinished: u64,
    /// All attempts.
    attempts: AttemptCounts,
    /// By endpoint.
    endpoints: Vec<EndpointReport>,
    /// By hour; hours without attempts are left out.
    hours: Vec<HourCounts>,
}

/// Get what happened in an app in a span of time (24 hours by default), by hour and by endpoint.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/stats", operation_id = "nuncio.application.stats", tag = "Beyond Svix",
    params(StatsSpan),
    responses((status = 200, description = "The statistics", body = AppStats))
)]
async fn app_stats(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    Params(span): Params<StatsSpan>,
) -> Answer<Json<AppStats>> {
    let until = span.until.map_or_else(|| api.use_cases.now(), |Time(at)| at);
    let since = span.since.map_or_else(|| until.minus(LOOK_BACK), |Time(at)| at);
    let report = api.use_cases.app_report(&app, since, until).await?;
    let mut total = Counts::default();
    report.counts.values().for_each(|counts| total.add(counts));
    let endpoints = report.endpoints.iter().map(|endpoint| EndpointReport {
        endpoint_id: endpoint.id.to_string(),
        disabled: endpoint.is_disabled(),
        paused: endpoint.is_paused(),
        failing_since: report
            .failing
            .iter()
            .find(|(id, _)| *id == endpoint.id)
            .map(|(_, since)| *since),
        attempts: report
            .counts
            .get(&endpoint.id)
            .map(AttemptCounts::from)
            .unwrap_or_default(),
    });
    Ok(Json(AppStats {
        since,
        until,
        unfinished: report.unfinished,
        attempts: AttemptCounts::from(&total),
        endpoints: endpoints.collect(),
        hours: report
            .hours
            .iter()
            .map(|(hour, counts)| HourCounts {
                hour: *hour,
                counts: counts.into(),
            })
            .collect(),
    }))
}

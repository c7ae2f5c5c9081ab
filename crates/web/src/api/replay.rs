//! Routes that have messages sent again.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use nuncio_domain::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{InApp, Resend};
use super::body::{Body, Whole};
use super::message::body::{MessageOut, Shown};
use super::path::{At, DeliveryAt, EndpointAt};
use super::query::Time;
use super::{Answer, Api};
use crate::usecase::insight::LEEWAY;
use crate::usecase::occasion::Occasion;
use crate::usecase::refusal::{Complaints, Outcome};
use crate::usecase::replay::{Replay, Span};

/// How far back a replay may begin that is asked for here.
const LOOK_BACK_MAX: Duration = Duration::from_secs(14 * 24 * 3_600);

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(resend))
        .routes(routes!(recover))
        .routes(routes!(replay_missing))
        .routes(routes!(send_example))
}

/// Nothing to say.
#[derive(Serialize, ToSchema)]
struct EmptyResponse {}

/// Send a message to an endpoint again.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend",
    operation_id = "v1.message-attempt.resend", tag = "Message Attempt",
    responses((status = 202, description = "It will be", body = EmptyResponse))
)]
async fn resend(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Resend>,
    At(at): At<DeliveryAt>,
    occasion: Occasion,
) -> Answer<(StatusCode, Json<EmptyResponse>)> {
    api.use_cases
        .resend(&app, &at.msg_id, &at.endpoint_id, &occasion)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(EmptyResponse {})))
}

/// Which messages to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RecoverIn)]
struct SpanIn {
    /// Messages accepted from then on; within the last 14 days.
    #[schema(value_type = String, format = DateTime)]
    since: Time,
    /// Messages accepted until then; until now by default.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
}

impl SpanIn {
    fn check(self, now: UnixMillis) -> Outcome<Span> {
        let span = Span {
            since: self.since.0,
            until: self.until.map(|Time(at)| at),
        };
        let mut complaints = Complaints::new();
        if span.since < now.minus(LOOK_BACK_MAX + LEEWAY) {
            complaints.add("since", "value_error", "must be within the last 14 days");
        }
        if span.until.is_some_and(|until| until < span.since) {
            complaints.add("until", "value_error", "must not be before `since`");
        }
        complaints.or(Some(span))
    }
}

/// A task that goes on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoverOut)]
struct TaskOut {
    /// A name for it, as logs have it.
    #[schema(example = "qtask_1srOrx2ZWZBpBUvZwXKQmoEYga2")]
    id: String,
    /// How it stands.
    #[schema(example = "running")]
    status: &'static str,
    /// What it does.
    #[schema(example = "endpoint.recover")]
    task: &'static str,
    /// When that was so.
    #[serde(with = "crate::api::time")]
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMillis,
}

async fn start(
    api: &Arc<Api>,
    app: &nuncio_domain::App,
    endpoint: &str,
    which: Replay,
    span: SpanIn,
    occasion: &Occasion,
) -> Answer<(StatusCode, Json<TaskOut>)> {
    let span = span.check(occasion.at)?;
    let id = api.use_cases.replay(app, endpoint, which, span, occasion).await?;
    let task = TaskOut {
        id,
        status: "running",
        task: match which {
            Replay::Failed => "endpoint.recover",
            Replay::Missing => "endpoint.replay",
        },
        updated_at: occasion.at,
    };
    Ok((StatusCode::ACCEPTED, Json(task)))
}

/// Send the messages of a span of time to an endpoint again whose delivery failed for good.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", operation_id = "v1.endpoint.recover",
    tag = "Endpoint", request_body = SpanIn,
    responses((status = 202, description = "They will be", body = TaskOut))
)]
async fn recover(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Resend>,
    At(at): At<EndpointAt>,
    occasion: Occasion,
    Body(body): Body<SpanIn>,
) -> Answer<(StatusCode, Json<TaskOut>)> {
    start(&api, &app, &at.endpoint_id, Replay::Failed, body, &occasion).await
}

/// Send an endpoint the messages of a span of time that it wants but was never sent.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing",
    operation_id = "v1.endpoint.replay-missing", tag = "Endpoint", request_body = SpanIn,
    responses((status = 202, description = "They will be", body = TaskOut))
)]
async fn replay_missing(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Resend>,
    At(at): At<EndpointAt>,
    occasion: Occasion,
    Body(body): Body<SpanIn>,
) -> Answer<(StatusCode, Json<TaskOut>)> {
    start(&api, &app, &at.endpoint_id, Replay::Missing, body, &occasion).await
}

/// Which example to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EventExampleIn {
    /// The event type.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[a-zA-Z0-9_.-]+$",
        example = "user.signup"
    )]
    event_type: String,
    /// Which of the examples that the type's schema gives, from 0.
    #[schema(value_type = Option<u64>, minimum = 0, default = 0)]
    example_index: Option<Whole>,
}

/// Send an example of an event type to an endpoint, made from the type's schema.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example", operation_id = "v1.endpoint.send-example",
    tag = "Endpoint", request_body = EventExampleIn,
    responses((status = 200, description = "The message", body = MessageOut))
)]
async fn send_example(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Resend>,
    At(at): At<EndpointAt>,
    occasion: Occasion,
    Body(body): Body<EventExampleIn>,
) -> Answer<Json<MessageOut>> {
    let nth = body.example_index.map_or(0, |Whole(nth)| nth);
    let nth = usize::try_from(nth).unwrap_or(usize::MAX);
    let accepted = api
        .use_cases
        .send_example(&app, &at.endpoint_id, &body.event_type, nth, &occasion)
        .await?;
    let payload = Shown::Kept(Some(accepted.payload));
    Ok(Json(MessageOut::new(accepted.message, payload)))
}

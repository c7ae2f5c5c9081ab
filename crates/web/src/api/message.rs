//! Routes of messages.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use nuncio_domain::{App, Channel, EventTypeName};
use nuncio_producer::TraceContext;
use nuncio_store::{Deliveries, MessageFilter, Order, StoredMessage};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, Caller, InApp, Look, Operate};
use super::body::Unread;
use super::idempotency::request_key;
use super::page::ListResponse;
use super::path::{At, MessageAt};
use super::query::{Limit, Params, Time, iterator, name, names, names_schema, yes};
use super::{Answer, Api};
use crate::usecase::messages::MessageDraft;

pub(crate) mod body;
mod bulk;

use body::{MessageIn, MessageOut, Shown};

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(expunge))
        .routes(routes!(bulk::bulk_expunge))
        .routes(routes!(bulk::precheck))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListMessages {
    /// The most items on the page.
    #[serde(default)]
    #[param(value_type = u64, required = false, default = 50, minimum = 1, maximum = 250)]
    limit: Limit,
    /// The `iterator` or `prevIterator` of a page got before.
    #[serde(default, deserialize_with = "iterator")]
    #[param(value_type = String, required = false, pattern = "^-?[a-zA-Z0-9_-]*$")]
    iterator: Option<String>,
    /// Only messages on this channel.
    #[serde(default, deserialize_with = "name")]
    #[param(value_type = String, required = false, min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    channel: Option<Channel>,
    /// Only messages accepted before.
    #[param(value_type = String, format = DateTime, required = false)]
    before: Option<Time>,
    /// Only messages accepted after.
    #[param(value_type = String, format = DateTime, required = false)]
    after: Option<Time>,
    /// Whether payloads are shown.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    with_content: bool,
    /// Only messages of one of these types; may be given many times, or once with commas.
    #[serde(default, deserialize_with = "names")]
    #[param(schema_with = names_schema, required = false)]
    event_types: Option<Vec<EventTypeName>>,
    /// Taken for the sake of other clients: messages have no tags, so none has this one.
    #[param(ignore)]
    tag: Option<String>,
}

/// List an app's messages, newest first.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/msg", operation_id = "v1.message.list", tag = "Message", params(ListMessages),
    responses((status = 200, description = "A page of messages", body = ListResponse<MessageOut>))
)]
async fn list(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    Params(query): Params<ListMessages>,
) -> Answer<Json<ListResponse<MessageOut>>> {
    let filter = MessageFilter {
        event_types: query.event_types.unwrap_or_default(),
        channel: query.channel,
        before: query.before.map(|Time(at)| at),
        after: query.after.map(|Time(at)| at),
        deliveries: Deliveries::None,
    };
    let scope = format!("messages {} {filter:?}", app.id);
    let request =
        api.iterators
            .request(query.limit, query.iterator.as_deref(), Order::NewestFirst, &scope)?;
    if query.tag.is_some() {
        return Ok(Json(ListResponse::empty()));
    }
    let mut page = api.use_cases.list_messages(&app, &filter, &request).await?;
    let messages = std::mem::take(&mut page.items);
    let shown = show(&api, &app, messages, query.with_content).await?;
    Ok(Json(api.iterators.page(
        &request,
        page.with(shown),
        &scope,
        |message| message,
    )))
}

/// Messages as they are shown.
pub(crate) async fn show(
    api: &Api,
    app: &App,
    messages: Vec<StoredMessage>,
    with_content: bool,
) -> Answer<Vec<MessageOut>> {
    let payloads = if with_content {
        let ids: Vec<_> = messages.iter().map(|stored| stored.message.id.clone()).collect();
        let payloads = api.use_cases.payloads(app, &ids).await?;
        payloads.into_iter().map(Shown::Kept).collect()
    } else {
        messages.iter().map(|_| Shown::Left).collect::<Vec<_>>()
    };
    let both = messages.into_iter().zip(payloads);
    Ok(both
        .map(|(stored, payload)| MessageOut::new(stored.message, payload))
        .collect())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WithContent {
    /// Whether the payload is shown.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    with_content: bool,
}

/// Send a message to all of the app's endpoints that want it.
///
/// It is answered once the broker has confirmed it; delivery follows. The payload is delivered byte for byte as it is
/// written in the request. An `eventId` that was used before in the app is answered with 409 for as long as messages are
/// kept; the same request again under the same `Idempotency-Key` is the same message, also where a client's retry has lost
/// the body.
#[utoipa::path(
    post, path = "/api/v1/app/{app_id}/msg", operation_id = "v1.message.create", tag = "Message", params(WithContent),
    request_body = MessageIn,
    responses((status = 202, description = "It was accepted", body = MessageOut))
)]
async fn create(
    State(api): State<Arc<Api>>,
    _: Admin,
    Caller(caller): Caller,
    At(app_id): At<String>,
    Params(query): Params<WithContent>,
    headers: HeaderMap,
    body: Unread,
) -> Answer<(StatusCode, Json<MessageOut>)> {
    let key = request_key(&headers, &caller, &app_id)?;
    let known = match &key {
        Some(key) if body.is_empty() => api.use_cases.send_again(&app_id, key).await?,
        _ => None,
    };
    let (message, payload) = match known {
        Some(known) => known,
        None => {
            let mut draft = MessageDraft::from(body.read::<MessageIn>()?);
            draft.trace = trace(&headers);
            let accepted = api.use_cases.send(&app_id, draft, key.as_ref()).await?;
            (accepted.message, Some(accepted.payload))
        }
    };
    let payload = if query.with_content {
        Shown::Kept(payload)
    } else {
        Shown::Left
    };
    Ok((StatusCode::ACCEPTED, Json(MessageOut::new(message, payload))))
}

/// The caller's trace, by which deliveries can be followed: one `traceparent`, and `tracestate` in as many headers as
/// there are.
fn trace(headers: &HeaderMap) -> TraceContext {
    let all = |name: &str| {
        let values = headers.get_all(name).iter();
        values
            .map(|value| value.to_str().ok())
            .collect::<Option<Vec<_>>>()
    };
    let parent = match all("traceparent").as_deref() {
        Some([one]) => Some(*one),
        _ => None,
    };
    let state = all("tracestate").map(|values| values.join(","));
    TraceContext::parse(parent, state.as_deref())
}

/// Get a message by its id or event id.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/msg/{msg_id}", operation_id = "v1.message.get", tag = "Message",
    params(WithContent),
    responses((status = 200, description = "The message", body = MessageOut))
)]
async fn get(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<MessageAt>,
    Params(query): Params<WithContent>,
) -> Answer<Json<MessageOut>> {
    let message = api.use_cases.message(&app, &at.msg_id).await?;
    let shown = show(&api, &app, vec![message], query.with_content).await?;
    let first = shown.into_iter().next();
    Ok(Json(first.expect("as many are shown as there are")))
}

/// Delete a message's payload: it can neither be shown nor sent again then.
#[utoipa::path(
    delete, path = "/api/v1/app/{app_id}/msg/{msg_id}/content", operation_id = "v1.message.expunge-content",
    tag = "Message",
    responses((status = 204, description = "It is gone"))
)]
async fn expunge(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Operate>,
    At(at): At<MessageAt>,
) -> Answer<StatusCode> {
    api.use_cases.expunge_payload(&app, &at.msg_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

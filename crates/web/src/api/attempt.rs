//! Routes of attempts and of deliveries.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use nuncio_domain::{App, AttemptStatus, Channel, EventTypeName};
use nuncio_store::{AttemptFilter, AttemptedFilter, Order, Page, PageRequest, StoredAttempt};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{InApp, Look, Operate};
use super::message::body::{MessageOut, Shown};
use super::page::ListResponse;
use super::path::{At, AttemptAt, EndpointAt, MessageAt};
use super::query::{Limit, Params, Time, iterator, name, names, names_schema, yes};
use super::{Answer, Api};

pub(crate) mod body;

use body::{
    EndpointMessageOut, MessageAttemptOut, MessageEndpointOut, MessageStatus, StatusCodeClass,
    status_code_class_schema,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list_by_endpoint))
        .routes(routes!(list_by_msg))
        .routes(routes!(list_attempted_messages))
        .routes(routes!(list_attempted_destinations))
        .routes(routes!(get))
        .routes(routes!(expunge))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListAttempts {
    /// The most items on the page.
    #[serde(default)]
    #[param(value_type = u64, required = false, default = 50, minimum = 1, maximum = 250)]
    limit: Limit,
    /// The `iterator` or `prevIterator` of a page got before.
    #[serde(default, deserialize_with = "iterator")]
    #[param(value_type = String, required = false, pattern = "^-?[a-zA-Z0-9_-]*$")]
    iterator: Option<String>,
    /// Only attempts that ended so: 0 success, 2 fail. An attempt is listed once it has ended, so 1 and 3 find none, and
    /// none is canceled (4).
    #[param(value_type = u16, required = false, minimum = 0, maximum = 4)]
    status: Option<MessageStatus>,
    /// Only attempts whose response had a status of this class: 100, 200, 300, 400, 500; 0 where no response came.
    #[param(schema_with = status_code_class_schema, required = false)]
    status_code_class: Option<StatusCodeClass>,
    /// Only attempts of messages on this channel.
    #[serde(default, deserialize_with = "name")]
    #[param(value_type = String, required = false, min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    channel: Option<Channel>,
    /// Only attempts that began before.
    #[param(value_type = String, format = DateTime, required = false)]
    before: Option<Time>,
    /// Only attempts that began after.
    #[param(value_type = String, format = DateTime, required = false)]
    after: Option<Time>,
    /// Whether response bodies are shown.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    with_content: bool,
    /// Whether messages are shown with their attempts.
    #[serde(default)]
    #[param(required = false)]
    with_msg: bool,
    /// Only attempts of messages of one of these types; may be given many times, or once with commas.
    #[serde(default, deserialize_with = "names")]
    #[param(schema_with = names_schema, required = false)]
    event_types: Option<Vec<EventTypeName>>,
    /// Taken for the sake of other clients: messages have no tags, so none has this one.
    #[param(ignore)]
    tag: Option<String>,
}

impl ListAttempts {
    fn filter(&self) -> AttemptFilter {
        AttemptFilter {
            status: match self.status {
                Some(MessageStatus::Success) => Some(AttemptStatus::Succeeded),
                Some(MessageStatus::Fail) => Some(AttemptStatus::Failed),
                _ => None,
            },
            status_code_class: self.status_code_class.map(|StatusCodeClass(class)| class / 100),
            event_types: self.event_types.clone().unwrap_or_default(),
            channel: self.channel.clone(),
            endpoint: None,
            before: self.before.map(|Time(at)| at),
            after: self.after.map(|Time(at)| at),
        }
    }

    /// Whether nothing can be found: attempts have succeeded or failed, and messages have no tags.
    fn finds_nothing(&self) -> bool {
        let ended = |status| matches!(status, MessageStatus::Success | MessageStatus::Fail);
        self.tag.is_some() || self.status.is_some_and(|status| !ended(status))
    }

    fn request(&self, api: &Api, scope: &str) -> Answer<PageRequest> {
        let iterator = self.iterator.as_deref();
        Ok(api
            .iterators
            .request(self.limit, iterator, Order::NewestFirst, scope)?)
    }
}

/// List the attempts at an endpoint, newest first.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}",
    operation_id = "v1.message-attempt.list-by-endpoint", tag = "Message Attempt", params(ListAttempts),
    responses((status = 200, description = "A page of attempts", body = ListResponse<MessageAttemptOut>))
)]
async fn list_by_endpoint(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<EndpointAt>,
    Params(query): Params<ListAttempts>,
) -> Answer<Json<ListResponse<MessageAttemptOut>>> {
    let endpoint = api.use_cases.endpoint(&app, &at.endpoint_id).await?;
    let filter = query.filter();
    let scope = format!("attempts {} {} {filter:?}", app.id, endpoint.id);
    let request = query.request(&api, &scope)?;
    if query.finds_nothing() {
        return Ok(Json(ListResponse::empty()));
    }
    let page = api
        .use_cases
        .attempts_of_endpoint(&app, &endpoint, &filter, &request)
        .await?;
    let page = show(&api, &app, page, query.with_content, query.with_msg).await?;
    Ok(Json(
        api.iterators.page(&request, page, &scope, |attempt| attempt),
    ))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AtEndpoint {
    /// Only attempts at the endpoint with this id or uid.
    #[param(value_type = String, required = false, min_length = 1, max_length = 256, pattern = "^[a-zA-Z0-9_.-]+$")]
    endpoint_id: Option<String>,
}

/// List the attempts of a message, newest first.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/attempt/msg/{msg_id}", operation_id = "v1.message-attempt.list-by-msg",
    tag = "Message Attempt", params(ListAttempts, AtEndpoint),
    responses((status = 200, description = "A page of attempts", body = ListResponse<MessageAttemptOut>))
)]
async fn list_by_msg(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<MessageAt>,
    Params(query): Params<ListAttempts>,
    Params(only): Params<AtEndpoint>,
) -> Answer<Json<ListResponse<MessageAttemptOut>>> {
    let message = api.use_cases.message(&app, &at.msg_id).await?.message;
    let mut filter = query.filter();
    if let Some(endpoint_id) = &only.endpoint_id {
        filter.endpoint = Some(api.use_cases.endpoint(&app, endpoint_id).await?.id);
    }
    let scope = format!("attempts {} {} {filter:?}", app.id, message.id);
    let request = query.request(&api, &scope)?;
    if query.finds_nothing() {
        return Ok(Json(ListResponse::empty()));
    }
    let page = api
        .use_cases
        .attempts_of_message(&app, &message.id, &filter, &request)
        .await?;
    let page = show(&api, &app, page, query.with_content, query.with_msg).await?;
    Ok(Json(
        api.iterators.page(&request, page, &scope, |attempt| attempt),
    ))
}

async fn show(
    api: &Api,
    app: &App,
    page: Page<StoredAttempt>,
    with_content: bool,
    with_msg: bool,
) -> Answer<Page<MessageAttemptOut>> {
    let mut messages = std::collections::HashMap::new();
    if with_msg {
        for stored in &page.items {
            let id = &stored.attempt.message_id;
            if messages.contains_key(id) {
                continue;
            }
            if let Ok(message) = api.use_cases.message(app, id.as_str()).await {
                messages.insert(id.clone(), message.message);
            }
        }
    }
    Ok(page.map(|stored| {
        let message = messages.get(&stored.attempt.message_id).cloned();
        let message = message.map(|message| MessageOut::new(message, Shown::Left));
        MessageAttemptOut::new(stored, with_content, message)
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListAttempted {
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
    /// Only messages whose delivery stands so: 0 success, 1 or 3 still to be tried, 2 fail; none is canceled (4).
    #[param(value_type = u16, required = false, minimum = 0, maximum = 4)]
    status: Option<MessageStatus>,
    /// Only messages last tried before.
    #[param(value_type = String, format = DateTime, required = false)]
    before: Option<Time>,
    /// Only messages last tried after.
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

/// List the messages that were tried at an endpoint, the last tried first, each with how its delivery stands.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg",
    operation_id = "v1.message-attempt.list-attempted-messages", tag = "Message Attempt", params(ListAttempted),
    responses((status = 200, description = "A page of messages", body = ListResponse<EndpointMessageOut>))
)]
async fn list_attempted_messages(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<EndpointAt>,
    Params(query): Params<ListAttempted>,
) -> Answer<Json<ListResponse<EndpointMessageOut>>> {
    let endpoint = api.use_cases.endpoint(&app, &at.endpoint_id).await?;
    let filter = AttemptedFilter {
        status: query.status.and_then(MessageStatus::outlook),
        event_types: query.event_types.unwrap_or_default(),
        channel: query.channel,
        before: query.before.map(|Time(at)| at),
        after: query.after.map(|Time(at)| at),
    };
    let scope = format!("attempted {} {} {filter:?}", app.id, endpoint.id);
    let request =
        api.iterators
            .request(query.limit, query.iterator.as_deref(), Order::NewestFirst, &scope)?;
    if query.tag.is_some() || query.status == Some(MessageStatus::Canceled) {
        return Ok(Json(ListResponse::empty()));
    }
    let mut page = api
        .use_cases
        .messages_attempted_at(&app, &endpoint, &filter, &request)
        .await?;
    let messages = std::mem::take(&mut page.items);
    let states: Vec<_> = messages
        .iter()
        .map(|stored| crate::usecase::history::state_at(stored, &endpoint.id))
        .collect();
    let shown = super::message::show(&api, &app, messages, query.with_content).await?;
    let page = page.with(shown.into_iter().zip(states).collect());
    let show = |(message, state)| EndpointMessageOut::new(message, state);
    Ok(Json(api.iterators.page(&request, page, &scope, show)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListDestinations {
    /// The most items on the page.
    #[serde(default)]
    #[param(value_type = u64, required = false, default = 50, minimum = 1, maximum = 250)]
    limit: Limit,
    /// The `iterator` or `prevIterator` of a page got before.
    #[serde(default, deserialize_with = "iterator")]
    #[param(value_type = String, required = false, pattern = "^-?[a-zA-Z0-9_-]*$")]
    iterator: Option<String>,
}

/// List the endpoints that a message goes to, each with how its delivery stands.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/msg/{msg_id}/endpoint",
    operation_id = "v1.message-attempt.list-attempted-destinations", tag = "Message Attempt",
    params(ListDestinations),
    responses((status = 200, description = "A page of endpoints", body = ListResponse<MessageEndpointOut>))
)]
async fn list_attempted_destinations(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<MessageAt>,
    Params(query): Params<ListDestinations>,
) -> Answer<Json<ListResponse<MessageEndpointOut>>> {
    let message = api.use_cases.message(&app, &at.msg_id).await?;
    let scope = format!("destinations {} {}", app.id, message.message.id);
    let request =
        api.iterators
            .request(query.limit, query.iterator.as_deref(), Order::OldestFirst, &scope)?;
    let page = api.use_cases.destinations(&app, &message, &request).await?;
    let show =
        |(endpoint, state): (nuncio_domain::Endpoint, _)| MessageEndpointOut::new(endpoint.into(), state);
    Ok(Json(api.iterators.page(&request, page, &scope, show)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WithContent {
    /// Whether the response body is shown.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    with_content: bool,
}

/// Get an attempt.
#[utoipa::path(
    get, path = "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", operation_id = "v1.message-attempt.get",
    tag = "Message Attempt", params(WithContent),
    responses((status = 200, description = "The attempt", body = MessageAttemptOut))
)]
async fn get(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Look>,
    At(at): At<AttemptAt>,
    Params(query): Params<WithContent>,
) -> Answer<Json<MessageAttemptOut>> {
    let stored = api.use_cases.attempt(&app, &at.msg_id, &at.attempt_id).await?;
    Ok(Json(MessageAttemptOut::new(stored, query.with_content, None)))
}

/// Delete the response body that an attempt brought.
#[utoipa::path(
    delete, path = "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content",
    operation_id = "v1.message-attempt.expunge-content", tag = "Message Attempt",
    responses((status = 204, description = "It is gone"))
)]
async fn expunge(
    State(api): State<Arc<Api>>,
    InApp { app, .. }: InApp<Operate>,
    At(at): At<AttemptAt>,
) -> Answer<StatusCode> {
    api.use_cases
        .expunge_response(&app, &at.msg_id, &at.attempt_id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

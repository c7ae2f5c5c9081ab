//! Operational events from the sender: an endpoint was disabled, a delivery keeps failing, gave up, or recovered.
//!
//! Owns their publishing. They are news, not work: one that cannot be published is logged, and no delivery waits for it
//! for long.

use std::time::Duration;

use nuncio_broker::{Outgoing, Route};
use nuncio_domain::{Attempt, DisabledReason, Endpoint, EndpointState, UnixMillis};
use nuncio_runtime::lifecycle::chain;
use nuncio_wire::{DeliveryChange, DeliveryEnvelope, EndpointChange, Operation, Properties, headers};
use tokio::time::Instant;

use crate::Shared;

/// How long an operational event may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells that a delivery keeps failing, gave up, or recovered.
pub(crate) async fn tell_delivery(
    shared: &Shared,
    change: DeliveryChange,
    envelope: &DeliveryEnvelope,
    attempt: &Attempt,
) {
    let Some(app) = shared.parts.directory.app(envelope.app_id.as_str()) else {
        return;
    };
    let event_id = match envelope.unknown.get(headers::EVENT_ID) {
        Some(nuncio_wire::HeaderValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    publish(
        shared,
        change.event(&app.app, &envelope.message_id, event_id, attempt),
    )
    .await;
}

/// Tells that an endpoint was disabled by what it answered.
pub(crate) async fn tell_disabled(
    shared: &Shared,
    endpoint: &Endpoint,
    reason: DisabledReason,
    failing_since: Option<UnixMillis>,
) {
    let Some(app) = shared.parts.directory.app(endpoint.app_id.as_str()) else {
        return;
    };
    let since = UnixMillis(shared.parts.clock.now());
    let disabled = Endpoint {
        state: EndpointState::Disabled { since, reason },
        ..endpoint.clone()
    };
    publish(
        shared,
        EndpointChange::Disabled.event(&app.app, &disabled, failing_since, Some(reason.as_str())),
    )
    .await;
}

async fn publish(shared: &Shared, operation: Operation) {
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        kind: Some(operation.kind.to_owned()),
        ..Properties::default()
    };
    let message = Outgoing::persistent(properties, operation.body);
    let route = Route {
        mandatory: false,
        ..Route::to(shared.parts.broker.names().operations(), operation.kind)
    };
    if let Err(error) = shared
        .publisher
        .publish(&route, message, Instant::now() + PATIENCE)
        .await
    {
        tracing::warn!(
            error = chain(&error),
            kind = operation.kind,
            "an operational event was not published"
        );
    }
}

//! Setting aside: what cannot be delivered goes, whole and with the reason, where a person can look at it.
//!
//! Owns the headers that such an event gets. Guarantees that the original is acknowledged only after the copy in
//! `<ns>.set-aside` was confirmed.

use nuncio_broker::{Outgoing, Received, Route};
use nuncio_domain::UnixMillis;
use nuncio_wire::{Properties, SetAsideReason, Unreadable, headers};
use sha2::{Digest, Sha256};

use crate::{PUBLISH_PATIENCE, Shared};

/// Sets `received` aside for what `unreadable` says, and acknowledges it.
pub(crate) async fn set_aside(shared: &Shared, received: Received, unreadable: &Unreadable) {
    let now = UnixMillis(shared.parts.clock.now());
    let properties = marked(&received, unreadable, now);
    let queue = shared.parts.broker.names().set_aside();
    let message = Outgoing::persistent(properties, received.body.clone());
    let deadline = tokio::time::Instant::now() + PUBLISH_PATIENCE;
    match shared
        .publisher
        .publish(&Route::queue(queue), message, deadline)
        .await
    {
        Ok(()) => {
            nuncio_failpoints::hit!("router::set-aside");
            tracing::warn!(
                reason = %unreadable.reason,
                detail = unreadable.detail,
                trace = crate::trace::shown(&received.properties),
                routing_key = received.routing_key,
                message_id = received.properties.message_id,
                "an event was set aside"
            );
            metrics::counter!("nuncio_router_set_aside_total", "reason" => unreadable.reason.as_str())
                .increment(1);
            received.acker.ack();
        }
        Err(error) => {
            let error = nuncio_runtime::lifecycle::chain(&error);
            tracing::error!(error, reason = %unreadable.reason, "an event could not be set aside and is returned");
            received.acker.requeue();
        }
    }
}

/// The properties of the copy: the original's, and why, whence and when it was set aside.
fn marked(received: &Received, unreadable: &Unreadable, now: UnixMillis) -> Properties {
    let mut properties = received.copied();
    properties.put_text(headers::REASON, unreadable.reason.as_str());
    properties.put_text(headers::DETAIL, unreadable.detail.clone());
    properties.put_int(headers::SET_ASIDE_AT, now.0);
    if unreadable.reason == SetAsideReason::TooLarge {
        let digest = Sha256::digest(&received.body);
        let hex = digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        properties.put_text(headers::BODY_SHA256, hex);
    }
    properties
}

//! What every exchange and queue is to be.
//!
//! Owns one fixed set of arguments that RabbitMQ 3.10 to 4.x accept alike. Refuses to declare: that is `topology`, and to
//! compare with what there is: that is `survey`.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable, LongString};
use nuncio_domain::EndpointId;

use crate::config::EndpointQueueType;
use crate::names::Names;

/// Newer brokers drop a message from a quorum queue after 20 deliveries, counting lost connections: as good as never.
/// Not −1, which 3.10 takes for "at the first".
const DELIVERY_LIMIT: i64 = 1_000_000;

/// The length at which the oldest part of the journal is dropped. Everything in it is told anew long before.
const JOURNAL_BYTES_MAX: i64 = 2 << 30;
/// The parts in which that happens.
const JOURNAL_SEGMENT_BYTES: i64 = 64 << 20;

/// An exchange as it is declared; all are durable.
pub(crate) struct ExchangePlan {
    pub(crate) name: String,
    pub(crate) kind: ExchangeKind,
    pub(crate) arguments: FieldTable,
}

/// A queue as it is declared; all are durable.
pub(crate) struct QueuePlan {
    pub(crate) name: String,
    pub(crate) arguments: FieldTable,
}

/// Every exchange.
pub(crate) fn exchanges(names: &Names, rungs: &[Duration]) -> Vec<ExchangePlan> {
    let plain = |name: &str, kind| ExchangePlan {
        name: name.to_owned(),
        kind,
        arguments: FieldTable::default(),
    };
    let mut all = vec![
        plain(names.unroutable(), ExchangeKind::Fanout),
        ExchangePlan {
            arguments: deliveries(names),
            ..plain(names.deliveries(), ExchangeKind::Direct)
        },
        plain(names.events(), ExchangeKind::Topic),
        plain(names.operations(), ExchangeKind::Topic),
    ];
    all.extend(
        rungs
            .iter()
            .map(|delay| plain(&names.rung(*delay), ExchangeKind::Fanout)),
    );
    all
}

/// Every queue but the lanes of endpoints.
pub(crate) fn queues(names: &Names, rungs: &[Duration]) -> Vec<QueuePlan> {
    let plan = |name: &str, arguments| QueuePlan {
        name: name.to_owned(),
        arguments,
    };
    let mut all = vec![
        plan(names.set_aside(), quorum(None)),
        plan(names.unroutable(), quorum(Some(names))),
        plan(names.ingest(), quorum(Some(names))),
        plan(names.overflow(), quorum(Some(names))),
    ];
    all.extend(
        rungs
            .iter()
            .map(|delay| plan(&names.rung(*delay), rung(names, *delay))),
    );
    all
}

/// The lane of an endpoint.
pub(crate) fn lane(names: &Names, kind: EndpointQueueType, endpoint: &EndpointId) -> QueuePlan {
    QueuePlan {
        name: names.endpoint_queue(endpoint),
        arguments: match kind {
            EndpointQueueType::Classic => FieldTable::default(),
            EndpointQueueType::Quorum => quorum(Some(names)),
        },
    }
}

/// The arguments of the exchange of deliveries.
pub(crate) fn deliveries(names: &Names) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), text(names.unroutable()));
    arguments
}

/// The arguments of a rung.
pub(crate) fn rung(names: &Names, delay: Duration) -> FieldTable {
    let millis = delay.as_millis();
    let mut arguments = quorum(None);
    arguments.insert(
        "x-message-ttl".into(),
        AMQPValue::LongLongInt(i64::try_from(millis).unwrap_or(i64::MAX)),
    );
    arguments.insert("x-dead-letter-exchange".into(), text(names.deliveries()));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

/// The arguments of a quorum queue; with `names`, what exceeds the delivery limit is set aside instead of dropped.
pub(crate) fn quorum(names: Option<&Names>) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    if let Some(names) = names {
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(names.set_aside()));
    }
    arguments
}

/// The arguments of the stream that configuration is told in.
pub(crate) fn journal() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("stream"));
    arguments.insert(
        "x-max-length-bytes".into(),
        AMQPValue::LongLongInt(JOURNAL_BYTES_MAX),
    );
    arguments.insert(
        "x-stream-max-segment-size-bytes".into(),
        AMQPValue::LongLongInt(JOURNAL_SEGMENT_BYTES),
    );
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

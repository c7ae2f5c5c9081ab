//! The metrics: every name, kind, label and meaning.
//!
//! Owns what `/metrics` says of each and the table in `docs/metrics.md`. Guarantees that counters without labels are
//! there from the start, at nought, so that a rate can be taken of the first event.
//! Refuses to count: the crates do, next to what they count.

use metrics::{describe_counter, describe_gauge, describe_histogram};

use crate::command::role::Role;

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
struct Metric {
    name: &'static str,
    kind: Kind,
    /// Its labels, with their values where they are few.
    labels: &'static str,
    /// Which roles have it.
    of: &'static [Role],
    meaning: &'static str,
}

const API: &[Role] = &[Role::Api];
const ROUTER: &[Role] = &[Role::Router];
const SENDER: &[Role] = &[Role::Sender];
const WORKERS: &[Role] = &[Role::Router, Role::Sender];
const EVERY: &[Role] = &[Role::Api, Role::Router, Role::Sender];

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static str,
    of: &'static [Role],
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        of,
        meaning,
    }
}

use Kind::{Counter, Gauge, Histogram};

const METRICS: &[Metric] = &[
    metric(
        "nuncio_build_info",
        Gauge,
        "version, role",
        EVERY,
        "1: which version runs, and as what",
    ),
    metric(
        "nuncio_traces_spans_total",
        Counter,
        "",
        EVERY,
        "Spans that the collector of traces has taken",
    ),
    metric(
        "nuncio_traces_spans_dropped_total",
        Counter,
        "",
        EVERY,
        "Spans lost because the collector was away for long or refused them; no delivery is lost by that",
    ),
    // Events in.
    metric(
        "nuncio_router_events_total",
        Counter,
        "",
        ROUTER,
        "Events fanned out",
    ),
    metric(
        "nuncio_router_deliveries_total",
        Counter,
        "",
        ROUTER,
        "Deliveries that events were fanned out to",
    ),
    metric(
        "nuncio_router_batch_events",
        Histogram,
        "",
        ROUTER,
        "Events taken from the ingest queue together",
    ),
    metric(
        "nuncio_router_duplicates_total",
        Counter,
        "",
        ROUTER,
        "Events whose message id was accepted before, and which were not delivered again",
    ),
    metric(
        "nuncio_router_overflowed_total",
        Counter,
        "",
        ROUTER,
        "Events moved to the overflow queue, because too many of their app waited",
    ),
    metric(
        "nuncio_router_set_aside_total",
        Counter,
        "reason",
        ROUTER,
        "Events set aside as unreadable",
    ),
    metric(
        "nuncio_router_unclaimed_total",
        Counter,
        "",
        ROUTER,
        "Events that went on from memory because Redis was away",
    ),
    metric(
        "nuncio_router_swept_total",
        Counter,
        "",
        ROUTER,
        "Deliveries queued again from the record, because their queue had lost them",
    ),
    metric(
        "nuncio_router_deleted_total",
        Counter,
        "",
        ROUTER,
        "Deliveries that ended because their endpoint was deleted",
    ),
    metric(
        "nuncio_router_broker_losses_total",
        Counter,
        "",
        ROUTER,
        "Times RabbitMQ was found to have lost its queues",
    ),
    metric(
        "nuncio_router_journal_entries_total",
        Counter,
        "",
        ROUTER,
        "Entries written to the journal of configuration; one router of all writes them",
    ),
    // Deliveries out.
    metric(
        "nuncio_sender_attempts_total",
        Counter,
        "outcome",
        SENDER,
        "Attempts by what they met: accepted, timed_out, refused_5xx, …",
    ),
    metric(
        "nuncio_sender_deliveries_total",
        Counter,
        "status",
        SENDER,
        "What attempts made of deliveries: delivered, retrying, exhausted, disabled, superseded",
    ),
    metric(
        "nuncio_sender_attempt_duration_seconds",
        Histogram,
        "",
        SENDER,
        "From the first byte sent to the last byte read of one attempt",
    ),
    metric(
        "nuncio_sender_delivery_latency_seconds",
        Histogram,
        "",
        SENDER,
        "From when a delivery was due to its 2xx: waiting and one attempt",
    ),
    metric(
        "nuncio_sender_event_latency_seconds",
        Histogram,
        "",
        SENDER,
        "From when an event was published to a 2xx for it, all retries included",
    ),
    metric(
        "nuncio_sender_retry_lateness_seconds",
        Histogram,
        "",
        SENDER,
        "How much later than due a retry began",
    ),
    metric(
        "nuncio_sender_requests_under_way",
        Gauge,
        "",
        SENDER,
        "Attempts under way",
    ),
    metric(
        "nuncio_sender_copies_total",
        Counter,
        "",
        SENDER,
        "Copies of attempts that were recorded already, and not made again",
    ),
    metric(
        "nuncio_sender_superseded_total",
        Counter,
        "",
        SENDER,
        "Deliveries that ended because a newer event about the same thing took their place",
    ),
    metric(
        "nuncio_sender_set_aside_total",
        Counter,
        "",
        SENDER,
        "Messages in endpoints' queues that are no deliveries",
    ),
    metric(
        "nuncio_sender_breakers_open",
        Gauge,
        "",
        SENDER,
        "Endpoints that keep failing and are probed by one delivery at a time",
    ),
    metric(
        "nuncio_sender_lanes",
        Gauge,
        "",
        SENDER,
        "Endpoints whose queues this sender empties",
    ),
    metric(
        "nuncio_sender_members",
        Gauge,
        "",
        SENDER,
        "Senders that share the endpoints, as this one knows",
    ),
    metric(
        "nuncio_sender_lane_messages",
        Gauge,
        "rank: 1 to 10",
        SENDER,
        "Deliveries waiting in the fullest queues among this sender's endpoints",
    ),
    metric(
        "nuncio_sender_lane_oldest_age_seconds",
        Gauge,
        "rank: 1 to 10",
        SENDER,
        "About how long the first delivery in that queue has been due",
    ),
    // Queues.
    metric(
        "nuncio_queue_messages",
        Gauge,
        "queue: ingest, overflow, set-aside, unroutable",
        API,
        "Messages waiting in the namespace's own queues; every api process tells the same: take the maximum",
    ),
    metric(
        "nuncio_queue_consumers",
        Gauge,
        "queue: ingest, overflow, set-aside, unroutable",
        API,
        "Consumers of these queues; 0 of ingest means that no router runs",
    ),
    metric(
        "nuncio_retry_rung_messages",
        Gauge,
        "delay_seconds",
        API,
        "Deliveries waiting on each rung of the retry ladder",
    ),
    // RabbitMQ.
    metric(
        "nuncio_broker_connected",
        Gauge,
        "role: publishing, consuming",
        EVERY,
        "1 when the connection is there and not blocked",
    ),
    metric(
        "nuncio_broker_reconnects_total",
        Counter,
        "role: publishing, consuming",
        EVERY,
        "Connections to RabbitMQ that had to be made again",
    ),
    metric(
        "nuncio_broker_publishes_total",
        Counter,
        "result: confirmed, nacked, returned, lost, timed_out, failed",
        EVERY,
        "Publishes by how they ended; all but confirmed and failed are published again",
    ),
    metric(
        "nuncio_broker_unconfirmed",
        Gauge,
        "",
        EVERY,
        "Publishes without a confirm yet",
    ),
    metric(
        "nuncio_broker_settled_total",
        Counter,
        "",
        EVERY,
        "Messages acknowledged or returned",
    ),
    metric(
        "nuncio_broker_ack_frames_total",
        Counter,
        "",
        EVERY,
        "Frames that took: settled over frames is the batching",
    ),
    // Redis.
    metric(
        "nuncio_store_away",
        Gauge,
        "",
        WORKERS,
        "1 while Redis is away and records are kept in memory",
    ),
    metric(
        "nuncio_store_records_buffered",
        Gauge,
        "",
        WORKERS,
        "Records of attempts not yet written",
    ),
    metric(
        "nuncio_store_records_dropped_total",
        Counter,
        "",
        WORKERS,
        "Records of attempts lost because the buffer was full; no delivery is lost by that",
    ),
    metric(
        "nuncio_store_flush_records",
        Histogram,
        "",
        WORKERS,
        "Records written together",
    ),
    metric(
        "nuncio_store_flush_duration_seconds",
        Histogram,
        "",
        WORKERS,
        "How long writing them took",
    ),
    metric(
        "nuncio_store_flush_failures_total",
        Counter,
        "",
        WORKERS,
        "Batches of records that Redis did not take, and which are tried again",
    ),
    metric(
        "nuncio_store_emptied_total",
        Counter,
        "",
        EVERY,
        "Times Redis was found emptied, and given back what was known",
    ),
    metric(
        "nuncio_store_clock_skew_seconds",
        Gauge,
        "",
        SENDER,
        "This machine's clock less that of Redis",
    ),
    metric(
        "nuncio_store_directory_endpoints",
        Gauge,
        "",
        EVERY,
        "Endpoints known in memory",
    ),
    // API.
    metric(
        "nuncio_http_requests_total",
        Counter,
        "method, route, status",
        API,
        "Requests to the API and the pages",
    ),
    metric(
        "nuncio_http_request_duration_seconds",
        Histogram,
        "method, route, status",
        API,
        "How long they took",
    ),
];

/// Tells the recorder what each metric means, and begins those counters of `role` that have no labels.
pub(crate) fn describe(role: Role) {
    for metric in METRICS {
        match metric.kind {
            Counter => describe_counter!(metric.name, metric.meaning),
            Gauge => describe_gauge!(metric.name, metric.meaning),
            Histogram => describe_histogram!(metric.name, metric.meaning),
        }
        let is_here = metric.of.iter().any(|part| role.has(*part));
        if is_here && metric.kind == Counter && metric.labels.is_empty() {
            metrics::counter!(metric.name).increment(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

    fn table() -> String {
        let mut table = String::from("| metric | kind | labels | of | meaning |\n|-|-|-|-|-|\n");
        for Metric {
            name,
            kind,
            labels,
            of,
            meaning,
        } in METRICS
        {
            let kind = format!("{kind:?}").to_lowercase();
            let of: Vec<_> = of.iter().map(ToString::to_string).collect();
            let of = if of.len() == EVERY.len() {
                "all".to_owned()
            } else {
                of.join(", ")
            };
            writeln!(table, "| `{name}` | {kind} | {labels} | {of} | {meaning} |").unwrap();
        }
        table
    }

    #[test]
    fn the_document_holds_the_table_of_metrics() {
        let rows: Vec<_> = DOCUMENT.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(
            rows.join("\n") + "\n",
            table(),
            "replace the table in docs/metrics.md by this one:\n{}",
            table()
        );
    }

    #[test]
    fn names_say_their_kind_and_unit() {
        for Metric {
            name, kind, meaning, ..
        } in METRICS
        {
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            assert!(name.starts_with("nuncio_") && !meaning.ends_with('.'), "{name}");
        }
    }
}

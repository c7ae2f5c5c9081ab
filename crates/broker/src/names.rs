//! The spelling of every exchange and queue.
//!
//! Owns names only. Refuses to know whether anything of that name exists.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use nuncio_domain::EndpointId;

/// A queue that messages are taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Events that wait for a router.
    Ingest,
    /// Events of apps that had too many waiting.
    Overflow,
    /// Events that could not be read.
    SetAside,
    /// Deliveries that found no queue.
    Unroutable,
    /// The lane of one endpoint.
    Endpoint(EndpointId),
    /// Any other queue, which is not Nuncio's to declare.
    Named(String),
}

/// The names of one namespace's exchanges and queues. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Names(Arc<Spelled>);

#[derive(Debug)]
struct Spelled {
    namespace: String,
    events: String,
    ingest: String,
    overflow: String,
    set_aside: String,
    deliveries: String,
    unroutable: String,
    operations: String,
    journal: String,
    endpoint_prefix: String,
}

impl Names {
    /// The names of `namespace`.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        let spell = |name: &str| format!("{namespace}.{name}");
        Self(Arc::new(Spelled {
            events: spell("events"),
            ingest: spell("ingest"),
            overflow: spell("overflow"),
            set_aside: spell("set-aside"),
            deliveries: spell("deliveries"),
            unroutable: spell("unroutable"),
            operations: spell("operations"),
            journal: spell("journal"),
            endpoint_prefix: spell("endpoint."),
            namespace: namespace.to_owned(),
        }))
    }

    /// What all names start with, without the dot.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The topic exchange that applications publish events to.
    #[must_use]
    pub fn events(&self) -> &str {
        &self.0.events
    }

    /// The queue of events that wait for a router.
    #[must_use]
    pub fn ingest(&self) -> &str {
        &self.0.ingest
    }

    /// The queue of events that were taken from the ingest queue so that others behind them need not wait; published to
    /// through the default exchange.
    #[must_use]
    pub fn overflow(&self) -> &str {
        &self.0.overflow
    }

    /// The queue of events that could not be read; published to through the default exchange.
    #[must_use]
    pub fn set_aside(&self) -> &str {
        &self.0.set_aside
    }

    /// The direct exchange of deliveries, routed by endpoint id.
    #[must_use]
    pub fn deliveries(&self) -> &str {
        &self.0.deliveries
    }

    /// The exchange and queue of deliveries that found no queue.
    #[must_use]
    pub fn unroutable(&self) -> &str {
        &self.0.unroutable
    }

    /// The topic exchange of operational events.
    #[must_use]
    pub fn operations(&self) -> &str {
        &self.0.operations
    }

    /// The stream of configuration; published to through the default exchange.
    #[must_use]
    pub fn journal(&self) -> &str {
        &self.0.journal
    }

    /// The lane of an endpoint.
    #[must_use]
    pub fn endpoint_queue(&self, endpoint: &EndpointId) -> String {
        format!("{}{endpoint}", self.0.endpoint_prefix)
    }

    /// The endpoint whose lane `queue` is, if it is one.
    #[must_use]
    pub fn endpoint_of(&self, queue: &str) -> Option<EndpointId> {
        EndpointId::parse(queue.strip_prefix(&self.0.endpoint_prefix)?).ok()
    }

    /// The queue by whose presence the broker's data is recognised.
    #[must_use]
    pub fn mark(&self, mark: &str) -> String {
        format!("{}.mark.{mark}", self.0.namespace)
    }

    /// The exchange, and the queue, in which deliveries wait for `delay` before they return.
    #[must_use]
    pub fn rung(&self, delay: Duration) -> String {
        format!("{}.retry.{}", self.0.namespace, delay.as_millis())
    }

    /// Whether `exchange` leads to a queue of its own, whatever the routing key.
    #[must_use]
    pub fn has_own_queue(&self, exchange: &str) -> bool {
        let rest = exchange.strip_prefix(self.namespace()).unwrap_or_default();
        exchange == self.events() || rest.starts_with(".retry.")
    }

    /// The name of `queue`.
    #[must_use]
    pub fn queue<'a>(&'a self, queue: &'a Queue) -> Cow<'a, str> {
        match queue {
            Queue::Ingest => Cow::Borrowed(self.ingest()),
            Queue::Overflow => Cow::Borrowed(self.overflow()),
            Queue::SetAside => Cow::Borrowed(self.set_aside()),
            Queue::Unroutable => Cow::Borrowed(self.unroutable()),
            Queue::Endpoint(endpoint) => Cow::Owned(self.endpoint_queue(endpoint)),
            Queue::Named(name) => Cow::Borrowed(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let names = Names::new("nuncio");
        let endpoint = EndpointId::parse("ep_1").unwrap();
        assert_eq!(names.events(), "nuncio.events");
        assert_eq!(names.queue(&Queue::Ingest), "nuncio.ingest");
        assert_eq!(names.queue(&Queue::Overflow), "nuncio.overflow");
        assert_eq!(names.queue(&Queue::SetAside), "nuncio.set-aside");
        assert_eq!(names.queue(&Queue::Unroutable), "nuncio.unroutable");
        assert_eq!(names.deliveries(), "nuncio.deliveries");
        assert_eq!(names.operations(), "nuncio.operations");
        assert_eq!(names.journal(), "nuncio.journal");
        assert_eq!(names.rung(Duration::from_millis(5_250)), "nuncio.retry.5250");
        let lane = names.queue(&Queue::Endpoint(endpoint.clone())).into_owned();
        assert_eq!(lane, "nuncio.endpoint.ep_1");
        assert_eq!(names.endpoint_of(&lane), Some(endpoint));
        assert_eq!(names.endpoint_of("nuncio.ingest"), None);
        assert!(names.has_own_queue("nuncio.events") && names.has_own_queue("nuncio.retry.5250"));
        assert!(!names.has_own_queue("nuncio.deliveries") && !names.has_own_queue(""));
    }
}

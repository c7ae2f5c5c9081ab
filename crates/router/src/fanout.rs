//! Fan-out: which publishes put messages into many queues, and in which order.
//!
//! Owns the size of a lot and the order of lots. Many publishes cost the broker more than one with many keys, but one
//! with a hundred keys makes every copy carry the list: lots of ten are cheapest of all (see `make bench`). What a batch
//! has for the same queues is published together, because every burst wakes each queue once, whose log is then written
//! and synced once. Refuses to know what a message says, and what follows when a publish fails.

use bytes::Bytes;
use futures_util::future::join_all;
use nuncio_broker::{Outgoing, PublishError, Route};
use nuncio_domain::EndpointId;
use nuncio_wire::Properties;
use tokio::time::Instant;

use crate::{PUBLISH_PATIENCE, Shared};

/// Endpoints that one publish reaches.
const LOT: usize = 10;

/// One message and whom it is for.
pub(crate) struct Fan {
    pub(crate) endpoints: Vec<EndpointId>,
    pub(crate) properties: Properties,
    pub(crate) body: Bytes,
}

/// Publishes each message to all its endpoints; answers one by one whether all was confirmed.
pub(crate) async fn publish(shared: &Shared, fans: &[Fan]) -> Vec<Result<(), PublishError>> {
    let deadline = Instant::now() + PUBLISH_PATIENCE;
    let exchange = shared.parts.broker.names().deliveries();
    let publishes = burst(fans).into_iter().map(|(index, first, rest)| {
        let fan = &fans[index];
        let outgoing = Outgoing::persistent(fan.properties.clone(), fan.body.clone());
        async move {
            let route = Route {
                bcc: rest,
                ..Route::to(exchange, first.as_str())
            };
            (index, shared.publisher.publish(&route, outgoing, deadline).await)
        }
    });
    let mut outcomes: Vec<_> = fans.iter().map(|_| Ok(())).collect();
    for (index, outcome) in join_all(publishes).await {
        if outcome.is_err() {
            outcomes[index] = outcome;
        }
    }
    outcomes
}

/// A publish: the message by its index, its routing key, and the endpoints that go into `BCC`.
type Publish<'a> = (usize, &'a EndpointId, &'a [EndpointId]);

/// All publishes in their order: the first lot of every message, then the second of every one, and so on.
fn burst(fans: &[Fan]) -> Vec<Publish<'_>> {
    let mut publishes: Vec<(usize, Publish<'_>)> = Vec::with_capacity(fans.len());
    for (index, fan) in fans.iter().enumerate() {
        let lots = lots(&fan.endpoints).enumerate();
        publishes.extend(lots.map(|(lot, (first, rest))| (lot, (index, first, rest))));
    }
    publishes.sort_by_key(|(lot, _)| *lot);
    publishes.into_iter().map(|(_, publish)| publish).collect()
}

/// Cuts `endpoints` into lots: the first of each is the routing key, the others go into `BCC`.
fn lots(endpoints: &[EndpointId]) -> impl Iterator<Item = (&EndpointId, &[EndpointId])> {
    endpoints.chunks(LOT).filter_map(<[EndpointId]>::split_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: usize) -> Vec<EndpointId> {
        (0..count)
            .map(|n| EndpointId::parse(&format!("ep_{n}")).unwrap())
            .collect()
    }

    #[test]
    fn every_endpoint_is_in_exactly_one_lot() {
        for count in [0, 1, 9, 10, 11, 100, 101] {
            let all = endpoints(count);
            let reached: Vec<_> = lots(&all)
                .flat_map(|(first, rest)| std::iter::once(first).chain(rest))
                .collect();
            assert_eq!(reached, all.iter().collect::<Vec<_>>());
            assert_eq!(lots(&all).count(), count.div_ceil(LOT));
        }
    }

    #[test]
    fn what_goes_to_the_same_queues_goes_together() {
        let fan = |count| Fan {
            endpoints: endpoints(count),
            properties: Properties::default(),
            body: Bytes::new(),
        };
        let fans = [fan(25), fan(0), fan(1), fan(25)];
        let order: Vec<_> = burst(&fans)
            .iter()
            .map(|(index, first, rest)| (*index, first.as_str(), rest.len()))
            .collect();
        assert_eq!(
            order,
            [
                (0, "ep_0", 9),
                (2, "ep_0", 0),
                (3, "ep_0", 9),
                (0, "ep_10", 9),
                (3, "ep_10", 9),
                (0, "ep_20", 4),
                (3, "ep_20", 4),
            ]
        );
    }
}

//! Fan-out: which publishes put one message into many queues.
//!
//! Owns the size of a lot. Many publishes cost the broker more than one with many keys, but one with a hundred keys
//! makes every copy carry the list: lots of ten are cheapest of all (see `make bench`).

use nuncio_domain::EndpointId;

/// Endpoints that one publish reaches.
const LOT: usize = 10;

/// Cuts `endpoints` into lots: the first of each is the routing key, the others go into `BCC`.
pub(crate) fn lots(endpoints: &[EndpointId]) -> impl Iterator<Item = (&EndpointId, &[EndpointId])> {
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
}

//! History: what was tried, where and with what success.
//!
//! Guarantees that only what belongs to the app is found. Refuses to know how attempts are kept.

use nuncio_domain::{App, AttemptId, DeliveryState, Endpoint, EndpointId, MessageId};
use nuncio_store::{
    AttemptFilter, AttemptedFilter, Order, Page, PageRequest, Position, Start, StoredAttempt, StoredMessage,
};

use super::refusal::{Noun, Outcome, Refusal};
use super::{UseCases, store};

/// How the delivery of a message to that endpoint stands; pending where nothing is known of it.
#[must_use]
pub fn state_at(stored: &StoredMessage, endpoint: &EndpointId) -> DeliveryState {
    let delivery = stored.deliveries.iter().find(|(id, _)| id == endpoint);
    delivery
        .and_then(|(_, record)| record.state())
        .unwrap_or(DeliveryState::PENDING)
}

impl UseCases {
    /// One page of the attempts at an endpoint.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn attempts_of_endpoint(
        &self,
        app: &App,
        endpoint: &Endpoint,
        filter: &AttemptFilter,
        page: &PageRequest,
    ) -> Outcome<Page<StoredAttempt>> {
        store(
            self.store
                .attempts_of_endpoint(&app.id, &endpoint.id, filter, page)
                .await,
        )
    }

    /// One page of the attempts of a message.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn attempts_of_message(
        &self,
        app: &App,
        message: &MessageId,
        filter: &AttemptFilter,
        page: &PageRequest,
    ) -> Outcome<Page<StoredAttempt>> {
        store(
            self.store
                .attempts_of_message(&app.id, message, filter, page)
                .await,
        )
    }

    /// One page of the messages that were tried at an endpoint.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn messages_attempted_at(
        &self,
        app: &App,
        endpoint: &Endpoint,
        filter: &AttemptedFilter,
        page: &PageRequest,
    ) -> Outcome<Page<StoredMessage>> {
        store(
            self.store
                .messages_attempted_at(&app.id, &endpoint.id, filter, page)
                .await,
        )
    }

    /// One page of the endpoints that a message goes to. Those that are no longer there are left out.
    ///
    /// # Errors
    /// When the store is away, or the position is none.
    pub async fn destinations(
        &self,
        app: &App,
        message: &StoredMessage,
        page: &PageRequest,
    ) -> Outcome<Page<(Endpoint, DeliveryState)>> {
        let endpoints = store(self.store.endpoints(&app.id).await)?;
        let mut routed: Vec<_> = message
            .deliveries
            .iter()
            .filter_map(|(id, record)| {
                let endpoint = endpoints.iter().find(|endpoint| endpoint.id == *id)?;
                Some((endpoint.clone(), record.state()?))
            })
            .collect();
        routed.sort_unstable_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Ok(cut(routed, page, |(endpoint, _)| endpoint.id.to_string()))
    }

    /// One attempt of a message.
    ///
    /// # Errors
    /// When there is no such message or attempt, or it is no longer kept.
    pub async fn attempt(&self, app: &App, message: &str, attempt: &str) -> Outcome<StoredAttempt> {
        let message = self.message(app, message).await?.message.id;
        let id = AttemptId::parse(attempt).map_err(|_no_id| Refusal::NotFound(Noun::Attempt))?;
        store(self.store.attempt(&app.id, &message, &id).await)?.ok_or(Refusal::NotFound(Noun::Attempt))
    }

    /// Deletes the response body that an attempt brought.
    ///
    /// # Errors
    /// When there is no such message or attempt.
    pub async fn expunge_response(&self, app: &App, message: &str, attempt: &str) -> Outcome<()> {
        let message = self.message(app, message).await?.message.id;
        let id = AttemptId::parse(attempt).map_err(|_no_id| Refusal::NotFound(Noun::Attempt))?;
        if store(self.store.expunge_response(&app.id, &message, &id).await)? {
            Ok(())
        } else {
            Err(Refusal::NotFound(Noun::Attempt))
        }
    }
}

/// The page of a list that is in memory, in ascending order of its marks.
pub(crate) fn cut<T>(mut all: Vec<T>, request: &PageRequest, mark: impl Fn(&T) -> String) -> Page<T> {
    if request.order == Order::NewestFirst {
        all.reverse();
    }
    let place = |position: &Position| all.iter().position(|item| mark(item) == position.0);
    let (from, to) = match &request.start {
        Start::Beginning => (0, request.limit.min(all.len())),
        Start::After(position) => {
            let from = place(position).map_or(all.len(), |at| at + 1);
            (from, from.saturating_add(request.limit).min(all.len()))
        }
        Start::Before(position) => {
            let to = place(position).unwrap_or(0);
            (to.saturating_sub(request.limit), to)
        }
    };
    let position = |at: usize| all.get(at).map(|item| Position(mark(item)));
    let next = (to < all.len() && to > 0).then(|| position(to - 1)).flatten();
    let previous = (from > 0).then(|| position(from)).flatten();
    Page {
        next,
        previous,
        begins: position(from),
        ends: to.checked_sub(1).and_then(position),
        items: all.drain(from..to).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, start: Start, order: Order) -> (Vec<u8>, Option<String>, Option<String>) {
        let request = PageRequest { limit, start, order };
        let page = cut((1..=5).collect(), &request, u8::to_string);
        let mark = |position: Option<Position>| position.map(|Position(mark)| mark);
        (page.items, mark(page.previous), mark(page.next))
    }

    #[test]
    fn a_list_in_memory_is_cut_like_one_in_the_store() {
        let at = |mark: u8| Position(mark.to_string());
        let some = |mark: u8| Some(mark.to_string());
        let order = Order::OldestFirst;
        for (limit, start, expected) in [
            (2, Start::Beginning, (vec![1, 2], None, some(2))),
            (2, Start::After(at(2)), (vec![3, 4], some(3), some(4))),
            (2, Start::After(at(4)), (vec![5], some(5), None)),
            (9, Start::Beginning, (vec![1, 2, 3, 4, 5], None, None)),
            (2, Start::Before(at(4)), (vec![2, 3], some(2), some(3))),
            (2, Start::Before(at(2)), (vec![1], None, some(1))),
            (2, Start::After(at(9)), (vec![], None, None)),
        ] {
            assert_eq!(page(limit, start.clone(), order), expected, "{start:?}");
        }
        assert_eq!(page(2, Start::After(at(4)), Order::NewestFirst).0, [3, 2]);
    }
}

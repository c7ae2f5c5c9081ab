//! Lists of messages and attempts: filters, pages, both directions.

use nuncio_domain::{AttemptStatus, Endpoint, Message, UnixMillis};
use nuncio_store::{
    AttemptFilter, AttemptedFilter, Deliveries, DeliveryOutlook, MessageFilter, Order, Page, PageRequest,
    Recorder, Start, Store,
};

use crate::support::{self, Life, claim, kept_app, kept_endpoint, message, record, version_with};

/// Twelve messages, a second apart: every third is an organization's, every fourth on a channel; each is attempted once,
/// every second one with success, the others once more.
struct Stage {
    store: Store,
    endpoint: Endpoint,
    messages: Vec<Message>,
    life: Life,
}

impl Stage {
    async fn set() -> Self {
        let store = support::store().await;
        let app = kept_app(&store).await;
        let endpoint = kept_endpoint(&store, &app.id).await;
        let life = Life::new();
        let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
        let now = store.server_time().await.unwrap();
        let mut messages = Vec::new();
        for n in 0..12_i64 {
            let mut message = message(&app.id, None);
            message.created_at = UnixMillis(now.0 - 60_000 + n * 1_000);
            if n % 3 == 0 {
                message.event_type = "sync.organization".parse().unwrap();
            }
            if n % 4 == 0 {
                message.channels = vec!["blue".parse().unwrap()];
            }
            store
                .claim(&[claim(&message, version_with(1), &[&endpoint])])
                .await
                .unwrap();
            let statuses: &[u16] = if n % 2 == 0 { &[200] } else { &[404, 500] };
            for (at, status) in statuses.iter().enumerate() {
                let mut record = record(&message, &endpoint, at as u16 + 1, *status);
                record.attempt.started_at = UnixMillis(message.created_at.0 + at as i64);
                recorder.record(record).await;
            }
            messages.push(message);
        }
        Self {
            store,
            endpoint,
            messages,
            life,
        }
    }

    fn app(&self) -> &nuncio_domain::AppId {
        &self.messages[0].app_id
    }

    /// Which of the messages these are.
    fn numbers<'a>(&self, ids: impl IntoIterator<Item = &'a nuncio_domain::MessageId>) -> Vec<usize> {
        ids.into_iter()
            .map(|id| {
                self.messages
                    .iter()
                    .position(|message| message.id == *id)
                    .unwrap()
            })
            .collect()
    }

    async fn messages(&self, filter: &MessageFilter, request: &PageRequest) -> Page<usize> {
        let page = self
            .store
            .list_messages(self.app(), filter, request)
            .await
            .unwrap();
        page.map(|stored| self.numbers([&stored.message.id])[0])
    }
}

fn after(page: &Page<usize>, order: Order, limit: usize) -> PageRequest {
    PageRequest {
        limit,
        order,
        start: Start::After(page.next.clone().unwrap()),
    }
}

fn before(page: &Page<usize>, order: Order, limit: usize) -> PageRequest {
    PageRequest {
        limit,
        order,
        start: Start::Before(page.previous.clone().unwrap()),
    }
}

#[tokio::test]
async fn messages_are_paged_forwards_and_backwards_in_both_orders() {
    let stage = Stage::set().await;
    let all = MessageFilter::default();
    for (order, expected) in [
        (Order::NewestFirst, (0..12).rev().collect::<Vec<_>>()),
        (Order::OldestFirst, (0..12).collect()),
    ] {
        let mut page = stage
            .messages(
                &all,
                &PageRequest {
                    order,
                    ..PageRequest::first(5)
                },
            )
            .await;
        assert!(page.previous.is_none());
        let mut seen = page.items.clone();
        while page.next.is_some() {
            page = stage.messages(&all, &after(&page, order, 5)).await;
            seen.extend(&page.items);
        }
        assert_eq!(seen, expected);
        let mut back = page.items.clone();
        while page.previous.is_some() {
            page = stage.messages(&all, &before(&page, order, 5)).await;
            back.splice(0..0, page.items.clone());
        }
        assert_eq!(back, expected);
    }
    let exact = stage.messages(&all, &PageRequest::first(12)).await;
    assert_eq!(
        (exact.items.len(), exact.next),
        (12, None),
        "a full last page is known to be the last"
    );
    stage.life.end().await;
}

#[tokio::test]
async fn messages_are_filtered_by_type_channel_and_time() {
    let stage = Stage::set().await;
    let request = PageRequest::oldest(50);
    let at = |n: usize| Some(stage.messages[n].created_at);
    let cases = [
        (
            MessageFilter {
                event_types: vec!["sync.organization".parse().unwrap()],
                ..Default::default()
            },
            vec![0, 3, 6, 9],
        ),
        (
            MessageFilter {
                channel: Some("blue".parse().unwrap()),
                ..Default::default()
            },
            vec![0, 4, 8],
        ),
        (
            MessageFilter {
                before: at(3),
                ..Default::default()
            },
            vec![0, 1, 2],
        ),
        (
            MessageFilter {
                after: at(8),
                ..Default::default()
            },
            vec![8, 9, 10, 11],
        ),
        (
            MessageFilter {
                after: at(2),
                before: at(5),
                ..Default::default()
            },
            vec![2, 3, 4],
        ),
        (
            MessageFilter {
                event_types: vec!["other".parse().unwrap()],
                ..Default::default()
            },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(
            stage.messages(&filter, &request).await.items,
            expected,
            "{filter:?}"
        );
    }
    let filter = MessageFilter {
        channel: Some("blue".parse().unwrap()),
        ..Default::default()
    };
    let page = stage.messages(&filter, &PageRequest::oldest(3)).await;
    assert_eq!(
        (page.items.len(), page.next),
        (3, None),
        "nothing that matches follows"
    );
    stage.life.end().await;
}

#[tokio::test]
async fn deliveries_come_with_messages_where_they_are_asked_for() {
    let stage = Stage::set().await;
    for (deliveries, count) in [
        (Deliveries::None, 0),
        (Deliveries::All, 1),
        (Deliveries::Of(stage.endpoint.id.clone()), 1),
    ] {
        let filter = MessageFilter {
            deliveries,
            ..Default::default()
        };
        let page = stage
            .store
            .list_messages(stage.app(), &filter, &PageRequest::first(1))
            .await
            .unwrap();
        assert_eq!(page.items[0].deliveries.len(), count);
    }
    stage.life.end().await;
}

#[tokio::test]
async fn attempts_of_an_endpoint_are_filtered_and_paged() {
    let stage = Stage::set().await;
    let list = |filter: AttemptFilter, request: PageRequest| {
        let stage = &stage;
        async move {
            let page = stage
                .store
                .attempts_of_endpoint(stage.app(), &stage.endpoint.id, &filter, &request);
            page.await
                .unwrap()
                .map(|stored| stage.numbers([&stored.attempt.message_id])[0])
        }
    };
    let all = list(AttemptFilter::default(), PageRequest::oldest(50))
        .await
        .items;
    assert_eq!(all, [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11]);
    let at = |n: usize| Some(stage.messages[n].created_at);
    let cases = [
        (
            AttemptFilter {
                status: Some(AttemptStatus::Succeeded),
                ..Default::default()
            },
            vec![0, 2, 4, 6, 8, 10],
        ),
        (
            AttemptFilter {
                status_code_class: Some(5),
                ..Default::default()
            },
            vec![1, 3, 5, 7, 9, 11],
        ),
        (
            AttemptFilter {
                event_types: vec!["sync.organization".parse().unwrap()],
                ..Default::default()
            },
            vec![0, 3, 3, 6, 9, 9],
        ),
        (
            AttemptFilter {
                channel: Some("blue".parse().unwrap()),
                ..Default::default()
            },
            vec![0, 4, 8],
        ),
        (
            AttemptFilter {
                before: at(1),
                ..Default::default()
            },
            vec![0],
        ),
        (
            AttemptFilter {
                after: at(11),
                ..Default::default()
            },
            vec![11, 11],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(
            list(filter.clone(), PageRequest::oldest(50)).await.items,
            expected,
            "{filter:?}"
        );
    }
    let first = list(AttemptFilter::default(), PageRequest::first(7)).await;
    let second = list(AttemptFilter::default(), after(&first, Order::NewestFirst, 7)).await;
    let back = list(AttemptFilter::default(), before(&second, Order::NewestFirst, 7)).await;
    assert_eq!(
        (first.items.clone(), back.items),
        (vec![11, 11, 10, 9, 9, 8, 7], first.items)
    );
    stage.life.end().await;
}

#[tokio::test]
async fn attempts_of_a_message_are_those_to_all_its_endpoints() {
    let stage = Stage::set().await;
    let other = kept_endpoint(&stage.store, stage.app()).await;
    let recorder = Recorder::start(stage.store.clone(), &stage.life.tracker, stage.life.stop.clone());
    let message = &stage.messages[1];
    recorder.record(record(message, &other, 1, 200)).await;
    let list = |filter: AttemptFilter, request: PageRequest| {
        let (store, app) = (&stage.store, stage.app());
        async move {
            store
                .attempts_of_message(app, &message.id, &filter, &request)
                .await
                .unwrap()
        }
    };
    let all = list(AttemptFilter::default(), PageRequest::oldest(50)).await;
    let urls: Vec<_> = all
        .items
        .iter()
        .map(|stored| stored.attempt.url.as_str())
        .collect();
    assert_eq!(urls, ["https://example.com/hook"; 3]);
    let to_other = list(
        AttemptFilter {
            endpoint: Some(other.id.clone()),
            ..Default::default()
        },
        PageRequest::first(5),
    )
    .await;
    assert_eq!(to_other.items.len(), 1);
    let first = list(AttemptFilter::default(), PageRequest::first(2)).await;
    let second = list(
        AttemptFilter::default(),
        PageRequest {
            start: Start::After(first.next.unwrap()),
            ..PageRequest::first(2)
        },
    )
    .await;
    assert_eq!((second.items.len(), second.next), (1, None));
    assert_eq!(second.items[0], all.items[0]);
    let unknown = support::message(stage.app(), None).id;
    let refused = stage
        .store
        .attempts_of_message(
            stage.app(),
            &unknown,
            &AttemptFilter::default(),
            &PageRequest::first(1),
        )
        .await;
    assert!(matches!(
        refused,
        Err(nuncio_store::StoreError::NotFound("message"))
    ));
    stage.life.end().await;
}

#[tokio::test]
async fn the_messages_of_an_endpoint_appear_once_by_their_last_attempt() {
    let stage = Stage::set().await;
    let list = |filter: AttemptedFilter| {
        let stage = &stage;
        async move {
            let request = PageRequest::oldest(50);
            let page = stage
                .store
                .messages_attempted_at(stage.app(), &stage.endpoint.id, &filter, &request);
            let items = page.await.unwrap().items;
            assert!(items.iter().all(|stored| stored.deliveries.len() == 1));
            stage.numbers(items.iter().map(|stored| &stored.message.id))
        }
    };
    assert_eq!(
        list(AttemptedFilter::default()).await,
        (0..12).collect::<Vec<_>>()
    );
    let delivered = AttemptedFilter {
        status: Some(DeliveryOutlook::Succeeded),
        ..Default::default()
    };
    assert_eq!(list(delivered).await, [0, 2, 4, 6, 8, 10]);
    let waiting = AttemptedFilter {
        status: Some(DeliveryOutlook::Waiting),
        ..Default::default()
    };
    assert_eq!(list(waiting).await, [1, 3, 5, 7, 9, 11]);
    let blue = AttemptedFilter {
        channel: Some("blue".parse().unwrap()),
        ..Default::default()
    };
    assert_eq!(list(blue).await, [0, 4, 8]);
    stage.life.end().await;
}

#[tokio::test]
async fn a_position_of_another_kind_of_list_is_refused() {
    let stage = Stage::set().await;
    let start = Start::After(nuncio_store::Position("app_1".into()));
    let request = PageRequest {
        start,
        ..PageRequest::first(1)
    };
    let refused = stage
        .store
        .list_messages(stage.app(), &MessageFilter::default(), &request)
        .await;
    assert!(matches!(refused, Err(nuncio_store::StoreError::BadPosition)));
    stage.life.end().await;
}

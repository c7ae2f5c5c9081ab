//! Attempts and deliveries, as they are shown.
//!
//! Owns the lists of attempts by endpoint and by message, and of the messages that an endpoint was sent.

mod filter;

use std::cmp::Reverse;
use std::collections::HashMap;

use nuncio_domain::{
    AppId, Attempt, AttemptId, Channel, DeliveryId, DeliveryState, EndpointId, MessageId, UnixMillis,
};
use nuncio_wire::record::{AttemptPosition, AttemptRecord, DeliveryRecord, MessageRecord};

use crate::claim::by_app;
use crate::link::Lane;
use crate::messages::{Deliveries, StoredMessage};
use crate::page::{Gathered, Order, Page, PageRequest, Position};
use crate::store::read;
use crate::stream::{StreamId, Walk};
use crate::{Store, StoreError};

pub use filter::{AttemptFilter, AttemptedFilter, DeliveryOutlook};

const ACTION: &str = "list attempts";
/// How many attempts are read at once when they are known by position.
const CHUNK: usize = 100;

/// An attempt as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// The attempt.
    pub attempt: Attempt,
    /// Whether the response's body was expunged on request.
    pub expunged: bool,
}

/// Attempts by where they are kept, with the texts needed to show them.
type Entries = Vec<(StreamId, String)>;

impl Store {
    /// A page of an endpoint's attempts.
    ///
    /// # Errors
    /// When Redis is away, a record cannot be read, or the position is not one of this list.
    pub async fn attempts_of_endpoint(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        filter: &AttemptFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredAttempt>, StoreError> {
        let mut walk = Walk::new(
            self.keys().attempts(app, endpoint),
            request,
            filter.after,
            filter.before,
        )?;
        let mut page = Gathered::new(request.limit);
        while let Some(entries) = walk.next(self, ACTION).await? {
            let attempts = self.read_attempts(app, endpoint, entries).await?;
            let channels = self
                .channel_members(app, filter.channel.as_ref(), &attempts)
                .await?;
            for (position, stored) in attempts {
                let matches = filter.matches(&stored.attempt)
                    && channels
                        .as_ref()
                        .is_none_or(|members| members.contains(&stored.attempt.message_id));
                if !page.offer(position, matches.then_some(stored)) {
                    return Ok(by_beginning(page, request, true));
                }
            }
        }
        Ok(by_beginning(page, request, walk.has_more()))
    }

    /// A page of a message's attempts, to all endpoints.
    ///
    /// # Errors
    /// When Redis is away, a record cannot be read, or the position is not one of this list.
    pub async fn attempts_of_message(
        &self,
        app: &AppId,
        message: &MessageId,
        filter: &AttemptFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredAttempt>, StoreError> {
        let Some(record) = self.message_record(app, message).await? else {
            return Err(StoreError::NotFound("message"));
        };
        if filter
            .channel
            .as_ref()
            .is_some_and(|channel| !record.message.channels.contains(channel))
        {
            return Ok(Page::assemble(request, Vec::new(), None, None, false));
        }
        let mut known = positions(&record, filter.endpoint.as_ref());
        known.sort_unstable();
        if request.descending() {
            known.reverse();
        }
        if let Some(anchor) = request.anchor() {
            let anchor = parse_place(anchor)?;
            let descending = request.descending();
            known.retain(|place| {
                if descending {
                    *place < anchor
                } else {
                    *place > anchor
                }
            });
        }
        let mut page = Gathered::new(request.limit);
        for places in known.chunks(CHUNK) {
            for (place, stored) in places.iter().zip(self.attempts_at(app, places).await?) {
                let matching = stored.filter(|stored| filter.matches(&stored.attempt));
                if !page.offer(place.clone(), matching) {
                    return Ok(by_beginning(page, request, true));
                }
            }
        }
        Ok(by_beginning(page, request, false))
    }

    /// One attempt of a message.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn attempt(
        &self,
        app: &AppId,
        message: &MessageId,
        id: &AttemptId,
    ) -> Result<Option<StoredAttempt>, StoreError> {
        Ok(self
            .find_attempt(app, message, id)
            .await?
            .map(|(_, stored)| stored))
    }

    /// Deletes the response's body from an attempt's record and notes that it was on request. Answers whether the attempt
    /// is kept.
    ///
    /// # Errors
    /// When Redis is away or a record cannot be read.
    pub async fn expunge_response(
        &self,
        app: &AppId,
        message: &MessageId,
        id: &AttemptId,
    ) -> Result<bool, StoreError> {
        const ACTION: &str = "expunge a response";
        let Some(((position, endpoint), _)) = self.find_attempt(app, message, id).await? else {
            return Ok(false);
        };
        let history = self.keys().attempts(app, &endpoint);
        let mut cmd = redis::cmd("XRANGE");
        cmd.arg(&history)
            .arg(position.to_string())
            .arg(position.to_string());
        let entries: Vec<(String, Vec<String>)> = self.one(ACTION, cmd).await?;
        let Some(text) = entries
            .into_iter()
            .next()
            .and_then(|(_, mut fields)| fields.pop())
        else {
            return Ok(true);
        };
        let record = AttemptRecord::parse(text.as_bytes()).map_err(StoreError::record(id.as_str()))?;
        let expunged = self.keys().expunged(app, &endpoint);
        let mut keep = redis::cmd("HSET");
        keep.arg(&expunged)
            .arg(position.to_string())
            .arg(record.expunged().to_json());
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&expunged).arg(self.retention_seconds());
        let mut remove = redis::cmd("XDEL");
        remove.arg(&history).arg(position.to_string());
        self.group(Lane::Calls, ACTION, vec![keep, expire, remove])
            .await?;
        Ok(true)
    }

    /// A page of the messages that were sent to an endpoint, by their last attempt, each with its delivery to it.
    ///
    /// # Errors
    /// When Redis is away, a record cannot be read, or the position is not one of this list.
    pub async fn messages_attempted_at(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        filter: &AttemptedFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredMessage>, StoreError> {
        let mut walk = Walk::new(
            self.keys().attempts(app, endpoint),
            request,
            filter.after,
            filter.before,
        )?;
        let wanted = Deliveries::Of(endpoint.clone());
        let mut page = Gathered::new(request.limit);
        while let Some(entries) = walk.next(self, ACTION).await? {
            let attempts = self.read_attempts(app, endpoint, entries).await?;
            let ids: Vec<MessageId> = attempts
                .iter()
                .map(|(_, stored)| stored.attempt.message_id.clone())
                .collect();
            let records = self.message_records(app, &ids, &wanted).await?;
            for (((position, endpoint), stored), record) in attempts.into_iter().zip(records) {
                let matching = record
                    .filter(|record| {
                        is_last_attempt(record, position) && filter.matches(record, &stored.attempt)
                    })
                    .map(StoredMessage::from);
                if !page.offer((position, endpoint), matching) {
                    return Ok(page.finish(request, true, place_position));
                }
            }
        }
        Ok(page.finish(request, walk.has_more(), place_position))
    }

    /// How deliveries stand, in their order; none for those of which nothing is kept.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn delivery_states(
        &self,
        deliveries: &[(AppId, DeliveryId)],
    ) -> Result<Vec<Option<DeliveryState>>, StoreError> {
        const ACTION: &str = "read how deliveries stand";
        let numbered = deliveries
            .iter()
            .enumerate()
            .map(|(at, (app, delivery))| (app, (at, delivery)));
        let grouped = by_app(numbered);
        let groups = grouped.iter().map(|(app, items)| {
            let cmds = items.iter().map(|(_, delivery)| {
                let mut cmd = redis::cmd("HGET");
                cmd.arg(self.keys().message(app, &delivery.message))
                    .arg(delivery.endpoint.as_str());
                cmd
            });
            cmds.collect()
        });
        let answers = self.groups(Lane::Calls, ACTION, groups.collect()).await?;
        let mut states = vec![None; deliveries.len()];
        for ((_, items), values) in grouped.iter().zip(answers) {
            for ((at, _), value) in items.iter().zip(values) {
                let text: Option<String> = read(ACTION, Some(value))?;
                states[*at] = text.and_then(|text| DeliveryRecord::parse(&text, UnixMillis(0))?.state());
            }
        }
        Ok(states)
    }

    async fn find_attempt(
        &self,
        app: &AppId,
        message: &MessageId,
        id: &AttemptId,
    ) -> Result<Option<(Place, StoredAttempt)>, StoreError> {
        let Some(record) = self.message_record(app, message).await? else {
            return Ok(None);
        };
        for places in positions(&record, None).chunks(CHUNK) {
            let attempts = self.attempts_at(app, places).await?;
            let found = places.iter().zip(attempts).find_map(|(place, stored)| {
                let stored = stored.filter(|stored| stored.attempt.id == *id)?;
                Some((place.clone(), stored))
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The attempts at those places, in their order; none where they have expired.
    async fn attempts_at(
        &self,
        app: &AppId,
        places: &[Place],
    ) -> Result<Vec<Option<StoredAttempt>>, StoreError> {
        let group = places.iter().flat_map(|(position, endpoint)| {
            let mut entry = redis::cmd("XRANGE");
            let at = position.to_string();
            entry.arg(self.keys().attempts(app, endpoint)).arg(&at).arg(&at);
            let mut expunged = redis::cmd("HGET");
            expunged.arg(self.keys().expunged(app, endpoint)).arg(&at);
            [entry, expunged]
        });
        let values = self.group(Lane::Calls, ACTION, group.collect()).await?;
        let mut urls = HashMap::new();
        let mut attempts = Vec::with_capacity(places.len());
        let mut values = values.into_iter();
        for (_, endpoint) in places {
            let entry: Vec<(String, Vec<String>)> = read(ACTION, values.next())?;
            let expunged: Option<String> = read(ACTION, values.next())?;
            let text = entry
                .into_iter()
                .next()
                .and_then(|(_, mut fields)| fields.pop())
                .or(expunged);
            if !urls.contains_key(endpoint) {
                urls.insert(endpoint.clone(), self.urls(app, endpoint).await?);
            }
            attempts.push(
                text.map(|text| parse_attempt(endpoint, &text, &urls[endpoint]))
                    .transpose()?,
            );
        }
        Ok(attempts)
    }

    /// Entries of an endpoint's history as attempts, those with an expunged response put back in between.
    async fn read_attempts(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        mut entries: Entries,
    ) -> Result<Vec<(Place, StoredAttempt)>, StoreError> {
        let mut overlay = redis::cmd("HGETALL");
        overlay.arg(self.keys().expunged(app, endpoint));
        let expunged: Vec<(String, String)> = self.one(ACTION, overlay).await?;
        if let (Some((first, _)), Some((last, _)), false) =
            (entries.first(), entries.last(), expunged.is_empty())
        {
            let descending = first > last;
            let range = if descending {
                *last..=*first
            } else {
                *first..=*last
            };
            let known = expunged
                .into_iter()
                .filter_map(|(id, text)| Some((StreamId::parse(&id)?, text)));
            entries.extend(known.filter(|(id, _)| range.contains(id)));
            entries.sort_unstable_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });
        }
        let urls = self.urls(app, endpoint).await?;
        entries
            .into_iter()
            .map(|(id, text)| Ok(((id, endpoint.clone()), parse_attempt(endpoint, &text, &urls)?)))
            .collect()
    }

    /// The URLs that an endpoint had, by their keys.
    async fn urls(&self, app: &AppId, endpoint: &EndpointId) -> Result<HashMap<String, String>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().urls(app, endpoint));
        self.one(ACTION, cmd).await
    }

    /// Which of the attempts' messages are on the channel; none when no channel was asked for.
    async fn channel_members(
        &self,
        app: &AppId,
        channel: Option<&Channel>,
        attempts: &[(Place, StoredAttempt)],
    ) -> Result<Option<std::collections::HashSet<MessageId>>, StoreError> {
        let Some(channel) = channel else { return Ok(None) };
        let ids: Vec<MessageId> = attempts
            .iter()
            .map(|(_, stored)| stored.attempt.message_id.clone())
            .collect();
        let records = self.message_records(app, &ids, &Deliveries::None).await?;
        let members = records
            .into_iter()
            .flatten()
            .filter(|record| record.message.channels.contains(channel));
        Ok(Some(members.map(|record| record.message.id).collect()))
    }
}

/// Where an attempt is kept: its position in the history of its endpoint.
type Place = (StreamId, EndpointId);

/// Whether the message's last attempt at the endpoint that was read with it is the one at `position`.
fn is_last_attempt(record: &MessageRecord, position: StreamId) -> bool {
    record.deliveries.iter().any(|(_, delivery)| match delivery {
        DeliveryRecord::Routed { attempts, .. } => {
            attempts.iter().max().map(|last| stream_id(*last)) == Some(position)
        }
        DeliveryRecord::NotRouted(_) => false,
    })
}

fn stream_id(position: AttemptPosition) -> StreamId {
    StreamId {
        ms: u64::try_from(position.ms).unwrap_or(0),
        sequence: position.sequence,
    }
}

/// The page in the order in which its attempts began. They are kept, and pages are cut, in that in which they ended.
fn by_beginning(
    gathered: Gathered<Place, StoredAttempt>,
    request: &PageRequest,
    more: bool,
) -> Page<StoredAttempt> {
    let mut page = gathered.finish(request, more, place_position);
    match request.order {
        Order::NewestFirst => page
            .items
            .sort_by_key(|stored| Reverse(stored.attempt.started_at)),
        Order::OldestFirst => page.items.sort_by_key(|stored| stored.attempt.started_at),
    }
    page
}

fn positions(record: &MessageRecord, only: Option<&EndpointId>) -> Vec<Place> {
    let mut places = Vec::new();
    for (endpoint, delivery) in &record.deliveries {
        if only.is_some_and(|only| only != endpoint) {
            continue;
        }
        if let DeliveryRecord::Routed { attempts, .. } = delivery {
            places.extend(attempts.iter().map(|at| (stream_id(*at), endpoint.clone())));
        }
    }
    places
}

fn parse_attempt(
    endpoint: &EndpointId,
    text: &str,
    urls: &HashMap<String, String>,
) -> Result<StoredAttempt, StoreError> {
    let record = AttemptRecord::parse(text.as_bytes())
        .map_err(StoreError::record(format!("an attempt at {endpoint}")))?;
    let url = urls.get(record.url_key()).cloned().unwrap_or_default();
    let attempt = record
        .to_attempt(endpoint.clone(), url)
        .map_err(StoreError::record(record.id_text()))?;
    Ok(StoredAttempt {
        attempt,
        expunged: record.is_expunged(),
    })
}

/// Positions of a message's attempts name the endpoint too: two endpoints may share a position in their histories.
fn parse_place(position: &Position) -> Result<Place, StoreError> {
    let (id, endpoint) = position.0.split_once('/').ok_or(StoreError::BadPosition)?;
    let id = StreamId::parse(id).ok_or(StoreError::BadPosition)?;
    let endpoint = EndpointId::parse(endpoint).map_err(|_| StoreError::BadPosition)?;
    Ok((id, endpoint))
}

fn place_position((id, endpoint): Place) -> Position {
    Position(format!("{id}/{endpoint}"))
}

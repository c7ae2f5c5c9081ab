//! Sending again: one message, those that failed, those that an endpoint missed.
//!
//! Guarantees that what is sent again is the same message under the same id, in a run of attempts of its own, and that a
//! long replay goes on after it was asked for, giving way to what is new: it fills a lane a little at a time. When its
//! process is gone, another one goes on with it. Refuses to send what is no longer kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_domain::{
    App, AttemptNumber, DeliveryStatus, Endpoint, EndpointId, Message, MessageId, Series, Trigger,
    UnixMillis, route,
};
use nuncio_producer::{DeliveryEnvelope, TraceContext};
use nuncio_runtime::lifecycle::chain;
use nuncio_store::{
    Deliveries, DeliveryRecord, MessageFilter, NotedReplay, Order, PageRequest, ReplayTask, Start,
    StoredMessage,
};

use tokio::time::Instant;

use super::occasion::Occasion;
use super::refusal::{Noun, Outcome, Refusal};
use super::{UseCases, broker, store};
#[doc(inline)]
pub use nuncio_store::Replay;

/// Messages that are looked at together.
const BATCH: usize = 100;
/// How many of those are looked at before a replay begins.
const BATCHES_BEFORE: usize = 10;

/// Deliveries that may wait in a lane when a replay adds to it: what is new then waits behind few that are sent again.
const AHEAD_MAX: u32 = 100;
/// How often a replay looks whether it may go on.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a lane that does not move, paused or failing, keeps a replay from adding another batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a replay is held; whoever runs it holds it anew in time.
const HELD: Duration = Duration::from_secs(15);
/// How often the replays that nobody runs are looked for.
const LOOK_FOR_OTHERS: Duration = Duration::from_secs(5);

/// How a process is through with a replay.
enum Ended {
    /// All of it was sent.
    Done,
    /// Another process has it, or will.
    LeftToOthers,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub since: UnixMillis,
    /// Its end; now when nothing is said.
    pub until: Option<UnixMillis>,
}

impl UseCases {
    /// Sends one message to one endpoint again.
    ///
    /// # Errors
    /// When the message never went to the endpoint, is no longer kept, or the endpoint is disabled.
    pub async fn resend(&self, app: &App, message: &str, endpoint: &str, occasion: &Occasion) -> Outcome<()> {
        let stored = self.message(app, message).await?;
        let endpoint = self.endpoint(app, endpoint).await?;
        let went_there = stored
            .deliveries
            .iter()
            .any(|(id, record)| *id == endpoint.id && record.state().is_some());
        if !went_there {
            return Err(Refusal::NotFound(Noun::Delivery));
        }
        refuse_disabled(&endpoint)?;
        let payload = self.payload(app, &stored.message.id).await?;
        // Asked for again it is the same run of attempts, which is not made twice.
        self.deliver(&stored.message, &endpoint.id, payload, occasion.at)
            .await
    }

    /// Begins to send messages to an endpoint again, and answers with a name for the task.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is disabled.
    pub async fn replay(
        self: &Arc<Self>,
        app: &App,
        endpoint: &str,
        which: Replay,
        span: Span,
        occasion: &Occasion,
    ) -> Outcome<String> {
        let endpoint = self.endpoint(app, endpoint).await?;
        let now = occasion.at;
        refuse_disabled(&endpoint)?;
        let id = occasion.dice.with(|mut rng| MessageId::generate(now, &mut rng));
        let task = ReplayTask {
            name: format!("qtask_{}", id.as_str().trim_start_matches(MessageId::PREFIX)),
            app: app.id.clone(),
            endpoint: endpoint.id,
            which,
            since: span.since,
            until: span.until.unwrap_or(now),
            asked_at: now,
            done: None,
            sent: 0,
        };
        let name = task.name.clone();
        // Asked for again it is the same task, which somebody runs already.
        if let Some(noted) = store(self.store.note_replay(task, self.now().plus(HELD)).await)? {
            self.life.tracker.spawn(Arc::clone(self).run_replay(noted));
        }
        Ok(name)
    }

    /// Whether a replay would send nothing, as far as a short look tells: of a span with very many messages it is not
    /// known, and then taken not to be so.
    ///
    /// # Errors
    /// When there is no such endpoint, or it is disabled.
    pub async fn nothing_to_replay(
        &self,
        app: &App,
        endpoint: &str,
        which: Replay,
        span: Span,
    ) -> Outcome<bool> {
        let endpoint = self.endpoint(app, endpoint).await?;
        refuse_disabled(&endpoint)?;
        let filter = within(&endpoint.id, span.since, span.until.unwrap_or(self.now()));
        let mut start = Start::Beginning;
        for _ in 0..BATCHES_BEFORE {
            let page = store(self.store.list_messages(&app.id, &filter, &batch(start)).await)?;
            if page.items.iter().any(|stored| chooses(which, stored, &endpoint)) {
                return Ok(false);
            }
            match page.next {
                Some(next) => start = Start::After(next),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Goes on with replays whose process is gone, until this one stops.
    pub async fn look_after_replays(self: Arc<Self>) {
        loop {
            match self.store.noted_replays().await {
                Ok(noted) => self.take_over(noted).await,
                Err(error) => tracing::debug!(error = chain(&error), "replays are not looked for"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_FOR_OTHERS) => {}
                () = self.life.soft.cancelled() => return,
            }
        }
    }

    async fn take_over(self: &Arc<Self>, noted: Vec<NotedReplay>) {
        for mut replay in noted {
            if replay.held_until > self.now() {
                continue;
            }
            match self.store.hold_replay(&mut replay, self.now().plus(HELD)).await {
                Ok(true) => {
                    tracing::info!(
                        task = replay.task.name,
                        sent = replay.task.sent,
                        "a replay goes on here"
                    );
                    self.life.tracker.spawn(Arc::clone(self).run_replay(replay));
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(error = chain(&error), "a replay is not taken over"),
            }
        }
    }

    async fn run_replay(self: Arc<Self>, mut replay: NotedReplay) {
        let ended = self.carry_on(&mut replay).await;
        let (task, endpoint, sent) = (&replay.task.name, &replay.task.endpoint, replay.task.sent);
        match ended {
            Ok(Ended::Done) => tracing::info!(task, %endpoint, sent, "replay done"),
            Ok(Ended::LeftToOthers) => tracing::info!(task, sent, "a replay goes on elsewhere"),
            Err(Refusal::Unavailable { what, source }) => tracing::warn!(
                task,
                %endpoint,
                sent,
                error = chain(&*source),
                "a replay was interrupted and will go on: {what} is not available"
            ),
            Err(refusal) => {
                tracing::error!(task, %endpoint, sent, error = chain(&refusal), "replay ended early");
                if let Err(error) = self.store.end_replay(&replay).await {
                    tracing::debug!(error = chain(&error), "it will be tried again");
                }
            }
        }
    }

    async fn carry_on(&self, replay: &mut NotedReplay) -> Outcome<Ended> {
        let app = self.app(replay.task.app.as_str()).await?;
        let endpoint = self.endpoint(&app, replay.task.endpoint.as_str()).await?;
        let filter = within(&endpoint.id, replay.task.since, replay.task.until);
        loop {
            let request = batch(replay.task.done.clone().map_or(Start::Beginning, Start::After));
            let page = store(self.store.list_messages(&app.id, &filter, &request).await)?;
            let chosen: Vec<_> = page
                .items
                .into_iter()
                .filter(|stored| chooses(replay.task.which, stored, &endpoint))
                .map(|stored| stored.message)
                .collect();
            if !chosen.is_empty() && !self.give_way(replay).await? {
                return Ok(Ended::LeftToOthers);
            }
            replay.task.sent += self
                .deliver_again(&app, &endpoint, chosen, replay.task.asked_at)
                .await?;
            nuncio_failpoints::hit!("api::replayed-some");
            let Some(next) = page.next else {
                store(self.store.end_replay(replay).await)?;
                return Ok(Ended::Done);
            };
            replay.task.done = Some(next);
            let stopping = self.life.soft.is_cancelled();
            let held_until = if stopping {
                UnixMillis(0)
            } else {
                self.now().plus(HELD)
            };
            if !store(self.store.hold_replay(replay, held_until).await)? || stopping {
                return Ok(Ended::LeftToOthers);
            }
        }
    }

    /// Waits until little waits in the endpoint's lane; false when the replay has gone to another process meanwhile. A
    /// depth that cannot be told now holds nothing up.
    async fn give_way(&self, replay: &mut NotedReplay) -> Outcome<bool> {
        let endpoint = replay.task.endpoint.clone();
        let full = async || {
            let depth = self.operator.backlog(&endpoint).await;
            matches!(depth, Ok(Some(depth)) if depth.messages > AHEAD_MAX)
        };
        let begun = Instant::now();
        let mut held = begun;
        while begun.elapsed() < PATIENCE && !self.life.soft.is_cancelled() && full().await {
            tokio::time::sleep(LOOK_EVERY).await;
            if held.elapsed() > HELD / 3 {
                if !store(self.store.hold_replay(replay, self.now().plus(HELD)).await)? {
                    return Ok(false);
                }
                held = Instant::now();
            }
        }
        Ok(true)
    }

    async fn deliver_again(
        &self,
        app: &App,
        endpoint: &Endpoint,
        messages: Vec<Message>,
        now: UnixMillis,
    ) -> Outcome<usize> {
        let ids: Vec<_> = messages.iter().map(|message| message.id.clone()).collect();
        let payloads = store(self.store.payloads(&app.id, &ids).await)?;
        let deliveries: Vec<_> = messages
            .iter()
            .zip(payloads)
            .filter_map(|(message, payload)| {
                Some((endpoint.id.clone(), envelope(message, now), Bytes::from(payload?)))
            })
            .collect();
        let count = deliveries.len();
        for delivered in self.operator.deliver_all(deliveries).await {
            broker(delivered)?;
        }
        Ok(count)
    }

    pub(crate) async fn payload(&self, app: &App, message: &MessageId) -> Outcome<Vec<u8>> {
        store(self.store.payload(&app.id, message).await)?.ok_or(Refusal::Impossible {
            code: "missing_payload",
            detail: "the message's payload was deleted or is no longer kept".to_owned(),
        })
    }

    /// Puts a message into an endpoint's lane, in a run of attempts that begins now.
    pub(crate) async fn deliver(
        &self,
        message: &Message,
        endpoint: &EndpointId,
        payload: Vec<u8>,
        now: UnixMillis,
    ) -> Outcome<()> {
        let envelope = envelope(message, now);
        broker(self.operator.deliver(endpoint, &envelope, payload.into()).await)
    }
}

pub(crate) fn refuse_disabled(endpoint: &Endpoint) -> Outcome<()> {
    if endpoint.is_disabled() {
        return Err(Refusal::Conflict {
            code: "endpoint_disabled",
            detail: "the endpoint is disabled: enable it first".to_owned(),
        });
    }
    Ok(())
}

fn envelope(message: &Message, now: UnixMillis) -> DeliveryEnvelope {
    DeliveryEnvelope {
        attempt: AttemptNumber::FIRST,
        trigger: Trigger::Manual,
        series: Series(now.0),
        ..DeliveryEnvelope::first(
            message.app_id.clone(),
            message.id.clone(),
            message.event_type.clone(),
            message.created_at,
            TraceContext::default(),
        )
    }
}

/// The messages of a stretch of time, with their deliveries to an endpoint.
fn within(endpoint: &EndpointId, since: UnixMillis, until: UnixMillis) -> MessageFilter {
    MessageFilter {
        after: Some(since),
        // That bound is exclusive, a caller's is not.
        before: Some(until.plus(Duration::from_millis(1))),
        deliveries: Deliveries::Of(endpoint.clone()),
        ..MessageFilter::default()
    }
}

fn batch(start: Start) -> PageRequest {
    PageRequest {
        limit: BATCH,
        start,
        order: Order::OldestFirst,
    }
}

fn chooses(which: Replay, stored: &StoredMessage, endpoint: &Endpoint) -> bool {
    let record = stored.deliveries.iter().find(|(id, _)| *id == endpoint.id);
    let record = record.map(|(_, record)| record);
    match which {
        Replay::Failed => record.and_then(DeliveryRecord::state).is_some_and(|state| {
            matches!(state.status, DeliveryStatus::Exhausted | DeliveryStatus::Disabled)
        }),
        Replay::Missing => {
            let missed = match record {
                None => stored.routed,
                Some(record) => record.state().is_none(),
            };
            let message = &stored.message;
            missed && route(endpoint, &message.event_type, &message.channels).is_routed()
        }
    }
}

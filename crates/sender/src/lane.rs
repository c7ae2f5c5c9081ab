//! One lane: takes the deliveries of one endpoint from its queue, as many at a time as its state allows.
//!
//! Owns the loop; the decisions are the domain's [`Lane`]. A delivery holds its place until its attempt has ended; the
//! record and the acknowledgement go on beside it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use nuncio_broker::{ConsumeOptions, OnMissing, Queue};
use nuncio_domain::assign::OWNERS;
use nuncio_domain::{Breaker, EndpointId, Lane, LaneLimits, Permission};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backlog::Sight;
use crate::deliver::{Ended, Turn, What, deliver};
use crate::membership::Members;
use crate::prepared::Prepared;
use crate::settle::settle;
use crate::streak::Streak;
use crate::under_way::UnderWay;
use crate::{SenderSettings, Shared};

/// How many deliveries are taken from the queue for each that may be under way: the others are being recorded and
/// acknowledged, or come next.
const PREFETCH_PER_PLACE: u32 = 2;

/// Runs one lane until it is stopped; then finishes what it had begun and returns the rest to the queue.
pub(crate) async fn run(
    shared: Arc<Shared>,
    id: EndpointId,
    endpoint: watch::Receiver<Arc<Prepared>>,
    stop: CancellationToken,
    members: Members,
    sight: Arc<Sight>,
) {
    let settings = &shared.parts.settings;
    let prefetch = u16::try_from(settings.endpoint_concurrency * PREFETCH_PER_PLACE).unwrap_or(u16::MAX);
    let options = ConsumeOptions {
        prefetch,
        on_missing: OnMissing::Declare,
    };
    let mut consumer = shared.parts.broker.consume(Queue::Endpoint(id.clone()), options);
    let epoch = Instant::now();
    let now = || u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut lane = Lane::new(limits(settings, &endpoint.borrow(), &members));
    let streak = Streak::unknown();
    let under_way = UnderWay::default();
    // Boxed, because each of these sets holds room for one future from the start, and most lanes rest.
    let mut posting = FuturesUnordered::new();
    let mut settling = FuturesUnordered::new();
    loop {
        lane.adjust(limits(settings, &endpoint.borrow(), &members));
        let (may_start, wait) = match lane.permission(now()) {
            Permission::Start => (true, None),
            Permission::AfterOutcome => (false, None),
            Permission::NotBefore(at) => (false, Some(epoch + Duration::from_millis(at))),
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = posting.next(), if !posting.is_empty() => {
                note(&mut lane, &ended, now());
                see(&sight, &lane, Some(&ended));
                settling.push(Box::pin(settle(&shared, ended, &streak)));
            }
            Some(()) = settling.next(), if !settling.is_empty() => {}
            () = sleep_until(wait), if wait.is_some() => {}
            received = consumer.recv(), if may_start => match received {
                Some(received) => {
                    lane.started(now());
                    see(&sight, &lane, None);
                    let turn = Turn {
                        proven: lane.is_proven(),
                        senders: senders(&members),
                        endpoint: &endpoint,
                        under_way: &under_way,
                        stop: &stop,
                    };
                    posting.push(Box::pin(deliver(&shared, received, turn)));
                }
                None => break,
            },
        }
    }
    consumer.cancel().await;
    nuncio_failpoints::hit!("sender::stopping");
    // Side by side: a copy that waits goes on when the other one is settled.
    let finish = async {
        loop {
            tokio::select! {
                Some(ended) = posting.next() => settling.push(Box::pin(settle(&shared, ended, &streak))),
                Some(()) = settling.next() => {}
                else => break,
            }
        }
    };
    tokio::select! {
        () = finish => {}
        () = shared.parts.life.hard.cancelled() => {}
    }
}

fn note(lane: &mut Lane, ended: &Ended, now: u64) {
    match ended.outcome() {
        Some(outcome) => lane.ended(outcome, now),
        None => lane.skipped(),
    }
}

/// Lets others see what the lane is at.
fn see(sight: &Sight, lane: &Lane, ended: Option<&Ended>) {
    sight.note(lane.under_way(), lane.breaker() == Breaker::Open);
    if let Some(What::Attempted { envelope, .. }) = ended.map(|ended| &ended.what) {
        sight.note_due(envelope.due.unwrap_or(envelope.created_at));
    }
}

/// The limits as they are now: the throttle rate is shared among the senders that own the endpoint.
fn limits(settings: &SenderSettings, prepared: &Prepared, members: &Members) -> LaneLimits {
    let owners = members.borrow().len().clamp(1, OWNERS) as u32;
    let rate = prepared.entry.endpoint.throttle_rate.filter(|rate| *rate > 0);
    LaneLimits {
        concurrency: settings.endpoint_concurrency,
        probe_pause_max: settings
            .policy
            .delay_after(nuncio_domain::AttemptNumber::FIRST, nuncio_domain::Jitter::NONE)
            .unwrap_or(Duration::from_secs(5)),
        start_interval: rate.map(|rate| Duration::from_secs(1) * owners / rate),
    }
}

fn senders(members: &Members) -> u32 {
    u32::try_from(members.borrow().len()).unwrap_or(u32::MAX).max(1)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

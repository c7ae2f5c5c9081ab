//! The task that publishes and hears the confirms.
//!
//! Owns the publishing channel. Guarantees that a message that was returned is never taken for confirmed.
//! Refuses to resend: it answers what became of each publish, once.
//!
//! lapin hands a returned message to whichever confirm it resolves next, and when the broker confirms many at once,
//! that is a random one of them. So a confirm is believed only after all those that were resolved with it have been
//! looked at: [`barrier`] waits out the resolving of a whole frame, a further harvest collects its siblings, and only
//! then is the earlier harvest answered.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::{Answer, Job};
use crate::link::{Session, Sessions};
use crate::state::{BrokerState, LinkState};

/// Publishes taken from the queue at once.
const BATCH: usize = 64;
/// How long opening a channel may take.
const OPENING: Duration = Duration::from_secs(10);
/// The pause before the next try to open a channel.
const REOPENING: Duration = Duration::from_millis(200);
/// How often the state of the channel is looked at.
const CHECK: Duration = Duration::from_millis(500);
/// How long the confirms of a broken channel may take to say so.
const ENDING: Duration = Duration::from_millis(500);
/// Returned messages whose publish is not known yet, at most.
const RETURNS_MAX: usize = 1_024;

/// Publishes without a confirm yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// The task's parts.
pub(crate) struct Confirms {
    pub(crate) jobs: mpsc::UnboundedReceiver<Job>,
    pub(crate) sessions: Sessions,
    pub(crate) states: watch::Receiver<BrokerState>,
    pub(crate) stop: CancellationToken,
    pub(crate) window: usize,
    pub(crate) in_flight: InFlight,
}

/// What identifies a publish when it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    exchange: ShortString,
    routing_key: ShortString,
    message_id: Option<ShortString>,
}

/// A publish whose confirm was heard.
struct Heard {
    reply: oneshot::Sender<Answer>,
    /// Of a mandatory publish.
    key: Option<Key>,
    result: lapin::Result<Confirmation>,
}

enum Ended {
    Stopped,
    ChannelGone,
}

impl Confirms {
    /// Publishes until it is stopped, on whatever connection there is.
    pub(crate) async fn run(mut self) {
        loop {
            let session = tokio::select! {
                () = self.stop.cancelled() => return,
                session = self.sessions.wait_for(Option::is_some) => match session {
                    Ok(session) => session.clone(),
                    Err(_) => return,
                },
            };
            let Some(session) = session else { continue };
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                () = session.over.cancelled() => continue,
                opened = timeout(OPENING, open(&session)) => opened,
            };
            match opened {
                Ok(Ok(channel)) => {
                    if let Ended::Stopped = self.serve(Arc::new(channel), &session).await {
                        return;
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "no channel to publish on");
                    session.no_channel(&error);
                }
                Err(_) => tracing::warn!("no channel to publish on was opened in time"),
            }
            tokio::select! {
                () = session.over.cancelled() => {}
                () = tokio::time::sleep(REOPENING), if session.connection.status().connected() => {}
            }
        }
    }

    async fn serve(&mut self, channel: Arc<Channel>, session: &Session) -> Ended {
        let mut publishing = FuturesUnordered::new();
        let mut ledger = Ledger::default();
        let mut jobs = Vec::with_capacity(BATCH);
        let mut stopping = false;
        let unconfirmed = metrics::gauge!("nuncio_broker_unconfirmed");
        let mut check = tokio::time::interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            let blocked = matches!(
                self.states.borrow_and_update().publishing,
                LinkState::Blocked { .. }
            );
            // As many again as the window: those that their callers gave up on.
            if publishing.len() >= self.window.saturating_mul(2) {
                tracing::warn!(
                    unconfirmed = publishing.len(),
                    "confirms do not come; opening another channel"
                );
                break Ended::ChannelGone;
            }
            tokio::select! {
                () = session.over.cancelled() => {
                    break if stopping { Ended::Stopped } else { Ended::ChannelGone };
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.jobs.close();
                }
                Some(heard) = publishing.next() => ledger.take_in(heard),
                () = std::future::ready(()), if ledger.is_open() => {}
                _ = self.states.changed() => {}
                count = self.jobs.recv_many(&mut jobs, BATCH), if !blocked && !stopping => {
                    if count == 0 {
                        break Ended::Stopped;
                    }
                    for job in jobs.drain(..) {
                        // Its caller gave up before it was written: written now it would be a duplicate.
                        if !job.reply.is_closed() {
                            publishing.push(publish(channel.clone(), job));
                        }
                    }
                }
                _ = check.tick() => {}
            }
            if !channel.status().connected() {
                break if stopping {
                    Ended::Stopped
                } else {
                    Ended::ChannelGone
                };
            }
            ledger.settle(&channel, &mut publishing);
            self.in_flight.0.store(publishing.len(), Ordering::Release);
            unconfirmed.set(publishing.len() as f64);
        };
        // Whatever never resolves is dropped with its channel; its caller hears that it is lost.
        let mut last = pin!(tokio::time::sleep(ENDING));
        while !publishing.is_empty() && !channel.status().connected() {
            tokio::select! {
                Some(heard) = publishing.next() => ledger.take_in(heard),
                () = &mut last => break,
            }
        }
        ledger.settle(&channel, &mut publishing);
        ledger.settle(&channel, &mut publishing);
        self.in_flight.0.store(0, Ordering::Release);
        unconfirmed.set(0.0);
        ended
    }
}

async fn open(session: &Session) -> lapin::Result<Channel> {
    let channel = session.connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn publish(channel: Arc<Channel>, job: Job) -> Heard {
    let options = BasicPublishOptions {
        mandatory: job.mandatory,
        immediate: false,
    };
    let key = job.mandatory.then(|| Key {
        exchange: job.exchange.clone(),
        routing_key: job.routing_key.clone(),
        message_id: job.properties.message_id().clone(),
    });
    let written = channel
        .basic_publish(job.exchange, job.routing_key, options, &job.body, job.properties)
        .await;
    let result = match written {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    Heard {
        reply: job.reply,
        key,
        result,
    }
}

/// Confirms that were heard but are not believed yet, and returned messages that were not told to their publish yet.
#[derive(Default)]
struct Ledger {
    /// Mandatory publishes that were confirmed, from the last harvest and from the one before.
    fresh: Vec<(oneshot::Sender<Answer>, Key)>,
    held: Vec<(oneshot::Sender<Answer>, Key)>,
    returns: VecDeque<Key>,
    harvest: Harvest,
}

impl Ledger {
    /// Whether answers wait for another harvest.
    fn is_open(&self) -> bool {
        !self.fresh.is_empty() || !self.held.is_empty()
    }

    fn take_in(&mut self, heard: Heard) {
        let Heard { reply, key, result } = heard;
        let (answer, returned) = match result {
            Ok(Confirmation::Ack(returned)) => (Answer::Confirmed, returned),
            Ok(Confirmation::Nack(returned)) => (Answer::Nacked, returned),
            Ok(Confirmation::NotRequested) => (Answer::Nacked, None),
            Err(error) => (Answer::Lost(error), None),
        };
        if let Some(returned) = returned {
            self.returns.push_back(Key {
                exchange: returned.exchange.clone(),
                routing_key: returned.routing_key.clone(),
                message_id: returned.properties.message_id().clone(),
            });
            if self.returns.len() > RETURNS_MAX {
                self.returns.pop_front();
            }
        }
        match (answer, key) {
            (Answer::Confirmed, Some(key)) => self.fresh.push((reply, key)),
            (answer, _) => tell(reply, answer),
        }
    }

    /// Harvests once more and answers what the harvest before this one brought.
    fn settle<F: Future<Output = Heard>>(&mut self, channel: &Channel, publishing: &mut FuturesUnordered<F>) {
        if !self.is_open() {
            return;
        }
        std::mem::swap(&mut self.held, &mut self.fresh);
        barrier(channel);
        let harvest = self.harvest.clone();
        harvest.gather(publishing, |heard| self.take_in(heard));
        for (reply, key) in self.held.drain(..) {
            match self.returns.iter().position(|returned| *returned == key) {
                Some(position) => {
                    self.returns.remove(position);
                    tell(reply, Answer::Returned);
                }
                None => tell(reply, Answer::Confirmed),
            }
        }
    }
}

fn tell(reply: oneshot::Sender<Answer>, answer: Answer) {
    // A caller that gave up does not mind.
    drop(reply.send(answer));
}

/// Returns when lapin is not in the middle of resolving the confirms of one frame: it does so under a lock, which the
/// first step of waiting for confirms takes too.
fn barrier(channel: &Channel) {
    drop(channel.wait_for_confirms().now_or_never());
}

/// Polls until truly nothing is ready: the set also says "pending" to be fair to other tasks, and then wakes itself.
#[derive(Clone, Default)]
struct Harvest(Arc<Woken>);

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl Harvest {
    fn gather<S: Stream + Unpin>(&self, stream: &mut S, mut take: impl FnMut(S::Item)) {
        let waker = Waker::from(self.0.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            self.0.0.store(false, Ordering::Release);
            match Pin::new(&mut *stream).poll_next(&mut context) {
                Poll::Ready(Some(item)) => take(item),
                Poll::Ready(None) => return,
                Poll::Pending if self.0.0.load(Ordering::Acquire) => {}
                Poll::Pending => return,
            }
        }
    }
}

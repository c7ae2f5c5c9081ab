//! The broker: everything of this crate in one handle.
//!
//! Owns the wiring of connections, publisher and consumers. Refuses to hold state that a new connection would need.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, counter};
use nuncio_domain::{EndpointId, Loss};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acker::Unsent;
use crate::admin::{QueueDepth, read_stream, take};
use crate::config::BrokerConfig;
use crate::consumer::{ConsumeOptions, Consumer, OnMissing};
use crate::dial::Address;
use crate::error::BrokerError;
use crate::link::{Link, Role, Session, Sessions, chain};
use crate::losses::{LossNotice, Losses};
use crate::message::Received;
use crate::names::{Names, Queue};
use crate::publisher::{Confirms, InFlight, Publisher};
use crate::state::{BrokerState, LinkState};
use crate::topology;

/// How long an operation waits for a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to declare the topology.
const DECLARE_AGAIN: Duration = Duration::from_secs(1);

/// RabbitMQ, as Nuncio uses it. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    publisher: Publisher,
}

/// What all parts share.
pub(crate) struct Shared {
    pub(crate) config: BrokerConfig,
    pub(crate) names: Names,
    pub(crate) states: watch::Sender<BrokerState>,
    pub(crate) stop: CancellationToken,
    pub(crate) unsent: Unsent,
    pub(crate) meters: Meters,
    pub(crate) losses: Losses,
    addresses: Vec<Address>,
    tracker: TaskTracker,
    runtime: Handle,
    consuming: watch::Sender<Option<Arc<Session>>>,
    consuming_started: AtomicBool,
    consumers: AtomicU64,
    healing: Mutex<Option<Instant>>,
}

/// Counters that every publish touches.
pub(crate) struct Meters {
    pub(crate) confirmed: Counter,
    pub(crate) nacked: Counter,
    pub(crate) returned: Counter,
    pub(crate) lost: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) failed: Counter,
}

impl Meters {
    fn new() -> Self {
        let publishes = |result: &'static str| counter!("nuncio_broker_publishes_total", "result" => result);
        Self {
            confirmed: publishes("confirmed"),
            nacked: publishes("nacked"),
            returned: publishes("returned"),
            lost: publishes("lost"),
            timed_out: publishes("timed_out"),
            failed: publishes("failed"),
        }
    }
}

impl Broker {
    /// Connects in the background, and keeps connected until `stop`. Must be called within a tokio runtime, which
    /// outlives what `tracker` tracks.
    ///
    /// The connection that consumes is opened when it is first needed; at once, if the topology is to be declared.
    ///
    /// # Errors
    /// When an address cannot be read.
    pub fn start(
        config: BrokerConfig,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, BrokerError> {
        let addresses = Address::all(&config)?;
        let (window, declare) = (config.window.max(1), config.declare);
        let shared = Arc::new(Shared {
            names: Names::new(&config.namespace),
            config,
            states: watch::Sender::new(BrokerState::default()),
            stop,
            unsent: Unsent::default(),
            meters: Meters::new(),
            losses: Losses::default(),
            addresses,
            tracker: tracker.clone(),
            runtime: Handle::current(),
            consuming: watch::Sender::new(None),
            consuming_started: AtomicBool::new(false),
            consumers: AtomicU64::new(0),
            healing: Mutex::new(None),
        });
        let (jobs, queue) = mpsc::unbounded_channel();
        let publisher = Publisher::new(shared.clone(), jobs);
        let publishing = watch::Sender::new(None);
        let in_flight = InFlight::default();
        let confirms = Confirms {
            jobs: queue,
            sessions: publishing.subscribe(),
            states: shared.states.subscribe(),
            stop: shared.stop.clone(),
            window,
            in_flight: in_flight.clone(),
        };
        let link = Link {
            role: Role::Publishing,
            addresses: shared.addresses.clone(),
            states: shared.states.clone(),
            stop: shared.stop.clone(),
            prepare: |_| std::future::ready(Ok(())),
            drained: move || in_flight.count() == 0,
        };
        shared.spawn(confirms.run());
        shared.spawn(link.keep_up(publishing));
        if declare {
            shared.start_consuming();
        }
        Ok(Self { shared, publisher })
    }

    /// The names of exchanges and queues.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// What the connections are at, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.shared.states.subscribe()
    }

    /// Waits until every connection in use is usable, and the topology declared where that is configured.
    ///
    /// # Errors
    /// When that takes longer than `patience`: with what is in the way.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), BrokerError> {
        let mut states = self.state();
        let ready = states.wait_for(|state| state.is_ready() && state.publishing == LinkState::Connected);
        match timeout(patience, ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BrokerError::Stopped),
            Err(_) => Err(BrokerError::NotConnected {
                problem: self
                    .shared
                    .states
                    .borrow()
                    .problem()
                    .unwrap_or_else(|| "connecting".to_owned()),
            }),
        }
    }

    /// What publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Consumes `queue`, from now on and after whatever interrupts it.
    #[must_use]
    pub fn consume(&self, queue: Queue, options: ConsumeOptions) -> Consumer {
        Consumer::new(self.shared.clone(), queue, options)
    }

    /// Declares everything but lanes: exchanges, queues, the rungs of the configuration. Harmless when all exists.
    ///
    /// # Errors
    /// When something exists with other properties: names it and the difference. When there is no connection.
    pub async fn declare_topology(&self) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        topology::declare(&session, &self.shared.names, &self.shared.config.rungs).await
    }

    /// Declares the topology, trying again while there is no connection. Answers false when `stop` came first.
    ///
    /// # Errors
    /// When something exists with other properties, or there is no permission: what only a person can mend.
    pub async fn establish_topology(&self, stop: &CancellationToken) -> Result<bool, BrokerError> {
        loop {
            match self.declare_topology().await {
                Ok(()) => return Ok(true),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = chain(&error), "the topology is not declared yet");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(DECLARE_AGAIN) => {}
            }
        }
    }

    /// Declares the rung on which deliveries wait for `delay`. Done once a connection.
    ///
    /// # Errors
    /// As [`declare_topology`](Self::declare_topology).
    pub async fn declare_rung(&self, delay: Duration) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        // Boxed, because it lies in the future of every delivery, and most need no retry.
        Box::pin(topology::declare_rung(&session, &self.shared.names, delay)).await
    }

    /// Declares the lane of `endpoint`. A lane that exists as the other queue type stays what it is.
    ///
    /// # Errors
    /// As [`declare_topology`](Self::declare_topology).
    pub async fn declare_endpoint(&self, endpoint: &EndpointId) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        let kind = self.shared.config.endpoint_queue_type;
        topology::declare_endpoint(&session, &self.shared.names, kind, endpoint).await
    }

    /// Declares the queue that marks the broker's data.
    ///
    /// # Errors
    /// As [`declare_topology`](Self::declare_topology).
    pub async fn declare_mark(&self, mark: &str) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        topology::declare_mark(&session, &self.shared.names, mark).await
    }

    /// Declares the stream that configuration is told in. Not part of the topology: without it, deliveries go on.
    ///
    /// # Errors
    /// As [`declare_topology`](Self::declare_topology).
    pub async fn declare_journal(&self) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        topology::declare_journal(&session, &self.shared.names).await
    }

    /// What is found missing from now on, each told before it is put back. One at a time may follow.
    #[must_use]
    pub fn losses(&self) -> mpsc::UnboundedReceiver<LossNotice> {
        self.shared.losses.follow()
    }

    /// Makes sure that the lane of `endpoint` exists and is reached; a loss, if it does not exist.
    ///
    /// # Errors
    /// As [`declare_topology`](Self::declare_topology).
    pub async fn restore_endpoint(&self, endpoint: &EndpointId) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        self.shared.restore_endpoint(&session, endpoint).await
    }

    /// Puts back whatever of the topology is missing, after its loss was told. What only a person can mend shows in
    /// [`state`](Self::state) until it is mended.
    ///
    /// # Errors
    /// As [`declare_topology`](Self::declare_topology).
    pub async fn mend_topology(&self) -> Result<(), BrokerError> {
        let mended = self.mend().await;
        let problem = mended
            .as_ref()
            .err()
            .filter(|error| !error.is_transient())
            .map(|error| chain(error));
        self.shared.states.send_if_modified(|states| {
            let changed = states.topology != problem;
            states.topology = problem;
            changed
        });
        mended
    }

    async fn mend(&self) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        let (names, rungs) = (&self.shared.names, &self.shared.config.rungs);
        self.shared.declare(&session, &[]).await?;
        let mut missing = Vec::new();
        for delay in rungs {
            if session.desk.depth(&session, &names.rung(*delay)).await?.is_none() {
                missing.push(*delay);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.shared.losses.tell(Loss::Rungs).await;
        for delay in missing {
            topology::redeclare_rung(&session, names, delay).await?;
        }
        Ok(())
    }

    /// Deletes the lane of `endpoint` with what waits in it. It may be gone already.
    ///
    /// # Errors
    /// When there is no connection, or no permission.
    pub async fn delete_endpoint(&self, endpoint: &EndpointId) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        topology::delete_endpoint(&session, &self.shared.names, endpoint).await
    }

    /// How full `queue` is; nothing when it does not exist.
    ///
    /// # Errors
    /// When there is no connection, or no permission.
    pub async fn depth(&self, queue: &str) -> Result<Option<QueueDepth>, BrokerError> {
        let session = self.shared.session().await?;
        session.desk.depth(&session, queue).await
    }

    /// Takes up to `max` messages from `queue` without consuming it. What is not acknowledged returns.
    ///
    /// # Errors
    /// When the queue does not exist, there is no connection, or no permission.
    pub async fn take(&self, queue: &str, max: usize) -> Result<Vec<Received>, BrokerError> {
        let session = self.shared.session().await?;
        take(&self.shared, &session, queue, max).await
    }

    /// Reads a stream from its first message, until `read` has seen enough of it.
    ///
    /// # Errors
    /// When the stream does not exist, falls silent, there is no connection, or no permission.
    pub async fn read_stream(
        &self,
        stream: &str,
        read: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), BrokerError> {
        let session = self.shared.session().await?;
        read_stream(&session, stream, read).await
    }
}

impl Shared {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn_on(task, &self.runtime);
    }

    /// A number that no other consumer of this process has.
    pub(crate) fn consumer_number(&self) -> u64 {
        self.consumers.fetch_add(1, Ordering::Relaxed)
    }

    fn start_consuming(self: &Arc<Self>) -> Sessions {
        if !self.consuming_started.swap(true, Ordering::AcqRel) {
            self.states
                .send_modify(|states| states.consuming = LinkState::Connecting { last_error: None });
            // Weak, or the task would keep alive what keeps the task.
            let weak = Arc::downgrade(self);
            let link = Link {
                role: Role::Consuming,
                addresses: self.addresses.clone(),
                states: self.states.clone(),
                stop: self.stop.clone(),
                prepare: move |session: Arc<Session>| {
                    let shared = weak.upgrade().filter(|shared| shared.config.declare);
                    async move {
                        match shared {
                            Some(shared) => shared.declare(&session, &shared.config.rungs).await,
                            None => Ok(()),
                        }
                    }
                },
                drained: {
                    let unsent = self.unsent.clone();
                    move || unsent.count() == 0
                },
            };
            self.spawn(link.keep_up(self.consuming.clone()));
        }
        self.consuming.subscribe()
    }

    /// The consuming connection, when there is one; nothing once the process stops.
    pub(crate) async fn consuming(self: &Arc<Self>) -> Option<Arc<Session>> {
        let mut sessions = self.start_consuming();
        tokio::select! {
            () = self.stop.cancelled() => None,
            session = sessions.wait_for(Option::is_some) => session.ok()?.clone(),
        }
    }

    /// The consuming connection, or why there is none.
    pub(crate) async fn session(self: &Arc<Self>) -> Result<Arc<Session>, BrokerError> {
        match timeout_at(Instant::now() + PATIENCE, self.consuming()).await {
            Ok(Some(session)) => Ok(session),
            Ok(None) => Err(BrokerError::Stopped),
            Err(_) => Err(BrokerError::NotConnected {
                problem: match &self.states.borrow().consuming {
                    LinkState::Connecting {
                        last_error: Some(error),
                    } => error.clone(),
                    _ => "connecting".to_owned(),
                },
            }),
        }
    }

    /// Makes sure that a queue exists before it is consumed.
    pub(crate) async fn ensure(
        &self,
        session: &Arc<Session>,
        queue: &Queue,
        on_missing: OnMissing,
    ) -> Result<(), BrokerError> {
        match (on_missing, queue) {
            (OnMissing::Declare, Queue::Endpoint(endpoint)) => self.restore_endpoint(session, endpoint).await,
            (OnMissing::Declare, Queue::Ingest | Queue::Overflow | Queue::SetAside | Queue::Unroutable) => {
                self.declare(session, &[]).await
            }
            (OnMissing::Wait, _) | (_, Queue::Named(_)) => {
                let name = self.names.queue(queue);
                match session.desk.depth(session, &name).await? {
                    Some(_) => Ok(()),
                    None => Err(BrokerError::Missing {
                        object: name.into_owned(),
                    }),
                }
            }
        }
    }

    async fn restore_endpoint(
        &self,
        session: &Arc<Session>,
        endpoint: &EndpointId,
    ) -> Result<(), BrokerError> {
        // Where nobody wants to know, the question is spared.
        if self.losses.is_followed() {
            let lane = self.names.endpoint_queue(endpoint);
            if session.desk.depth(session, &lane).await?.is_none() {
                self.losses.tell(Loss::Lane(endpoint.clone())).await;
            }
        }
        let kind = self.config.endpoint_queue_type;
        topology::declare_endpoint(session, &self.names, kind, endpoint).await
    }

    /// Declares everything but lanes and other rungs than those. An exchange of deliveries that has to be made anew has no
    /// way to any lane.
    async fn declare(&self, session: &Arc<Session>, rungs: &[Duration]) -> Result<(), BrokerError> {
        // Where there is not even the queue of events, nothing was there: this is the beginning. It is declared after the
        // exchange of deliveries and looked for before it, so that another process's beginning is no loss either.
        if self.losses.is_followed()
            && session.desk.depth(session, self.names.ingest()).await?.is_some()
            && !session
                .desk
                .has_exchange(session, self.names.deliveries())
                .await?
        {
            self.losses.tell(Loss::Bindings).await;
        }
        topology::declare(session, &self.names, rungs).await
    }

    /// Declares an exchange of ours again that was found missing, or without its queue; false if it is not ours.
    pub(crate) async fn redeclare(self: &Arc<Self>, exchange: &str) -> Result<bool, BrokerError> {
        let Some(name) = exchange
            .strip_prefix(self.names.namespace())
            .and_then(|rest| rest.strip_prefix('.'))
        else {
            return Ok(false);
        };
        let session = self.session().await?;
        if let Some(millis) = name.strip_prefix("retry.") {
            let Ok(millis) = millis.parse() else {
                return Ok(false);
            };
            let delay = Duration::from_millis(millis);
            let rung = self.names.rung(delay);
            if session.desk.depth(&session, &rung).await?.is_none() {
                self.losses.tell(Loss::Rungs).await;
            }
            topology::redeclare_rung(&session, &self.names, delay).await?;
            return Ok(true);
        }
        if !["events", "deliveries", "unroutable", "operations"].contains(&name) {
            return Ok(false);
        }
        // Hundreds of publishes find the same exchange missing: one declares for all.
        let fresh = |last: &Option<Instant>| last.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        let healed = fresh(&self.healing.lock().unwrap_or_else(PoisonError::into_inner));
        if !healed {
            self.declare(&session, &self.config.rungs).await?;
            *self.healing.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(true)
    }
}

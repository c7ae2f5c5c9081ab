//! A connection that comes back.
//!
//! Owns the supervision of one connection: dial, prepare, watch, tear down, wait, again. Guarantees that whatever ends
//! a connection (reset, silence found by heartbeat, a broker that goes away, channels that cannot be opened any more) is
//! followed by another one, that users of the old one are told, and that the state says what is so.
//! Refuses to know what the connection is used for.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::Desk;
use crate::consumer::ConsumeChannels;
use crate::dial::{Address, Socket, dial};
use crate::error::BrokerError;
use crate::reconnect::Reconnect;
use crate::state::{BrokerState, LinkState};

/// How often the state of a connection is looked at besides its events.
const CHECK: Duration = Duration::from_millis(500);
/// A connection that held this long has earned a quick first try for the next one.
const STEADY: Duration = Duration::from_secs(10);
/// How long closing politely may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long confirms and acknowledgements under way are waited for before that.
const DRAIN: Duration = Duration::from_secs(4);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publishing,
    Consuming,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Consuming => "consuming",
        }
    }

    fn of(self, state: &mut BrokerState) -> &mut LinkState {
        match self {
            Self::Publishing => &mut state.publishing,
            Self::Consuming => &mut state.consuming,
        }
    }
}

/// One connection from its opening to its end, with all that lives no longer than it.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// Cancelled when the connection is over.
    pub(crate) over: CancellationToken,
    /// Where to declare and ask: on a connection of its own.
    pub(crate) desk: Desk,
    /// Channels to consume on.
    pub(crate) channels: ConsumeChannels,
    /// Rungs declared on this connection, by milliseconds.
    pub(crate) rungs: Mutex<HashSet<u128>>,
    socket: Socket,
    useless: CancellationToken,
}

impl Session {
    /// No channel could be opened: if the connection claims to be up, another one is needed. lapin never uses the number
    /// of a channel again that the broker closed, so that a connection may run out of them.
    pub(crate) fn no_channel(&self, error: &lapin::Error) {
        if self.connection.status().connected() {
            tracing::warn!(%error, "no channel can be opened on a connection that is up: it is replaced");
            self.useless.cancel();
        }
    }
}

/// Where to find the connection that is up now.
pub(crate) type Sessions = watch::Receiver<Option<Arc<Session>>>;

/// A connection to be kept up.
pub(crate) struct Link<P, D> {
    pub(crate) role: Role,
    pub(crate) addresses: Vec<Address>,
    pub(crate) states: watch::Sender<BrokerState>,
    pub(crate) stop: CancellationToken,
    /// Makes a new connection fit for use; its failure counts as a failure to connect.
    pub(crate) prepare: P,
    /// Whether nothing is under way any more, asked before a connection is closed for good.
    pub(crate) drained: D,
}

impl<P, F, D> Link<P, D>
where
    P: Fn(Arc<Session>) -> F + Send,
    F: Future<Output = Result<(), BrokerError>> + Send,
    D: Fn() -> bool + Send,
{
    /// Keeps the connection up until it is stopped.
    pub(crate) async fn keep_up(self, sessions: watch::Sender<Option<Arc<Session>>>) {
        let mut reconnect = Reconnect::new();
        let mut connected_before = false;
        let mut failures = 0_u32;
        self.set(LinkState::Connecting { last_error: None });
        for address in self.addresses.iter().cycle() {
            let opened = tokio::select! {
                () = self.stop.cancelled() => break,
                opened = self.open(address) => opened,
            };
            let problem = match opened {
                Ok(session) => {
                    let since = Instant::now();
                    failures = 0;
                    if connected_before {
                        metrics::counter!("nuncio_broker_reconnects_total", "role" => self.role.name())
                            .increment(1);
                    }
                    connected_before = true;
                    tracing::info!(
                        role = self.role.name(),
                        broker = address.plain(),
                        "connected to RabbitMQ"
                    );
                    self.set(LinkState::Connected);
                    sessions.send_replace(Some(session.clone()));
                    let problem = self.watch(&session).await;
                    sessions.send_replace(None);
                    self.end(&session).await;
                    if since.elapsed() >= STEADY {
                        reconnect.reset();
                    }
                    problem
                }
                Err(error) => Some(chain(&error)),
            };
            let Some(problem) = problem else { break };
            failures += 1;
            if failures <= 3 || failures.is_multiple_of(20) {
                tracing::warn!(
                    role = self.role.name(),
                    broker = address.plain(),
                    problem,
                    "no connection to RabbitMQ"
                );
            }
            self.set(LinkState::Connecting {
                last_error: Some(problem),
            });
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(reconnect.next_delay()) => {}
            }
        }
        self.set(LinkState::Connecting {
            last_error: Some("shut down".to_owned()),
        });
    }

    async fn open(&self, address: &Address) -> Result<Arc<Session>, BrokerError> {
        let (connection, socket) = dial(address, self.role.name()).await?;
        let session = Arc::new(Session {
            connection,
            over: CancellationToken::new(),
            desk: Desk::new(address.clone()),
            channels: ConsumeChannels::default(),
            rungs: Mutex::default(),
            socket,
            useless: CancellationToken::new(),
        });
        if let Err(error) = (self.prepare)(session.clone()).await {
            self.end(&session).await;
            return Err(error);
        }
        Ok(session)
    }

    /// Returns when the connection is over, with the reason; or without, when it is to be stopped.
    async fn watch(&self, session: &Session) -> Option<String> {
        let mut events = pin!(session.connection.events_listener());
        let mut last_error = None;
        loop {
            let event = tokio::select! {
                () = self.stop.cancelled() => return None,
                () = session.useless.cancelled() => {
                    return Some("no channel could be opened on the connection".to_owned());
                }
                event = events.next() => event,
                () = tokio::time::sleep(CHECK) => None,
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(role = self.role.name(), reason, "blocked by RabbitMQ");
                    self.set(LinkState::Blocked { reason });
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!(role = self.role.name(), "no longer blocked by RabbitMQ");
                    self.set(LinkState::Connected);
                }
                Some(Event::Error(error)) => last_error = Some(error.to_string()),
                _ => {}
            }
            if !session.connection.status().connected() {
                return Some(last_error.unwrap_or_else(|| "the connection was closed".to_owned()));
            }
        }
    }

    async fn end(&self, session: &Session) {
        if session.connection.status().connected() {
            let until = Instant::now() + DRAIN;
            while self.stop.is_cancelled() && !(self.drained)() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let goodbye = session.connection.close(200, "goodbye".into());
            match tokio::time::timeout(GOODBYE, goodbye).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the connection did not close politely"),
                Err(_) => tracing::debug!("the connection did not close in time"),
            }
        }
        session.over.cancel();
        session.socket.cut();
        session.desk.close().await;
    }

    fn set(&self, state: LinkState) {
        let connected = f64::from(u8::from(state == LinkState::Connected));
        metrics::gauge!("nuncio_broker_connected", "role" => self.role.name()).set(connected);
        self.states.send_if_modified(|states| {
            let current = self.role.of(states);
            let changed = *current != state;
            *current = state;
            changed
        });
    }
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

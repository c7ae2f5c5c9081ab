//! The connection that questions are asked on.
//!
//! Owns its channels and the count of refusals. lapin never uses the number of a channel again that the broker closed,
//! and a connection has only 2,047 of them: so a connection that was refused often is left for a fresh one in time.
//! Guarantees that its socket is closed when the last operation on it has ended.
//! Refuses to know what is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::{Channel, Connection};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use crate::dial::{Address, Socket, dial};
use crate::error::BrokerError;

/// Channels that operations are spread over.
const CHANNELS: usize = 8;
/// Refusals after which another connection is used: well below the channels of one, less those that operations under way
/// may still lose.
const REFUSALS_MAX: usize = 500;

/// A place for a channel.
pub(super) type Slot = Mutex<Option<Arc<Channel>>>;

/// One connection for questions and declarations.
pub(super) struct Line {
    pub(super) connection: Connection,
    slots: [Slot; CHANNELS],
    /// Passive declarations of what may be missing close their channel: they have some of their own, one question at a
    /// time on each, so that none fails by another's fault.
    probes: [Slot; CHANNELS],
    next: AtomicUsize,
    refusals: AtomicUsize,
    socket: Socket,
    _place: OwnedSemaphorePermit,
}

impl Line {
    pub(super) async fn open(address: &Address, place: OwnedSemaphorePermit) -> Result<Self, BrokerError> {
        let (connection, socket) = dial(address, "asking").await?;
        Ok(Self {
            connection,
            slots: std::array::from_fn(|_| Mutex::new(None)),
            probes: std::array::from_fn(|_| Mutex::new(None)),
            next: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            socket,
            _place: place,
        })
    }

    /// Whether another operation may begin on it.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.status().connected() && self.refusals.load(Ordering::Relaxed) < REFUSALS_MAX
    }

    /// The place of a channel that is shared.
    pub(super) fn slot(&self) -> &Slot {
        &self.slots[self.turn()]
    }

    /// The place of a channel for one question at a time.
    pub(super) fn probe(&self) -> &Slot {
        &self.probes[self.turn()]
    }

    /// A channel may have been lost.
    pub(super) fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing else is begun on it.
    pub(super) fn leave(&self) {
        self.refusals.store(REFUSALS_MAX, Ordering::Relaxed);
    }

    /// Ends it beneath whatever is under way.
    pub(super) fn cut(&self) {
        self.socket.cut();
    }

    fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % CHANNELS
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.socket.cut();
    }
}

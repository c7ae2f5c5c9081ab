//! The lanes of this sender: one task for each endpoint that is assigned to it and not paused.
//!
//! Owns which lanes run. Follows the list of senders and the changes of endpoints; nothing here is done per delivery,
//! and nothing polls per endpoint.

use std::collections::HashMap;
use std::sync::Arc;

use nuncio_domain::{EndpointId, assign};
use nuncio_store::{Change, EndpointEntry};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backlog::{self, Sight};
use crate::membership::Members;
use crate::prepared::Prepared;
use crate::{Shared, lane};

/// A lane that runs.
struct Running {
    endpoint: watch::Sender<Arc<Prepared>>,
    stop: CancellationToken,
    sight: Arc<Sight>,
}

struct Lanes {
    shared: Arc<Shared>,
    members: Members,
    running: HashMap<EndpointId, Running>,
    tasks: TaskTracker,
    /// The last look at what waits in the lanes: one at a time.
    looking: Option<JoinHandle<()>>,
}

/// Runs the lanes until told to stop, then waits until each has finished what it had begun.
pub(crate) async fn run(shared: Arc<Shared>, members: Members) {
    metrics::gauge!("nuncio_sender_breakers_open").increment(0.0);
    let soft = shared.parts.life.soft.clone();
    let hard = shared.parts.life.hard.clone();
    let mut changes = shared.parts.directory.changes();
    let mut changed_members = members.clone();
    let mut lanes = Lanes {
        shared,
        members,
        running: HashMap::new(),
        tasks: TaskTracker::new(),
        looking: None,
    };
    let mut looks = tokio::time::interval(backlog::EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    lanes.reconcile_all();
    loop {
        tokio::select! {
            biased;
            () = soft.cancelled() => break,
            Ok(()) = changed_members.changed() => lanes.reconcile_all(),
            change = changes.recv() => match change {
                Ok(Change::Endpoint(id)) => lanes.reconcile(&id),
                Ok(Change::Reloaded) | Err(broadcast::error::RecvError::Lagged(_)) => lanes.reconcile_all(),
                Err(broadcast::error::RecvError::Closed) => break,
            },
            _ = looks.tick() => lanes.look(),
        }
    }
    if let Some(looking) = lanes.looking.take() {
        looking.abort();
    }
    lanes.running.clear();
    lanes.tasks.close();
    tokio::select! {
        () = lanes.tasks.wait() => {}
        () = hard.cancelled() => {}
    }
}

impl Lanes {
    fn reconcile_all(&mut self) {
        let known = self.shared.parts.directory.endpoint_ids();
        for id in &known {
            self.reconcile(id);
        }
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|id| self.shared.parts.directory.endpoint(id).is_none())
            .cloned()
            .collect();
        for id in gone {
            self.stop(&id);
        }
    }

    /// Makes the lane of one endpoint what it is to be: started, changed, stopped or let alone.
    fn reconcile(&mut self, id: &EndpointId) {
        let entry = self
            .shared
            .parts
            .directory
            .endpoint(id)
            .filter(|entry| self.is_wanted(entry));
        let Some(entry) = entry else { return self.stop(id) };
        let settings = &self.shared.parts.settings;
        let prepare = |entry| Arc::new(Prepared::new(entry, settings));
        match self.running.get(id) {
            Some(running) if Arc::ptr_eq(&running.endpoint.borrow().entry, &entry) => {}
            Some(running) => {
                running.endpoint.send_replace(prepare(entry));
            }
            None => {
                let prepared = prepare(entry);
                self.start(id, prepared);
            }
        }
    }

    fn is_wanted(&self, entry: &EndpointEntry) -> bool {
        let owners = self.members.borrow();
        !entry.endpoint.is_paused()
            && assign(entry.endpoint.id.as_str(), &owners).contains(&&self.shared.parts.id)
    }

    fn start(&mut self, id: &EndpointId, prepared: Arc<Prepared>) {
        let (endpoint, changes) = watch::channel(prepared);
        let stop = CancellationToken::new();
        let sight = Arc::new(Sight::default());
        self.tasks.spawn(lane::run(
            Arc::clone(&self.shared),
            id.clone(),
            changes,
            stop.clone(),
            self.members.clone(),
            Arc::clone(&sight),
        ));
        let running = Running {
            endpoint,
            stop,
            sight,
        };
        self.running.insert(id.clone(), running);
        metrics::gauge!("nuncio_sender_lanes").set(self.running.len() as f64);
    }

    /// Looks at what waits in the lanes, unless the last look goes on.
    fn look(&mut self) {
        if self
            .looking
            .as_ref()
            .is_some_and(|looking| !looking.is_finished())
        {
            return;
        }
        let lanes = self.running.iter();
        let lanes = lanes.map(|(id, running)| (id.clone(), Arc::clone(&running.sight)));
        let look = backlog::show(Arc::clone(&self.shared), lanes.collect());
        self.looking = Some(self.tasks.spawn(look));
    }

    fn stop(&mut self, id: &EndpointId) {
        if self.running.remove(id).is_some() {
            metrics::gauge!("nuncio_sender_lanes").set(self.running.len() as f64);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

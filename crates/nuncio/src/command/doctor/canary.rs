//! The canary: an event of our own, sent the way that all events go, to a listener of our own.
//!
//! Owns the app, the endpoint and the listener that exist for one flight. Guarantees that no rule is loosened for it: a
//! sender that does not dial loopback addresses records the refused attempt, and that record is proof enough that the
//! event came as far as the dial. Leftovers of a doctor that was killed are taken away by the next.
//! Refuses to use the API: it may be down, which is a finding of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use nuncio_broker::{Broker, BrokerConfig};
use nuncio_domain::{App, AppId, Endpoint, EndpointId, EventTypeName, Outcome, Reason, Uid, UnixMillis};
use nuncio_producer::{Event, Producer};
use nuncio_runtime::{Clock, Config, Dice};
use nuncio_signing::{Secret, Signed, TOLERANCE, Verifier};
use nuncio_store::{AttemptFilter, PageRequest, Store};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::finding::Finding;
use crate::wiring::Services;

/// The uid of the canary's app: one at a time, so that leftovers are found.
const UID: &str = "nuncio-doctor";
/// A flight that began longer ago was not brought to its end.
const STALE: Duration = Duration::from_secs(120);
/// Between two looks at the record.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the publish may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);
/// Most bytes of a delivery that are read.
const BODY_BYTES_MAX: usize = 4_096;

pub(super) struct Canary {
    store: Store,
    broker: Broker,
    producer: Producer,
    services: Services,
    clock: Clock,
    app: AppId,
    endpoint: EndpointId,
    secret: String,
    payload: String,
    /// Whether there may be something to take away.
    created: AtomicBool,
}

/// What the listener needs to judge a delivery.
struct Perch {
    verifier: Verifier,
    payload: String,
    clock: Clock,
    tell: mpsc::Sender<Result<(), &'static str>>,
}

impl Canary {
    pub(super) fn new(
        config: &Config,
        store: Store,
        mut broker: BrokerConfig,
        services: &Services,
    ) -> anyhow::Result<Self> {
        broker.declare = false;
        let broker = services.broker(broker)?;
        let (clock, dice) = (Clock::system(), Dice::system());
        let now = UnixMillis(clock.now());
        Ok(Self {
            producer: Producer::on(broker.clone(), config.max_payload, CONFIRM_WITHIN),
            store,
            broker,
            services: services.clone(),
            app: dice.with(|mut rng| AppId::generate(now, &mut rng)),
            endpoint: dice.with(|mut rng| EndpointId::generate(now, &mut rng)),
            secret: dice.with(|rng| Secret::generate(rng).expose().to_string()),
            payload: format!("{{\"canary\":\"{:08x}\"}}", dice.u32()),
            clock,
            created: AtomicBool::new(false),
        })
    }

    pub(super) fn app(&self) -> &AppId {
        &self.app
    }

    /// Sends the event and waits for what becomes of it.
    pub(super) async fn fly(&self, patience: Duration) -> Finding {
        match self.try_to_fly(patience).await {
            Ok(finding) => finding,
            Err(error) => bad(
                format!("{error:#}"),
                "see the findings above and the logs of router and sender",
            ),
        }
    }

    async fn try_to_fly(&self, patience: Duration) -> anyhow::Result<Finding> {
        if let Some(other) = self.store.app(UID).await? {
            if other.created_at.plus(STALE) > UnixMillis(self.clock.now()) {
                let advice = "wait for it, or delete the app with the uid nuncio-doctor";
                return Ok(Finding::doubt(
                    "canary",
                    "canary",
                    "another doctor's is on its way".to_owned(),
                    advice,
                ));
            }
            self.remove_app(&other.id).await?;
        }
        let (tell, mut told) = mpsc::channel(4);
        let url = self.listen(tell).await?;
        self.settle_in(url).await?;
        let begun = Instant::now();
        let event = Event {
            app: self.app.to_string(),
            event_type: EventTypeName::parse("nuncio.canary").context("the canary's type is one")?,
            payload: self.payload.clone().into_bytes(),
            event_id: None,
            channels: Vec::new(),
        };
        self.producer
            .publish(event)
            .await
            .context("the event could not be published")?;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(begun + patience) => return Ok(self.lost(patience).await),
                Some(received) = told.recv() => return Ok(match received {
                    Ok(()) => good(format!("published, routed, delivered and verified in {} ms", begun.elapsed().as_millis())),
                    Err(problem) => bad(problem.to_owned(), "is every process of this namespace of one version, with one main secret?"),
                }),
                _ = looks.tick() => if let Some(finding) = self.attempted(&mut told).await? {
                    return Ok(finding);
                },
            }
        }
    }

    /// What the record says of an attempt that did not arrive here.
    async fn attempted(
        &self,
        told: &mut mpsc::Receiver<Result<(), &'static str>>,
    ) -> anyhow::Result<Option<Finding>> {
        let (filter, first) = (AttemptFilter::default(), PageRequest::first(1));
        let page = self
            .store
            .attempts_of_endpoint(&self.app, &self.endpoint, &filter, &first)
            .await?;
        let Some(stored) = page.items.into_iter().next() else {
            return Ok(None);
        };
        Ok(match stored.attempt.outcome {
            // It is here already, or it will never be.
            Outcome::Accepted(_) if told.is_empty() => {
                Some(bad("a sender delivered it to somebody else".to_owned(), "does a proxy answer for 127.0.0.1?"))
            }
            Outcome::Accepted(_) => None,
            Outcome::Unreachable(Reason::AddressRefused(_) | Reason::InvalidRequest) => Some(good(
                "published, routed and attempted; the sender's egress rules rightly refused to dial 127.0.0.1".to_owned(),
            )),
            Outcome::Unreachable(Reason::ConnectionRefused) => Some(good(
                "published, routed and attempted, by a sender on another machine, whose 127.0.0.1 is not this one".to_owned(),
            )),
            outcome => Some(Finding::doubt(
                "canary",
                "canary",
                format!("published, routed and attempted, but not delivered: {outcome}"),
                "look at the sender's egress proxy and network",
            )),
        })
    }

    /// Where it was last seen.
    async fn lost(&self, patience: Duration) -> Finding {
        let names = self.broker.names();
        let consumers = async |queue: &str| {
            let depth = self.broker.depth(queue).await.ok().flatten();
            depth.map(|depth| depth.consumers)
        };
        let lane = names.endpoint_queue(&self.endpoint);
        let (problem, advice) = if let Some(problem) = self.broker.state().borrow().problem() {
            (problem, "see RabbitMQ's alarms: memory and disk")
        } else if consumers(names.ingest()).await == Some(0) {
            (
                "no router takes events from the ingest queue".to_owned(),
                "start `nuncio router`",
            )
        } else if consumers(&lane).await == Some(0) {
            (
                "no sender has taken up the endpoint's queue".to_owned(),
                "start `nuncio sender`",
            )
        } else {
            (
                "nothing came of it".to_owned(),
                "look at the logs of router and sender, and at the depth of their queues",
            )
        };
        bad(format!("{problem} (waited {patience:?})"), advice)
    }

    /// Listens on loopback until the doctor ends; returns the URL.
    async fn listen(&self, tell: mpsc::Sender<Result<(), &'static str>>) -> anyhow::Result<String> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("failed to listen on loopback")?;
        let url = format!("http://{}/canary", listener.local_addr()?);
        let perch = Arc::new(Perch {
            verifier: Verifier::parse(&self.secret)?,
            payload: self.payload.clone(),
            clock: self.clock.clone(),
            tell,
        });
        let routes = Router::new().fallback(receive).with_state(perch);
        let stop = self.services.stop.clone().cancelled_owned();
        self.services.tracker.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
                tracing::debug!(%error, "the canary's listener failed");
            }
        });
        Ok(url)
    }

    async fn settle_in(&self, url: String) -> anyhow::Result<()> {
        let now = UnixMillis(self.clock.now());
        self.created.store(true, Ordering::SeqCst);
        let app = App {
            id: self.app.clone(),
            uid: Some(Uid::parse(UID)?),
            name: "nuncio doctor".to_owned(),
            throttle_rate: None,
            metadata: BTreeMap::new(),
            created_at: now,
            updated_at: now,
        };
        self.store
            .create_app(&app)
            .await
            .context("the canary's app could not be created")?;
        self.broker
            .declare_endpoint(&self.endpoint)
            .await
            .context("the canary's queue could not be declared")?;
        let endpoint = Endpoint {
            url,
            description: "sends an event through the pipeline to see whether it works".to_owned(),
            ..Endpoint::blank(self.app.clone(), self.endpoint.clone(), now)
        };
        let secret = SecretString::from(self.secret.clone());
        self.store
            .create_endpoint(&endpoint, &secret)
            .await
            .context("the canary's endpoint could not be created")
    }

    /// Takes away what the flight needed.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        if self.created.swap(false, Ordering::SeqCst) {
            self.remove_app(&self.app).await?;
        }
        Ok(())
    }

    async fn remove_app(&self, app: &AppId) -> anyhow::Result<()> {
        let mut lanes: Vec<_> = self
            .store
            .endpoints(app)
            .await?
            .into_iter()
            .map(|endpoint| endpoint.id)
            .collect();
        if *app == self.app && !lanes.contains(&self.endpoint) {
            lanes.push(self.endpoint.clone());
        }
        self.store.delete_app(app).await?;
        for lane in lanes {
            self.broker.delete_endpoint(&lane).await?;
        }
        Ok(())
    }
}

async fn receive(State(perch): State<Arc<Perch>>, request: Request<Body>) -> StatusCode {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE;
    };
    let header = |name: &str| {
        ["webhook", "svix"]
            .iter()
            .find_map(|family| head.headers.get(format!("{family}-{name}"))?.to_str().ok())
    };
    let signed = Signed {
        message_id: header("id").unwrap_or_default(),
        timestamp: header("timestamp").unwrap_or_default(),
        signature: header("signature").unwrap_or_default(),
        body: &body,
    };
    let now_seconds = perch.clock.now().div_euclid(1_000);
    let judged = if perch.verifier.verify(&signed, now_seconds, TOLERANCE).is_err() {
        Err("it arrived with a signature that does not verify")
    } else if body != perch.payload.as_bytes() {
        Err("it arrived with another body")
    } else {
        Ok(())
    };
    // Nobody waits for a second copy.
    perch.tell.try_send(judged).unwrap_or_default();
    StatusCode::OK
}

fn good(found: String) -> Finding {
    Finding::good("canary", "canary", found)
}

fn bad(found: String, advice: &str) -> Finding {
    Finding::bad("canary", "canary", found, advice)
}

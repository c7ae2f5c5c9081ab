//! The load: publishes numbered events at a rate, or as fast as a window allows, by AMQP or REST.
//!
//! Owns the pace and the record of when each event was sent and confirmed. A stream with a rate is open-loop: an event
//! is sent when it is due, however long the earlier ones take, unless the window of unconfirmed ones is full.

mod link;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use self::link::Link;
pub(crate) use self::link::Via;
use crate::{
    child, clock,
    records::{self, Record, STREAM_SIZE},
};

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// Connects, so that a run does not pay for it.
    Prepare(Plan),
    /// Publishes everything; answers with a [`Summary`].
    Run,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) via: Via,
    pub(crate) streams: Vec<Stream>,
    /// Where the records go.
    pub(crate) file: PathBuf,
}

/// Events to a round of targets, each stream independent of the others.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// Apps by REST, routing keys by AMQP; each in turn.
    pub(crate) targets: Vec<String>,
    pub(crate) pace: Pace,
    pub(crate) total: u64,
    /// It ends sooner than `total` if that takes longer.
    pub(crate) seconds_max: f64,
    pub(crate) payload_bytes: usize,
    /// How many may wait for their confirm.
    pub(crate) window: usize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// As fast as the window allows.
    Max,
    /// So many a second.
    Rate(f64),
    /// As fast as they arrive, with at most so many on the way.
    OnTheWay { most: u64, watch: SocketAddr },
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) sent: u64,
}

/// A plan with a link for each of its streams.
type Prepared = (Plan, Vec<Link>);

pub(crate) async fn run(control: SocketAddr) -> Result<()> {
    let prepared: Arc<Mutex<Option<Prepared>>> = Arc::default();
    child::serve(control, |request: Request| {
        let prepared = Arc::clone(&prepared);
        async move {
            match request {
                Request::Prepare(plan) => {
                    let mut links = Vec::new();
                    for _ in &plan.streams {
                        links.push(Link::open(&plan.via).await?);
                    }
                    *prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some((plan, links));
                    Ok(None)
                }
                Request::Run => {
                    let ready = prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let (plan, links) = ready.context("nothing was prepared")?;
                    publish(plan, links).await.map(Some)
                }
            }
        }
    })
    .await
}

async fn publish(plan: Plan, links: Vec<Link>) -> Result<Summary> {
    let streams = plan.streams.into_iter().zip(links).enumerate();
    let running: Vec<_> = streams
        .map(|(index, (stream, link))| TaskTracker::new().spawn(send(index, stream, link)))
        .collect();
    let mut records = Vec::new();
    for stream in running {
        records.extend(stream.await??);
    }
    records::write(&plan.file, &records)?;
    Ok(Summary {
        sent: records.len() as u64,
    })
}

async fn send(index: usize, stream: Stream, link: Link) -> Result<Vec<Record>> {
    ensure!(!stream.targets.is_empty(), "a stream has targets");
    let first = index as u64 * STREAM_SIZE;
    let window = Arc::new(Semaphore::new(stream.window));
    let sent = Arc::new(Sent::default());
    let confirms = TaskTracker::new();
    let mut pace = Keeper::start(stream.pace, index).await?;
    let deadline = Instant::now() + Duration::from_secs_f64(stream.seconds_max);
    let mut targets = stream.targets.iter().cycle();
    for nth in 0..stream.total {
        pace.wait(nth).await?;
        if Instant::now() >= deadline || sent.failed().is_some() {
            break;
        }
        let permit = Arc::clone(&window).acquire_owned().await?;
        let target = targets.next().context("a cycle does not end")?;
        let number = first + nth;
        let body = records::payload(number, stream.payload_bytes);
        let at = clock::now_ns();
        let confirm = link.send(target, body).await?;
        let sent = Arc::clone(&sent);
        confirms.spawn(async move {
            match confirm.await {
                Ok(()) => sent.record([number, at, clock::now_ns()]),
                Err(error) => sent.fail(format!("{error:#}")),
            }
            drop(permit);
        });
    }
    confirms.close();
    confirms.wait().await;
    if let Some(why) = sent.failed() {
        anyhow::bail!("an event was not confirmed: {why}");
    }
    Ok(sent.take())
}

#[derive(Default)]
struct Sent {
    records: Mutex<Vec<Record>>,
    failure: Mutex<Option<String>>,
}

impl Sent {
    fn record(&self, record: Record) {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }

    fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fail(&self, why: String) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
    }

    fn failed(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Says when the next event is due.
enum Keeper {
    Max,
    Rate {
        start: Instant,
        per_second: f64,
    },
    OnTheWay {
        most: u64,
        arrived: watch::Receiver<u64>,
    },
}

impl Keeper {
    async fn start(pace: Pace, stream: usize) -> Result<Self> {
        Ok(match pace {
            Pace::Max => Self::Max,
            Pace::Rate(per_second) => Self::Rate {
                start: Instant::now(),
                per_second,
            },
            Pace::OnTheWay { most, watch } => Self::OnTheWay {
                most,
                arrived: follow(watch, stream).await?,
            },
        })
    }

    async fn wait(&mut self, nth: u64) -> Result<()> {
        match self {
            Self::Max => {}
            Self::Rate { start, per_second } => {
                sleep_until(*start + Duration::from_secs_f64(nth as f64 / *per_second)).await;
            }
            Self::OnTheWay { most, arrived } => {
                let most = *most;
                arrived.wait_for(|arrived| nth < arrived + most).await?;
            }
        }
        Ok(())
    }
}

/// What the receiver says of this stream's arrivals.
async fn follow(receiver: SocketAddr, stream: usize) -> Result<watch::Receiver<u64>> {
    let mut link = TcpStream::connect(receiver).await?;
    link.write_u8(u8::try_from(stream)?).await?;
    let (sender, arrived) = watch::channel(0);
    TaskTracker::new().spawn(async move {
        while let Ok(count) = link.read_u64().await {
            if sender.is_closed() {
                return;
            }
            sender.send_replace(count);
        }
    });
    Ok(arrived)
}

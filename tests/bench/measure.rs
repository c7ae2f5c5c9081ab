//! One measurement: what is sampled before and after, and what follows from it.
//!
//! Owns the two ways to measure. *Drain*: the router is stopped, events wait in the ingest queue, the router goes on,
//! and the clock runs until the last delivery; CPU is what the pipeline used for that, without the publishing. *Live*:
//! publisher and pipeline run at the same time; for latencies, and for the API, which cannot be measured otherwise.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    child::Child,
    clock,
    load::{self, Plan, Stream, Via},
    procfs, receive, records,
    report::{Latency, Run},
    stage::{Servers, Stage},
    stats::Quantiles,
};

/// The number of events that are no part of a measurement.
pub(crate) const WARM_UP: u64 = 7 * records::STREAM_SIZE;

const PATIENCE: Duration = Duration::from_secs(120);
/// Without an arrival for so long, what is missing will not come.
const STALLED: Duration = Duration::from_secs(20);
/// What is recorded and acknowledged after the last arrival belongs to the deliveries before it.
const AFTERWARDS: Duration = Duration::from_millis(300);
const QUICK: Duration = Duration::from_secs(10);

/// Everything that outlives a scenario.
pub(crate) struct Bench {
    pub(crate) servers: Servers,
    pub(crate) receiver: Child,
    pub(crate) addresses: receive::Addresses,
    pub(crate) files: TempDir,
    /// How often each throughput is measured.
    pub(crate) rounds: usize,
    /// Share of the usual amount of work.
    pub(crate) scale: f64,
}

/// When a live measurement is over.
pub(crate) enum Until {
    /// So many deliveries for every event sent have arrived.
    Deliveries(u64),
    /// So long after the last event was sent.
    Later(Duration),
}

/// Events of a live measurement as they were sent and arrived.
pub(crate) struct Events {
    pub(crate) sent: HashMap<u64, (u64, u64)>,
    pub(crate) arrived: Vec<records::Record>,
}

impl Bench {
    pub(crate) async fn start(rounds: usize, scale: f64) -> Result<Self> {
        let servers = Servers::start().await?;
        let mut receiver = Child::start("receive").await?;
        let addresses = receiver.ask(&receive::Request::Addresses, QUICK).await?;
        Ok(Self {
            servers,
            receiver,
            addresses,
            files: tempfile::Builder::new().prefix("nuncio-bench-").tempdir()?,
            rounds,
            scale,
        })
    }

    pub(crate) fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(10)
    }

    /// Takes what has arrived so far out of the receiver.
    pub(crate) async fn take_arrived(&mut self) -> Result<Vec<records::Record>> {
        let file = self.files.path().join("arrived");
        let request = receive::Request::Take { file: file.clone() };
        let unreadable: u64 = self.receiver.ask(&request, QUICK).await?;
        if unreadable > 0 {
            bail!("{unreadable} requests were no deliveries of ours");
        }
        let mut arrived = records::read(&file)?;
        arrived.retain(|[number, ..]| *number < WARM_UP);
        Ok(arrived)
    }

    pub(crate) async fn hang(&mut self, below: u64, time: Duration) -> Result<()> {
        let millis = u64::try_from(time.as_millis())?;
        let request = receive::Request::Hang { below, millis };
        self.receiver.ask::<()>(&request, QUICK).await
    }

    /// Publishes everything and waits for the confirms.
    pub(crate) async fn publish(&self, via: Via, streams: Vec<Stream>) -> Result<()> {
        let mut load = Child::start("load").await?;
        let file = self.files.path().join("sent");
        let plan = Plan { via, streams, file };
        load.ask::<Option<load::Summary>>(&load::Request::Prepare(plan), QUICK)
            .await?;
        load.ask::<Option<load::Summary>>(&load::Request::Run, PATIENCE)
            .await?;
        Ok(())
    }

    /// Measures how the pipeline works off events that wait for it.
    pub(crate) async fn drain(
        &mut self,
        stage: &Stage,
        streams: Vec<Stream>,
        deliveries: u64,
    ) -> Result<Run> {
        self.take_arrived().await?;
        stage.router.freeze()?;
        let published = self.publish(stage.amqp(), streams).await;
        let mut pids = stage.pids(&self.servers)?;
        pids.insert("receiver", self.receiver.pid());
        let before = Sample::take(&pids)?;
        let start = clock::now_ns();
        stage.router.thaw()?;
        published?;
        self.wait_for(deliveries, stage).await?;
        sleep(AFTERWARDS).await;
        let after = Sample::take(&pids)?;
        let arrived = self.take_arrived().await?;
        let last = arrived
            .iter()
            .map(|[_, _, at]| *at)
            .max()
            .context("nothing arrived")?;
        let mut run = Run::new(&before, &after, deliveries);
        run.seconds = (last - start) as f64 / 1e9;
        run.duplicates = duplicates(&arrived);
        Ok(run)
    }

    /// Measures while events are published.
    pub(crate) async fn live(
        &mut self,
        stage: &Stage,
        via: Via,
        streams: Vec<Stream>,
        until: Until,
    ) -> Result<(Run, Events)> {
        self.take_arrived().await?;
        let mut load = Child::start("load").await?;
        let file = self.files.path().join("sent");
        let plan = Plan {
            via,
            streams,
            file: file.clone(),
        };
        load.ask::<Option<load::Summary>>(&load::Request::Prepare(plan), QUICK)
            .await?;
        let mut pids = stage.pids(&self.servers)?;
        pids.insert("receiver", self.receiver.pid());
        pids.insert("load", load.pid());
        let before = Sample::take(&pids)?;
        let summary: Option<load::Summary> = load.ask(&load::Request::Run, PATIENCE).await?;
        let sent = summary.context("a run has a summary")?.sent;
        match until {
            Until::Deliveries(each) => self.wait_for(sent * each, stage).await?,
            Until::Later(time) => sleep(time).await,
        }
        sleep(AFTERWARDS).await;
        let after = Sample::take(&pids)?;
        let arrived = self.take_arrived().await?;
        let sent: HashMap<u64, (u64, u64)> = records::read(&file)?
            .into_iter()
            .map(|[number, sent, confirmed]| (number, (sent, confirmed)))
            .collect();
        let deliveries = arrived.len() as u64;
        let mut run = Run::new(&before, &after, deliveries);
        let first = sent
            .values()
            .map(|(sent, _)| *sent)
            .min()
            .context("nothing was sent")?;
        let last = arrived
            .iter()
            .map(|[_, _, at]| *at)
            .max()
            .context("nothing arrived")?;
        run.seconds = (last - first) as f64 / 1e9;
        run.duplicates = duplicates(&arrived);
        let events = Events { sent, arrived };
        run.latency = events.latency(|_, _| true);
        Ok((run, events))
    }

    /// Waits until so many deliveries arrived since the last [`Bench::take_arrived`].
    pub(crate) async fn wait_for(&mut self, deliveries: u64, stage: &Stage) -> Result<()> {
        let (mut seen, mut changed) = (0, Instant::now());
        while seen < deliveries {
            let now: u64 = self.receiver.ask(&receive::Request::Count, QUICK).await?;
            if now > seen {
                (seen, changed) = (now, Instant::now());
            }
            if changed.elapsed() > STALLED {
                bail!(
                    "{seen} of {deliveries} deliveries arrived, and no more for {STALLED:?}; the logs end:\n{}\n{}",
                    tail(&stage.router.log()?),
                    tail(&stage.sender.log()?)
                );
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Events {
    /// Of the deliveries that `counts`, given number and lane.
    pub(crate) fn latency(&self, counts: impl Fn(u64, u64) -> bool) -> Option<Latency> {
        let (mut from_send, mut from_confirm) = (Vec::new(), Vec::new());
        for [number, lane, at] in &self.arrived {
            if let Some((sent, confirmed)) = self.sent.get(number)
                && counts(*number, *lane)
            {
                from_send.push(at.saturating_sub(*sent));
                from_confirm.push(at.saturating_sub(*confirmed));
            }
        }
        Some(Latency {
            from_send: Quantiles::of(from_send)?,
            from_confirm: Quantiles::of(from_confirm)?,
            to_confirm: self.to_confirm()?,
        })
    }

    fn to_confirm(&self) -> Option<Quantiles> {
        let waited = self.sent.values().map(|(sent, confirmed)| confirmed - sent);
        Quantiles::of(waited.collect())
    }
}

fn duplicates(arrived: &[records::Record]) -> u64 {
    let distinct: HashSet<(u64, u64)> = arrived.iter().map(|[number, lane, _]| (*number, *lane)).collect();
    (arrived.len() - distinct.len()) as u64
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// CPU and memory at one moment.
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) cpu: BTreeMap<&'static str, Duration>,
    pub(crate) peak_bytes: BTreeMap<&'static str, u64>,
    pub(crate) machine: Duration,
    pub(crate) stolen: Duration,
    pub(crate) load_average: f64,
}

impl Sample {
    /// Samples these processes; their peaks count from here on.
    pub(crate) fn take(pids: &BTreeMap<&'static str, u32>) -> Result<Self> {
        let (machine, stolen) = procfs::machine_busy()?;
        let sample = Self {
            at: Instant::now(),
            cpu: pids
                .iter()
                .map(|(name, pid)| (*name, procfs::cpu(*pid)))
                .collect(),
            peak_bytes: pids
                .iter()
                .map(|(name, pid)| (*name, procfs::peak_bytes(*pid)))
                .collect(),
            machine,
            stolen,
            load_average: procfs::load_average(),
        };
        for pid in pids.values() {
            procfs::forget_peak(*pid)?;
        }
        Ok(sample)
    }
}

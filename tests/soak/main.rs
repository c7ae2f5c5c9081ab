//! The soak: faults at random, from a seed, while a load runs; then the oracle.
//!
//! Owns private servers behind fault proxies, the roles and the load. Guarantees that one seed is one schedule of faults,
//! and a non-zero exit when anything that was confirmed did not arrive. Refuses to judge speed: recovery and memory are
//! told, not held against a limit.

mod ledger;
mod load;
mod report;
mod schedule;
mod stage;

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ledger::Ledger,
    report::{Memory, Report, Struck},
    schedule::{Fault, Planned, schedule},
    stage::{LANES, Stage},
};

/// How long a delivery may take to come again after a fault before it is called unrecovered.
const RECOVERY_MAX: Duration = Duration::from_secs(60);
/// How long what is still on its way may take at the end: longer than the ladder's longest wait.
const REST_MAX: Duration = Duration::from_secs(300);
/// In which duplicates of the last deliveries would show.
const DUPLICATES_SHOW: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// Disturb Nuncio at random and count what is lost
#[derive(Parser)]
#[command(name = "soak")]
struct Line {
    /// How long faults go on
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    minutes: f64,
    /// The seed of the schedule; a random one unless given
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Events a second; each goes to three endpoints
    #[arg(long, value_name = "EVENTS", default_value_t = 50)]
    rate: usize,
    /// Only this fault, as the report calls it; may be given several times
    #[arg(long, value_name = "FAULT", value_parser = Fault::named)]
    only: Vec<Fault>,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = ".nuncio/soak/latest.json")]
    json: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match soak(Line::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether nothing was lost.
async fn soak(line: Line) -> Result<bool> {
    let seed = line.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let length = Duration::from_secs_f64(line.minutes * 60.0);
    let kinds = if line.only.is_empty() {
        &Fault::ALL[..]
    } else {
        &line.only
    };
    let planned = schedule(seed, length, kinds);
    eprintln!("seed {seed}: {} faults in {} s", planned.len(), length.as_secs());
    let ledger = Ledger::default();
    let mut stage = Stage::open(&ledger).await?;
    let target = load::Target {
        amqp_url: stage.broker.url().to_owned(),
        namespace: stage.deployment.namespace().to_owned(),
        app: stage.app.clone(),
    };
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(load::run(target, line.rate, ledger.clone(), stop.clone()));

    let start = Instant::now();
    let mut struck = Vec::new();
    let mut memory = BTreeMap::new();
    for planned in planned {
        sleep_until(start + planned.at).await;
        note(&mut memory, &stage)?;
        struck.push(strike(&mut stage, &ledger, planned).await?);
    }
    sleep_until(start + length).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;

    let deadline = Instant::now() + REST_MAX;
    while ledger.open(LANES) > 0 && Instant::now() < deadline {
        sleep(LOOK * 10).await;
    }
    sleep(DUPLICATES_SHOW).await;
    note(&mut memory, &stage)?;
    let report = Report {
        seed,
        length,
        lanes: LANES,
        struck,
        judgement: ledger.judge(LANES),
        memory,
    };
    report.save(&line.json)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "\n{}\nthe report is in {}",
        report.table(),
        line.json.display()
    )?;
    Ok(report.judgement.lost.is_empty())
}

async fn strike(stage: &mut Stage, ledger: &Ledger, planned: Planned) -> Result<Struck> {
    let begun = Instant::now();
    let moment = stage.strike(planned).await?;
    let recovered = recovered(ledger, moment).await;
    let first = (0..LANES)
        .filter_map(|lane| ledger.first_after(lane, moment))
        .min();
    let told = recovered.map_or("not back".to_owned(), |time| {
        format!("back after {:.2} s", time.as_secs_f64())
    });
    eprintln!(
        "  {:<28}{:>6.1} s  {told}",
        planned.fault.name(),
        planned.lasts.as_secs_f64()
    );
    Ok(Struck {
        fault: planned.fault,
        begun,
        first: first.map(|first| first - moment),
        recovered,
    })
}

/// How long after `moment` every endpoint was delivered to again.
async fn recovered(ledger: &Ledger, moment: Instant) -> Option<Duration> {
    let deadline = moment.max(Instant::now()) + RECOVERY_MAX;
    loop {
        let firsts: Option<Vec<Instant>> = (0..LANES).map(|lane| ledger.first_after(lane, moment)).collect();
        if let Some(last) = firsts.and_then(|firsts| firsts.into_iter().max()) {
            return Some(last - moment);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(LOOK).await;
    }
}

fn note(memory: &mut BTreeMap<&'static str, Memory>, stage: &Stage) -> Result<()> {
    for (role, bytes) in stage.resident()? {
        let of_role = memory.entry(role).or_insert(Memory {
            first: bytes,
            peak: bytes,
            last: bytes,
        });
        of_role.peak = of_role.peak.max(bytes);
        of_role.last = bytes;
    }
    Ok(())
}

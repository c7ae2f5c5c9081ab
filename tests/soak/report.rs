//! The table at the end, and the same as JSON.
//!
//! Owns the sums by kind of fault. Refuses to judge more than one thing: what was lost.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{ledger::Judgement, schedule::Fault};

/// A fault as it was.
pub(crate) struct Struck {
    pub(crate) fault: Fault,
    pub(crate) begun: Instant,
    /// From the moment at which recovery could begin, until any endpoint was delivered to.
    pub(crate) first: Option<Duration>,
    /// Until every endpoint was delivered to again.
    pub(crate) recovered: Option<Duration>,
}

/// Memory of one role over the run: after the warm-up, at most, at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) first: u64,
    pub(crate) peak: u64,
    pub(crate) last: u64,
}

pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    pub(crate) lanes: usize,
    pub(crate) struck: Vec<Struck>,
    pub(crate) judgement: Judgement,
    pub(crate) memory: BTreeMap<&'static str, Memory>,
}

#[derive(Default)]
struct Row {
    faults: usize,
    duplicates: usize,
    unrecovered: usize,
    recoveries: Vec<Duration>,
    firsts: Vec<Duration>,
}

/// What recovery is to be: the first delivery within so long of the moment at which what had failed was back, or dead.
const GOALS: [(&str, &[Fault], Duration); 3] = [
    (
        "broker back",
        &[Fault::BrokerKilled, Fault::BrokerRestarted],
        Duration::from_secs(5),
    ),
    (
        "redis back",
        &[Fault::RedisKilled, Fault::RedisRestarted],
        Duration::from_secs(2),
    ),
    ("sender dead", &[Fault::SenderKilled], Duration::from_secs(1)),
];

impl Report {
    fn rows(&self) -> BTreeMap<Fault, Row> {
        let mut rows: BTreeMap<Fault, Row> = BTreeMap::new();
        for struck in &self.struck {
            let row = rows.entry(struck.fault).or_default();
            row.faults += 1;
            row.firsts.extend(struck.first);
            match struck.recovered {
                Some(time) => row.recoveries.push(time),
                None => row.unrecovered += 1,
            }
        }
        for at in &self.judgement.duplicates {
            // It came after this fault and before the next.
            let cause = self.struck.iter().rev().find(|struck| struck.begun <= *at);
            if let Some(row) = cause.and_then(|struck| rows.get_mut(&struck.fault)) {
                row.duplicates += 1;
            }
        }
        for row in rows.values_mut() {
            row.recoveries.sort_unstable();
            row.firsts.sort_unstable();
        }
        rows
    }

    /// The first deliveries after the faults of each goal, shortest first.
    fn firsts(&self) -> impl Iterator<Item = (&'static str, Duration, Vec<Duration>)> {
        GOALS.into_iter().map(|(name, faults, goal)| {
            let of_goal = self.struck.iter().filter(|struck| faults.contains(&struck.fault));
            let mut firsts: Vec<Duration> = of_goal.filter_map(|struck| struck.first).collect();
            firsts.sort_unstable();
            (name, goal, firsts)
        })
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let line = |out: &mut String, text: std::fmt::Arguments<'_>| {
            writeln!(out, "{text}").expect("a string takes everything");
        };
        line(
            &mut out,
            format_args!(
                "{:<28}{:>7}{:>12}{:>14}{:>14}{:>14}",
                "fault", "times", "duplicates", "first: worst", "all: median", "all: worst"
            ),
        );
        for (fault, row) in self.rows() {
            let median = row.recoveries.get(row.recoveries.len() / 2).copied();
            let worst = if row.unrecovered > 0 {
                None
            } else {
                row.recoveries.last().copied()
            };
            line(
                &mut out,
                format_args!(
                    "{:<28}{:>7}{:>12}{:>14}{:>14}{:>14}",
                    fault.name(),
                    row.faults,
                    row.duplicates,
                    shown(row.firsts.last().copied()),
                    shown(median),
                    shown(worst)
                ),
            );
        }
        let judgement = &self.judgement;
        line(
            &mut out,
            format_args!(
                "\nseed {}; {} s; {} faults; {} events confirmed, {} deliveries; {} lost; {} duplicates; {} under two ids",
                self.seed,
                self.length.as_secs(),
                self.struck.len(),
                judgement.confirmed,
                judgement.confirmed * self.lanes,
                judgement.lost.len(),
                judgement.duplicates.len(),
                judgement.under_two_ids
            ),
        );
        for (name, goal, firsts) in self.firsts() {
            line(
                &mut out,
                format_args!(
                    "first delivery after {name:<12} {:>8} median, {:>8} worst of {}; to be within {} s",
                    shown(firsts.get(firsts.len() / 2).copied()),
                    shown(firsts.last().copied()),
                    firsts.len(),
                    goal.as_secs()
                ),
            );
        }
        for (role, memory) in &self.memory {
            line(
                &mut out,
                format_args!(
                    "{role:<8} {:>4} MiB after the warm-up, {:>4} MiB at most, {:>4} MiB at the end",
                    memory.first >> 20,
                    memory.peak >> 20,
                    memory.last >> 20
                ),
            );
        }
        for (lane, n) in judgement.lost.iter().take(20) {
            line(&mut out, format_args!("LOST: event {n} for endpoint {lane}"));
        }
        out
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let faults: Vec<Value> = self.rows().into_iter().map(|(fault, row)| {
            json!({
                "fault": fault.name(), "times": row.faults, "duplicates": row.duplicates,
                "firstMillis": row.firsts.iter().map(|time| time.as_millis() as u64).collect::<Vec<_>>(),
                "recoveryMillis": row.recoveries.iter().map(|time| time.as_millis() as u64).collect::<Vec<_>>(),
                "unrecovered": row.unrecovered,
            })
        }).collect();
        let memory: BTreeMap<_, _> = self
            .memory
            .iter()
            .map(|(role, memory)| {
                (
                    role,
                    json!({ "first": memory.first, "peak": memory.peak, "last": memory.last }),
                )
            })
            .collect();
        let report = json!({
            "seed": self.seed, "seconds": self.length.as_secs(), "faults": faults, "memoryBytes": memory,
            "eventsConfirmed": self.judgement.confirmed, "deliveries": self.judgement.confirmed * self.lanes,
            "lost": self.judgement.lost.len(), "duplicates": self.judgement.duplicates.len(),
            "underTwoIds": self.judgement.under_two_ids,
        });
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("failed to write {}", path.display()))
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "—".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
}

//! What was measured, as JSON and as a table.
//!
//! Owns the file's shape, the ratios and the targets that they are held against. Refuses to fail over a figure: a
//! benchmark says what it found.

mod table;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{
    measure::Sample,
    procfs,
    stats::{Quantiles, median, spread},
};

/// The scenario that all others are held against.
pub(crate) const YARDSTICK: &str = "bare loop, reqwest, 50 lanes";

/// One benchmark.
#[derive(Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) unix_seconds: u64,
    pub(crate) machine: String,
    pub(crate) processors: usize,
    pub(crate) rows: Vec<Row>,
}

/// One scenario.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
}

/// One measurement of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) deliveries: u64,
    pub(crate) duplicates: u64,
    pub(crate) seconds: f64,
    /// Microseconds of CPU a delivery, by process.
    pub(crate) cpu_us: BTreeMap<String, f64>,
    /// Peak resident memory, by process.
    pub(crate) peak_mib: BTreeMap<String, f64>,
    /// Absent where events waited before they were let through.
    pub(crate) latency: Option<Latency>,
    /// Whatever else the scenario measures; the name says the unit.
    pub(crate) figures: BTreeMap<String, f64>,
    /// CPU that others used, in processors.
    pub(crate) others: f64,
    /// CPU that the hypervisor gave to others, in processors.
    pub(crate) stolen: f64,
    pub(crate) load_average: f64,
}

/// How long events took.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// From the publisher's send to the receiver's arrival.
    pub(crate) from_send: Quantiles,
    /// From the publisher's confirm to the receiver's arrival; zero where it arrived first.
    pub(crate) from_confirm: Quantiles,
    /// From the publisher's send to its confirm, or to the API's answer.
    pub(crate) to_confirm: Quantiles,
}

impl Run {
    /// What two samples say; the rest is for the caller to fill in.
    pub(crate) fn new(before: &Sample, after: &Sample, deliveries: u64) -> Self {
        let used = |name: &str| {
            let used = |sample: &Sample| sample.cpu.get(name).copied().unwrap_or_default();
            used(after).saturating_sub(used(before)).as_secs_f64()
        };
        let seconds = (after.at - before.at).as_secs_f64();
        let ours: f64 = after.cpu.keys().map(|name| used(name)).sum();
        let machine = (after.machine - before.machine).as_secs_f64();
        let per_delivery = |name: &&str| used(name) * 1e6 / deliveries.max(1) as f64;
        Self {
            deliveries,
            duplicates: 0,
            seconds,
            cpu_us: after
                .cpu
                .keys()
                .map(|name| ((*name).to_owned(), per_delivery(name)))
                .collect(),
            peak_mib: after
                .peak_bytes
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), *bytes as f64 / 1_048_576.0))
                .collect(),
            latency: None,
            figures: BTreeMap::new(),
            others: ((machine - ours) / seconds).max(0.0),
            stolen: (after.stolen - before.stolen).as_secs_f64() / seconds,
            load_average: after.load_average,
        }
    }

    /// Without the load, which is the publisher's own cost.
    fn total_us(&self) -> f64 {
        self.cpu_us
            .iter()
            .filter(|(name, _)| *name != "load")
            .map(|(_, us)| us)
            .sum()
    }
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, runs: Vec<Run>) -> Self {
        Self {
            name: name.into(),
            runs,
        }
    }

    pub(crate) fn rate(&self) -> f64 {
        median(self.rates())
    }

    fn rates(&self) -> Vec<f64> {
        self.runs
            .iter()
            .map(|run| run.deliveries as f64 / run.seconds)
            .collect()
    }

    pub(crate) fn spread(&self) -> f64 {
        spread(&self.rates())
    }

    pub(crate) fn total_us(&self) -> f64 {
        median(self.runs.iter().map(Run::total_us))
    }

    pub(crate) fn cpu_us(&self, process: &str) -> f64 {
        median(
            self.runs
                .iter()
                .filter_map(|run| run.cpu_us.get(process).copied()),
        )
    }

    pub(crate) fn peak_mib(&self, process: &str) -> f64 {
        self.runs
            .iter()
            .filter_map(|run| run.peak_mib.get(process).copied())
            .fold(f64::NAN, f64::max)
    }

    /// Medians over the runs of one quantile.
    pub(crate) fn latency(&self, which: impl Fn(&Latency) -> f64) -> f64 {
        median(
            self.runs
                .iter()
                .filter_map(|run| run.latency.as_ref().map(&which)),
        )
    }

    pub(crate) fn figures(&self) -> BTreeMap<&str, f64> {
        let found = self.all_figures().into_iter();
        found.map(|(name, found)| (name, median(found))).collect()
    }

    fn all_figures(&self) -> BTreeMap<&str, Vec<f64>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (name, figure) in self.runs.iter().flat_map(|run| &run.figures) {
            all.entry(name.as_str()).or_default().push(*figure);
        }
        all
    }
}

impl Report {
    pub(crate) fn new(unix_seconds: u64) -> Self {
        Self {
            unix_seconds,
            machine: procfs::processor_name(),
            processors: procfs::processors(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, or its runs to the row of that name.
    pub(crate) fn add(&mut self, row: Row) {
        match self.rows.iter_mut().find(|known| known.name == row.name) {
            Some(known) => known.runs.extend(row.runs),
            None => self.rows.push(row),
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("failed to write {}", path.display()))
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no report", path.display()))
    }
}

//! A report for people.

use std::fmt::Write;

use super::{Report, Row, YARDSTICK};
use crate::stats::{median, spread};

const PROCESSES: [&str; 7] = ["broker", "redis", "router", "sender", "api", "receiver", "load"];

/// One quantile of latencies, and what it is called.
type Quantile = (&'static str, fn(&super::Latency) -> f64);

impl Report {
    /// Everything, medians over runs; beside the figures of `old` where there is one.
    pub(crate) fn table(&self, old: Option<&Self>) -> String {
        let mut text = String::new();
        let yardstick = self.row(YARDSTICK).map(Row::total_us);
        line(
            &mut text,
            &["scenario", "runs", "per s", "±%", "CPU µs", "× bare"],
            &PROCESSES,
            &["p50", "p90", "p99", "max", "MiB"],
        );
        for row in &self.rows {
            self.row_line(&mut text, row, yardstick);
            if let Some(before) = old.and_then(|old| old.row(&row.name)) {
                compared(&mut text, before, row);
            }
            for (name, found) in row.all_figures() {
                let value = figure(median(found.iter().copied()));
                let spread = match found.len() {
                    0 | 1 => String::new(),
                    _ => format!(" ±{:.0} %", spread(&found) * 100.0),
                };
                push(&mut text, &format!("    {name}: {value}{spread}"));
            }
        }
        push(&mut text, "");
        push(
            &mut text,
            "CPU µs: all processes but the load, a delivery, and then by process. Latency in ms from the",
        );
        push(
            &mut text,
            "publisher's send to arrival. MiB: the highest peak of router, sender and api.",
        );
        let others: f64 = self
            .rows
            .iter()
            .flat_map(|row| &row.runs)
            .map(|run| run.others)
            .fold(0.0, f64::max);
        let stolen: f64 = self
            .rows
            .iter()
            .flat_map(|row| &row.runs)
            .map(|run| run.stolen)
            .fold(0.0, f64::max);
        push(
            &mut text,
            &format!(
                "{} × {}; others used up to {others:.2} and the hypervisor took up to {stolen:.2} processors meanwhile.",
                self.processors, self.machine
            ),
        );
        let targets = self.targets();
        if !targets.is_empty() {
            push(&mut text, "");
            for target in targets {
                push(&mut text, &target.line());
            }
        }
        text
    }

    fn row_line(&self, text: &mut String, row: &Row, yardstick: Option<f64>) {
        let ratio = yardstick.map_or(f64::NAN, |bare| row.total_us() / bare);
        let most = ["router", "sender", "api"]
            .map(|name| row.peak_mib(name))
            .into_iter()
            .fold(f64::NAN, f64::max);
        let first = [
            row.name.clone(),
            row.runs.len().to_string(),
            figure(row.rate()),
            if row.runs.len() > 1 {
                format!("{:.0}", row.spread() * 100.0)
            } else {
                "-".to_owned()
            },
            figure(row.total_us()),
            figure(ratio),
        ];
        let processes = PROCESSES.map(|name| figure(row.cpu_us(name)));
        let last = [
            figure(row.latency(|found| found.from_send.p50)),
            figure(row.latency(|found| found.from_send.p90)),
            figure(row.latency(|found| found.from_send.p99)),
            figure(row.latency(|found| found.from_send.max)),
            figure(most),
        ];
        line(
            text,
            &first.each_ref().map(String::as_str),
            &processes.each_ref().map(String::as_str),
            &last.each_ref().map(String::as_str),
        );
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        let bare = self.row(YARDSTICK).map(Row::total_us);
        let mut at_most = |what: String, found: Option<f64>, most: f64, unit: &'static str| {
            if let Some(found) = found.filter(|found| found.is_finite()) {
                targets.push(Target {
                    what,
                    found,
                    most,
                    unit,
                });
            }
        };
        for (name, most) in [
            ("AMQP → 1 endpoint", 2.5),
            ("fan-out 10", 1.6),
            ("fan-out 100", 1.4),
        ] {
            let found = self.row(name).zip(bare).map(|(row, bare)| row.total_us() / bare);
            at_most(
                format!("{name}: CPU a delivery against the bare loop"),
                found,
                most,
                "×",
            );
        }
        for (name, p50, p99) in [("AMQP at 100/s", 2.5, 6.0), ("AMQP at 1,000/s", f64::NAN, 25.0)] {
            let row = self.row(name);
            if p50.is_finite() {
                at_most(
                    format!("{name}: p50"),
                    row.map(|row| row.latency(|l| l.from_send.p50)),
                    p50,
                    "ms",
                );
            }
            at_most(
                format!("{name}: p99"),
                row.map(|row| row.latency(|l| l.from_send.p99)),
                p99,
                "ms",
            );
        }
        let mut against = |name: &str, without: &str, quantiles: &[Quantile], most: f64| {
            for (label, quantile) in quantiles {
                let found = self
                    .row(name)
                    .zip(self.row(without))
                    .map(|(row, without)| row.latency(quantile) / without.latency(quantile));
                at_most(format!("{name}: {label} against none"), found, most, "×");
            }
        };
        let p50: Quantile = ("p50", |latency| latency.from_send.p50);
        let p99: Quantile = ("p99", |latency| latency.from_send.p99);
        for hanging in [10, 20, 50] {
            against(
                &format!("healthy beside {hanging} hanging"),
                "healthy beside 0 hanging",
                &[p50, p99],
                1.2,
            );
        }
        against("quiet beside hot", "quiet alone", &[p99], 3.0);
        against("quiet beside flood", "quiet alone", &[p99], 3.0);
        for name in ["1,000 endpoints", "10,000 endpoints"] {
            let found = self
                .row(name)
                .zip(self.row("100 apps × 1"))
                .map(|(row, few)| few.rate() / row.rate());
            at_most(
                format!("{name}: deliveries/s, 100 endpoints against these"),
                found,
                1.25,
                "×",
            );
        }
        targets
    }
}

struct Target {
    what: String,
    found: f64,
    most: f64,
    unit: &'static str,
}

impl Target {
    fn line(&self) -> String {
        let mark = if self.found <= self.most { '✓' } else { '✗' };
        format!(
            "{mark} {}: {:.2} {unit}, at most {} {unit}",
            self.what,
            self.found,
            self.most,
            unit = self.unit
        )
    }
}

fn compared(text: &mut String, before: &Row, now: &Row) {
    let change = |before: f64, now: f64| {
        let percent = (now / before - 1.0) * 100.0;
        if percent.is_finite() {
            format!("{percent:+.0}%")
        } else {
            String::new()
        }
    };
    let processes = PROCESSES.map(|name| change(before.cpu_us(name), now.cpu_us(name)));
    let latency = |of: fn(&super::Latency) -> f64| change(before.latency(of), now.latency(of));
    line(
        text,
        &[
            "    against before",
            "",
            &change(before.rate(), now.rate()),
            "",
            &change(before.total_us(), now.total_us()),
            "",
        ],
        &processes.each_ref().map(String::as_str),
        &[
            &latency(|found| found.from_send.p50),
            &latency(|found| found.from_send.p90),
            &latency(|found| found.from_send.p99),
            &latency(|found| found.from_send.max),
            "",
        ],
    );
}

fn line(text: &mut String, first: &[&str; 6], processes: &[&str; 7], last: &[&str; 5]) {
    let [name, runs, rate, spread, total, ratio] = first;
    let mut row = format!("{name:<34} {runs:>4} {rate:>7} {spread:>4} {total:>7} {ratio:>7}  ");
    for cell in processes {
        write!(row, "{cell:>8}").expect("a string takes text");
    }
    row.push_str("  ");
    for cell in last {
        write!(row, "{cell:>8}").expect("a string takes text");
    }
    push(text, row.trim_end());
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Three digits or so.
fn figure(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

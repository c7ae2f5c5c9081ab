//! What a benchmark found, as a table and as JSON.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::timeline::{Sent, Timeline};
use crate::output;

/// What was found. Durations are in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    events_sent: u64,
    seconds: f64,
    deliveries: u64,
    deliveries_per_second: f64,
    deliveries_missing: u64,
    duplicates: u64,
    /// Requests at endpoints that hang; counted nowhere else.
    requests_at_hanging: u64,
    send_to_confirm: Option<Quantiles>,
    send_to_arrival: Option<Quantiles>,
    /// Zero where a delivery arrived before its confirm did.
    confirm_to_arrival: Option<Quantiles>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

impl Quantiles {
    fn of(mut found: Vec<Duration>) -> Option<Self> {
        found.sort_unstable();
        let millis = |duration: &Duration| duration.as_secs_f64() * 1e3;
        // Nearest rank: a duration that did occur.
        let at = |share: f64| {
            let rank = (share * found.len() as f64).ceil() as usize;
            found.get(rank.saturating_sub(1)).map(millis)
        };
        Some(Self {
            p50: at(0.5)?,
            p90: at(0.9)?,
            p99: at(0.99)?,
            max: found.last().map(millis)?,
        })
    }
}

impl Report {
    /// `due` deliveries were expected of `sent` events; lanes below `hanging` are left out.
    pub(super) fn of(timeline: &Timeline, sent: u64, due: u64, hanging: u64) -> Self {
        let (events, arrivals) = timeline.everything();
        let (hung, arrivals): (Vec<_>, Vec<_>) =
            arrivals.into_iter().partition(|arrived| arrived.lane < hanging);
        let by_number: HashMap<u64, Sent> = events.iter().map(|event| (event.number, *event)).collect();
        let distinct: HashSet<(u64, u64)> = arrivals
            .iter()
            .map(|arrived| (arrived.number, arrived.lane))
            .collect();
        let joined = || {
            arrivals
                .iter()
                .filter_map(|arrived| Some((by_number.get(&arrived.number)?, arrived.at)))
        };
        let first = events.iter().map(|event| event.at).min().unwrap_or_default();
        let last = arrivals.iter().map(|arrived| arrived.at).max().unwrap_or(first);
        let seconds = last.saturating_sub(first).as_secs_f64();
        let deliveries = distinct.len() as u64;
        Self {
            events_sent: sent,
            seconds,
            deliveries,
            deliveries_per_second: if seconds > 0.0 {
                deliveries as f64 / seconds
            } else {
                0.0
            },
            deliveries_missing: due.saturating_sub(deliveries),
            duplicates: arrivals.len() as u64 - deliveries,
            requests_at_hanging: hung.len() as u64,
            send_to_confirm: Quantiles::of(events.iter().map(|event| event.confirmed - event.at).collect()),
            send_to_arrival: Quantiles::of(joined().map(|(event, at)| at.saturating_sub(event.at)).collect()),
            confirm_to_arrival: Quantiles::of(
                joined()
                    .map(|(event, at)| at.saturating_sub(event.confirmed))
                    .collect(),
            ),
        }
    }

    /// The table to standard output, and the JSON to where it is wanted.
    pub(super) fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        let text = || serde_json::to_string_pretty(self).context("failed to write the result as JSON");
        match json {
            Some(path) if path == Path::new("-") => return output::line(&text()?),
            Some(path) => std::fs::write(path, text()? + "\n")
                .with_context(|| format!("failed to write {}", path.display()))?,
            None => {}
        }
        output::print(&self.table())
    }

    fn table(&self) -> String {
        let mut text = format!(
            "events sent          {:>12}\ndeliveries           {:>12}\n  a second           {:>12.0}\n",
            self.events_sent, self.deliveries, self.deliveries_per_second
        );
        text.push_str(&format!(
            "  missing            {:>12}\n  duplicates         {:>12}\n",
            self.deliveries_missing, self.duplicates
        ));
        if self.requests_at_hanging > 0 {
            text.push_str(&format!(
                "requests at hanging  {:>12}\n",
                self.requests_at_hanging
            ));
        }
        text.push_str(&format!(
            "\n{:<20} {:>10} {:>10} {:>10} {:>10}\n",
            "milliseconds", "p50", "p90", "p99", "max"
        ));
        for (name, found) in [
            ("send to confirm", self.send_to_confirm),
            ("send to arrival", self.send_to_arrival),
            ("confirm to arrival", self.confirm_to_arrival),
        ] {
            if let Some(Quantiles { p50, p90, p99, max }) = found {
                text.push_str(&format!(
                    "{name:<20} {p50:>10.2} {p90:>10.2} {p99:>10.2} {max:>10.2}\n"
                ));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn deliveries_are_counted_once_and_hanging_lanes_not_at_all() {
        let timeline = Timeline::start(1);
        for number in 0..2 {
            let at = timeline.now();
            timeline.sent(Sent {
                number,
                at,
                confirmed: timeline.now(),
            });
            for lane in [0, 1, 1] {
                timeline.received(lane, &timeline.payload(number, 64));
            }
        }
        let report = Report::of(&timeline, 2, 3, 1);
        assert_eq!(
            (report.deliveries, report.duplicates, report.requests_at_hanging),
            (2, 2, 2)
        );
        assert_eq!(report.deliveries_missing, 1);
        assert!(report.table().contains("confirm to arrival"));
    }

    #[test]
    fn quantiles_are_durations_that_occurred() {
        let found = Quantiles::of((1..=100).map(Duration::from_millis).collect()).unwrap();
        assert_eq!(
            (found.p50, found.p90, found.p99, found.max),
            (50.0, 90.0, 99.0, 100.0)
        );
        assert_eq!(Quantiles::of(Vec::new()), None);
    }
}

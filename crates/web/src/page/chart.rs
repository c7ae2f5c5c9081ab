//! Charts, drawn on the server as SVG without a word of script or style in them.
//!
//! Owns buckets of time, quantiles from counted durations, and the shapes. Guarantees that what a chart shows is also
//! there as a table. Refuses to know colours: classes name what a shape means.

use std::collections::BTreeMap;
use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;
use nuncio_domain::UnixMillis;
use nuncio_store::{Counts, LATENCY_BUCKETS};

use super::part::{When, count, span};

const HOUR: i64 = 3_600_000;
/// Width of one bucket and height of the drawing, in the drawing's own units.
const STEP: u64 = 10;
const HEIGHT: u64 = 100;

/// How much time a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Span {
    /// 24 hours, one by one.
    #[default]
    Day,
    /// Seven days, six hours at a time.
    Week,
}

impl Span {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "7d" => Self::Week,
            _ => Self::Day,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Day => "24 hours",
            Self::Week => "7 days",
        }
    }

    fn buckets(self) -> (i64, i64) {
        match self {
            Self::Day => (HOUR, 24),
            Self::Week => (6 * HOUR, 28),
        }
    }

    /// When the first bucket begins.
    pub(crate) fn since(self, now: UnixMillis) -> UnixMillis {
        let (step, many) = self.buckets();
        UnixMillis((now.0.div_euclid(step) + 1 - many) * step)
    }
}

/// What happened in one bucket of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) at: UnixMillis,
    pub(crate) counts: Counts,
}

/// All buckets of the span, the oldest first, those without attempts too.
pub(crate) fn buckets(hours: &BTreeMap<UnixMillis, Counts>, over: Span, now: UnixMillis) -> Vec<Bucket> {
    let (step, many) = over.buckets();
    let since = over.since(now).0;
    (0..many)
        .map(|at| {
            let begin = UnixMillis(since + at * step);
            let end = UnixMillis(begin.0 + step);
            let mut counts = Counts::default();
            for hour in hours.range(begin..end).map(|(_, counts)| counts) {
                counts.add(hour);
            }
            Bucket { at: begin, counts }
        })
        .collect()
}

/// Everything in the buckets together.
pub(crate) fn total(buckets: &[Bucket]) -> Counts {
    let mut total = Counts::default();
    for bucket in buckets {
        total.add(&bucket.counts);
    }
    total
}

/// The duration that `share` of the answered attempts did not exceed, read off the counts between known ends.
pub(crate) fn quantile(counts: &Counts, share: f64) -> Option<Duration> {
    let all: u64 = counts.durations.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = (all as f64 * share).max(1.0);
    let (mut before, mut low) = (0.0, 0.0);
    for (at, &count) in counts.durations.iter().enumerate() {
        let high = LATENCY_BUCKETS.get(at).map_or(low, |end| *end as f64);
        let here = count as f64;
        if count > 0 && before + here >= wanted {
            let millis = low + (high - low) * (wanted - before) / here;
            return Some(Duration::from_secs_f64(millis / 1_000.0));
        }
        (before, low) = (before + here, high);
    }
    None
}

/// One bar: where it stands and how high it and the part on top of it are.
struct Bar {
    x: u64,
    lower_y: u64,
    lower: u64,
    upper_y: u64,
    upper: u64,
}

fn bars(pairs: impl Iterator<Item = (u64, u64)> + Clone) -> (Vec<Bar>, u64) {
    let top = pairs
        .clone()
        .map(|(lower, upper)| lower + upper)
        .max()
        .unwrap_or(0);
    let scale = |value: u64| match (value * HEIGHT).checked_div(top) {
        Some(height) if value > 0 => height.max(2),
        _ => 0,
    };
    let bars = pairs.zip(0..).map(|((lower, upper), at)| {
        let (lower, upper) = (scale(lower), scale(upper));
        let upper = upper.min(HEIGHT - lower.min(HEIGHT));
        Bar {
            x: at * STEP + 1,
            lower_y: HEIGHT - lower,
            lower,
            upper_y: HEIGHT - lower - upper,
            upper,
        }
    });
    (bars.collect(), top)
}

/// A small picture of what happened, for one line of a list.
#[derive(Template)]
#[template(path = "page/sparkline.svg", escape = "html")]
pub(crate) struct Sparkline {
    label: String,
    width: u64,
    bars: Vec<Bar>,
}

impl HtmlSafe for Sparkline {}

impl Sparkline {
    pub(crate) fn of(buckets: &[Bucket]) -> Self {
        let total = total(buckets);
        let (bars, _) = bars(buckets.iter().map(|b| (b.counts.succeeded, b.counts.failed)));
        Self {
            label: format!(
                "{} delivered and {} failed attempts in 24 hours",
                total.succeeded, total.failed
            ),
            width: buckets.len() as u64 * STEP,
            bars,
        }
    }
}

/// One line of the table that says what the charts show.
struct Row {
    at: When,
    succeeded: String,
    failed: String,
    p50: String,
    p99: String,
}

/// Attempts by outcome, and how long they took.
#[derive(Template)]
#[template(path = "page/charts.html")]
pub(crate) struct Charts {
    words: &'static str,
    width: u64,
    outcomes: Vec<Bar>,
    most: String,
    durations: Vec<Bar>,
    longest: String,
    begin: When,
    middle: When,
    rows: Vec<Row>,
    empty: bool,
    /// Whether there was no attempt with a response.
    unanswered: bool,
}

impl HtmlSafe for Charts {}

impl Charts {
    pub(crate) fn of(buckets: &[Bucket], over: Span, now: UnixMillis) -> Self {
        let (outcomes, most) = bars(buckets.iter().map(|b| (b.counts.succeeded, b.counts.failed)));
        let quantiles = buckets.iter().map(|bucket| {
            let millis = |share| {
                quantile(&bucket.counts, share)
                    .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX).max(1))
            };
            let (p50, p99) = (millis(0.5), millis(0.99));
            (p50, p99.saturating_sub(p50))
        });
        let quantiles: Vec<_> = quantiles.collect();
        let (durations, longest) = bars(quantiles.iter().copied());
        let told = |share, counts: &Counts| quantile(counts, share).map_or("–".to_owned(), span);
        let rows = buckets.iter().rev().filter(|b| b.counts != Counts::default());
        let middle = buckets.get(buckets.len() / 2).map_or(now, |bucket| bucket.at);
        Self {
            words: over.words(),
            width: buckets.len() as u64 * STEP,
            outcomes,
            most: count(most),
            durations,
            longest: span(Duration::from_millis(longest)),
            begin: When::hour(buckets.first().map_or(now, |bucket| bucket.at)),
            middle: When::hour(middle),
            empty: most == 0,
            unanswered: longest == 0,
            rows: rows
                .map(|bucket| Row {
                    at: When::hour(bucket.at),
                    succeeded: count(bucket.counts.succeeded),
                    failed: count(bucket.counts.failed),
                    p50: told(0.5, &bucket.counts),
                    p99: told(0.99, &bucket.counts),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(succeeded: u64, failed: u64, durations: &[(usize, u64)]) -> Counts {
        let mut counts = Counts {
            succeeded,
            failed,
            ..Counts::default()
        };
        for (at, many) in durations {
            counts.durations[*at] = *many;
        }
        counts
    }

    #[test]
    fn quantiles_lie_within_the_bucket_that_holds_them() {
        assert_eq!(quantile(&Counts::default(), 0.5), None);
        let of = |durations: &[(usize, u64)], share| {
            quantile(&counts(0, 0, durations), share).map(|d| d.as_millis())
        };
        assert_eq!(of(&[(0, 10)], 0.5), Some(5));
        assert_eq!(of(&[(1, 100)], 0.5), Some(30), "half way from 10 to 50");
        assert_eq!(of(&[(0, 99), (5, 1)], 0.99), Some(10));
        assert_eq!(
            of(&[(9, 1)], 0.5),
            Some(15_000),
            "longer than the last end: at least that"
        );
    }

    #[test]
    fn every_hour_falls_into_its_bucket_and_the_last_holds_now() {
        let now = UnixMillis(1_000 * HOUR + 5);
        let hours = BTreeMap::from([
            (UnixMillis(1_000 * HOUR), counts(1, 2, &[])),
            (UnixMillis(977 * HOUR), counts(3, 0, &[])),
            (UnixMillis(976 * HOUR), counts(9, 0, &[])),
        ]);
        let day = buckets(&hours, Span::Day, now);
        assert_eq!(day.len(), 24);
        assert_eq!(day[0].counts.succeeded, 3);
        assert_eq!((day[23].counts.succeeded, day[23].counts.failed), (1, 2));
        let week = buckets(&hours, Span::Week, now);
        assert_eq!((week.len(), total(&week).succeeded), (28, 13));
        assert!(week[27].at <= now && now.0 < week[27].at.0 + 6 * HOUR);
    }

    #[test]
    fn bars_fit_and_even_the_smallest_shows() {
        let (bars, top) = bars([(1_000, 1), (0, 0), (0, 1_000)].into_iter());
        assert_eq!(top, 1_001);
        assert!(bars[0].lower + bars[0].upper <= HEIGHT && bars[0].upper >= 1);
        assert_eq!((bars[1].lower, bars[1].upper), (0, 0));
    }
}

//! Medians, quantiles, spread.

use serde::{Deserialize, Serialize};

/// Of many durations, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Quantiles {
    /// Of durations in nanoseconds; `None` without any.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let millis = |nanos: &u64| *nanos as f64 / 1e6;
        // Nearest rank: a value that did occur.
        let at = |share: f64| {
            let rank = (share * nanos.len() as f64).ceil() as usize;
            nanos.get(rank.saturating_sub(1)).map(millis)
        };
        Some(Self {
            count: nanos.len(),
            p50: at(0.5)?,
            p90: at(0.9)?,
            p99: at(0.99)?,
            max: nanos.last().map(millis)?,
        })
    }
}

/// The middle of some figures; not a number without any.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => figures[n / 2],
        n => f64::midpoint(figures[n / 2 - 1], figures[n / 2]),
    }
}

/// The largest distance from the median, as a share of it.
pub(crate) fn spread(figures: &[f64]) -> f64 {
    let middle = median(figures.iter().copied());
    figures
        .iter()
        .map(|figure| ((figure - middle) / middle).abs())
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let found = Quantiles::of((1..=100).rev().map(|n| n * 1_000_000).collect()).unwrap();
        assert_eq!(
            (found.p50, found.p90, found.p99, found.max),
            (50.0, 90.0, 99.0, 100.0)
        );
        assert!(Quantiles::of(Vec::new()).is_none());
    }

    #[test]
    fn a_median_is_in_the_middle_and_the_spread_is_the_worst() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([1.0, 2.0]), 1.5);
        assert!((spread(&[1.0, 2.0, 3.0]) - 0.5).abs() < 1e-9);
    }
}

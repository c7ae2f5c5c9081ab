//! Metrics: the recorder behind the `metrics` macros, rendered for Prometheus.
//!
//! Owns the global recorder, the buckets of its histograms and their upkeep. Guarantees that histograms do not grow
//! while nobody scrapes.
//! Refuses to know which metrics exist: each crate names and describes its own.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::MissedTickBehavior;

use crate::{Lifecycle, process};

/// Buckets of every histogram in seconds: from what stays in memory, over a whole request timeout, to retries
/// that went on for an hour.
const SECONDS_BUCKETS: [f64; 19] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0,
    600.0, 3_600.0,
];
/// Buckets of every histogram in bytes.
const BYTES_BUCKETS: [f64; 6] = [256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0];
/// Buckets of every other histogram: lots and batches.
const COUNT_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];
/// How often histograms are drained.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Renders what the process has counted; cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs the recorder that the `metrics` macros write to, for the whole process.
    ///
    /// # Errors
    /// When a recorder was installed before.
    pub fn install() -> Result<Self, BuildError> {
        Ok(Self(builder()?.install_recorder()?))
    }

    /// A renderer of a recorder that nobody writes to: for tests, which share one process.
    ///
    /// # Errors
    /// Never in practice: the buckets are constants.
    pub fn detached() -> Result<Self, BuildError> {
        Ok(Self(builder()?.build_recorder().handle()))
    }

    /// Drains the histograms every few seconds until the process stops.
    pub fn keep_up(&self, life: &Lifecycle) {
        let (handle, soft) = (self.0.clone(), life.soft.clone());
        life.tracker.spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = soft.cancelled() => return,
                    _ = ticks.tick() => handle.run_upkeep(),
                }
            }
        });
    }

    /// Everything counted so far in Prometheus's text format, the process's own memory, CPU and files included.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        process::render(&mut text);
        text
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&COUNT_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_rendered_in_buckets_of_their_unit() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("nuncio_events_total", "role" => "router").increment(3);
            metrics::histogram!("nuncio_attempt_duration_seconds").record(0.2);
            metrics::histogram!("nuncio_lot_size").record(7.0);
        });
        let text = metrics.render();
        assert!(text.contains("nuncio_events_total{role=\"router\"} 3"), "{text}");
        assert!(
            text.contains("nuncio_attempt_duration_seconds_bucket{le=\"0.25\"} 1"),
            "{text}"
        );
        assert!(text.contains("nuncio_lot_size_bucket{le=\"10\"} 1"), "{text}");
    }
}

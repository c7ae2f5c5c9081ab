//! Telemetry: logs to standard error, filtered and shaped as configured.
//!
//! Owns the tracing subscriber. Guarantees that standard output stays free for data, and that the format is the
//! configured one, or readable on a terminal and JSON elsewhere.
//! Refuses to know payloads and secrets: nothing here can print what callers do not log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::LogFormat;

/// The AMQP library tells at ERROR what is handled, and told, by the crate that uses it: said only when asked for by name.
const QUIET: &str = "lapin";

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("failed to read the log filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process logs already.
    #[error("failed to install the log subscriber")]
    Install(#[from] TryInitError),
}

/// Whether `text` is a filter that [`init`] accepts.
#[must_use]
pub(crate) fn is_filter(text: &str) -> bool {
    !text.trim().is_empty() && EnvFilter::try_new(text).is_ok()
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter cannot be read or logging was started before.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(quietened(filter))?;
    let terminal = std::io::stderr().is_terminal();
    let pretty = match format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if pretty {
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
        registry.with(lines).try_init()?;
    } else {
        let lines = fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr);
        registry.with(lines).try_init()?;
    }
    Ok(())
}

fn quietened(filter: &str) -> String {
    if filter.contains(QUIET) {
        filter.to_owned()
    } else {
        format!("{filter},{QUIET}=off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amqp_library_speaks_when_asked_by_name() {
        assert_eq!(quietened("info"), "info,lapin=off");
        assert_eq!(quietened("info,lapin=warn"), "info,lapin=warn");
        assert!(is_filter(&quietened("warn,nuncio_sender=debug")));
    }

    #[test]
    fn filters_are_told_from_nonsense() {
        assert!(is_filter("info"));
        assert!(is_filter("warn,nuncio_sender=debug"));
        assert!(!is_filter(""));
        assert!(!is_filter("nuncio=loudly"));
    }

    #[test]
    fn logging_starts_once() {
        init("info", LogFormat::Json).unwrap();
        assert!(matches!(
            init("info", LogFormat::Auto),
            Err(TelemetryError::Install(_))
        ));
    }
}

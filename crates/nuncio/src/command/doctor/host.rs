//! This machine: its file handles, and addresses that cannot be listened on together.

use nuncio_runtime::{Config, process};

use super::finding::Finding;

/// Handles with which a process is never short: RabbitMQ and busy senders need many.
const HANDLES: u64 = 65_536;
/// Handles beside those of requests: connections, logs, the API's own.
const SPARE: u64 = 1_024;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut found = vec![judge_handles(
        process::file_handles_max(),
        config.sender_concurrency.into(),
    )];
    if config.listen == config.metrics_listen && config.listen.port() != 0 {
        found.push(Finding::bad(
            "host",
            "addresses",
            format!("API and metrics would both listen on {}", config.listen),
            "set NUNCIO_METRICS_LISTEN to another port",
        ));
    }
    found
}

fn judge_handles(limit: Option<u64>, requests_max: u64) -> Finding {
    const CHECK: &str = "file handles";
    const ADVICE: &str = "raise it: `ulimit -n 65536`, or LimitNOFILE=65536 in a systemd unit";
    match limit {
        None => Finding::doubt(
            "host",
            CHECK,
            "their limit cannot be seen".to_owned(),
            "it should be 65536 or more",
        ),
        Some(limit) if limit < requests_max + SPARE => Finding::bad(
            "host",
            CHECK,
            format!("{limit}, but NUNCIO_SENDER_CONCURRENCY alone allows {requests_max} requests at a time"),
            ADVICE,
        ),
        Some(limit) if limit < HANDLES => Finding::doubt("host", CHECK, limit.to_string(), ADVICE),
        Some(limit) => Finding::good("host", CHECK, limit.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Level;

    #[test]
    fn file_handles_must_suffice_for_all_requests() {
        let cases = [
            (Some(1_024), Level::Bad),
            (Some(5_119), Level::Bad),
            (Some(5_120), Level::Doubt),
            (Some(65_536), Level::Good),
            (None, Level::Doubt),
        ];
        for (limit, level) in cases {
            assert_eq!(judge_handles(limit, 4_096).level, level, "{limit:?}");
        }
    }
}

//! What the process itself uses: memory, CPU, open files.
//!
//! Owns the `process_*` metrics under the names that Prometheus's own client libraries use. Guarantees that a system
//! without `/proc` merely lacks them.
//! Refuses to know any other metric.

use std::fmt::Write as _;
use std::fs;

/// Ticks of a second in `/proc/self/stat`: the kernel's `USER_HZ`, 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

struct Usage {
    resident_bytes: u64,
    cpu_seconds: f64,
    threads: u64,
    open_files: usize,
    open_files_max: Option<u64>,
}

/// Appends the process's metrics to `text`.
pub(crate) fn render(text: &mut String) {
    let Some(usage) = read() else { return };
    let mut line = |name: &str, kind: &str, help: &str, value: String| {
        // Writing to a string cannot fail.
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}").unwrap_or_default();
    };
    line(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        usage.resident_bytes.to_string(),
    );
    line(
        "process_cpu_seconds_total",
        "counter",
        "User and system CPU time.",
        usage.cpu_seconds.to_string(),
    );
    line("process_threads", "gauge", "Threads.", usage.threads.to_string());
    line(
        "process_open_fds",
        "gauge",
        "Open file handles.",
        usage.open_files.to_string(),
    );
    if let Some(max) = usage.open_files_max {
        line(
            "process_max_fds",
            "gauge",
            "Most file handles allowed.",
            max.to_string(),
        );
    }
}

/// How many files the process may have open; nothing where that cannot be seen.
#[must_use]
pub fn file_handles_max() -> Option<u64> {
    open_files_max(&fs::read_to_string("/proc/self/limits").ok()?)
}

fn read() -> Option<Usage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok();
    Some(Usage {
        resident_bytes: status_number(&status, "VmRSS:")? * 1_024,
        threads: status_number(&status, "Threads:")?,
        cpu_seconds: cpu_seconds(&stat)?,
        open_files: fs::read_dir("/proc/self/fd").ok()?.count(),
        open_files_max: limits.as_deref().and_then(open_files_max),
    })
}

fn status_number(status: &str, label: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The 14th and 15th fields; the second, the program's name, may itself hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_odd_program_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 4 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(status_number("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        let limits = "Limit  Soft Hard Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(open_files_max(limits), Some(1024));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_very_process_uses_memory_and_files() {
        let mut text = String::new();
        render(&mut text);
        for name in [
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
        ] {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} ")));
            assert!(value.unwrap().parse::<f64>().is_ok(), "{text}");
        }
    }
}

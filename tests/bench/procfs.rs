//! What the kernel says of processes and of the machine.
//!
//! Owns the reading of `/proc`: CPU time, peak memory, load. A process that has ended reads as zero: whoever measures
//! samples while all are alive.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

/// CPU time that a process and all its descendants have used, user and system.
pub(crate) fn cpu(pid: u32) -> Duration {
    let ticks: u64 = family(pid).into_iter().filter_map(ticks).sum();
    from_ticks(ticks)
}

/// Peak resident memory of a process and its descendants since [`forget_peak`].
pub(crate) fn peak_bytes(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, which: &str) -> u64 {
    family(pid)
        .into_iter()
        .filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(which))?;
            let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
            Some(kilobytes * 1024)
        })
        .sum()
}

/// Resident memory of a process and its descendants now.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// Sets the peak of a process back to what it uses now.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("failed to reset the peak of {pid}"))
}

/// CPU time that the whole machine has spent on work, and on another machine's behalf (stolen).
pub(crate) fn machine_busy() -> Result<(Duration, Duration)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        anyhow::bail!("/proc/stat has no eight figures");
    };
    let busy = user + nice + system + irq + softirq;
    Ok((from_ticks(busy), from_ticks(steal)))
}

/// Processes that wanted to run in the last minute, on average.
pub(crate) fn load_average() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

/// Processors that this process may use.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the processors call themselves.
pub(crate) fn processor_name() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        let tasks = format!("/proc/{parent}/task");
        for task in fs::read_dir(Path::new(&tasks)).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    family
}

fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some(user + system)
}

fn from_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_nanos(ticks * (1_000_000_000 / per_second))
}

//! Redis: whether it answers, keeps what it is told, and has room; and how far its clock is from this one.

use std::collections::BTreeMap;
use std::time::Duration;

use nuncio_domain::UnixMillis;
use nuncio_runtime::lifecycle::chain;
use nuncio_runtime::{Clock, Config};
use nuncio_store::Store;

use super::finding::Finding;

/// The oldest version that is supported.
const OLDEST: (u32, u32) = (6, 2);
/// Differences between clocks that are seen in signatures and histories, and that receivers refuse.
const SKEW_SEEN: Duration = Duration::from_secs(2);
const SKEW_HARMFUL: Duration = Duration::from_secs(60);

/// What a server says of itself (`INFO`).
type Info = BTreeMap<String, String>;

pub(super) async fn examine(store: &Store, config: &Config) -> Vec<Finding> {
    let clock = Clock::system();
    let before = clock.now();
    let (info, time) = match (store.server_info().await, store.server_time().await) {
        (Ok(info), Ok(time)) => (info, time),
        (Err(error), _) | (_, Err(error)) => {
            let advice =
                "start Redis, or correct NUNCIO_REDIS_URL; its user needs the commands INFO and TIME";
            return vec![Finding::bad("redis", "connection", chain(&error), advice)];
        }
    };
    let midway = UnixMillis(before + (clock.now() - before) / 2);
    let snapshots = store.server_setting("save").await.ok().flatten();
    let mut found = vec![Finding::good(
        "redis",
        "connection",
        format!("{} answers", config.redis_url),
    )];
    found.push(judge_version(&info));
    found.push(judge_mode(&info, config.redis_url.scheme()));
    found.extend(judge_persistence(&info, snapshots.as_deref()));
    found.push(judge_eviction(&info));
    found.push(judge_memory(&info));
    found.push(judge_skew(midway, time));
    found
}

fn text<'a>(info: &'a Info, name: &str) -> &'a str {
    info.get(name).map_or("", String::as_str)
}

fn number(info: &Info, name: &str) -> u64 {
    text(info, name).parse().unwrap_or(0)
}

fn judge_version(info: &Info) -> Finding {
    let (product, version) = match text(info, "valkey_version") {
        "" => ("Redis", text(info, "redis_version")),
        valkey => ("Valkey", valkey),
    };
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let version_read = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version_read < OLDEST {
        return Finding::bad(
            "redis",
            "version",
            format!("{product} {version}"),
            "Redis 6.2 or newer, or Valkey, is needed",
        );
    }
    Finding::good("redis", "version", format!("{product} {version}"))
}

fn judge_mode(info: &Info, scheme: &str) -> Finding {
    const CHECK: &str = "mode";
    let mode = text(info, "redis_mode").to_owned();
    let is_named_cluster = scheme.contains("cluster");
    match mode.as_str() {
        "sentinel" => Finding::bad(
            "redis",
            CHECK,
            "this is a Sentinel, which keeps no data".to_owned(),
            "name it as redis+sentinel://host:26379/service",
        ),
        "cluster" if !is_named_cluster => Finding::bad(
            "redis",
            CHECK,
            "this is a node of a Cluster".to_owned(),
            "name it as redis+cluster://host:port",
        ),
        _ if text(info, "role") == "slave" => Finding::bad(
            "redis",
            CHECK,
            "this is a replica, which takes no writes".to_owned(),
            "name the primary, or let Sentinels find it: redis+sentinel://",
        ),
        _ => Finding::good("redis", CHECK, mode),
    }
}

fn judge_persistence(info: &Info, snapshots: Option<&str>) -> Vec<Finding> {
    const CHECK: &str = "persistence";
    let aof = text(info, "aof_enabled") == "1";
    let kept = match (aof, snapshots) {
        (true, _) => Finding::good("redis", CHECK, "append-only file".to_owned()),
        (false, Some("")) => Finding::bad(
            "redis",
            CHECK,
            "off: apps, endpoints and secrets are gone when Redis restarts".to_owned(),
            "appendonly yes, appendfsync everysec",
        ),
        (false, Some(_)) => Finding::doubt(
            "redis",
            CHECK,
            "snapshots only: what was written since the last one is lost in a crash".to_owned(),
            "appendonly yes, appendfsync everysec",
        ),
        (false, None) => Finding::doubt(
            "redis",
            CHECK,
            "no append-only file, and whether there are snapshots cannot be seen".to_owned(),
            "appendonly yes, or whatever your provider calls it",
        ),
    };
    let mut found = vec![kept];
    let failing = |name| !matches!(text(info, name), "" | "ok");
    if (aof && failing("aof_last_write_status")) || failing("rdb_last_bgsave_status") {
        found.push(Finding::bad(
            "redis",
            "last save",
            "failed".to_owned(),
            "see Redis's log: the disk may be full",
        ));
    }
    found
}

fn judge_eviction(info: &Info) -> Finding {
    const CHECK: &str = "eviction";
    match text(info, "maxmemory_policy") {
        "noeviction" => Finding::good("redis", CHECK, "noeviction".to_owned()),
        "" => Finding::doubt(
            "redis",
            CHECK,
            "the policy cannot be seen".to_owned(),
            "it must be noeviction",
        ),
        policy => Finding::bad(
            "redis",
            CHECK,
            format!("{policy}: when memory runs out, Redis throws endpoints and secrets away"),
            "maxmemory-policy noeviction",
        ),
    }
}

fn judge_memory(info: &Info) -> Finding {
    const CHECK: &str = "memory";
    const MIB: u64 = 1024 * 1024;
    let used = number(info, "used_memory");
    let (limit, of) = match number(info, "maxmemory") {
        0 => (
            number(info, "total_system_memory"),
            "of the machine, no maxmemory set",
        ),
        limit => (limit, "of maxmemory"),
    };
    let told = format!("{} MiB used, {} MiB {of}", used / MIB, limit / MIB);
    let advice = "raise maxmemory, or lower NUNCIO_RETENTION or NUNCIO_ATTEMPTS_PER_ENDPOINT_MAX";
    // Per cent, so that nothing overflows and nothing is divided by nought.
    match used.saturating_mul(100) {
        _ if limit == 0 => Finding::doubt(
            "redis",
            CHECK,
            "its limit cannot be seen".to_owned(),
            "see that Redis has room",
        ),
        used if used >= limit.saturating_mul(95) => Finding::bad("redis", CHECK, told, advice),
        used if used >= limit.saturating_mul(80) => Finding::doubt("redis", CHECK, told, advice),
        _ => Finding::good("redis", CHECK, told),
    }
}

fn judge_skew(here: UnixMillis, there: UnixMillis) -> Finding {
    const CHECK: &str = "clocks";
    const ADVICE: &str =
        "keep all machines' clocks with NTP: receivers refuse signatures that are off by minutes";
    let skew = Duration::from_millis(here.0.abs_diff(there.0));
    let told = format!("{:.1} s apart", skew.as_secs_f64());
    if skew >= SKEW_HARMFUL {
        Finding::bad("redis", CHECK, told, ADVICE)
    } else if skew >= SKEW_SEEN {
        Finding::doubt("redis", CHECK, told, ADVICE)
    } else {
        Finding::good("redis", CHECK, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Level::{self, Bad, Doubt, Good};

    fn info(fields: &[(&str, &str)]) -> Info {
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn clocks_that_are_apart_are_found() {
        let cases = [
            (0, Good),
            (1_999, Good),
            (-1_999, Good),
            (2_000, Doubt),
            (-59_999, Doubt),
            (60_000, Bad),
            (-3_600_000, Bad),
        ];
        for (skew, level) in cases {
            assert_eq!(
                judge_skew(
                    UnixMillis(1_700_000_000_000 + skew),
                    UnixMillis(1_700_000_000_000)
                )
                .level,
                level,
                "{skew}"
            );
        }
    }

    #[test]
    fn old_servers_replicas_and_wrong_modes_are_found() {
        let version = |name, version| judge_version(&info(&[(name, version)])).level;
        assert_eq!(
            [
                version("redis_version", "6.0.16"),
                version("redis_version", "6.2.0"),
                version("redis_version", "7.4.1"),
                version("valkey_version", "8.0.1")
            ],
            [Bad, Good, Good, Good]
        );
        let mode =
            |mode, role, scheme| judge_mode(&info(&[("redis_mode", mode), ("role", role)]), scheme).level;
        assert_eq!(mode("standalone", "master", "redis"), Good);
        assert_eq!(mode("standalone", "slave", "redis"), Bad);
        assert_eq!(mode("sentinel", "", "redis"), Bad);
        assert_eq!(mode("cluster", "master", "redis"), Bad);
        assert_eq!(mode("cluster", "slave", "redis+cluster"), Bad);
        assert_eq!(mode("cluster", "master", "redis+cluster"), Good);
    }

    #[test]
    fn what_is_not_kept_and_what_is_thrown_away_is_found() {
        let kept = |aof, save| judge_persistence(&info(&[("aof_enabled", aof)]), save)[0].level;
        assert_eq!(
            [
                kept("1", Some("")),
                kept("0", Some("")),
                kept("0", Some("900 1")),
                kept("0", None)
            ],
            [Good, Bad, Doubt, Doubt]
        );
        let failed = judge_persistence(
            &info(&[("aof_enabled", "1"), ("aof_last_write_status", "err")]),
            None,
        );
        assert_eq!(failed[1].level, Bad);
        let evicts = |policy| judge_eviction(&info(&[("maxmemory_policy", policy)])).level;
        assert_eq!(
            [evicts("noeviction"), evicts("allkeys-lru"), evicts("")],
            [Good, Bad, Doubt]
        );
    }

    #[test]
    fn memory_that_runs_out_is_found() {
        let cases: [(&str, &str, &str, Level); 5] = [
            ("79", "100", "1", Good),
            ("80", "100", "1", Doubt),
            ("95", "100", "1", Bad),
            ("50", "0", "100", Good),
            ("50", "0", "0", Doubt),
        ];
        for (used, max, total, level) in cases {
            let info = info(&[
                ("used_memory", used),
                ("maxmemory", max),
                ("total_system_memory", total),
            ]);
            assert_eq!(judge_memory(&info).level, level, "{used} of {max} or {total}");
        }
    }
}

//! Names of this machine and this process.
//!
//! Owns how both are found out. Refuses to know who shows them.

use nuncio_runtime::Dice;

/// The machine's name, for people who look at RabbitMQ's connections.
pub(crate) fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// A name that no other process has, now or before: a restarted process is a new member.
pub(crate) fn member_name(dice: &Dice) -> String {
    format!("{}-{}-{:08x}", name(), std::process::id(), dice.u32())
}

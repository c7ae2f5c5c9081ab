//! Scripts that run inside Redis.
//!
//! Owns their sources (`scripts/*.lua`) and how they are called: by hash in pipelines; a server that lost them (restart,
//! failover, `SCRIPT FLUSH`) is given them again and the pipeline is repeated, which every script here allows.

use std::sync::LazyLock;

use redis::{Cmd, Script};

macro_rules! scripts {
    ($($name:ident => $file:literal),* $(,)?) => {
        $(pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));)*

        /// Every script, for loading.
        pub(crate) fn all() -> impl Iterator<Item = (&'static Script, &'static str)> {
            [$((&*$name, include_str!(concat!("scripts/", $file)))),*].into_iter()
        }
    };
}

scripts! {
    ACCEPT => "accept.lua",
    ACCEPT_ONCE => "accept_once.lua",
    BEGIN_REQUEST => "begin_request.lua",
    CLAIM => "claim.lua",
    CHANGE_APP => "change_app.lua",
    CHANGE_ENDPOINT => "change_endpoint.lua",
    CHANGE_FIELD => "change_field.lua",
    FORGET => "forget.lua",
    HEARTBEAT => "heartbeat.lua",
    HOLD_REQUEST => "hold_request.lua",
    LATEST => "latest.lua",
    MARK => "mark.lua",
    PACE => "pace.lua",
    RECORD => "record.lua",
    RESTORE_APP => "restore_app.lua",
    ROUTED => "routed.lua",
    TAKE_NAME => "take_name.lua",
    UPKEEP => "upkeep.lua",
}

/// A call of a script by its hash; keys first, then arguments are appended by the caller.
pub(crate) fn call(script: &Script, keys: &[&str]) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(script.get_hash()).arg(keys.len()).arg(keys);
    cmd
}

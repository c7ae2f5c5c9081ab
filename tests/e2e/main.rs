//! End-to-end tests on real servers and the real binary; `tests/README.md` says how to write one.

mod architecture;
mod aside_reasons;
mod cli;
mod cli_process;
mod cli_publish;
mod crash_broker;
mod crash_processes;
mod crash_redis;
mod delivery_fanout;
mod delivery_neighbours;
mod delivery_once;
mod delivery_record;
mod delivery_stage;
mod delivery_stale;
mod delivery_wire;
mod retry_ladder;
mod retry_outcomes;
mod scale_ledger;
mod scale_load;
mod scale_sharing;
mod signing_sdks;
mod support;

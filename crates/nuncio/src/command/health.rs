//! `nuncio health`: ask the process that listens on the configured health address how it is.
//!
//! What a container's health check runs: the image holds no shell and no curl. Guarantees an answer within a deadline.
//! Refuses to know what readiness is made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nuncio_runtime::config::MainSecret;
use nuncio_runtime::{Config, ConfigArgs};

use crate::command::block_on;
use crate::output;

/// How long the answer may take; a health check that hangs says nothing.
const PATIENCE: Duration = Duration::from_secs(4);

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Ask only whether the process is alive, not whether work may be sent to it
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.config, MainSecret::Optional)?;
    let path = if args.live { "livez" } else { "readyz" };
    let url = format!("http://{}/{path}", reachable(config.metrics_listen));
    block_on(ask(url))
}

/// Where a server that listens on `address` can be reached from this machine: "any address" is none to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(url: String) -> anyhow::Result<ExitCode> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .context("failed to set up the HTTP client")?;
    let answer = http
        .get(&url)
        .send()
        .await
        .with_context(|| format!("nothing answers at {url}"))?;
    let healthy = answer.status().is_success();
    let body = answer
        .text()
        .await
        .with_context(|| format!("no whole answer from {url}"))?;
    output::line(body.trim_end())?;
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_any_address_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:9464", "127.0.0.1:9464"),
            ("[::]:9464", "[::1]:9464"),
            ("10.0.0.7:1", "10.0.0.7:1"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }
}

//! The scenarios.
//!
//! Owns what is published where, and how much of it. Each opens a stage of its own, so that none feels what the one
//! before it did.

mod api;
mod bare;
mod neighbours;
mod pages;
mod senders;
mod throughput;

use anyhow::Result;

use crate::{measure::Bench, report::Row};

/// Everything that can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Bare,
    BareVariants,
    One,
    FanOut10,
    FanOut100,
    Apps100,
    OneHost,
    Payload4k,
    Payload64k,
    BareAgain,
    Rest,
    Pages,
    Rates,
    Hot,
    Hanging,
    Endpoints1000,
    Horizontal,
    Throttled,
    BareAtTheEnd,
    Flood,
    Endpoints10000,
    Listing,
}

impl Scenario {
    pub(crate) const ALL: [Self; 22] = [
        Self::Bare,
        Self::BareVariants,
        Self::One,
        Self::FanOut10,
        Self::FanOut100,
        Self::Apps100,
        Self::OneHost,
        Self::Payload4k,
        Self::Payload64k,
        Self::BareAgain,
        Self::Rest,
        Self::Pages,
        Self::Rates,
        Self::Hot,
        Self::Hanging,
        Self::Endpoints1000,
        Self::Horizontal,
        Self::Throttled,
        Self::BareAtTheEnd,
        Self::Flood,
        Self::Endpoints10000,
        Self::Listing,
    ];

    /// What `--scenario` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare | Self::BareAgain | Self::BareAtTheEnd => "bare",
            Self::BareVariants => "bare-variants",
            Self::One => "one",
            Self::FanOut10 => "fan-out-10",
            Self::FanOut100 => "fan-out-100",
            Self::Apps100 => "apps-100",
            Self::OneHost => "one-host",
            Self::Payload4k => "payload-4k",
            Self::Payload64k => "payload-64k",
            Self::Rest => "rest",
            Self::Pages => "pages",
            Self::Rates => "rates",
            Self::Hot => "hot",
            Self::Hanging => "hanging",
            Self::Endpoints1000 => "endpoints-1000",
            Self::Horizontal => "horizontal",
            Self::Throttled => "throttled",
            Self::Flood => "flood",
            Self::Endpoints10000 => "endpoints-10000",
            Self::Listing => "listing",
        }
    }

    /// Too long for every day.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::Flood | Self::Endpoints10000 | Self::Listing)
    }

    pub(crate) async fn run(self, bench: &mut Bench) -> Result<Vec<Row>> {
        match self {
            Self::Bare | Self::BareAgain | Self::BareAtTheEnd => bare::yardstick(bench).await,
            Self::BareVariants => bare::variants(bench).await,
            Self::One => throughput::drained(bench, "AMQP → 1 endpoint", 1, 1, 200, 15_000).await,
            Self::FanOut10 => throughput::drained(bench, "fan-out 10", 1, 10, 200, 2_500).await,
            Self::FanOut100 => throughput::drained(bench, "fan-out 100", 1, 100, 200, 300).await,
            Self::Apps100 => throughput::drained(bench, "100 apps × 1", 100, 1, 200, 15_000).await,
            Self::OneHost => throughput::one_host(bench).await,
            Self::Payload4k => throughput::drained(bench, "payload 4 KiB", 1, 1, 4_096, 10_000).await,
            Self::Payload64k => throughput::drained(bench, "payload 64 KiB", 1, 1, 65_536, 2_000).await,
            Self::Rest => api::post(bench).await,
            Self::Pages => pages::pages(bench).await,
            Self::Rates => throughput::rates(bench).await,
            Self::Hot => neighbours::hot(bench).await,
            Self::Hanging => neighbours::hanging(bench).await,
            Self::Endpoints1000 => throughput::endpoints(bench, "1,000 endpoints", 1_000).await,
            Self::Horizontal => senders::horizontal(bench).await,
            Self::Throttled => senders::throttled(bench).await,
            Self::Flood => neighbours::flood(bench).await,
            Self::Endpoints10000 => throughput::endpoints(bench, "10,000 endpoints", 10_000).await,
            Self::Listing => api::listing(bench).await,
        }
    }
}

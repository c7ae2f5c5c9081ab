//! The benchmark: how fast, at what cost, and against what yardstick.
//!
//! Owns private servers, the roles of a release build with default settings, a load and a receiver, each a process of
//! its own, so that CPU and memory can be told apart. Guarantees that figures of one run can be held against each other,
//! the bare loop among them; figures of different runs only as far as the machine was as quiet. Refuses to judge: it
//! exits 0 whatever it found, and non-zero only if it could not measure; what it could measure is told even then.

mod bare;
mod child;
mod clock;
mod load;
mod measure;
mod procfs;
mod receive;
mod records;
mod report;
mod scenario;
mod stage;
mod stats;

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use tokio::time::Instant;

use crate::{measure::Bench, report::Report, scenario::Scenario};

/// Measure Nuncio on servers of its own
#[derive(Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// Only this scenario; repeat it for several, `list` names them all
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// A quarter of the work, once
    #[arg(long)]
    quick: bool,
    /// The long scenarios as well: a flood, 10,000 endpoints, lists of 10,000 apps
    #[arg(long)]
    full: bool,
    /// How often each throughput is measured
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    rounds: usize,
    /// An earlier report to compare with
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = ".nuncio/bench/latest.json")]
    json: PathBuf,
}

#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Receive(Control),
    #[command(hide = true)]
    Load(Control),
    #[command(hide = true)]
    Bare(Control),
}

#[derive(Args)]
struct Control {
    #[arg(long)]
    control: SocketAddr,
}

fn main() -> ExitCode {
    match run(Line::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: Line) -> Result<()> {
    let one = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let many = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match line.part {
        Some(Part::Receive(Control { control })) => one()?.block_on(receive::run(control)),
        Some(Part::Load(Control { control })) => many()?.block_on(load::run(control)),
        Some(Part::Bare(Control { control })) => many()?.block_on(bare::run(control)),
        None => one()?.block_on(conduct(line.options)),
    }
}

async fn conduct(options: Options) -> Result<()> {
    ensure!(
        std::env::var_os("NUNCIO_BIN").is_some(),
        "NUNCIO_BIN must name a release build of nuncio: `make bench` sees to it"
    );
    if options.scenario.iter().any(|name| name == "list") {
        return list();
    }
    let chosen = choose(&options)?;
    let old = options.compare.as_deref().map(Report::load).transpose()?;
    let (rounds, scale) = if options.quick {
        (1, 0.25)
    } else {
        (options.rounds, 1.0)
    };
    let start = Instant::now();
    let mut bench = Bench::start(rounds, scale).await?;
    let mut report = Report::new(clock::unix_seconds());
    let mut failed = Vec::new();
    for scenario in chosen {
        let begun = Instant::now();
        match scenario.run(&mut bench).await {
            Ok(rows) => rows.into_iter().for_each(|row| report.add(row)),
            Err(error) => {
                eprintln!("bench: {}: {error:#}", scenario.name());
                failed.push(scenario.name());
            }
        }
        eprintln!(
            "  {:<16} {:>5.1} s",
            scenario.name(),
            begun.elapsed().as_secs_f64()
        );
    }
    report.save(&options.json)?;
    let mut out = std::io::stdout().lock();
    write!(out, "\n{}", report.table(old.as_ref()))?;
    writeln!(
        out,
        "\n{:.0} s; the report is in {}",
        start.elapsed().as_secs_f64(),
        options.json.display()
    )?;
    ensure!(failed.is_empty(), "could not be measured: {}", failed.join(", "));
    Ok(())
}

fn choose(options: &Options) -> Result<Vec<Scenario>> {
    let named = |name: &String| Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
    for name in &options.scenario {
        ensure!(
            named(name).is_some(),
            "there is no scenario {name}: see --scenario list"
        );
    }
    if options.scenario.is_empty() {
        return Ok(Scenario::ALL
            .into_iter()
            .filter(|scenario| options.full || !scenario.is_long())
            .collect());
    }
    // Every ratio needs the yardstick.
    Ok(Scenario::ALL
        .into_iter()
        .filter(|scenario| {
            options.scenario.iter().any(|name| name == scenario.name()) || *scenario == Scenario::Bare
        })
        .collect())
}

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for scenario in Scenario::ALL {
        let long = if scenario.is_long() { "  (--full)" } else { "" };
        writeln!(out, "{}{long}", scenario.name())?;
    }
    Ok(())
}

//! The binaries under test.
//!
//! Owns where they come from: the environment names them (`make test` does), or else cargo builds them into the target
//! directory of this very test. Guarantees that a binary stays what it is while it runs: each is a copy, as cargo puts
//! all flavours of one binary at one place.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Which of the binaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// As it is delivered.
    Default,
    /// With crash points.
    Failpoints,
}

impl Flavour {
    /// The variable that names a binary built before.
    fn variable(self) -> &'static str {
        match self {
            Self::Default => "NUNCIO_BIN",
            Self::Failpoints => "NUNCIO_TEST_FAILPOINTS_BIN",
        }
    }

    fn copy(self) -> &'static str {
        match self {
            Self::Default => "nuncio-under-test",
            Self::Failpoints => "nuncio-failpoints",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Failpoints => &["--features", "failpoints"],
        }
    }
}

/// The binary that the environment names, or else a new one.
pub(super) async fn binary(flavour: Flavour) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(flavour.variable()) {
        return Ok(PathBuf::from(named));
    }
    tokio::task::spawn_blocking(move || build(flavour)).await?
}

fn build(flavour: Flavour) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // <target>/<profile>/deps/<test>
    let directory = test
        .ancestors()
        .nth(2)
        .context("a test lives in target/<profile>/deps")?;
    let target = directory.parent().context("a profile lives in target")?;
    // Building and copying are one step, for all that build into this directory.
    let lock = File::options()
        .append(true)
        .create(true)
        .open(target.join(".nuncio-build.lock"))?;
    lock.lock()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--package", "nuncio", "--bin", "nuncio"])
        .args(flavour.options())
        .arg("--target-dir")
        .arg(target);
    if directory.ends_with("release") {
        command.arg("--release");
    }
    let status = command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .status()?;
    ensure!(status.success(), "cargo could not build nuncio: {status}");
    let copy = directory.join(flavour.copy());
    let fresh = directory.join(format!("{}.new", flavour.copy()));
    fs::copy(directory.join("nuncio"), &fresh)?;
    // A process that runs the old one keeps it.
    fs::rename(&fresh, &copy)?;
    Ok(copy)
}

//! What the tests borrow from elsewhere: official clients and validators, pinned and installed by `deploy/local/sdks.sh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Installs a group of tools where they are missing, and tells where each of them is.
///
/// # Panics
/// When they cannot be installed.
#[must_use]
pub fn install(group: &str) -> BTreeMap<String, PathBuf> {
    let output = Command::new(root().join("deploy/local/sdks.sh"))
        .arg(group)
        .output()
        .expect("sdks.sh starts");
    assert_succeeded(&format!("sdks.sh {group}"), &output);
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, directory)| (name.to_owned(), PathBuf::from(directory)))
        .collect()
}

/// Fails with all that a program said, unless it succeeded.
///
/// # Panics
/// When it did not.
pub fn assert_succeeded(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

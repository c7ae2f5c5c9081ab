//! Standard output and standard error.
//!
//! Owns writing to both. Guarantees that a reader who hung up ends the program quietly instead of by a panic.

use std::io::{ErrorKind, Write};

use anyhow::Context;

/// Writes `text` to standard output as it is.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("failed to write to standard output")
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}

/// Writes a line to standard error; that nobody reads it is no reason to stop.
pub(crate) fn note(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Writes `text` to standard error as it is, to be drawn over.
pub(crate) fn draw(text: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .unwrap_or_default();
}

/// Writes an error to standard error.
pub(crate) fn complain(text: &str) {
    note(&format!("nuncio: {text}"));
}

/// Whether `error` says that the reader of standard output hung up.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == ErrorKind::BrokenPipe)
}

//! Where a backup is written.
//!
//! Guarantees that a file is replaced in one step, once all of it is on the disk, and that its owner alone may read it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use tempfile::NamedTempFile;

pub(super) enum Target {
    /// Standard output, or a device.
    Stream(Box<dyn Write>, String),
    /// A file beside the one that it will become. Goes when it is dropped before.
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl Target {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stream(
                Box::new(BufWriter::new(io::stdout())),
                "standard output".to_owned(),
            ));
        }
        let shown = path.display();
        ensure!(!path.is_dir(), "{shown} is a directory: name a file in it");
        // What a link leads to is replaced, not the link; and what is no file is not replaced at all.
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error).with_context(|| format!("failed to look at {shown}")),
        };
        if path.exists() && !path.is_file() {
            let device = File::options()
                .write(true)
                .open(&path)
                .with_context(|| format!("failed to open {shown}"))?;
            return Ok(Self::Stream(Box::new(BufWriter::new(device)), shown.to_string()));
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Readable by its owner alone, which is the default of these.
        let file = tempfile::Builder::new()
            .prefix(".nuncio-backup-")
            .tempfile_in(directory)
            .with_context(|| format!("failed to write to {}", directory.display()))?;
        Ok(Self::File(BufWriter::new(file), path))
    }

    pub(super) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::Stream(writer, place) => writer
                .write_all(text.as_bytes())
                .map_err(|error| cut_off(place, &error)),
            Self::File(writer, path) => writer
                .write_all(text.as_bytes())
                .with_context(|| format!("failed to write to {}", path.display())),
        }
    }

    /// Puts what was written in its place, and answers the place's name.
    pub(super) fn finish(self) -> anyhow::Result<String> {
        match self {
            Self::Stream(mut writer, place) => {
                writer.flush().map_err(|error| cut_off(&place, &error))?;
                Ok(place)
            }
            Self::File(writer, path) => {
                let place = path.display().to_string();
                let failed = || format!("failed to write {place}");
                let file = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .with_context(failed)?;
                file.as_file().sync_all().with_context(failed)?;
                file.persist(&path)
                    .map_err(|error| error.error)
                    .with_context(failed)?;
                Ok(place)
            }
        }
    }
}

/// A reader who hung up is no quiet end: what was written is not a backup.
fn cut_off(place: &str, error: &io::Error) -> anyhow::Error {
    anyhow!("failed to write to {place}, where no whole backup is: {error}")
}

//! A backup: all configuration in one JSON file.
//!
//! Owns its spelling: an array with one item a line, so that any tool reads it and none needs it whole. First a header,
//! then entries as in the [journal](crate::journal), last how many there were and a checksum over every line before.
//! Guarantees that a file which was cut off, changed, or written in a newer format is refused as a whole.
//! Refuses to know files, clocks and how secrets are sealed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::journal::{AppImage, Configuration, EventTypeImages, JournalEntry};

/// What a header calls the format.
pub const FORMAT: &str = "nuncio-backup";
/// The version of the format that is written, and the newest that is read.
pub const VERSION: u32 = 1;

/// How a backup holds secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secrecy {
    /// Sealed with the main secret, as they are kept.
    Sealed,
    /// Readable by whoever reads the file.
    Plain,
}

/// The first item: what this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The namespace that was saved.
    pub namespace: String,
    /// When, by RFC 3339.
    pub created_at: String,
    /// The version of Nuncio that wrote it.
    pub nuncio: String,
    /// How it holds secrets.
    pub secrets: Secrecy,
}

/// How much a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Apps.
    pub apps: usize,
    /// Endpoints of all apps.
    pub endpoints: usize,
    /// Event types.
    pub event_types: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} apps with {} endpoints and {} event types",
            self.apps, self.endpoints, self.event_types
        )
    }
}

/// An endpoint's secrets, readable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainSecrets {
    /// The one that signs.
    pub current: String,
    /// Those that sign beside it until then, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old: Vec<(String, i64)>,
}

impl fmt::Debug for PlainSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainSecrets(1 + {})", self.old.len())
    }
}

/// The secrets of an app's endpoints by their ids, where they are readable.
pub type AppSecrets = BTreeMap<String, PlainSecrets>;

/// Items that the journal has no entry for.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Item {
    Secrets {
        app: String,
        secrets: AppSecrets,
    },
    Complete {
        #[serde(flatten)]
        counts: Counts,
        sha256: String,
    },
}

/// Writes a backup, line by line.
#[derive(Debug)]
pub struct Writer {
    digest: Sha256,
    counts: Counts,
}

impl Writer {
    /// Begins one, with the first line.
    #[must_use]
    pub fn begin(header: &Header) -> (Self, String) {
        let mut writer = Self {
            digest: Sha256::new(),
            counts: Counts::default(),
        };
        let line = writer.line('[', &json(header));
        (writer, line)
    }

    /// The lines of an app, and of its endpoints' secrets where they are readable.
    pub fn app(&mut self, app: AppImage, secrets: AppSecrets) -> String {
        self.counts.apps += 1;
        self.counts.endpoints += app.endpoints.len();
        let id = app.id.clone();
        let mut lines = self.line(',', &JournalEntry::App(app).to_json());
        if !secrets.is_empty() {
            lines += &self.line(',', &json(&Item::Secrets { app: id, secrets }));
        }
        lines
    }

    /// The line of all event types.
    pub fn event_types(&mut self, types: EventTypeImages) -> String {
        self.counts.event_types += types.len();
        self.line(',', &JournalEntry::EventTypes { types }.to_json())
    }

    /// How much was written, and the last lines.
    #[must_use]
    pub fn end(self) -> (Counts, String) {
        let complete = Item::Complete {
            counts: self.counts,
            sha256: hex(self.digest),
        };
        (self.counts, format!(",{}\n]\n", json(&complete)))
    }

    fn line(&mut self, mark: char, item: &str) -> String {
        let line = format!("{mark}{item}\n");
        self.digest.update(&line);
        line
    }
}

fn json(item: &impl Serialize) -> String {
    serde_json::to_string(item).expect("string keys and plain values always serialise")
}

fn hex(digest: Sha256) -> String {
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Why a file is not read as a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("this is no backup that Nuncio wrote")]
    Foreign,
    /// It is of a later format.
    #[error(
        "it has version {0} of the format, and this Nuncio reads {VERSION}: restore it with the one that wrote it"
    )]
    Newer(u32),
    /// It ends too early.
    #[error("it ends after line {0} without saying that it is complete: it was cut off")]
    CutOff(usize),
    /// It is not what was written.
    #[error("its content does not fit its checksum: it was changed or damaged")]
    Changed,
    /// A line is not one of a backup.
    #[error("line {line} cannot be read: the file was changed or damaged")]
    Unreadable {
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What a backup says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// What it is.
    pub header: Header,
    /// Apps and event types.
    pub configuration: Configuration,
    /// Readable secrets by the ids of apps.
    pub secrets: BTreeMap<String, AppSecrets>,
    /// How much it holds.
    pub counts: Counts,
}

/// Reads a backup, line by line.
#[derive(Debug, Default)]
pub struct Reader {
    digest: Sha256,
    lines: usize,
    header: Option<Header>,
    configuration: Configuration,
    secrets: BTreeMap<String, AppSecrets>,
    complete: Option<(Counts, String)>,
    closed: bool,
}

impl Reader {
    /// Takes the next line in, without its line feed.
    ///
    /// # Errors
    /// When it is not the next line of a backup.
    pub fn take(&mut self, line: &[u8]) -> Result<(), BackupError> {
        self.lines += 1;
        match (line, &self.header, &self.complete) {
            (_, None, _) => self.take_header(line),
            (b"]", Some(_), Some(_)) if !self.closed => {
                self.closed = true;
                Ok(())
            }
            ([b',', item @ ..], Some(_), None) => self.take_item(line, item),
            _ => Err(BackupError::Changed),
        }
    }

    fn take_header(&mut self, line: &[u8]) -> Result<(), BackupError> {
        /// What every version of the format says.
        #[derive(Deserialize)]
        struct Known {
            format: String,
            version: u32,
        }
        let item = line.strip_prefix(b"[").ok_or(BackupError::Foreign)?;
        let known: Known = serde_json::from_slice(item).map_err(|_| BackupError::Foreign)?;
        if known.format != FORMAT {
            return Err(BackupError::Foreign);
        }
        if known.version > VERSION {
            return Err(BackupError::Newer(known.version));
        }
        self.header = Some(serde_json::from_slice(item).map_err(self.unreadable())?);
        self.digested(line);
        Ok(())
    }

    fn take_item(&mut self, line: &[u8], item: &[u8]) -> Result<(), BackupError> {
        match JournalEntry::parse(item).map_err(self.unreadable())? {
            JournalEntry::App(app) => self.configuration.apps.push(app),
            JournalEntry::EventTypes { types } => self.configuration.event_types.extend(types),
            _ => match serde_json::from_slice(item).map_err(self.unreadable())? {
                Item::Secrets { app, secrets } => {
                    self.secrets.insert(app, secrets);
                }
                Item::Complete { counts, sha256 } => {
                    self.complete = Some((counts, sha256));
                    return Ok(());
                }
            },
        }
        self.digested(line);
        Ok(())
    }

    fn unreadable(&self) -> impl FnOnce(serde_json::Error) -> BackupError + use<> {
        let line = self.lines;
        move |source| BackupError::Unreadable { line, source }
    }

    fn digested(&mut self, line: &[u8]) {
        self.digest.update(line);
        self.digest.update(b"\n");
    }

    /// What the backup says, once all lines were taken in.
    ///
    /// # Errors
    /// When it is not complete, or not what was written.
    pub fn finish(self) -> Result<Backup, BackupError> {
        let header = self.header.ok_or(BackupError::Foreign)?;
        let (counts, sha256) = self
            .complete
            .filter(|_| self.closed)
            .ok_or(BackupError::CutOff(self.lines))?;
        let apps = &self.configuration.apps;
        let found = Counts {
            apps: apps.len(),
            endpoints: apps.iter().map(|app| app.endpoints.len()).sum(),
            event_types: self.configuration.event_types.len(),
        };
        if found != counts || sha256 != hex(self.digest) {
            return Err(BackupError::Changed);
        }
        Ok(Backup {
            header,
            configuration: self.configuration,
            secrets: self.secrets,
            counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::EndpointImage;

    fn header() -> Header {
        Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            namespace: "nuncio".to_owned(),
            created_at: "2026-11-25T19:00:00Z".to_owned(),
            nuncio: "0.1.0".to_owned(),
            secrets: Secrecy::Plain,
        }
    }

    fn app(id: &str) -> AppImage {
        AppImage {
            id: id.to_owned(),
            uid: Some("acme".to_owned()),
            version: 3,
            record: r#"{"name":"Acme\n"}"#.to_owned(),
            endpoints: vec![EndpointImage {
                id: "ep_1".to_owned(),
                uid: None,
                record: "{}".to_owned(),
                sealed: "x1.abc".to_owned(),
            }],
        }
    }

    fn written() -> String {
        let (mut writer, mut text) = Writer::begin(&header());
        let secrets = PlainSecrets {
            current: "whsec_a".to_owned(),
            old: vec![("whsec_b".to_owned(), 7)],
        };
        text += &writer.app(app("app_1"), [("ep_1".to_owned(), secrets)].into());
        text += &writer.app(app("app_2"), AppSecrets::new());
        text += &writer.event_types([("a.b".to_owned(), "{}".to_owned())].into());
        text + &writer.end().1
    }

    fn read(text: &str) -> Result<Backup, BackupError> {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.take(line.as_bytes())?;
        }
        reader.finish()
    }

    #[test]
    fn a_backup_reads_back_as_it_was_written_and_is_one_json_value() {
        let text = written();
        let backup = read(&text).unwrap();
        assert_eq!(backup.header, header());
        assert_eq!(backup.configuration.apps, [app("app_1"), app("app_2")]);
        assert_eq!(backup.secrets["app_1"]["ep_1"].old, [("whsec_b".to_owned(), 7)]);
        assert_eq!(
            backup.counts.to_string(),
            "2 apps with 2 endpoints and 1 event types"
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0]["format"], FORMAT);
        assert_eq!(value.as_array().unwrap().len(), text.lines().count() - 1);
        assert!(!format!("{backup:?}").contains("whsec"));
    }

    #[test]
    fn a_backup_that_was_cut_off_is_refused_wherever_that_was() {
        let text = written();
        for end in 0..text.len() - 1 {
            // After the closing bracket, the last line feed says nothing more.
            assert!(read(&text[..end]).is_err(), "cut off after {end} bytes");
        }
        let lines = text.lines().count();
        for kept in 1..lines {
            let some: Vec<&str> = text.lines().take(kept).collect();
            assert!(matches!(read(&some.join("\n")), Err(BackupError::CutOff(n)) if n == kept));
        }
    }

    #[test]
    fn a_backup_that_was_changed_is_refused() {
        let text = written();
        let without: String = text
            .lines()
            .filter(|line| !line.contains("app_2"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(matches!(read(&without), Err(BackupError::Changed)));
        assert!(matches!(
            read(&text.replace("whsec_a", "whsec_c")),
            Err(BackupError::Changed)
        ));
        assert!(matches!(
            read(&format!("{text}{text}")),
            Err(BackupError::Changed)
        ));
        assert!(matches!(
            read(&text.replace("event-types", "colours")),
            Err(BackupError::Unreadable { .. })
        ));
    }

    #[test]
    fn what_is_something_else_or_newer_is_told_apart() {
        for text in ["", "{}", "[]", "[{}", "hello", r#"[{"format":"tar","version":1}"#] {
            assert!(matches!(read(text), Err(BackupError::Foreign)), "{text}");
        }
        let newer = r#"[{"format":"nuncio-backup","version":2,"colour":"blue"}"#;
        assert!(matches!(read(newer), Err(BackupError::Newer(2))));
    }
}

//! The layers that values come from.
//!
//! Owns reading the file, the environment and the flags into texts by key. Guarantees that an unknown key in any of them
//! is a mistake.
//! Refuses to know what the texts mean.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use config::{File, FileFormat, Source, Value, ValueKind};

use super::args::ConfigArgs;
use super::keys::{KEYS, Key};
use super::mistake::Mistake;

/// Environment names that are not the configuration's: of tests, scripts and the file's own name.
const FOREIGN_NAMES: [&str; 3] = ["NUNCIO_BIN", "NUNCIO_CONFIG", "NUNCIO_RABBITMQ_SBIN"];
/// Beginnings of such names.
const FOREIGN_PREFIXES: [&str; 5] = [
    "NUNCIO_TEST_",
    "NUNCIO_LOCAL_",
    "NUNCIO_DEMO_",
    "NUNCIO_BENCH_",
    "NUNCIO_CI_",
];

/// Where a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In the file.
    File,
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// Texts by key, of the strongest layer that has them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, (Origin, String)>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Layers {
    pub(super) fn read(args: &ConfigArgs, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut layers = Self::default();
        if let Some(path) = &args.config {
            layers.read_file(path);
        }
        layers.read_environment(environment);
        for (name, value) in &args.flags.0 {
            layers.values.insert(name, (Origin::Flag, value.clone()));
        }
        layers
    }

    pub(super) fn value(&self, key: &Key) -> Option<(Origin, &str)> {
        self.values
            .get(key.name)
            .map(|(origin, text)| (*origin, text.as_str()))
    }

    fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let read = File::from(path).format(FileFormat::Toml).required(true).collect();
        match read {
            Ok(values) => {
                for (key, value) in values {
                    self.take_from_file(&name, &key, value);
                }
            }
            Err(error) => self.mistakes.push(Mistake {
                key: name,
                origin: Origin::File.to_string(),
                what: format!(
                    "expected a readable TOML file: {}",
                    without_excerpt(&error.to_string())
                ),
            }),
        }
    }

    fn take_from_file(&mut self, file: &str, name: &str, value: Value) {
        let mut mistake = |what: String| {
            self.mistakes.push(Mistake {
                key: name.to_owned(),
                origin: file.to_owned(),
                what,
            });
        };
        let Some(key) = Key::named(name) else {
            return mistake(unknown(name, |key| key.name.to_owned()));
        };
        match text(value) {
            Some(text) => {
                self.values.insert(key.name, (Origin::File, text));
            }
            None => mistake(format!("expected {}", key.expects)),
        }
    }

    fn read_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let mut unknown_names = Vec::new();
        for (name, value) in environment {
            if let Some(key) = KEYS.iter().find(|key| key.environment() == name) {
                self.values.insert(key.name, (Origin::Environment, value));
            } else if name.starts_with("NUNCIO_") && !is_foreign(&name, &value) {
                unknown_names.push(name);
            }
        }
        unknown_names.sort();
        self.mistakes
            .extend(unknown_names.into_iter().map(|name| Mistake {
                what: unknown(&name, Key::environment),
                key: name,
                origin: Origin::Environment.to_string(),
            }));
    }
}

/// Whether a name that begins with `NUNCIO_` belongs to somebody else: to tests and scripts, or to Kubernetes, which
/// tells every pod the address of every service (`NUNCIO_API_SERVICE_HOST`, `NUNCIO_API_PORT_8071_TCP_ADDR`).
fn is_foreign(name: &str, value: &str) -> bool {
    let address = value.starts_with("tcp://") || value.starts_with("udp://");
    let of_a_service = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && address)
        || (name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP")));
    FOREIGN_NAMES.contains(&name) || FOREIGN_PREFIXES.iter().any(|p| name.starts_with(p)) || of_a_service
}

fn unknown(name: &str, spelled: impl Fn(&Key) -> String) -> String {
    let nearest = KEYS
        .iter()
        .map(|key| (distance(name, &spelled(key)), spelled(key)))
        .min();
    match nearest {
        Some((distance, key)) if distance <= 3 => format!("unknown key; did you mean {key}?"),
        _ => "unknown key; `nuncio config reference` lists all".to_owned(),
    }
}

/// Levenshtein's distance.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<_> = two.bytes().collect();
    let mut row: Vec<_> = (0..=two.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[two.len()]
}

/// The first line of a TOML error, and where it is: the rest repeats the file's text, which may hold a secret.
fn without_excerpt(error: &str) -> &str {
    error.lines().next().unwrap_or(error)
}

fn text(value: Value) -> Option<String> {
    match value.kind {
        ValueKind::String(text) => Some(text),
        ValueKind::Boolean(value) => Some(value.to_string()),
        ValueKind::I64(value) => Some(value.to_string()),
        ValueKind::U64(value) => Some(value.to_string()),
        ValueKind::Float(value) => Some(value.to_string()),
        ValueKind::Array(items) => {
            let items: Option<Vec<_>> = items.into_iter().map(text).collect();
            items.map(|items| items.join(","))
        }
        ValueKind::Nil | ValueKind::I128(_) | ValueKind::U128(_) | ValueKind::Table(_) => None,
    }
}

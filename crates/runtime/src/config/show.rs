//! The configuration, shown: what is in force, and the reference of all keys.
//!
//! Owns both texts. Guarantees that neither holds a secret, and that what is shown is itself a valid file.

use std::fmt::Write as _;

use super::Config;
use super::keys::{KEYS, Key};
use super::layers::Origin;

/// A key, its value in force and where that was given.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value as text, without what is secret; none where none is set.
    pub value: Option<String>,
    /// Where it was given.
    pub origin: Origin,
}

impl Config {
    /// Every key in force, in the order of the reference.
    #[must_use]
    pub fn settings(&self) -> Vec<&Setting> {
        KEYS.iter()
            .filter_map(|key| self.settings.iter().find(|setting| setting.key.name == key.name))
            .collect()
    }

    /// The configuration in force in the form of its file; each line tells where the value was given.
    #[must_use]
    pub fn show(&self) -> String {
        let lines: Vec<_> = self
            .settings()
            .into_iter()
            .map(|setting| match &setting.value {
                Some(value) => (
                    format!("{} = {}", setting.key.name, quoted(value)),
                    setting.origin.to_string(),
                ),
                None => (format!("# {} =", setting.key.name), "not set".to_owned()),
            })
            .collect();
        let width = lines
            .iter()
            .map(|(line, _)| line.len())
            .filter(|len| *len <= 60)
            .max()
            .unwrap_or(0);
        lines
            .into_iter()
            .map(|(line, origin)| format!("{line:width$}  # {origin}\n"))
            .collect()
    }

    /// Every key, its default and its meaning as a Markdown table.
    #[must_use]
    pub fn reference() -> String {
        let mut table = String::from("| key | default | meaning |\n|-|-|-|\n");
        for key in KEYS {
            let default = match key.default {
                Some("") => "empty".to_owned(),
                Some(default) => format!("`{default}`"),
                None => key.without.to_owned(),
            };
            let (name, meaning) = (key.environment(), key.meaning);
            // Writing to a string cannot fail.
            writeln!(table, "| `{name}` | {default} | {meaning} |").unwrap_or_default();
        }
        table
    }
}

/// A TOML string.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            control if control.is_control() => {
                write!(text, "\\u{:04X}", u32::from(control)).unwrap_or_default();
            }
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

//! Reading typed values out of the layers, key by key.
//!
//! Owns the collection of mistakes. Guarantees that reading goes on after one, so that all are found.

use super::keys::{KEYS, Key, Shown};
use super::layers::{Layers, Origin};
use super::mistake::{ConfigError, Mistake};
use super::secret::redacted;
use super::show::Setting;

pub(super) struct Reader {
    layers: Layers,
    settings: Vec<Setting>,
    mistaken: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        Self {
            layers,
            settings: Vec::with_capacity(KEYS.len()),
            mistaken: Vec::new(),
        }
    }

    /// The value of a key that has a default; after a mistake, the default.
    pub(super) fn read<T>(&mut self, name: &str, parse: fn(&str) -> Option<T>) -> T {
        let key = known(name);
        let default = key.default.unwrap_or_default();
        let given = self.layers.value(key).map(|(origin, text)| (origin, parse(text)));
        self.remember(key);
        match given {
            Some((_, Some(value))) => return value,
            Some((_, None)) => self.expected(name, key.expects),
            None => {}
        }
        parse(default).expect("every default is a value that its key accepts")
    }

    /// The value of a key without a default; an empty text is none.
    pub(super) fn read_optional<T>(&mut self, name: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let key = known(name);
        let given = self
            .layers
            .value(key)
            .filter(|(_, text)| !text.is_empty())
            .map(|(_, text)| parse(text));
        self.remember(key);
        match given {
            None => None,
            Some(Some(value)) => Some(value),
            Some(None) => {
                self.expected(name, key.expects);
                None
            }
        }
    }

    /// Says that the value of `name` is not what was expected.
    pub(super) fn expected(&mut self, name: &str, expects: &str) {
        let key = known(name);
        let (origin, text) = self
            .layers
            .value(key)
            .unwrap_or((Origin::Default, key.default.unwrap_or_default()));
        let what = match key.shown {
            Shown::Whole => format!("expected {expects}, found {text:?}"),
            Shown::WithoutPassword | Shown::Nothing => format!("expected {expects}"),
        };
        self.mistaken.push(key.name);
        let key = spelled(key, origin);
        self.layers.mistakes.push(Mistake {
            key,
            origin: origin.to_string(),
            what,
        });
    }

    /// Whether all of `names` were read without a mistake, so that they can be compared with each other.
    pub(super) fn are_sound(&self, names: &[&str]) -> bool {
        !self.mistaken.iter().any(|name| names.contains(name))
    }

    /// Says that `name` must be given, unless it was and is said to be wrong already.
    pub(super) fn missing(&mut self, name: &str) {
        let key = known(name);
        if self.layers.value(key).is_some_and(|(_, text)| !text.is_empty()) {
            return;
        }
        self.layers.mistakes.push(Mistake {
            key: key.environment(),
            origin: "required".to_owned(),
            what: format!("expected {}", key.expects),
        });
    }

    pub(super) fn finish(self) -> Result<Vec<Setting>, ConfigError> {
        if self.layers.mistakes.is_empty() {
            Ok(self.settings)
        } else {
            Err(ConfigError {
                mistakes: self.layers.mistakes,
            })
        }
    }

    fn remember(&mut self, key: &'static Key) {
        let (origin, text) = match self.layers.value(key) {
            Some((origin, text)) => (origin, Some(text)),
            None => (Origin::Default, key.default),
        };
        let value = text
            .filter(|text| !text.is_empty() || key.default.is_some())
            .map(|text| match key.shown {
                Shown::Whole => text.to_owned(),
                Shown::WithoutPassword => text.split(',').map(redacted_part).collect::<Vec<_>>().join(","),
                Shown::Nothing => "***".to_owned(),
            });
        self.settings.push(Setting { key, value, origin });
    }
}

/// Further hosts of a Sentinel or Cluster address have no scheme and no credentials of their own.
fn redacted_part(part: &str) -> String {
    if part.contains("://") || part.contains('@') {
        redacted(part)
    } else {
        part.to_owned()
    }
}

fn known(name: &str) -> &'static Key {
    Key::named(name).expect("only keys of the table are read")
}

fn spelled(key: &Key, origin: Origin) -> String {
    match origin {
        Origin::Flag => format!("--{}", key.name.replace('_', "-")),
        Origin::Environment | Origin::Default => key.environment(),
        Origin::File => key.name.to_owned(),
    }
}

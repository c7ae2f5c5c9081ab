//! The journal of configuration: what apps, endpoints and event types are, as a sequence of entries that RabbitMQ keeps.
//!
//! Owns the spelling of entries and how they are read from the first to the last. An entry tells the whole of one thing as
//! it is then, so that entries may repeat or overtake each other. A round tells everything anew: when it is complete,
//! what came before it no longer matters and may be dropped.
//! Guarantees that what was deleted stays deleted unless it is made again with a newer version, that an older version never replaces a newer one, and that a round that
//! was not finished takes nothing away. Refuses to know records and secrets: both travel as they are kept, secrets sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An endpoint as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointImage {
    /// Its id.
    pub id: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its record.
    pub record: String,
    /// Its secrets, sealed; empty when it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sealed: String,
}

/// An app with its endpoints as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppImage {
    /// Its id.
    pub id: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The version of the app and its endpoints.
    pub version: u64,
    /// Its record.
    pub record: String,
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<EndpointImage>,
}

/// The records of event types by their names.
pub type EventTypeImages = BTreeMap<String, String>;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JournalEntry {
    /// An app is this.
    App(AppImage),
    /// An app was deleted. One of that id that is newer was made again.
    AppGone {
        /// Its id.
        app: String,
        /// The version that was told of it last; an entry without one speaks of all.
        #[serde(default = "every_version")]
        version: u64,
    },
    /// The event types are these.
    EventTypes {
        /// All of them.
        types: EventTypeImages,
    },
    /// From here on everything is told anew.
    Begin {
        /// A word that names the round.
        round: String,
    },
    /// Everything was told since the beginning of this round.
    End {
        /// The word that names the round.
        round: String,
    },
    /// Somebody looks for the end of the journal. Means nothing.
    Look {
        /// A word by which it is recognised.
        word: String,
    },
    /// What a newer version wrote.
    #[serde(other)]
    Unknown,
}

fn every_version() -> u64 {
    u64::MAX
}

impl JournalEntry {
    /// The entry as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("string keys and plain values always serialise")
    }

    /// The entry in `text`.
    ///
    /// # Errors
    /// When it is not the JSON of an entry.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

/// All apps and event types as images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The apps, by their ids, in the order of their creation.
    pub apps: Vec<AppImage>,
    /// The event types.
    pub event_types: EventTypeImages,
}

impl Configuration {
    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.apps.is_empty() && self.event_types.is_empty()
    }
}

/// What was read of the journal so far.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    told: Told,
    round: Option<(String, Told)>,
    /// Apps that were deleted, and the newest version that is gone.
    gone: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default)]
struct Told {
    apps: BTreeMap<String, AppImage>,
    event_types: EventTypeImages,
}

impl Replay {
    /// Takes the next entry in.
    pub fn apply(&mut self, entry: JournalEntry) {
        match entry {
            JournalEntry::App(app) => {
                if self.gone.get(&app.id).is_some_and(|gone| *gone >= app.version) {
                    return;
                }
                if let Some((_, round)) = &mut self.round {
                    round.tell(app.clone());
                }
                self.told.tell(app);
            }
            JournalEntry::AppGone { app, version } => {
                if let Some((_, round)) = &mut self.round {
                    round.forget(&app, version);
                }
                self.told.forget(&app, version);
                let gone = self.gone.entry(app).or_default();
                *gone = version.max(*gone);
            }
            JournalEntry::EventTypes { types } => {
                if let Some((_, round)) = &mut self.round {
                    round.event_types.clone_from(&types);
                }
                self.told.event_types = types;
            }
            JournalEntry::Begin { round } => self.round = Some((round, Told::default())),
            JournalEntry::End { round } => {
                if let Some((_, mut all)) = self.round.take_if(|(begun, _)| *begun == round) {
                    // What a round tells may be older than what was told before it began.
                    for (id, newest) in &mut all.apps {
                        if let Some(held) = self
                            .told
                            .apps
                            .remove(id)
                            .filter(|held| held.version > newest.version)
                        {
                            *newest = held;
                        }
                    }
                    self.told = all;
                }
            }
            JournalEntry::Look { .. } | JournalEntry::Unknown => {}
        }
    }

    /// What the journal says.
    #[must_use]
    pub fn finish(self) -> Configuration {
        Configuration {
            apps: self.told.apps.into_values().collect(),
            event_types: self.told.event_types,
        }
    }
}

impl Told {
    fn tell(&mut self, app: AppImage) {
        if self
            .apps
            .get(&app.id)
            .is_none_or(|held| held.version <= app.version)
        {
            self.apps.insert(app.id.clone(), app);
        }
    }

    fn forget(&mut self, app: &str, version: u64) {
        if self.apps.get(app).is_some_and(|held| held.version <= version) {
            self.apps.remove(app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str, version: u64) -> JournalEntry {
        JournalEntry::App(AppImage {
            id: id.to_owned(),
            uid: None,
            version,
            record: format!("{id} at {version}"),
            endpoints: Vec::new(),
        })
    }

    fn gone(id: &str, version: u64) -> JournalEntry {
        JournalEntry::AppGone {
            app: id.to_owned(),
            version,
        }
    }

    fn begin(round: &str) -> JournalEntry {
        JournalEntry::Begin { round: round.into() }
    }

    fn end(round: &str) -> JournalEntry {
        JournalEntry::End { round: round.into() }
    }

    fn read(entries: impl IntoIterator<Item = JournalEntry>) -> Vec<(String, u64)> {
        let mut replay = Replay::default();
        for entry in entries {
            let text = entry.to_json();
            replay.apply(JournalEntry::parse(text.as_bytes()).unwrap());
        }
        let apps = replay.finish().apps.into_iter();
        apps.map(|app| (app.id, app.version)).collect()
    }

    fn are(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected
            .iter()
            .map(|(id, version)| ((*id).to_owned(), *version))
            .collect()
    }

    #[test]
    fn the_newest_version_counts_in_whatever_order_they_come() {
        assert_eq!(read([app("a", 1), app("a", 3), app("a", 2)]), are(&[("a", 3)]));
    }

    #[test]
    fn what_was_deleted_stays_deleted() {
        assert_eq!(
            read([app("a", 2), gone("a", 2), app("a", 1), app("a", 2), app("b", 1)]),
            are(&[("b", 1)])
        );
        assert_eq!(
            read([app("a", 1), begin("r"), app("a", 1), gone("a", 1), end("r")]),
            are(&[])
        );
    }

    #[test]
    fn what_was_deleted_and_made_again_is_there_in_whatever_order_they_come() {
        let told = [app("a", 2), gone("a", 2), app("a", 9)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(
                read(order.map(|at| told[at].clone())),
                are(&[("a", 9)]),
                "{order:?}"
            );
        }
        let again = [app("a", 2), gone("a", 2), app("a", 9), gone("a", 9), app("a", 9)];
        assert_eq!(read(again), are(&[]));
    }

    #[test]
    fn a_finished_round_is_all_there_is() {
        let told = [
            app("a", 1),
            app("b", 1),
            begin("r"),
            app("b", 1),
            end("r"),
            app("c", 1),
        ];
        assert_eq!(read(told), are(&[("b", 1), ("c", 1)]));
    }

    #[test]
    fn a_round_without_its_end_takes_nothing_away() {
        assert_eq!(
            read([app("a", 1), begin("r"), app("b", 1)]),
            are(&[("a", 1), ("b", 1)])
        );
        let two = [
            app("a", 1),
            begin("r"),
            app("b", 1),
            begin("s"),
            end("r"),
            app("c", 1),
        ];
        assert_eq!(read(two), are(&[("a", 1), ("b", 1), ("c", 1)]));
    }

    #[test]
    fn a_round_that_tells_something_older_does_not_bring_it_back() {
        assert_eq!(
            read([app("a", 5), begin("r"), app("a", 4), end("r")]),
            are(&[("a", 5)])
        );
    }

    #[test]
    fn the_beginning_may_be_missing_once_a_round_is_complete() {
        let told = [
            app("a", 1),
            begin("r"),
            app("a", 2),
            app("b", 1),
            end("r"),
            app("a", 3),
        ];
        let whole = read(told.clone());
        for dropped in 0..=1 {
            assert_eq!(read(told[dropped..].to_vec()), whole);
        }
    }

    #[test]
    fn what_a_newer_version_writes_is_passed_over() {
        assert_eq!(
            JournalEntry::parse(br#"{"kind":"colour","of":"sky"}"#).unwrap(),
            JournalEntry::Unknown
        );
        assert!(JournalEntry::parse(b"[]").is_err());
    }
}

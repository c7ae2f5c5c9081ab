//! What is to be done with a backup, given how it stands to what is there.
//!
//! Owns the decision for each part, and what is told of it. Pure: what is there comes in as an argument.

use nuncio_store::{AppStands, EventTypeStands, Stands};
use nuncio_wire::backup::Counts;
use nuncio_wire::journal::{AppImage, Configuration};

/// What becomes of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// There should be nothing that is not in the backup.
    IntoEmpty,
    /// It stays.
    Merge,
    /// What differs is put back.
    Overwrite,
}

/// What follows for one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Write,
    Same,
    Keep,
    LeaveOut,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What is to be written of apps and endpoints.
    pub(super) configuration: Configuration,
    /// Event types to be written: name, record, and what was found.
    pub(super) event_types: Vec<(String, String, EventTypeStands)>,
    /// How much that is.
    pub(super) written: Counts,
    /// What is there like that.
    same: Counts,
    /// What is there otherwise, and stays so.
    kept: Counts,
    /// Apps that are there and not in the backup.
    pub(super) strangers: usize,
    /// Parts that cannot be restored.
    pub(super) left_out: usize,
    /// What people should know of single parts.
    pub(super) remarks: Vec<String>,
}

/// Whether an app with that id is there.
pub(super) fn is_there(stands: &Stands) -> bool {
    matches!(stands, Stands::Same | Stands::Differs { .. })
}

impl Plan {
    /// Decides about an app.
    pub(super) fn take_app(&mut self, app: AppImage, stands: AppStands, how: How) {
        let id = app.id.clone();
        let fate = self.decide(&format!("the app {id}"), &stands.app, how);
        self.count(fate, |counts| &mut counts.apps);
        if fate == Fate::LeaveOut {
            return;
        }
        let mut endpoints = Vec::new();
        for (endpoint, stands) in app.endpoints.into_iter().zip(stands.endpoints) {
            let fate = self.decide(&format!("the endpoint {} of {id}", endpoint.id), &stands, how);
            self.count(fate, |counts| &mut counts.endpoints);
            if fate == Fate::Write {
                endpoints.push(endpoint);
            }
        }
        if fate == Fate::Write || !endpoints.is_empty() {
            self.configuration.apps.push(AppImage { endpoints, ..app });
        }
    }

    /// Decides about an event type.
    pub(super) fn take_event_type(&mut self, name: String, record: String, found: EventTypeStands, how: How) {
        let fate = self.decide(&format!("the event type {name}"), &found.stands, how);
        self.count(fate, |counts| &mut counts.event_types);
        if fate == Fate::Write {
            self.event_types.push((name, record, found));
        }
    }

    fn decide(&mut self, what: &str, stands: &Stands, how: How) -> Fate {
        let (fate, remark) = match (stands, how) {
            (Stands::Missing, _) => return Fate::Write,
            (Stands::Same, _) => return Fate::Same,
            (Stands::Differs { newer }, How::Overwrite) => {
                (Fate::Write, format!("is put back as it was{}", since(*newer)))
            }
            (Stands::Differs { newer }, _) => (
                Fate::Keep,
                format!("is there otherwise and stays so{}", since(*newer)),
            ),
            (Stands::Taken { by }, _) => (
                Fate::LeaveOut,
                format!("is left out: its uid belongs to {by}, which must give it up first"),
            ),
        };
        self.remarks.push(format!("{what} {remark}"));
        fate
    }

    fn count(&mut self, fate: Fate, of: impl Fn(&mut Counts) -> &mut usize) {
        let count = match fate {
            Fate::Write => of(&mut self.written),
            Fate::Same => of(&mut self.same),
            Fate::Keep => of(&mut self.kept),
            Fate::LeaveOut => &mut self.left_out,
        };
        *count += 1;
    }

    /// One line for each of what is written, what is the same, and what stays.
    pub(super) fn table(&self) -> String {
        let mut lines = vec![format!("to be written:      {}", self.written)];
        for (what, counts) in [
            ("there like that:    ", self.same),
            ("there, and kept:    ", self.kept),
        ] {
            if counts != Counts::default() {
                lines.push(format!("{what}{counts}"));
            }
        }
        if self.strangers > 0 {
            lines.push(format!("not in the backup:  {} apps", self.strangers));
        }
        lines.join("\n")
    }

    /// Why it is not done, if it is not.
    pub(super) fn refusal(&self, how: How) -> Option<String> {
        let kept = self.kept.apps + self.kept.endpoints + self.kept.event_types;
        if how != How::IntoEmpty || (kept == 0 && self.strangers == 0) {
            return None;
        }
        Some(format!(
            "nothing was changed: Redis is not empty. It holds {} apps that are not in the backup, and {kept} things that \
             differ from it. --merge adds what is missing and leaves these as they are; --overwrite also puts back what \
             differs; --dry-run with either shows what would be done",
            self.strangers
        ))
    }
}

fn since(newer: bool) -> &'static str {
    if newer {
        " (it was changed after the backup)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use nuncio_wire::journal::EndpointImage;

    use super::*;

    fn app(endpoints: &[&str]) -> AppImage {
        let endpoints = endpoints.iter().map(|id| EndpointImage {
            id: (*id).to_owned(),
            uid: None,
            record: "{}".to_owned(),
            sealed: String::new(),
        });
        AppImage {
            id: "app_1".to_owned(),
            uid: None,
            version: 1,
            record: "{}".to_owned(),
            endpoints: endpoints.collect(),
        }
    }

    fn plan(stands: AppStands, how: How) -> Plan {
        let mut plan = Plan::default();
        plan.take_app(app(&["ep_1", "ep_2"]), stands, how);
        plan
    }

    fn written(plan: &Plan) -> Vec<&str> {
        let apps = plan.configuration.apps.iter();
        apps.flat_map(|app| &app.endpoints)
            .map(|endpoint| endpoint.id.as_str())
            .collect()
    }

    const DIFFERS: Stands = Stands::Differs { newer: true };

    #[test]
    fn what_is_missing_is_written_and_what_is_the_same_is_not() {
        for how in [How::IntoEmpty, How::Merge, How::Overwrite] {
            let missing = AppStands {
                app: Stands::Missing,
                endpoints: vec![Stands::Missing, Stands::Missing],
            };
            let all = plan(missing, how);
            assert_eq!((written(&all), all.refusal(how)), (vec!["ep_1", "ep_2"], None));
            let same = AppStands {
                app: Stands::Same,
                endpoints: vec![Stands::Same, Stands::Missing],
            };
            let one = plan(same, how);
            assert_eq!((written(&one), one.refusal(how)), (vec!["ep_2"], None));
            assert!(one.remarks.is_empty());
        }
    }

    #[test]
    fn what_differs_is_overwritten_only_when_that_is_asked_for() {
        let stands = || AppStands {
            app: DIFFERS,
            endpoints: vec![DIFFERS, Stands::Missing],
        };
        let refused = plan(stands(), How::IntoEmpty);
        assert!(refused.refusal(How::IntoEmpty).is_some());
        let merged = plan(stands(), How::Merge);
        assert_eq!(
            (written(&merged), merged.refusal(How::Merge)),
            (vec!["ep_2"], None)
        );
        let over = plan(stands(), How::Overwrite);
        assert_eq!(written(&over), ["ep_1", "ep_2"]);
        assert_eq!(over.remarks.len(), 2, "what is overwritten is told");
    }

    #[test]
    fn an_app_whose_uid_is_taken_is_left_out_with_its_endpoints() {
        let stands = AppStands {
            app: Stands::Taken {
                by: "app_2".to_owned(),
            },
            endpoints: vec![Stands::Missing, Stands::Missing],
        };
        let plan = plan(stands, How::Merge);
        assert!(plan.configuration.apps.is_empty());
        assert_eq!(plan.left_out, 1);
        assert!(plan.remarks[0].contains("app_2"));
    }

    #[test]
    fn strangers_are_a_reason_to_ask() {
        let plan = Plan {
            strangers: 1,
            ..Plan::default()
        };
        assert!(plan.refusal(How::IntoEmpty).is_some());
        assert_eq!(plan.refusal(How::Merge), None);
    }
}

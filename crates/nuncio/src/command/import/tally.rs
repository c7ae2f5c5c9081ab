//! What became of all parts, counted, and what to do about those that were left out.

use nuncio_web::usecase::import::{Imported, ImportedEndpoint};
use nuncio_web::usecase::refusal::Refusal;

use crate::output;
use crate::progress::Progress;

/// Of one kind of thing.
#[derive(Debug, Default)]
struct Counts {
    created: usize,
    updated: usize,
    same: usize,
    kept: usize,
    left_out: usize,
}

/// Of everything.
pub(super) struct Tally {
    event_types: Counts,
    apps: Counts,
    endpoints: Counts,
    /// Endpoints that are here, but not all as they should be.
    incomplete: usize,
    progress: Progress,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            event_types: Counts::default(),
            apps: Counts::default(),
            endpoints: Counts::default(),
            incomplete: 0,
            progress: Progress::counting("endpoints seen"),
        }
    }

    pub(super) fn event_type(&mut self, name: &str, done: Result<Imported, String>) {
        count(&mut self.event_types, name, done);
    }

    pub(super) fn app(&mut self, name: &str, done: Result<Imported, String>) {
        count(&mut self.apps, name, done);
    }

    pub(super) fn endpoint(&mut self, name: &str, done: Result<ImportedEndpoint, String>) {
        self.progress.advance(1);
        let mut lacks = Vec::new();
        if let Ok(endpoint) = &done {
            if !endpoint.lacking_headers.is_empty() {
                lacks.push(format!(
                    "lacks the headers {}, whose values the server does not tell: set them here",
                    endpoint.lacking_headers.join(", ")
                ));
            }
            if endpoint.other_secret {
                lacks.push(
                    "has another secret here than there, and keeps it: --take-secrets takes that of the server".to_owned(),
                );
            }
        }
        self.incomplete += usize::from(!lacks.is_empty());
        for lack in lacks {
            output::note(&format!("{name} {lack}"));
        }
        count(&mut self.endpoints, name, done.map(|endpoint| endpoint.what));
    }

    /// Whether everything is here as it is there, or was changed here later.
    pub(super) fn is_whole(&self) -> bool {
        let kinds = [&self.event_types, &self.apps, &self.endpoints];
        self.incomplete == 0 && kinds.iter().all(|counts| counts.left_out == 0)
    }

    pub(super) fn table(&self) -> String {
        let kinds = [
            ("event types", &self.event_types),
            ("apps", &self.apps),
            ("endpoints", &self.endpoints),
        ];
        let mut table = String::new();
        for (name, counts) in kinds {
            table += &format!(
                "{name}: {} new, {} updated, {} as they were",
                counts.created, counts.updated, counts.same
            );
            for (some, what) in [
                (counts.kept, "changed here later, kept"),
                (counts.left_out, "LEFT OUT"),
            ] {
                if some > 0 {
                    table += &format!(", {some} {what}");
                }
            }
            table += "\n";
        }
        if self.incomplete > 0 {
            table += &format!(
                "{} endpoints are not yet as they are there, see above\n",
                self.incomplete
            );
        }
        table
    }
}

fn count(counts: &mut Counts, name: &str, done: Result<Imported, String>) {
    let count = match done {
        Ok(Imported::Created) => &mut counts.created,
        Ok(Imported::Updated) => &mut counts.updated,
        Ok(Imported::Same) => &mut counts.same,
        Ok(Imported::Kept) => {
            output::note(&format!("{name} was changed here later and stays as it is"));
            &mut counts.kept
        }
        Err(problem) => {
            output::note(&format!("{name} is left out: {problem}"));
            &mut counts.left_out
        }
    };
    *count += 1;
}

/// What to do about a field that cannot be accepted.
pub(super) fn advice(field: &[String]) -> &'static str {
    match field.first().map(String::as_str) {
        Some("url") => " (change it on the server, or allow its network with NUNCIO_EGRESS_ALLOW)",
        Some("secret") => {
            " (give the endpoint a whsec_ secret on the server, or add it here by hand and its secret to its receiver)"
        }
        Some(_) => " (change it on the server)",
        None => "",
    }
}

/// What to do about other refusals.
pub(super) fn advice_on(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Conflict {
            code: "limit_reached",
            ..
        } => ": raise NUNCIO_ENDPOINTS_PER_APP_MAX and import again",
        Refusal::Conflict { .. } => ": change or delete that here, and import again",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_and_what_is_incomplete_shows_in_the_table() {
        let mut tally = Tally::new();
        tally.event_type("a", Ok(Imported::Same));
        tally.app("b", Ok(Imported::Created));
        assert!(tally.is_whole());
        tally.endpoint("c", Err("no".to_owned()));
        assert!(!tally.is_whole());
        let lacking = ImportedEndpoint {
            what: Imported::Kept,
            other_secret: true,
            lacking_headers: vec!["authorization".to_owned()],
        };
        tally.endpoint("d", Ok(lacking));
        assert_eq!(
            tally.table(),
            "event types: 0 new, 0 updated, 1 as they were\n\
             apps: 1 new, 0 updated, 0 as they were\n\
             endpoints: 0 new, 0 updated, 0 as they were, 1 changed here later, kept, 1 LEFT OUT\n\
             1 endpoints are not yet as they are there, see above\n"
        );
    }
}

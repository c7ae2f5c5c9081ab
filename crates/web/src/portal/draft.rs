//! The form of an endpoint: what was typed, what it means, what is wrong with it.
//!
//! Guarantees that what was typed is shown again, and that each complaint stands beside its field. Refuses to decide
//! what is wrong: but for what is no number and no header line, the use cases say.

use std::collections::BTreeMap;

use nuncio_domain::Endpoint;

use super::credential::{is_credential, with_kept};
use super::list::types;
use crate::page::failure::{Failure, sentence};
use crate::page::form::Fields;
use crate::usecase::endpoints::{EndpointDraft, EndpointPatch};
use crate::usecase::refusal::{Complaint, Refusal};

/// What stands in the form's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) url: String,
    pub(super) description: String,
    /// Whether only chosen event types are wanted.
    pub(super) some_types: bool,
    pub(super) types: Vec<String>,
    /// Event types that are not in the catalogue.
    pub(super) other_types: String,
    pub(super) channels: String,
    pub(super) headers: String,
    pub(super) rate: String,
    pub(super) secret: String,
}

/// What is wrong, by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mistakes(BTreeMap<&'static str, String>);

/// The form's fields, by the names that complaints give them.
const FIELDS: [(&str, &str); 7] = [
    ("url", "url"),
    ("description", "description"),
    ("eventTypes", "types"),
    ("channels", "channels"),
    ("headers", "headers"),
    ("throttleRate", "rate"),
    ("secret", "secret"),
];

impl Mistakes {
    /// What is wrong with a field; empty when nothing is.
    pub(super) fn of(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are any in the part of the form that is folded away.
    pub(super) fn advanced(&self) -> bool {
        ["channels", "headers", "rate", "secret"]
            .iter()
            .any(|field| self.0.contains_key(field))
    }

    /// All of them, for scripts: every field has its text, empty where nothing is wrong.
    pub(super) fn all(&self) -> BTreeMap<&'static str, &str> {
        FIELDS.iter().map(|&(_, field)| (field, self.of(field))).collect()
    }

    fn add(&mut self, field: &'static str, message: &str) {
        let text = self.0.entry(field).or_default();
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&sentence(message));
    }

    fn complain(&mut self, complaint: &Complaint) {
        let first = complaint.field.first().map_or("", String::as_str);
        let field = FIELDS.iter().find(|(name, _)| *name == first);
        self.add(field.map_or("url", |&(_, field)| field), &complaint.message);
    }

    /// The complaints in a refusal.
    ///
    /// # Errors
    /// The refusal, where it is not about fields.
    pub(super) fn take(&mut self, refusal: Refusal) -> Result<(), Failure> {
        match refusal {
            Refusal::Invalid(complaints) => {
                for complaint in &complaints {
                    self.complain(complaint);
                }
                Ok(())
            }
            Refusal::Impossible {
                code: "limit_reached",
                detail,
            }
            | Refusal::Conflict { detail, .. } => {
                self.add("url", &detail);
                Ok(())
            }
            refusal => Err(refusal.into()),
        }
    }
}

impl Typed {
    /// What was sent.
    pub(super) fn read(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            url: text("url"),
            description: text("description"),
            some_types: fields.text("filter") == "some",
            types: fields.all("type"),
            other_types: text("other_types"),
            channels: text("channels"),
            headers: text("headers"),
            rate: text("rate"),
            secret: text("secret"),
        }
    }

    /// What an endpoint is now, but for the values of credentials; types that are not in the catalogue stand in a field
    /// of their own.
    pub(super) fn of(endpoint: &Endpoint, catalogue: &[String]) -> Self {
        let (types, others): (Vec<_>, Vec<_>) = types(endpoint)
            .into_iter()
            .partition(|name| catalogue.contains(name));
        let channels: Vec<_> = endpoint
            .channels
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let headers = endpoint.headers.iter().map(|(name, value)| {
            if is_credential(name) {
                format!("{name}:")
            } else {
                format!("{name}: {value}")
            }
        });
        Self {
            url: endpoint.url.clone(),
            description: endpoint.description.clone(),
            some_types: endpoint.event_types.is_some(),
            types,
            other_types: others.join(", "),
            channels: channels.join(", "),
            headers: headers.collect::<Vec<_>>().join("\n"),
            rate: endpoint
                .throttle_rate
                .map(|rate| rate.to_string())
                .unwrap_or_default(),
            secret: String::new(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.types.iter().any(|known| known == name)
    }

    fn event_types(&self) -> Option<Vec<String>> {
        let mut types = self.types.clone();
        types.extend(words(&self.other_types));
        self.some_types.then_some(types)
    }

    fn headers(&self, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::new();
        for line in self
            .headers
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            match line.split_once(':') {
                Some((name, value)) => {
                    if headers
                        .insert(name.trim().to_owned(), value.trim().to_owned())
                        .is_some()
                    {
                        mistakes.add("headers", &format!("`{}` is there twice", name.trim()));
                    }
                }
                None => mistakes.add("headers", &format!("`{line}` is not of the form `Name: value`")),
            }
        }
        headers
    }

    fn rate(&self, mistakes: &mut Mistakes) -> Option<u64> {
        if self.rate.is_empty() {
            return None;
        }
        let rate = self.rate.parse().ok();
        if rate.is_none() {
            mistakes.add("rate", "must be a whole number of messages a second");
        }
        rate
    }

    /// The endpoint that it describes, and what is wrong before anybody is asked.
    pub(super) fn draft(&self) -> (EndpointDraft, Mistakes) {
        let mut mistakes = Mistakes::default();
        let channels: Vec<_> = words(&self.channels).collect();
        let draft = EndpointDraft {
            url: self.url.clone(),
            description: self.description.clone(),
            event_types: self.event_types(),
            channels: Some(channels).filter(|channels| !channels.is_empty()),
            throttle_rate: self.rate(&mut mistakes),
            headers: Some(self.headers(&mut mistakes)),
            secret: Some(self.secret.clone()).filter(|secret| !secret.is_empty()),
            ..EndpointDraft::default()
        };
        (draft, mistakes)
    }

    /// The same as a change to an endpoint that is there: its secret stays, and credentials that were left blank.
    pub(super) fn patch(&self, endpoint: &Endpoint) -> (EndpointPatch, Mistakes) {
        let (draft, mistakes) = self.draft();
        let patch = EndpointPatch {
            url: Some(draft.url),
            description: Some(draft.description),
            event_types: Some(draft.event_types),
            channels: Some(draft.channels),
            throttle_rate: Some(draft.throttle_rate),
            headers: draft.headers.map(|typed| with_kept(typed, &endpoint.headers)),
            ..EndpointPatch::default()
        };
        (patch, mistakes)
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split([',', ' ', '\n', '\t'])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::list::tests::hostile;

    #[test]
    fn what_is_typed_becomes_an_endpoint() {
        let fields = Fields::parse(
            b"url=https://x/&filter=some&type=a&type=b&other_types=c,+d&headers=X-A:+1%0Ax-b:2&rate=5&channels=",
        );
        let (draft, mistakes) = Typed::read(&fields).draft();
        assert!(mistakes.is_empty());
        assert_eq!(draft.event_types.unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(
            (draft.channels, draft.throttle_rate, draft.secret),
            (None, Some(5), None)
        );
        let headers = draft.headers.unwrap();
        assert_eq!((headers["X-A"].as_str(), headers["x-b"].as_str()), ("1", "2"));
    }

    #[test]
    fn mistakes_stand_beside_their_fields() {
        let fields = Fields::parse(b"headers=no+colon%0Aa:1%0Aa:2&rate=fast");
        let (_, mut mistakes) = Typed::read(&fields).draft();
        assert_eq!(
            mistakes.of("rate"),
            "Must be a whole number of messages a second."
        );
        assert_eq!(
            mistakes.of("headers"),
            "“no colon” is not of the form “Name: value”. “a” is there twice."
        );
        let complaint = |field: &[&str], message: &str| Complaint {
            field: field.iter().map(|&part| part.to_owned()).collect(),
            message: message.to_owned(),
            kind: "value_error",
        };
        let refusal = Refusal::Invalid(vec![
            complaint(&["url"], "bad"),
            complaint(&["eventTypes", "0"], "no"),
        ]);
        mistakes.take(refusal).unwrap();
        assert_eq!((mistakes.of("url"), mistakes.of("types")), ("Bad.", "No."));
        assert!(mistakes.advanced() && mistakes.all().len() == FIELDS.len());
        assert!(mistakes.take(Refusal::Changed).is_err());
    }

    #[test]
    fn an_endpoint_fills_the_form_that_describes_it() {
        let endpoint = hostile();
        let typed = Typed::of(&endpoint, &["sync.user".to_owned()]);
        assert!(typed.some_types && typed.has("sync.user") && typed.other_types.is_empty());
        let (patch, mistakes) = typed.patch(&endpoint);
        assert!(mistakes.is_empty());
        assert_eq!(
            (patch.url, patch.headers),
            (Some(endpoint.url.clone()), Some(endpoint.headers.clone()))
        );
        assert_eq!(Typed::of(&endpoint, &[]).other_types, "sync.user");
    }

    #[test]
    fn a_credential_is_not_in_the_form_and_stays_when_it_is_sent() {
        let mut endpoint = hostile();
        endpoint
            .headers
            .insert("Authorization".to_owned(), "Bearer abc".to_owned());
        let typed = Typed::of(&endpoint, &[]);
        assert!(
            typed.headers.contains("Authorization:") && !typed.headers.contains("abc"),
            "{typed:?}"
        );
        let (patch, _) = typed.patch(&endpoint);
        assert_eq!(patch.headers, Some(endpoint.headers));
    }
}

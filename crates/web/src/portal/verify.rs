//! Code that verifies a delivery's signature, to copy, in six languages.
//!
//! Guarantees that it reads the headers that are sent, takes several signatures as during a rotation, compares in
//! constant time, and refuses what is older than five minutes.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::visitor::{Can, Head, Visitor};
use crate::api::path::{At, EndpointAt};
use crate::page::form::Fields;
use crate::page::shell::Shell;
use crate::page::{Answer, SignaturePrefix, Web, show};

const LANGUAGES: [(&str, &str, &str); 6] = [
    ("node", "Node.js", include_str!("../../assets/verify/node.js.txt")),
    (
        "python",
        "Python",
        include_str!("../../assets/verify/python.py.txt"),
    ),
    ("go", "Go", include_str!("../../assets/verify/go.go.txt")),
    ("ruby", "Ruby", include_str!("../../assets/verify/ruby.rb.txt")),
    ("php", "PHP", include_str!("../../assets/verify/php.php.txt")),
    ("java", "Java", include_str!("../../assets/verify/java.java.txt")),
];
/// What stands in the code for the headers' prefix.
const PREFIX: &str = "@prefix@";

#[derive(Template)]
#[template(path = "portal/verify.html")]
struct VerifyPage {
    shell: Shell,
    can: Can,
    head: Head,
    prefix: &'static str,
    languages: Vec<(&'static str, &'static str, bool)>,
    name: &'static str,
    code: String,
}

pub(super) async fn verify(
    State(web): State<Arc<Web>>,
    visitor: Visitor,
    At(at): At<EndpointAt>,
    fields: Fields,
) -> Answer {
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    let wanted = fields.text("lang");
    let (chosen, name, code) = LANGUAGES
        .into_iter()
        .find(|(key, _, _)| *key == wanted)
        .unwrap_or(LANGUAGES[0]);
    let prefix = web.settings.signature_prefix;
    let head = Head::of(&endpoint);
    show(&VerifyPage {
        shell: visitor.shell(head.title("Verify"), "/portal/endpoints"),
        can: visitor.can,
        head,
        prefix: prefix.as_str(),
        languages: LANGUAGES
            .into_iter()
            .map(|(key, name, _)| (key, name, key == chosen))
            .collect(),
        name,
        code: filled(code, prefix),
    })
}

/// The code with the headers' names in it.
fn filled(code: &str, prefix: SignaturePrefix) -> String {
    let php = format!("HTTP_{}_", prefix.as_str().to_uppercase());
    code.replace("HTTP_@PREFIX@_", &php)
        .replace(PREFIX, prefix.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_reads_the_headers_that_are_sent() {
        for (_, name, code) in LANGUAGES {
            for prefix in [SignaturePrefix::Webhook, SignaturePrefix::Svix] {
                let code = filled(code, prefix);
                assert!(!code.to_lowercase().contains("@prefix@"), "{name}");
                for part in ["id", "timestamp", "signature"] {
                    let header = format!("{}-{part}", prefix.as_str());
                    assert!(
                        code.to_lowercase().replace('_', "-").contains(&header),
                        "{name}: {header}"
                    );
                }
            }
        }
    }
}

//! Headers that carry credentials: pages name them and never show their values.
//!
//! Guarantees that whatever the API keeps to itself is kept here too; goes by the words in a name, so that a customer's
//! own `X-Acme-Token` counts as well. Refuses to know what a value is.

use std::collections::BTreeMap;

/// What the name of a header with a credential holds.
const WORDS: [&str; 9] = [
    "auth",
    "cookie",
    "credential",
    "csrf",
    "key",
    "pass",
    "secret",
    "session",
    "token",
];

/// Whether a header of that name carries a credential.
pub(super) fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Headers as pages show them: without the values of credentials.
pub(super) fn masked(headers: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
    let shown = |(name, value): (&String, &String)| {
        let value = (!is_credential(name)).then(|| value.clone());
        (name.clone(), value)
    };
    headers.iter().map(shown).collect()
}

/// The headers that were typed; a credential without a value keeps the one that it had.
pub(super) fn with_kept(
    typed: BTreeMap<String, String>,
    before: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let filled = typed.into_iter().map(|(name, value)| {
        let known = before.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        match known {
            Some((_, kept)) if value.is_empty() && is_credential(&name) => (name, kept.clone()),
            _ => (name, value),
        }
    });
    filled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::endpoint::SENSITIVE;

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        owned.collect()
    }

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "Authorization",
            "cookie",
            "X-API-Key",
            "x-auth-token",
            "X-CSRF-Token",
            "x-secret",
            "X-Acme-Token",
            "X-Passphrase",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in ["x-environment", "X-Team", "x-own", "accept-language"] {
            assert!(!is_credential(name), "{name}");
        }
    }

    #[test]
    fn what_the_api_keeps_to_itself_is_a_credential() {
        for name in SENSITIVE {
            assert!(is_credential(name), "{name}");
        }
    }

    #[test]
    fn only_what_is_no_credential_is_shown() {
        let shown = masked(&headers(&[("Authorization", "Bearer abc"), ("x-team", "blue")]));
        assert_eq!(
            shown,
            [
                ("Authorization".to_owned(), None),
                ("x-team".to_owned(), Some("blue".to_owned()))
            ]
        );
    }

    #[test]
    fn a_credential_left_blank_keeps_its_value_and_one_left_out_goes() {
        let before = headers(&[
            ("Authorization", "Bearer abc"),
            ("x-api-key", "1"),
            ("x-team", "blue"),
        ]);
        let typed = headers(&[("authorization", ""), ("x-team", "")]);
        assert_eq!(
            with_kept(typed, &before),
            headers(&[("authorization", "Bearer abc"), ("x-team", "")])
        );
        let typed = headers(&[("Authorization", "Bearer new")]);
        assert_eq!(with_kept(typed.clone(), &before), typed);
    }
}

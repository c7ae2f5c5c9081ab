//! Looking into a payload, which is otherwise only carried.
//!
//! Owns the reading of one field. Guarantees that a payload without it is no error. Refuses to change payloads.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The JSON text of `field` at the top of the object in `payload`, where it is a text or a number.
#[must_use]
pub fn scalar<'a>(payload: &'a [u8], field: &str) -> Option<&'a str> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(payload).ok()?;
    let text = fields.get(field)?.get();
    text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_at_the_top_are_found_and_nothing_else() {
        let payload = br#"{"type":"sync.user","userId":"user_1","n":-7,"on":true,"no":null,"in":{"userId":"x"},"l":[1]}"#;
        let cases = [
            ("userId", Some("\"user_1\"")),
            ("n", Some("-7")),
            ("on", None),
            ("no", None),
            ("in", None),
            ("l", None),
            ("absent", None),
        ];
        for (field, expected) in cases {
            assert_eq!(scalar(payload, field), expected, "{field}");
        }
        for other in ["[]", "\"userId\"", "7", "{", ""] {
            assert_eq!(scalar(other.as_bytes(), "userId"), None, "{other}");
        }
    }
}

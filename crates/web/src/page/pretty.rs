//! JSON laid out for reading.
//!
//! Guarantees that nothing but space between tokens changes: numbers, escapes and the order of keys stay as they were
//! sent, and a text that is no JSON stays as it is.

/// The same JSON over several lines.
pub(crate) fn pretty(json: &str) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len() * 2);
    let (mut in_string, mut escaped, mut opened) = (false, false, false);
    let mut depth = 0_usize;
    for char in json.chars() {
        if in_string {
            out.push(char);
            in_string = escaped || char != '"';
            escaped = !escaped && char == '\\';
            continue;
        }
        if char.is_ascii_whitespace() {
            continue;
        }
        let closes = matches!(char, '}' | ']');
        if opened && !closes {
            line(&mut out, depth);
        }
        match char {
            '{' | '[' => {
                out.push(char);
                depth += 1;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !opened {
                    line(&mut out, depth);
                }
                out.push(char);
            }
            ',' => {
                out.push(char);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = char == '"';
                out.push(char);
            }
        }
        opened = matches!(char, '{' | '[');
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_space_between_tokens_changes() {
        let sent = r#"{"b":[1.10,{}, []],"a":"x, {\"y\\\"}: [","n":12345678901234567890}"#;
        let shown = "{\n  \"b\": [\n    1.10,\n    {},\n    []\n  ],\n  \"a\": \"x, {\\\"y\\\\\\\"}: [\",\n  \
                     \"n\": 12345678901234567890\n}";
        assert_eq!(pretty(sent), shown);
        assert_eq!(pretty("{not json"), "{not json");
    }
}

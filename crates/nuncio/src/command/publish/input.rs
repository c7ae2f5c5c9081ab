//! Events out of lines: one JSON object each.
//!
//! Owns the form of a line and its length. Guarantees that a payload is taken byte for byte, and that a bad line is
//! refused with what was expected and never stops those behind it.
//! Refuses to know where lines come from, and what of an event the producer checks itself.

use nuncio_domain::{Channel, Event, EventTypeName};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Bytes of a line beside its payload: app, type, id, channels and their names.
const ENVELOPE_BYTES_MAX: usize = 16 * 1024;

/// What lines may leave out, and how much they may hold.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// The app of a line that names none.
    pub(super) app: Option<String>,
    /// Bytes of the biggest payload; the producer refuses more, this merely bounds a line.
    pub(super) payload_bytes_max: usize,
}

/// A line as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    app: Option<String>,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    id: Option<String>,
    #[serde(default)]
    channels: Vec<String>,
}

/// The parts of an event as a person gave them.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) app: Option<String>,
    pub(super) event_type: String,
    pub(super) payload: String,
    pub(super) id: Option<String>,
    pub(super) channels: Vec<String>,
}

impl Rules {
    /// The event in one line.
    pub(super) fn read(&self, line: &[u8]) -> Result<Event, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            format!("expected {{\"type\": …, \"payload\": …}} with app, id or channels beside them: {error}")
        })?;
        self.event(Given {
            app: line.app,
            event_type: line.event_type,
            payload: line.payload.get().to_owned(),
            id: line.id,
            channels: line.channels,
        })
    }

    /// The event that was given.
    pub(super) fn event(&self, given: Given) -> Result<Event, String> {
        let app = given.app.or_else(|| self.app.clone());
        let app = app
            .filter(|app| !app.is_empty())
            .ok_or("no app: name one in the line or by --app")?;
        let channel =
            |name: &String| Channel::parse(name).map_err(|error| format!("channel {name:?}: {error}"));
        Ok(Event {
            app,
            event_type: EventTypeName::parse(&given.event_type)
                .map_err(|error| format!("type {:?}: {error}", given.event_type))?,
            payload: given.payload.into_bytes(),
            event_id: given.id,
            channels: given.channels.iter().map(channel).collect::<Result<_, _>>()?,
        })
    }

    /// The longest line that can hold an acceptable event.
    pub(super) fn line_bytes_max(&self) -> usize {
        self.payload_bytes_max.saturating_add(ENVELOPE_BYTES_MAX)
    }
}

/// What was read of one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The line without its end.
    Line(Vec<u8>),
    /// A line longer than allowed, skipped.
    TooLong,
    /// There are no more.
    End,
}

/// Reads the next line, holding no more than `bytes_max` of it in memory.
pub(super) async fn next_line(
    input: &mut (impl AsyncBufRead + Unpin),
    bytes_max: usize,
) -> std::io::Result<Read> {
    let (mut line, mut too_long, mut any) = (Vec::new(), false, false);
    loop {
        let buffer = input.fill_buf().await?;
        if buffer.is_empty() {
            break;
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        if !too_long && line.len() + part.len() <= bytes_max {
            line.extend_from_slice(part);
        } else {
            too_long = true;
            line.clear();
        }
        let consumed = part.len() + usize::from(end.is_some());
        input.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    Ok(match (any, too_long) {
        (false, _) => Read::End,
        (true, true) => Read::TooLong,
        (true, false) => Read::Line(line),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    fn rules(app: Option<&str>) -> Rules {
        Rules {
            app: app.map(str::to_owned),
            payload_bytes_max: 64,
        }
    }

    #[test]
    fn a_payload_is_taken_byte_for_byte() {
        let line =
            br#" {"type":"sync.user", "payload": {"b" : 1.0,"a":"\u00fc"}, "id":"e1","channels":["eu"]} "#;
        let event = rules(Some("acme")).read(line).unwrap();
        assert_eq!(event.app, "acme");
        assert_eq!(event.event_type.as_str(), "sync.user");
        assert_eq!(event.payload, br#"{"b" : 1.0,"a":"\u00fc"}"#);
        assert_eq!(event.event_id.as_deref(), Some("e1"));
        assert_eq!(event.channels.len(), 1);
    }

    #[test]
    fn a_line_names_its_own_app_first() {
        let line = br#"{"app":"globex","type":"t","payload":null}"#;
        assert_eq!(rules(Some("acme")).read(line).unwrap().app, "globex");
    }

    #[test]
    fn a_bad_line_says_what_was_expected() {
        let cases = [
            ("", "expected {\"type\""),
            ("[]", "expected {\"type\""),
            (r#"{"type":"t"}"#, "missing field `payload`"),
            (r#"{"type":"t","payload":{}} x"#, "trailing"),
            (
                r#"{"type":"t","payload":{},"paylod":1}"#,
                "unknown field `paylod`",
            ),
            (r#"{"type":"no spaces","payload":{}}"#, "type \"no spaces\""),
            (
                r#"{"type":"t","payload":{},"channels":["a b"]}"#,
                "channel \"a b\"",
            ),
        ];
        for (line, expected) in cases {
            let error = rules(Some("acme")).read(line.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
        let error = rules(None).read(br#"{"type":"t","payload":{}}"#).unwrap_err();
        assert!(error.starts_with("no app"), "{error}");
    }

    #[tokio::test]
    async fn lines_are_read_whole_and_long_ones_are_skipped_whole() {
        let text = format!("one\n\n{}\ntwo", "x".repeat(1_000));
        let mut input = BufReader::with_capacity(7, text.as_bytes());
        let mut read = Vec::new();
        loop {
            match next_line(&mut input, 100).await.unwrap() {
                Read::End => break,
                line => read.push(line),
            }
        }
        let line = |text: &str| Read::Line(text.as_bytes().to_vec());
        assert_eq!(read, [line("one"), line(""), Read::TooLong, line("two")]);
    }
}

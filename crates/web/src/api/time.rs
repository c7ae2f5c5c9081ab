//! Times on the wire: RFC 3339 in UTC, to the millisecond.
//!
//! Guarantees that what is written can be read back, and that times are read with any offset, or none for UTC.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nuncio_domain::UnixMillis;
use serde::Serializer;

/// The time as text.
pub(crate) fn show_time(at: UnixMillis) -> String {
    let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

/// The time in `text`. A space where the offset's plus sign belongs is what is left of one that was not encoded; ` UTC` is
/// how some libraries write a time for people.
pub(crate) fn parse_time(text: &str) -> Option<UnixMillis> {
    let repaired = match text.rsplit_once(' ') {
        Some((time, "UTC")) => format!("{time}Z"),
        Some((time, offset)) if time.contains('T') => format!("{time}+{offset}"),
        _ => text.to_owned(),
    };
    let at = match repaired.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_without_offset) => repaired
            .parse::<DateTime>()
            .ok()?
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp(),
    };
    Some(UnixMillis(at.as_millisecond()))
}

pub(crate) fn serialize<S: Serializer>(at: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_time(*at))
}

/// For times that may be missing.
pub(crate) mod optional {
    use super::{Serializer, UnixMillis};

    #[expect(clippy::ref_option, reason = "the shape that serde's `with` calls")]
    pub(crate) fn serialize<S: Serializer>(
        at: &Option<UnixMillis>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_any_offset_or_none() {
        let noon = Some(UnixMillis(1_769_860_800_000));
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.000Z",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00 00:00",
            "2026-01-31T13:00:00+01:00",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00.000000",
            "2026-01-31 12:00:00 UTC",
            "2026-01-31 12:00:00.000000 UTC",
        ] {
            assert_eq!(parse_time(text), noon, "{text}");
        }
        for text in [
            "",
            "yesterday",
            "1769860800",
            "2026-13-01T00:00:00Z",
            "2026-01-31T25:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for at in [0, 1, 1_769_860_800_123, -5] {
            assert_eq!(parse_time(&show_time(UnixMillis(at))), Some(UnixMillis(at)));
        }
        assert_eq!(
            show_time(UnixMillis(1_769_860_800_123)),
            "2026-01-31T12:00:00.123Z"
        );
        assert_eq!(show_time(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
    }
}

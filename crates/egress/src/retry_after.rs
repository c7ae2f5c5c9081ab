//! The `Retry-After` header: seconds or an HTTP date, from an endpoint that nobody has to trust.
//!
//! Guarantees a wait from zero to [`RETRY_AFTER_MAX`]; what cannot be read is as if it were not there.
//! Refuses to know the clock: the present comes in as an argument.

use std::time::{Duration, UNIX_EPOCH};

use nuncio_domain::UnixMillis;

/// The longest wait that an endpoint may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a response with this status asks to be left alone.
///
/// Only 429, 502, 503 and 504 may ask. A date in the past asks for no wait.
#[must_use]
pub fn retry_after(status: u16, value: Option<&[u8]>, now: UnixMillis) -> Option<Duration> {
    if !matches!(status, 429 | 502 | 503 | 504) {
        return None;
    }
    let text = std::str::from_utf8(value?).ok()?.trim_matches([' ', '\t']);
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too big to hold is still a number: the longest wait there is.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(text)
            .ok()?
            .duration_since(UNIX_EPOCH)
            .ok()?;
        let until = UnixMillis(i64::try_from(until.as_millis()).ok()?);
        until.since(now)
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    // 2026-11-23T12:00:00Z
    const NOW: UnixMillis = UnixMillis(1_795_435_200_000);

    fn asked(value: &str) -> Option<Duration> {
        retry_after(503, Some(value.as_bytes()), NOW)
    }

    #[test]
    fn seconds_and_dates_in_all_three_forms_are_read() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(asked("0"), Some(Duration::ZERO));
        assert_eq!(asked("60"), minute);
        assert_eq!(asked(" 60\t"), minute);
        assert_eq!(asked("Mon, 23 Nov 2026 12:01:00 GMT"), minute);
        assert_eq!(asked("Monday, 23-Nov-26 12:01:00 GMT"), minute);
        assert_eq!(asked("Mon Nov 23 12:01:00 2026"), minute);
    }

    #[test]
    fn waits_are_capped_at_a_day_and_past_dates_ask_for_none() {
        for value in [
            "86401",
            "18446744073709551615",
            "99999999999999999999999",
            "Wed, 23 Nov 2033 12:00:00 GMT",
        ] {
            assert_eq!(asked(value), Some(RETRY_AFTER_MAX), "{value}");
        }
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn junk_is_as_if_there_were_no_header() {
        for value in [
            "",
            "-1",
            "+5",
            "1.5",
            "1e99",
            "soon",
            "60 seconds",
            "0x10",
            "Mon, 99 Nov 2026 12:01:00 GMT",
            "６０",
        ] {
            assert_eq!(asked(value), None, "{value:?}");
        }
        assert_eq!(retry_after(503, Some(b"\xff\xfe"), NOW), None);
        assert_eq!(retry_after(503, None, NOW), None);
    }

    #[test]
    fn only_four_statuses_may_ask() {
        for status in 100..=599 {
            let expected = matches!(status, 429 | 502 | 503 | 504).then_some(Duration::from_secs(5));
            assert_eq!(retry_after(status, Some(b"5"), NOW), expected, "{status}");
        }
    }
}

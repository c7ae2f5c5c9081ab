//! Small parts that many pages hold: times, badges, durations, figures.
//!
//! Guarantees that a time is machine-readable, so that the viewer's zone can be applied, and readable without scripts.

use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;
use jiff::Timestamp;
use nuncio_domain::{
    Attempt, DeliveryState, DeliveryStatus, DisabledReason, Endpoint, EndpointState, Outcome, UnixMillis,
};

/// A point in time.
#[derive(Debug, Clone, Template)]
#[template(
    source = r#"<time datetime="{{ iso }}" data-when="{{ kind }}">{{ text }}</time>"#,
    ext = "html"
)]
pub(crate) struct When {
    pub(crate) iso: String,
    kind: &'static str,
    text: String,
}

impl HtmlSafe for When {}

/// How long an endpoint only fails before pages speak of it.
const HICCUP: Duration = Duration::from_secs(60);

impl When {
    fn new(at: UnixMillis, kind: &'static str) -> Self {
        let at = Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            iso: at.to_string(),
            kind,
            text: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        }
    }

    /// Shown as how long ago, or in how long.
    pub(crate) fn relative(at: UnixMillis) -> Self {
        Self::new(at, "relative")
    }

    /// Shown to the second.
    pub(crate) fn exact(at: UnixMillis) -> Self {
        Self::new(at, "exact")
    }

    /// Counted down to.
    pub(crate) fn countdown(at: UnixMillis) -> Self {
        Self::new(at, "countdown")
    }

    /// Shown as the hour of the day, for the axis of a chart.
    pub(crate) fn hour(at: UnixMillis) -> Self {
        Self::new(at, "hour")
    }
}

/// A word about a state, with a colour that says the same.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="badge {{ tone }}"{% if !title.is_empty() %} title="{{ title }}"{% endif %}>{{ text }}</span>"#,
    ext = "html"
)]
pub(crate) struct Badge {
    pub(crate) tone: &'static str,
    pub(crate) text: String,
    pub(crate) title: String,
}

impl HtmlSafe for Badge {}

impl Badge {
    pub(crate) fn new(tone: &'static str, text: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            tone,
            text: text.into(),
            title: title.into(),
        }
    }

    /// What an endpoint does with its messages.
    pub(crate) fn of_endpoint(endpoint: &Endpoint) -> Self {
        match endpoint.state {
            EndpointState::Active => Self::new("good", "Active", ""),
            EndpointState::Paused { .. } => Self::new("warn", "Paused", "Messages wait until it is resumed"),
            EndpointState::Disabled { reason, .. } => Self::new("bad", "Disabled", why_disabled(reason)),
        }
    }

    /// In place of that, for one that only fails.
    pub(crate) fn failing() -> Self {
        Self::new("bad", "Failing", "Every attempt has failed")
    }

    /// How a delivery stands.
    pub(crate) fn of_delivery(state: &DeliveryState) -> Self {
        match state.status {
            DeliveryStatus::Pending => Self::new("info", "Waiting", "Its first attempt is to come"),
            DeliveryStatus::Retrying { .. } => Self::new("warn", "Retrying", "It will be tried again"),
            DeliveryStatus::Delivered => Self::new("good", "Delivered", ""),
            DeliveryStatus::Exhausted => Self::new("bad", "Failed", "All attempts are used up"),
            DeliveryStatus::Disabled => Self::new(
                "bad",
                "Failed",
                "The endpoint was disabled before it could be delivered",
            ),
            DeliveryStatus::Deleted => Self::new("quiet", "Dropped", "The endpoint was deleted"),
            DeliveryStatus::Superseded => Self::new(
                "quiet",
                "Replaced",
                "A later event about the same thing took its place, or it was sent again since",
            ),
        }
    }

    /// How an attempt ended.
    pub(crate) fn of_attempt(attempt: &Attempt) -> Self {
        let tone = match attempt.outcome {
            Outcome::Accepted(_) => "good",
            _ => "bad",
        };
        let text = match &attempt.outcome {
            Outcome::TimedOut(_) => "Timed out".to_owned(),
            Outcome::Unreachable(_) => "No response".to_owned(),
            outcome => outcome
                .status()
                .map(|status| status.to_string())
                .unwrap_or_default(),
        };
        Self::new(tone, text, explain(&attempt.outcome))
    }
}

/// For how long an endpoint that is to receive has only failed, once that is more than a hiccup.
pub(crate) fn failing_for(
    endpoint: &Endpoint,
    since: Option<UnixMillis>,
    now: UnixMillis,
) -> Option<Duration> {
    let active = matches!(endpoint.state, EndpointState::Active);
    let long = now.since(since?);
    (active && long >= HICCUP).then_some(long)
}

/// Why an endpoint is disabled, for people.
pub(crate) fn why_disabled(reason: DisabledReason) -> &'static str {
    match reason {
        DisabledReason::Manual => "It was switched off by hand",
        DisabledReason::Gone => "It answered 410 Gone, which asks us to stop",
        DisabledReason::Failing => "It only failed for several days",
    }
}

/// What an attempt met, for people; empty where the status says it all.
pub(crate) fn explain(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted(_) => String::new(),
        Outcome::Refused { status, retry_after } => {
            let kind = match status {
                300..=399 => "Redirects are not followed: enter the final URL",
                401 | 403 => "Your server refused the request: check what it expects",
                404 => "Nothing is at this URL",
                429 => "Your server asks for fewer requests",
                400..=499 => "Your server refused the request",
                _ => "Your server failed",
            };
            match retry_after {
                Some(wait) => format!("{kind}. It asked to be left alone for {}", span(*wait)),
                None => kind.to_owned(),
            }
        }
        Outcome::Gone => why_disabled(DisabledReason::Gone).to_owned(),
        other => super::failure::sentence(&other.to_string()),
    }
}

/// A duration as people say it.
pub(crate) fn span(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..60 if !millis.is_multiple_of(1_000) => format!("{:.1} s", duration.as_secs_f64()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A duration in the words of a sentence, rounded.
pub(crate) fn words(duration: Duration) -> String {
    const UNITS: [(u64, u64, &str); 3] = [
        (172_800, 86_400, "day"),
        (7_200, 3_600, "hour"),
        (90, 60, "minute"),
    ];
    let seconds = duration.as_secs();
    let unit = UNITS.into_iter().find(|(from, _, _)| seconds >= *from);
    let (_, size, name) = unit.unwrap_or((0, 1, "second"));
    match ((seconds + size / 2) / size).max(1) {
        1 => format!("1 {name}"),
        many => format!("{many} {name}s"),
    }
}

/// A number with spaces between its thousands.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// The share of successes in percent, never rounded up to all of them.
pub(crate) fn rate(succeeded: u64, failed: u64) -> Option<String> {
    let all = succeeded + failed;
    if all == 0 {
        return None;
    }
    let share = succeeded as f64 * 100.0 / all as f64;
    Some(match share {
        share if failed == 0 || succeeded == 0 => format!("{share:.0} %"),
        share if share > 99.9 => "99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_machines_and_to_people() {
        let html = When::exact(UnixMillis(1_769_860_800_123)).to_string();
        assert_eq!(
            html,
            "<time datetime=\"2026-01-31T12:00:00.123Z\" data-when=\"exact\">2026-01-31 12:00:00 UTC</time>"
        );
    }

    #[test]
    fn what_is_in_a_badge_is_text() {
        let html = Badge::new("bad", "<svg onload>", "\"><script>").to_string();
        assert!(!html.contains("<svg") && !html.contains("<script"), "{html}");
    }

    #[test]
    fn durations_in_sentences_are_rounded_words() {
        let said =
            [0, 1, 60, 111, 900, 7_199, 7_200, 172_800].map(|seconds| words(Duration::from_secs(seconds)));
        assert_eq!(
            said,
            [
                "1 second",
                "1 second",
                "60 seconds",
                "2 minutes",
                "15 minutes",
                "120 minutes",
                "2 hours",
                "2 days"
            ]
        );
    }

    #[test]
    fn spans_counts_and_rates_are_short() {
        let spans = [0, 250, 1_500, 15_000, 600_000, 86_400_000, 604_800_000]
            .map(|millis| span(Duration::from_millis(millis)));
        assert_eq!(
            spans,
            ["0 ms", "250 ms", "1.5 s", "15 s", "10 min", "24 h", "7 days"]
        );
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(12), "12");
        assert_eq!(rate(0, 0), None);
        assert_eq!(rate(10, 0).as_deref(), Some("100 %"));
        assert_eq!(rate(0, 10).as_deref(), Some("0 %"));
        assert_eq!(rate(1_000_000, 1).as_deref(), Some("99.9 %"));
        assert_eq!(rate(1, 2).as_deref(), Some("33.3 %"));
    }
}

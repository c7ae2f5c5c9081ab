//! W3C Trace Context as it travels in headers, <https://www.w3.org/TR/trace-context/>.
//!
//! Owns the reading and writing of `traceparent` and `tracestate`. Guarantees that what cannot be trace context is left
//! out and never passed on, and that what is passed on has the form of version 00, whatever version it came in.
//! Refuses to know spans and who makes them.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use crate::headers::{Properties, TRACEPARENT, TRACESTATE};

/// Bytes of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Flag bits with a meaning: sampled, and that the trace id is random.
const FLAGS_KNOWN: u8 = 0b11;
const SAMPLED: u8 = 0b01;
/// Members of a `tracestate`, at most; with more it is none.
const STATE_MEMBERS_MAX: usize = 32;
/// Bytes of a `tracestate` that are passed on.
const STATE_BYTES_MAX: usize = 512;
/// Members longer than this are the first to go from a `tracestate` that is too long.
const STATE_LONG_MEMBER_BYTES: usize = 128;
const STATE_KEY_BYTES_MAX: usize = 256;
const STATE_VALUE_BYTES_MAX: usize = 256;

/// Which trace: 16 bytes that are not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// Which span of a trace: 8 bytes that are not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// The id of these bytes; nothing when all are zero.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        NonZeroU128::new(u128::from_be_bytes(bytes)).map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl SpanId {
    /// The id of these bytes; nothing when all are zero.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        NonZeroU64::new(u64::from_be_bytes(bytes)).map(Self)
    }

    /// The id that `text` spells in 16 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 16 {
            return None;
        }
        let number = u64::try_from(hexadecimal(text.as_bytes())?).ok()?;
        NonZeroU64::new(number).map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A `traceparent`: which span of which trace caused what carries it, and whether that trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    flags: u8,
}

impl TraceParent {
    /// A span of a trace that is recorded.
    #[must_use]
    pub fn sampled(trace: TraceId, span: SpanId) -> Self {
        Self {
            trace,
            span,
            flags: SAMPLED,
        }
    }

    /// What `text` says, in version 00 or, as far as that is known, in a later one; nothing when it is no `traceparent`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let version = hexadecimal(bytes.get(..2)?)?;
        let ends_well = match (version, bytes.get(PARENT_BYTES)) {
            (0xff, _) => false,
            (_, None) => bytes.len() == PARENT_BYTES,
            (version, Some(next)) => version > 0 && *next == b'-',
        };
        let is_divided = ends_well && [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
        if !is_divided {
            return None;
        }
        let span = u64::try_from(hexadecimal(&bytes[36..52])?).ok()?;
        Some(Self {
            trace: TraceId(NonZeroU128::new(hexadecimal(&bytes[3..35])?)?),
            span: SpanId(NonZeroU64::new(span)?),
            flags: u8::try_from(hexadecimal(&bytes[53..55])?).ok()? & FLAGS_KNOWN,
        })
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags of which the meaning is known.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// The same trace, caused by another of its spans.
    #[must_use]
    pub fn at(self, span: SpanId) -> Self {
        Self { span, ..self }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Up to 32 lower-case hexadecimal digits.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// A `tracestate`: what vendors said of the trace, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceState(String);

impl TraceState {
    /// What `text` says, without what is over the limits; nothing when it is no `tracestate`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut members: Vec<&str> = Vec::new();
        for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            match member {
                "" => {}
                _ if members.len() == STATE_MEMBERS_MAX || !is_member(member) => return None,
                _ => members.push(member),
            }
        }
        while bytes_of(&members) > STATE_BYTES_MAX {
            let long = members
                .iter()
                .rposition(|member| member.len() > STATE_LONG_MEMBER_BYTES);
            members.remove(long.unwrap_or(members.len() - 1));
        }
        (!members.is_empty()).then(|| Self(members.join(",")))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With the commas between them.
fn bytes_of(members: &[&str]) -> usize {
    members
        .iter()
        .map(|member| member.len() + 1)
        .sum::<usize>()
        .saturating_sub(1)
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let key_bytes = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let value_bytes = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'=';
    key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.len() <= STATE_KEY_BYTES_MAX
        && key.bytes().all(key_bytes)
        && (1..=STATE_VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(value_bytes)
}

/// A trace on its way from the publisher to the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Option<TraceParent>,
    /// `tracestate`, which means nothing without the other.
    pub state: Option<TraceState>,
}

impl TraceContext {
    /// What both headers say; what cannot be trace context is left out.
    #[must_use]
    pub fn parse(parent: Option<&str>, state: Option<&str>) -> Self {
        let parent = parent.and_then(TraceParent::parse);
        let state = parent.and(state).and_then(TraceState::parse);
        Self { parent, state }
    }

    /// What the headers of an AMQP message say.
    #[must_use]
    pub fn read(properties: &Properties) -> Self {
        Self::parse(properties.text(TRACEPARENT), properties.text(TRACESTATE))
    }

    /// Writes the context into the headers.
    pub fn write(&self, properties: &mut Properties) {
        if let Some(parent) = &self.parent {
            properties.put_text(TRACEPARENT, parent.to_string());
        }
        if let Some(state) = &self.state {
            properties.put_text(TRACESTATE, state.as_str());
        }
    }

    /// The trace, if there is one: for logs.
    #[must_use]
    pub fn trace(&self) -> Option<TraceId> {
        self.parent.map(|parent| parent.trace)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_names_trace_span_and_whether_it_is_recorded() {
        let parent = TraceParent::parse(EXAMPLE).unwrap();
        assert_eq!(parent.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span.to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), EXAMPLE);
        let silent = TraceParent::parse(&EXAMPLE.replace("-01", "-00")).unwrap();
        assert!(!silent.is_sampled());
        assert_eq!(parent.at(silent.span), parent);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_passed_on_as_version_00() {
        for later in [
            EXAMPLE.replacen("00", "01", 1),
            format!("{}-what-comes", EXAMPLE.replacen("00", "cc", 1)),
            EXAMPLE.replace("-01", "-f9"),
        ] {
            assert_eq!(
                TraceParent::parse(&later).unwrap().to_string(),
                EXAMPLE,
                "{later}"
            );
        }
    }

    #[test]
    fn what_is_no_parent_is_nothing() {
        let zero_trace = EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_span = EXAMPLE.replace("b7ad6b7169203331", &"0".repeat(16));
        let cases = [
            "",
            "00",
            "00-1-1-01",
            "nonsense",
            &zero_trace,
            &zero_span,
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00", "ff", 1),
            &format!("{EXAMPLE}-more"),
            &format!("{EXAMPLE}0"),
            &format!("{}0", EXAMPLE.replacen("00", "01", 1)),
            &EXAMPLE.replace('-', "_"),
            &EXAMPLE.replace("0af7", "0ag7"),
            &EXAMPLE.replace("0af7", "0ä7"),
            &EXAMPLE[..54],
            &format!(" {EXAMPLE}"),
        ];
        for text in cases {
            assert_eq!(TraceParent::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_state_keeps_to_its_grammar_and_limits() {
        let state = |text: &str| TraceState::parse(text).map(|state| state.0);
        assert_eq!(
            state("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE,,"),
            Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".into())
        );
        assert_eq!(state("a1@vendor=x y"), Some("a1@vendor=x y".into()));
        let many: Vec<_> = (0..33).map(|n| format!("k{n}=v")).collect();
        assert_eq!(state(&many.join(",")), None);
        assert!(state(&many[..32].join(",")).is_some());
        for nonsense in [
            "", " , ", "a", "=v", "a=", "A=v", "a=b=c", "a=\u{e4}", "a b=c", "a=\x01",
        ] {
            assert_eq!(state(nonsense), None, "{nonsense:?}");
        }
        let long = format!("a=1,long={},b=2", "x".repeat(200));
        assert_eq!(state(&long), Some(long.clone()));
        let too_long = format!("{long},c={},d=3", "y".repeat(250));
        assert_eq!(
            state(&format!("{too_long},e={}", "z".repeat(90))),
            Some(format!("{long},d=3,e={}", "z".repeat(90)))
        );
        let short: Vec<_> = (0..32).map(|n| format!("key{n:02}={}", "v".repeat(20))).collect();
        let kept = state(&short.join(",")).unwrap();
        assert!(
            kept.len() <= STATE_BYTES_MAX && short.join(",").starts_with(&kept),
            "{kept}"
        );
    }

    #[test]
    fn a_state_means_nothing_without_a_parent() {
        let context = TraceContext::parse(Some("00-1-1-01"), Some("a=1"));
        assert_eq!(context, TraceContext::default());
        let context = TraceContext::parse(Some(EXAMPLE), Some("A"));
        assert_eq!((context.parent.is_some(), context.state), (true, None));
    }

    proptest! {
        #[test]
        fn a_parent_that_is_written_is_read_back(trace: [u8; 16], span: [u8; 8], flags: u8) {
            let ids = TraceId::new(trace).zip(SpanId::new(span));
            prop_assume!(ids.is_some());
            let (trace, span) = ids.unwrap();
            let parent = TraceParent { trace, span, flags: flags & FLAGS_KNOWN };
            prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
            prop_assert_eq!(SpanId::parse(&span.to_string()), Some(span));
            prop_assert_eq!(TraceId::new(trace.bytes()), Some(trace));
        }

        #[test]
        fn any_headers_are_read_and_what_is_passed_on_is_trace_context(parent in ".{0,80}", state in ".{0,900}") {
            let context = TraceContext::parse(Some(&parent), Some(&state));
            prop_assert!(context.parent.is_some() || context.state.is_none());
            if let Some(state) = &TraceState::parse(&state) {
                prop_assert!(state.as_str().len() <= STATE_BYTES_MAX);
                prop_assert_eq!(TraceState::parse(state.as_str()), Some(state.clone()));
            }
        }

        #[test]
        fn spoiling_any_byte_never_makes_another_trace(at in 0_usize..55, byte in 0_u8..128) {
            let mut text = EXAMPLE.as_bytes().to_vec();
            text[at] = byte;
            let text = String::from_utf8(text).unwrap();
            if let Some(read) = TraceParent::parse(&text) {
                prop_assert_eq!(&read.to_string()[3..52], &text[3..52]);
            }
        }
    }
}

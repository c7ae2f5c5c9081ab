//! An attempt's record: one short JSON text in its endpoint's history.
//!
//! Owns its short keys. The endpoint's id is the history's, the URL is kept once per endpoint under [`url_key`]; a 2xx at
//! the first attempt leaves nothing but ids, type, status and times.

use std::time::Duration;

use nuncio_domain::{
    Attempt, AttemptId, AttemptNumber, EndpointId, MessageId, Outcome, Phase, Reason, Trigger, UnixMillis,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RecordError;

const NOUN: &str = "an attempt";

fn one() -> u16 {
    1
}

fn is_one(number: &u16) -> bool {
    *number == 1
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// An attempt as it is kept. Fields of newer versions are ignored: attempts are never written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The attempt's id, without its prefix.
    i: String,
    /// The message's id, without its prefix.
    m: String,
    /// The event type.
    t: String,
    /// The attempt's number.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    n: u16,
    /// 1 when it was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    g: u8,
    /// The outcome: a status, or a text where none came.
    o: Value,
    /// `Retry-After`, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ra: Option<u64>,
    /// When it began.
    s: i64,
    /// How long it took, in milliseconds.
    d: u64,
    /// When the next one is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nd: Option<i64>,
    /// The key of the URL.
    u: String,
    /// The response's body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    b: String,
    /// The response's headers, those that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    h: Vec<(String, String)>,
    /// 1 when the response was expunged on request.
    #[serde(default, skip_serializing_if = "is_zero")]
    x: u8,
}

impl AttemptRecord {
    /// The record of `attempt`.
    #[must_use]
    pub fn new(attempt: &Attempt) -> Self {
        let retry_after = match &attempt.outcome {
            Outcome::Refused { retry_after, .. } => *retry_after,
            _ => None,
        };
        Self {
            i: suffix(attempt.id.as_str(), AttemptId::PREFIX),
            m: suffix(attempt.message_id.as_str(), MessageId::PREFIX),
            t: attempt.event_type.as_str().to_owned(),
            n: attempt.number.number(),
            g: u8::from(attempt.trigger == Trigger::Manual),
            o: encode_outcome(&attempt.outcome),
            ra: retry_after.map(millis),
            s: attempt.started_at.0,
            d: millis(attempt.duration),
            nd: attempt.next_due.map(|due| due.0),
            u: url_key(&attempt.url),
            b: attempt.response_body.clone(),
            h: attempt.response_headers.clone(),
            x: 0,
        }
    }

    /// The record in `text`.
    ///
    /// # Errors
    /// When it is not the JSON of an attempt.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        serde_json::from_slice(text).map_err(RecordError::json(NOUN))
    }

    /// The record as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("string keys and plain values always serialise")
    }

    /// The key under which the endpoint's URLs hold the one that this attempt went to.
    #[must_use]
    pub fn url_key(&self) -> &str {
        &self.u
    }

    /// The attempt's id as text.
    #[must_use]
    pub fn id_text(&self) -> String {
        format!("{}{}", AttemptId::PREFIX, self.i)
    }

    /// The record without the response's body and headers.
    #[must_use]
    pub fn expunged(self) -> Self {
        Self {
            b: String::new(),
            h: Vec::new(),
            x: 1,
            ..self
        }
    }

    /// Whether the response was expunged on request.
    #[must_use]
    pub fn is_expunged(&self) -> bool {
        self.x != 0
    }

    /// The attempt at that endpoint, which went to that URL.
    ///
    /// # Errors
    /// When an id or a name does not follow its grammar.
    pub fn to_attempt(&self, endpoint_id: EndpointId, url: String) -> Result<Attempt, RecordError> {
        let wrong = |field| move |_| RecordError::field(NOUN, field);
        Ok(Attempt {
            id: AttemptId::parse(&self.id_text()).map_err(wrong("i"))?,
            message_id: MessageId::parse(&format!("{}{}", MessageId::PREFIX, self.m)).map_err(wrong("m"))?,
            endpoint_id,
            event_type: self.t.parse().map_err(|_| RecordError::field(NOUN, "t"))?,
            url,
            number: AttemptNumber::nth(self.n).ok_or(RecordError::field(NOUN, "n"))?,
            trigger: if self.g == 0 {
                Trigger::Scheduled
            } else {
                Trigger::Manual
            },
            outcome: decode_outcome(&self.o, self.ra.map(Duration::from_millis)),
            started_at: UnixMillis(self.s),
            duration: Duration::from_millis(self.d),
            next_due: self.nd.map(UnixMillis),
            response_body: self.b.clone(),
            response_headers: self.h.clone(),
        })
    }
}

fn suffix(id: &str, prefix: &str) -> String {
    id.strip_prefix(prefix).unwrap_or(id).to_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn encode_outcome(outcome: &Outcome) -> Value {
    let text = match outcome {
        Outcome::Accepted(status) | Outcome::Refused { status, .. } => return (*status).into(),
        Outcome::Gone => return 410.into(),
        Outcome::TimedOut(Phase::Connect) => "tc".to_owned(),
        Outcome::TimedOut(Phase::Response) => "tr".to_owned(),
        Outcome::Unreachable(reason) => match reason {
            Reason::Dns => "dns".to_owned(),
            Reason::AddressRefused(None) => "ar".to_owned(),
            Reason::AddressRefused(Some(ip)) => format!("ar:{ip}"),
            Reason::ConnectionRefused => "cr".to_owned(),
            Reason::ConnectionReset => "cx".to_owned(),
            Reason::Tls(detail) => format!("tls:{detail}"),
            Reason::Proxy => "px".to_owned(),
            Reason::Protocol => "pr".to_owned(),
            Reason::InvalidRequest => "ir".to_owned(),
            Reason::Other(detail) => format!("ot:{detail}"),
        },
    };
    text.into()
}

fn decode_outcome(value: &Value, retry_after: Option<Duration>) -> Outcome {
    if let Some(status) = value.as_u64().and_then(|status| u16::try_from(status).ok()) {
        return match status {
            200..300 => Outcome::Accepted(status),
            410 => Outcome::Gone,
            _ => Outcome::Refused { status, retry_after },
        };
    }
    let text = value.as_str().unwrap_or_default();
    let (word, detail) = text.split_once(':').unwrap_or((text, ""));
    Outcome::Unreachable(match word {
        "tc" => return Outcome::TimedOut(Phase::Connect),
        "tr" => return Outcome::TimedOut(Phase::Response),
        "dns" => Reason::Dns,
        "ar" => Reason::AddressRefused(detail.parse().ok()),
        "cr" => Reason::ConnectionRefused,
        "cx" => Reason::ConnectionReset,
        "tls" => Reason::Tls(detail.to_owned()),
        "px" => Reason::Proxy,
        "pr" => Reason::Protocol,
        "ir" => Reason::InvalidRequest,
        "ot" => Reason::Other(detail.to_owned()),
        _ => Reason::Other(text.to_owned()),
    })
}

/// The key under which an endpoint's URL is kept once for all its attempts: FNV-1a, folded to 32 bits, in hexadecimal. Two URLs of
/// one endpoint that share a key would be shown as one another, which is why nothing else depends on it.
/// Source: <http://www.isthe.com/chongo/tech/comp/fnv/>.
#[must_use]
pub fn url_key(url: &str) -> String {
    let hash = url.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reasons() -> impl Strategy<Value = Reason> {
        prop_oneof![
            Just(Reason::Dns),
            any::<Option<std::net::IpAddr>>().prop_map(Reason::AddressRefused),
            Just(Reason::ConnectionRefused),
            Just(Reason::ConnectionReset),
            ".{0,40}".prop_map(Reason::Tls),
            Just(Reason::Proxy),
            Just(Reason::Protocol),
            Just(Reason::InvalidRequest),
            ".{0,40}".prop_map(Reason::Other),
        ]
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let others = (100_u16..1_000).prop_filter("not a status of its own", |s| {
            !(200..300).contains(s) && *s != 410
        });
        prop_oneof![
            (200_u16..300).prop_map(Outcome::Accepted),
            (others, proptest::option::of(0_u64..1_000_000)).prop_map(|(status, after)| Outcome::Refused {
                status,
                retry_after: after.map(Duration::from_millis),
            }),
            Just(Outcome::Gone),
            Just(Outcome::TimedOut(Phase::Connect)),
            Just(Outcome::TimedOut(Phase::Response)),
            reasons().prop_map(Outcome::Unreachable),
        ]
    }

    fn attempt(outcome: Outcome, number: u16, manual: bool, due: Option<i64>, body: String) -> Attempt {
        Attempt {
            id: AttemptId::parse("atmpt_1").expect("an id"),
            message_id: MessageId::parse("msg_1").expect("an id"),
            endpoint_id: EndpointId::parse("ep_1").expect("an id"),
            event_type: "sync.user".parse().expect("a name"),
            url: "https://example.com/".into(),
            number: AttemptNumber::nth(number).expect("not zero"),
            trigger: if manual {
                Trigger::Manual
            } else {
                Trigger::Scheduled
            },
            outcome,
            started_at: UnixMillis(1_763_900_000_000),
            duration: Duration::from_millis(12),
            next_due: due.map(UnixMillis),
            response_headers: if body.is_empty() {
                Vec::new()
            } else {
                vec![("x-request-id".into(), body.clone())]
            },
            response_body: body,
        }
    }

    proptest! {
        #[test]
        fn an_attempt_reads_back_as_it_was_written(
            outcome in outcomes(), number in 1_u16..200, manual: bool, due: Option<i64>, body in ".{0,60}",
        ) {
            let attempt = attempt(outcome, number, manual, due, body);
            let record = AttemptRecord::parse(AttemptRecord::new(&attempt).to_json().as_bytes()).unwrap();
            prop_assert_eq!(record.url_key(), url_key(&attempt.url));
            let read = record.to_attempt(attempt.endpoint_id.clone(), attempt.url.clone()).unwrap();
            prop_assert_eq!(read, attempt);
        }

        #[test]
        fn no_text_whatever_makes_the_reader_fail(text in ".{0,80}") {
            let _read: Result<AttemptRecord, RecordError> = AttemptRecord::parse(text.as_bytes());
        }
    }

    #[test]
    fn the_commonest_attempt_is_short() {
        let text =
            AttemptRecord::new(&attempt(Outcome::Accepted(200), 1, false, None, String::new())).to_json();
        assert_eq!(
            text,
            r#"{"i":"1","m":"1","t":"sync.user","o":200,"s":1763900000000,"d":12,"u":"d03888db"}"#
        );
    }

    #[test]
    fn an_outcome_of_a_newer_version_is_shown_in_its_own_words() {
        let text = r#"{"i":"1","m":"1","t":"a","o":"quic:lost","s":1,"d":1,"u":"","zz":[1]}"#;
        let record = AttemptRecord::parse(text.as_bytes()).unwrap();
        let read = record
            .to_attempt(EndpointId::parse("ep_1").unwrap(), String::new())
            .unwrap();
        assert_eq!(
            read.outcome,
            Outcome::Unreachable(Reason::Other("quic:lost".into()))
        );
    }

    #[test]
    fn an_expunged_record_holds_nothing_of_the_response_and_says_so() {
        let attempt = attempt(Outcome::Gone, 1, false, None, "secret".into());
        let record = AttemptRecord::new(&attempt).expunged();
        assert!(record.is_expunged() && !record.to_json().contains("secret"));
        let read = record.to_attempt(attempt.endpoint_id, attempt.url).unwrap();
        assert!(read.response_body.is_empty() && read.response_headers.is_empty());
    }
}

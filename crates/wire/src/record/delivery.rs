//! A delivery's state, as one short text in its message's record.
//!
//! Owns the grammar `<status><attempt>[b][s<series>][@<due>][|<position>,…]`: a letter for the status, the number of the
//! last attempt, `b` when routing found the endpoint paused, the series in milliseconds, when the next attempt is due, and
//! where each attempt is kept, as milliseconds after the message was published, in base 36, with a sequence after a dot.
//! A text that starts with `-` says why the endpoint did not get the message. The store's record script reads and writes
//! the same grammar.

use std::fmt::Write;

use nuncio_domain::{AttemptNumber, DeliveryState, DeliveryStatus, Routing, Series, UnixMillis};

/// Where an attempt is kept in its endpoint's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptPosition {
    /// Milliseconds since the epoch, by the store's clock.
    pub ms: i64,
    /// Which of those of that millisecond.
    pub sequence: u64,
}

/// What a message's record says of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryRecord {
    /// The message was not routed to it, and why.
    NotRouted(Routing),
    /// The message was routed to it.
    Routed {
        /// How the delivery stands.
        state: DeliveryState,
        /// Whether the endpoint was paused when the message was routed.
        buffered: bool,
        /// Where its attempts are kept, in the order in which they were recorded.
        attempts: Vec<AttemptPosition>,
    },
}

impl DeliveryRecord {
    /// The record in `text`, of a message published at `published`; nothing when only a newer version can read it.
    #[must_use]
    pub fn parse(text: &str, published: UnixMillis) -> Option<Self> {
        if let Some(reason) = text.strip_prefix('-') {
            return Some(Self::NotRouted(match reason.bytes().next()? {
                b'd' => Routing::Disabled,
                b't' => Routing::OtherEventTypes,
                b'c' => Routing::OtherChannels,
                _ => return None,
            }));
        }
        let (head, tail) = text.split_once('|').unwrap_or((text, ""));
        let status = head.chars().next()?;
        let head = &head[status.len_utf8()..];
        let (head, due) = match head.split_once('@') {
            Some((head, due)) => (head, Some(UnixMillis(due.parse().ok()?))),
            None => (head, None),
        };
        let (head, series) = match head.split_once('s') {
            Some((head, series)) => (head, Series(series.parse().ok()?)),
            None => (head, Series::default()),
        };
        let (head, buffered) = match head.strip_suffix('b') {
            Some(head) => (head, true),
            None => (head, false),
        };
        let attempt = match head {
            "" => None,
            number => Some(AttemptNumber::nth(number.parse().ok()?)?),
        };
        let status = match status {
            'p' => DeliveryStatus::Pending,
            'r' => DeliveryStatus::Retrying { due: due? },
            'd' => DeliveryStatus::Delivered,
            'x' => DeliveryStatus::Exhausted,
            'o' => DeliveryStatus::Disabled,
            'g' => DeliveryStatus::Deleted,
            'u' => DeliveryStatus::Superseded,
            _ => return None,
        };
        let attempts = tail
            .split(',')
            .filter(|position| !position.is_empty())
            .filter_map(|position| parse_position(position, published))
            .collect();
        Some(Self::Routed {
            state: DeliveryState {
                status,
                series,
                attempt,
            },
            buffered,
            attempts,
        })
    }

    /// The delivery's state, if the message was routed to the endpoint.
    #[must_use]
    pub fn state(&self) -> Option<DeliveryState> {
        match self {
            Self::NotRouted(_) => None,
            Self::Routed { state, .. } => Some(*state),
        }
    }
}

fn parse_position(text: &str, published: UnixMillis) -> Option<AttemptPosition> {
    let (offset, sequence) = text.split_once('.').unwrap_or((text, "0"));
    Some(AttemptPosition {
        ms: published.0.checked_add(i64::from_str_radix(offset, 36).ok()?)?,
        sequence: u64::from_str_radix(sequence, 36).ok()?,
    })
}

/// The part of the text that says how the delivery stands: all but the positions of attempts.
#[must_use]
pub fn encode_state(state: &DeliveryState) -> String {
    let (letter, due) = match state.status {
        DeliveryStatus::Pending => ('p', None),
        DeliveryStatus::Retrying { due } => ('r', Some(due)),
        DeliveryStatus::Delivered => ('d', None),
        DeliveryStatus::Exhausted => ('x', None),
        DeliveryStatus::Disabled => ('o', None),
        DeliveryStatus::Deleted => ('g', None),
        DeliveryStatus::Superseded => ('u', None),
    };
    let mut text = String::with_capacity(32);
    text.push(letter);
    let written = state
        .attempt
        .map_or(Ok(()), |number| write!(text, "{number}"))
        .and_then(|()| match state.series {
            Series(0) => Ok(()),
            Series(at) => write!(text, "s{at}"),
        })
        .and_then(|()| due.map_or(Ok(()), |due| write!(text, "@{}", due.0)));
    written.expect("writing to a string cannot fail");
    text
}

/// The text for an endpoint as routing finds it.
#[must_use]
pub fn encode_routing(routing: Routing) -> &'static str {
    match routing {
        Routing::Matched => "p",
        Routing::Buffered => "pb",
        Routing::Disabled => "-d",
        Routing::OtherEventTypes => "-t",
        Routing::OtherChannels => "-c",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: UnixMillis = UnixMillis(1_763_900_000_000);

    fn states() -> impl Strategy<Value = DeliveryState> {
        let status = prop_oneof![
            Just(DeliveryStatus::Pending),
            (0_i64..i64::MAX).prop_map(|due| DeliveryStatus::Retrying { due: UnixMillis(due) }),
            Just(DeliveryStatus::Delivered),
            Just(DeliveryStatus::Exhausted),
            Just(DeliveryStatus::Disabled),
            Just(DeliveryStatus::Deleted),
            Just(DeliveryStatus::Superseded),
        ];
        (status, 0_i64..i64::MAX, 0_u16..200).prop_map(|(status, series, attempt)| DeliveryState {
            status,
            series: Series(series),
            attempt: AttemptNumber::nth(attempt),
        })
    }

    proptest! {
        #[test]
        fn every_state_reads_back_as_it_was_written(state in states()) {
            let read = DeliveryRecord::parse(&encode_state(&state), AT).unwrap();
            prop_assert_eq!(read, DeliveryRecord::Routed { state, buffered: false, attempts: vec![] });
        }

        #[test]
        fn no_text_whatever_makes_the_reader_fail(text in ".{0,60}") {
            let _read: Option<DeliveryRecord> = DeliveryRecord::parse(&text, AT);
        }
    }

    #[test]
    fn every_routing_reads_back_as_it_was_written() {
        for routing in [
            Routing::Disabled,
            Routing::OtherEventTypes,
            Routing::OtherChannels,
        ] {
            let read = DeliveryRecord::parse(encode_routing(routing), AT);
            assert_eq!(read, Some(DeliveryRecord::NotRouted(routing)));
        }
        for (routing, paused) in [(Routing::Matched, false), (Routing::Buffered, true)] {
            let read = DeliveryRecord::parse(encode_routing(routing), AT).unwrap();
            let expected = DeliveryRecord::Routed {
                state: DeliveryState::PENDING,
                buffered: paused,
                attempts: vec![],
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn positions_of_attempts_are_offsets_from_the_publication() {
        let DeliveryRecord::Routed {
            state,
            buffered,
            attempts,
        } = DeliveryRecord::parse("r3bs5@7|zz,-1.2,100.a", AT).unwrap()
        else {
            panic!("a routed delivery was written");
        };
        assert_eq!(
            (state.status, state.series, buffered),
            (DeliveryStatus::Retrying { due: UnixMillis(7) }, Series(5), true)
        );
        let offsets: Vec<_> = attempts.iter().map(|at| (at.ms - AT.0, at.sequence)).collect();
        assert_eq!(offsets, [(1_295, 0), (-1, 2), (1_296, 10)]);
    }

    #[test]
    fn a_status_of_a_newer_version_is_not_mistaken_for_another() {
        assert_eq!(DeliveryRecord::parse("q1", AT), None);
        assert_eq!(DeliveryRecord::parse("-z", AT), None);
        assert_eq!(DeliveryRecord::parse("", AT), None);
    }
}

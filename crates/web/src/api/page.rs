//! Pages of lists, and the iterators between them.
//!
//! Owns iterators: opaque, under a MAC, bound to the app, the list and its filter. Guarantees that one that was changed,
//! cut, or taken from another list is refused. Refuses to know what a position means: lists do.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use nuncio_store::{Order, Page, PageRequest, Position, Start};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use crate::api::query::Limit;
use crate::token::derive_key;
use crate::usecase::refusal::{Outcome, Refusal};

const KEY_INFO: &[u8] = b"nuncio iterator v1";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
const ITERATOR_BYTES_MAX: usize = 1_024;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListResponse<T> {
    /// The items.
    pub data: Vec<T>,
    /// Give this as `iterator` to get the page after this one, which is empty where nothing follows yet; null when this
    /// page is empty.
    #[schema(required = true)]
    pub iterator: Option<String>,
    /// Give this as `iterator` to get the page before this one, which is empty where nothing lies before yet; null when
    /// this page is empty.
    #[schema(required = true)]
    pub prev_iterator: Option<String>,
    /// Whether there is nothing further in this direction.
    pub done: bool,
}

impl<T> ListResponse<T> {
    /// A page with nothing on it.
    pub(crate) fn empty() -> Self {
        Self {
            data: Vec::new(),
            iterator: None,
            prev_iterator: None,
            done: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

impl Direction {
    fn sign(self) -> char {
        match self {
            Self::Forward => '>',
            Self::Backward => '<',
        }
    }
}

/// Seals and opens iterators.
pub(crate) struct Iterators {
    keys: Vec<Zeroizing<[u8; KEY_BYTES]>>,
}

impl Iterators {
    /// Iterators sealed under the first of `main_secrets` and opened under any of them.
    pub(crate) fn new(main_secrets: &[SecretString]) -> Self {
        let keys = main_secrets.iter().map(|secret| derive_key(secret, KEY_INFO));
        Self { keys: keys.collect() }
    }

    fn seal(&self, direction: Direction, position: &Position, scope: &str) -> String {
        let text = format!("{}{}", direction.sign(), position.0);
        let tag = tag(&self.keys[0], &text, scope);
        // The text first: its sign never encodes to the '-' that marks the other direction.
        let sealed = BASE64.encode([text.as_bytes(), tag.as_slice()].concat());
        match direction {
            Direction::Forward => sealed,
            Direction::Backward => format!("-{sealed}"),
        }
    }

    fn open(&self, text: &str, scope: &str) -> Option<Start> {
        if text.len() > ITERATOR_BYTES_MAX {
            return None;
        }
        let (direction, sealed) = match text.strip_prefix('-') {
            Some(sealed) => (Direction::Backward, sealed),
            None => (Direction::Forward, text),
        };
        let bytes = BASE64.decode(sealed).ok()?;
        let (inside, given) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        let inside = std::str::from_utf8(inside).ok()?;
        let ours = self
            .keys
            .iter()
            .any(|key| bool::from(tag(key, inside, scope).as_slice().ct_eq(given)));
        let position = ours.then(|| inside.strip_prefix(direction.sign()))??;
        let position = Position(position.to_owned());
        Some(match direction {
            Direction::Forward => Start::After(position),
            Direction::Backward => Start::Before(position),
        })
    }

    /// The request for the page that a caller asks for.
    ///
    /// # Errors
    /// When the iterator was not sealed here for `scope`.
    pub(crate) fn request(
        &self,
        limit: Limit,
        iterator: Option<&str>,
        order: Order,
        scope: &str,
    ) -> Outcome<PageRequest> {
        let start = match iterator.filter(|text| !text.is_empty()) {
            None => Start::Beginning,
            Some(text) => self.open(text, scope).ok_or(Refusal::Impossible {
                code: "invalid_iterator",
                detail: "The iterator is not one that this list gave out for this filter".to_owned(),
            })?,
        };
        Ok(PageRequest {
            limit: limit.0,
            start,
            order,
        })
    }

    /// The page as it is answered, with its iterators bound to `scope`.
    pub(crate) fn page<T, U>(
        &self,
        request: &PageRequest,
        page: Page<T>,
        scope: &str,
        show: impl FnMut(T) -> U,
    ) -> ListResponse<U> {
        let seal = |direction, position: Option<&Position>| {
            position.map(|position| self.seal(direction, position, scope))
        };
        let done = match request.start {
            Start::Before(_) => page.previous.is_none(),
            Start::Beginning | Start::After(_) => page.next.is_none(),
        };
        ListResponse {
            iterator: seal(Direction::Forward, page.ends.as_ref()),
            prev_iterator: seal(Direction::Backward, page.begins.as_ref()),
            done,
            data: page.items.into_iter().map(show).collect(),
        }
    }
}

fn tag(key: &[u8; KEY_BYTES], text: &str, scope: &str) -> [u8; MAC_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(&(text.len() as u64).to_be_bytes());
    mac.update(text.as_bytes());
    mac.update(scope.as_bytes());
    let full = mac.finalize().into_bytes();
    let mut tag = [0; MAC_BYTES];
    tag.copy_from_slice(&full[..MAC_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iterators(secrets: &[&str]) -> Iterators {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|text| SecretString::from(text.repeat(8)))
            .collect();
        Iterators::new(&secrets)
    }

    #[test]
    fn an_iterator_opens_where_it_was_sealed_and_nowhere_else() {
        let ours = iterators(&["one"]);
        let position = Position("msg_2x".to_owned());
        for (direction, start) in [
            (Direction::Forward, Start::After(position.clone())),
            (Direction::Backward, Start::Before(position.clone())),
        ] {
            let sealed = ours.seal(direction, &position, "app_1 messages");
            assert_eq!(sealed.starts_with('-'), direction == Direction::Backward);
            assert_eq!(ours.open(&sealed, "app_1 messages"), Some(start.clone()));
            assert_eq!(ours.open(&sealed, "app_2 messages"), None);
            assert_eq!(ours.open(&sealed, "app_1 messages channel=x"), None);
            assert_eq!(iterators(&["two"]).open(&sealed, "app_1 messages"), None);
            assert_eq!(
                iterators(&["two", "one"]).open(&sealed, "app_1 messages"),
                Some(start)
            );
        }
    }

    #[test]
    fn a_changed_or_cut_iterator_is_refused() {
        let ours = iterators(&["one"]);
        let sealed = ours.seal(Direction::Forward, &Position("msg_2x".to_owned()), "scope");
        assert_eq!(ours.open(&format!("-{sealed}"), "scope"), None);
        for at in 0..sealed.len() {
            assert_eq!(ours.open(&sealed[..at], "scope"), None, "cut at {at}");
            let mut flipped = sealed.clone().into_bytes();
            flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
            let flipped = String::from_utf8(flipped).unwrap();
            assert_eq!(ours.open(&flipped, "scope"), None, "flipped at {at}");
        }
        for text in ["-", "msg_2x", "\u{0}", &"x".repeat(2_000)] {
            let refused = ours.request(Limit(1), Some(text), Order::NewestFirst, "scope");
            assert!(matches!(refused, Err(Refusal::Impossible { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_page_is_done_when_nothing_follows_in_the_direction_of_reading() {
        let ours = iterators(&["one"]);
        let position = || Some(Position("x".to_owned()));
        for (start, next, previous, done) in [
            (Start::Beginning, None, None, true),
            (Start::Beginning, position(), None, false),
            (Start::After(Position("y".to_owned())), None, position(), true),
            (Start::Before(Position("y".to_owned())), position(), None, true),
            (
                Start::Before(Position("y".to_owned())),
                position(),
                position(),
                false,
            ),
        ] {
            let request = PageRequest {
                limit: 1,
                start,
                order: Order::NewestFirst,
            };
            let page = Page {
                items: vec![1],
                next,
                previous,
                begins: position(),
                ends: position(),
            };
            let shown = ours.page(&request, page, "scope", |item| item + 1);
            assert_eq!((shown.data, shown.done), (vec![2], done), "{request:?}");
            assert!(shown.iterator.is_some() && shown.prev_iterator.is_some());
        }
    }
}

//! Ids: a prefix that names the noun, and a KSUID that sorts by time.
//!
//! Owns `app_`, `ep_`, `msg_` and `atmpt_` ids. Guarantees that a parsed id is safe inside a queue name, a Redis key, a
//! header and a signature: letters, digits, `-` and `_` after the prefix, never a dot.
//! Refuses to know where ids are stored. Source: <https://github.com/segmentio/ksuid>, with milliseconds as Svix has it.

use std::fmt;
use std::sync::Arc;

use rand::Rng;
use sha2::{Digest, Sha256};
use svix_ksuid::{KsuidLike, KsuidMs};

use crate::UnixMillis;

/// How long the part after the prefix may be, in bytes.
const SUFFIX_BYTES_MAX: usize = 64;
/// Bytes of a KSUID that are not its time.
const PAYLOAD_BYTES: usize = 15;
/// The first moment that a KSUID can tell: in an id it means that no time is told.
const NO_TIME: UnixMillis = UnixMillis(svix_ksuid::KSUID_EPOCH * 1_000);

/// Why a text is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id that starts with `{prefix}`, then 1 to {SUFFIX_BYTES_MAX} of a-z A-Z 0-9 _ -")]
pub struct IdError {
    prefix: &'static str,
}

fn ksuid(at: UnixMillis, payload: &[u8]) -> String {
    KsuidMs::from_millis(Some(at.0), Some(payload)).to_base62()
}

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id made at `at`; ids made later sort after it.
            #[must_use]
            pub fn generate(at: UnixMillis, rng: &mut impl Rng) -> Self {
                let mut payload = [0; PAYLOAD_BYTES];
                rng.fill_bytes(&mut payload);
                Self(format!("{}{}", $prefix, ksuid(at, &payload)).into())
            }

            /// The id in `text`.
            ///
            /// # Errors
            /// When the prefix is another one, or what follows is empty, too long, or holds other characters.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let suffix = text
                    .strip_prefix($prefix)
                    .ok_or(IdError { prefix: $prefix })?;
                let fits = (1..=SUFFIX_BYTES_MAX).contains(&suffix.len())
                    && suffix
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if fits {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { prefix: $prefix })
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// When the id was made, if what follows the prefix is a KSUID that tells a time.
            #[must_use]
            pub fn made_at(&self) -> Option<UnixMillis> {
                let ksuid = KsuidMs::from_base62(self.0.strip_prefix($prefix)?).ok()?;
                Some(UnixMillis(ksuid.timestamp_millis())).filter(|at| *at != NO_TIME)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    };
}

id!(
    AppId,
    "app_",
    "The id of an app: one project's webhook configuration."
);
id!(EndpointId, "ep_", "The id of an endpoint: a URL that receives.");
id!(
    MessageId,
    "msg_",
    "The id of a message: an event that was accepted. Receivers see it as `webhook-id`."
);
id!(
    AttemptId,
    "atmpt_",
    "The id of an attempt: one HTTP request of a delivery."
);

impl MessageId {
    /// The id of the message that an app's event with a caller's own id becomes: the same on every router, after every
    /// redelivery, and when the event is published again, also where nobody remembers the first time. So there is no
    /// time in it: what would have to be remembered to be told again is not told.
    #[must_use]
    pub fn derived(app: &AppId, event_id: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(app.as_str())
            .chain_update([0])
            .chain_update(event_id)
            .finalize();
        Self(format!("{}{}", Self::PREFIX, ksuid(NO_TIME, &digest[..PAYLOAD_BYTES])).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dice() -> impl Rng {
        use rand::SeedableRng;
        rand::rngs::StdRng::seed_from_u64(7)
    }

    #[test]
    fn ids_sort_by_the_time_they_were_made_at() {
        let mut dice = dice();
        let ids: Vec<_> = (0..50)
            .map(|n| MessageId::generate(UnixMillis(1_700_000_000_000 + n * 5), &mut dice))
            .collect();
        assert!(ids.is_sorted());
        let made_at = ids[3].made_at().unwrap().0;
        assert!(
            (made_at - 1_700_000_000_015).abs() < 4,
            "KSUIDs keep time to 4 ms, got {made_at}"
        );
    }

    #[test]
    fn a_generated_id_parses_back_and_a_foreign_prefix_does_not() {
        let id = AppId::generate(UnixMillis(1_700_000_000_000), &mut dice());
        assert_eq!(AppId::parse(id.as_str()).unwrap(), id);
        assert!(EndpointId::parse(id.as_str()).is_err());
    }

    #[test]
    fn characters_that_mean_something_to_redis_or_amqp_are_refused() {
        for text in [
            "app_", "app_a.b", "app_a:b", "app_{a}", "app_#", "app_*", "app_a b", "app_é", "app_\n",
        ] {
            assert!(AppId::parse(text).is_err(), "{text:?}");
        }
        assert!(AppId::parse(&format!("app_{}", "a".repeat(65))).is_err());
    }

    #[test]
    fn a_derived_id_depends_on_app_and_event_id_alone_and_tells_no_time() {
        let (a, b) = (AppId::parse("app_a").unwrap(), AppId::parse("app_b").unwrap());
        let id = MessageId::derived(&a, "order-1");
        assert_eq!(id, MessageId::derived(&a, "order-1"));
        assert_ne!(id, MessageId::derived(&b, "order-1"));
        assert_ne!(id, MessageId::derived(&a, "order-2"));
        assert_eq!(id.made_at(), None);
        assert_eq!(MessageId::parse(id.as_str()), Ok(id));
    }
}

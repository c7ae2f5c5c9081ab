//! Names that callers choose: uids, event types, channels.
//!
//! Owns their grammar, `[a-zA-Z0-9_.-]{1,256}`, the one that Svix has. Refuses to know what they name.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {NAME_BYTES_MAX} of a-z A-Z 0-9 _ . -")]
pub struct NameError;

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

macro_rules! name {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name in `text`.
            ///
            /// # Errors
            /// When it is empty, longer than 256 bytes, or holds other characters than `[a-zA-Z0-9_.-]`.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if is_name(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError)
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
    };
}

name!(
    Uid,
    "An id that the caller gave to an app, an endpoint or a message (there it is the event id)."
);
name!(EventTypeName, "The name of an event type, such as `sync.user`.");
name!(
    Channel,
    "A channel: a second filter beside the event type, such as `project_123`."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_characters_of_the_grammar_and_no_others() {
        for good in ["a", "sync.user", "A-b_c.9", &"x".repeat(256)] {
            assert!(Uid::parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            " ",
            "a b",
            "../x",
            "a:b*",
            "#",
            "%00",
            "é",
            "a\n",
            &"x".repeat(257),
        ] {
            assert!(Uid::parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! Drafts: what is needed to do a request again as it was done the first time.
//!
//! Owns its form as bytes: milliseconds, seed, body. The body is kept because some clients retry without theirs.

use bytes::Bytes;
use nuncio_domain::UnixMillis;
use nuncio_runtime::Dice;

use crate::usecase::occasion::Occasion;

const AT_BYTES: usize = 8;
const SEED_BYTES: usize = 32;

/// A request when it came first. Its seed is not shown: secrets are drawn from it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) at: UnixMillis,
    pub(super) seed: [u8; SEED_BYTES],
    pub(super) body: Bytes,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Draft {
    pub(super) fn new(at: UnixMillis, body: Bytes, dice: &Dice) -> Self {
        let mut seed = [0; SEED_BYTES];
        dice.fill(&mut seed);
        Self { at, seed, body }
    }

    pub(super) fn occasion(&self, again: bool) -> Occasion {
        Occasion {
            at: self.at,
            dice: Dice::from_seed(self.seed),
            again,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [self.at.0.to_be_bytes().as_slice(), &self.seed, &self.body].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk::<AT_BYTES>()?;
        let (seed, body) = rest.split_first_chunk::<SEED_BYTES>()?;
        Some(Self {
            at: UnixMillis(i64::from_be_bytes(*at)),
            seed: *seed,
            body: Bytes::copy_from_slice(body),
        })
    }
}

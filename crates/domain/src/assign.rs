//! Assignment: which senders own which endpoint.
//!
//! Owns rendezvous hashing: every sender computes the same owners from the same list of live senders, and when one joins
//! or leaves only its own share moves. Refuses to know how senders learn of each other.
//! Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// How many senders consume one endpoint's queue, where there are that many: the loss of one is then not noticed.
pub const OWNERS: usize = 2;

/// One sender process, by a name that is its own from start to end, with what hashing needs of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderId {
    name: Arc<str>,
    hash: u64,
}

impl SenderId {
    /// The sender of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            hash: stable_hash(name),
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The owners of the endpoint (or whatever else has a name): at most [`OWNERS`], best first.
#[must_use]
pub fn assign<'a>(name: &str, senders: &'a [SenderId]) -> Vec<&'a SenderId> {
    let hash = stable_hash(name);
    let mut ranked: Vec<_> = senders
        .iter()
        .map(|sender| (mix(hash, sender.hash), sender))
        .collect();
    ranked.sort_unstable_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.name.cmp(&right.name)));
    ranked
        .into_iter()
        .take(OWNERS)
        .map(|(_, sender)| sender)
        .collect()
}

/// The same on every machine and in every version, because old and new replicas run side by side.
fn stable_hash(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ])
}

/// SplitMix64's finaliser over the two hashes.
fn mix(name: u64, sender: u64) -> u64 {
    let mut z = name ^ sender.rotate_left(32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn senders(names: &[u32]) -> Vec<SenderId> {
        names
            .iter()
            .map(|n| SenderId::new(&format!("sender-{n}")))
            .collect()
    }

    #[test]
    fn one_sender_owns_everything_and_none_owns_nothing() {
        let one = senders(&[1]);
        assert_eq!(assign("ep_1", &one), [&one[0]]);
        assert!(assign("ep_1", &[]).is_empty());
    }

    #[test]
    fn the_share_of_each_sender_is_near_its_part() {
        let five = senders(&[1, 2, 3, 4, 5]);
        let mut owned = [0_u32; 5];
        for n in 0..10_000 {
            for owner in assign(&format!("ep_{n}"), &five) {
                owned[five.iter().position(|s| s == owner).unwrap()] += 1;
            }
        }
        for share in owned {
            assert!((3_700..=4_300).contains(&share), "{owned:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_in_which_senders_are_listed_does_not_matter(seed: u64, count in 1_usize..8) {
            let list = senders(&(0..count as u32).collect::<Vec<_>>());
            let mut reversed = list.clone();
            reversed.reverse();
            let name = format!("ep_{seed}");
            prop_assert_eq!(assign(&name, &list), assign(&name, &reversed));
        }

        #[test]
        fn a_sender_that_leaves_moves_only_what_it_owned(seed: u64, count in 2_usize..8, gone in 0_usize..8) {
            let before = senders(&(0..count as u32).collect::<Vec<_>>());
            let gone = before[gone % count].clone();
            let after: Vec<_> = before.iter().filter(|s| **s != gone).cloned().collect();
            for n in 0..50 {
                let name = format!("ep_{seed}_{n}");
                let (old, new) = (assign(&name, &before), assign(&name, &after));
                if old.contains(&&gone) {
                    let kept: Vec<_> = old.into_iter().filter(|s| **s != gone).collect();
                    prop_assert!(kept.iter().all(|s| new.contains(s)), "the other owner stays");
                } else {
                    prop_assert_eq!(old, new);
                }
            }
        }
    }
}

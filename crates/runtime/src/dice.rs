//! The dice: randomness, as an argument.
//!
//! Owns the choice between the system's generator and a seeded one. Guarantees that the system's is fit for ids and
//! secrets, and that a seeded one repeats itself.
//! Refuses to know what is drawn for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{CryptoRng, Rng, SeedableRng};

/// Where random numbers come from; cheap to clone.
#[derive(Clone, Default)]
pub struct Dice(Source);

#[derive(Clone, Default)]
enum Source {
    #[default]
    System,
    Seeded(Arc<Mutex<StdRng>>),
}

impl Dice {
    /// A cryptographically secure generator, seeded by the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A generator that repeats itself for the same `seed`: for tests alone.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// A generator that repeats itself for the same `seed`; as fit for ids and secrets as the seed is unknown to others.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::from_seed(seed)))))
    }

    /// A random number.
    #[must_use]
    pub fn u32(&self) -> u32 {
        match &self.0 {
            Source::System => rand::rng().next_u32(),
            Source::Seeded(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).next_u32(),
        }
    }

    /// A random number from 0 up to, but without, 1.
    #[must_use]
    pub fn unit(&self) -> f64 {
        f64::from(self.u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System => rand::rng().fill_bytes(bytes),
            Source::Seeded(rng) => rng
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .fill_bytes(bytes),
        }
    }

    /// Runs `draw` with the generator, for what wants one; `draw` must not use these dice again.
    pub fn with<T>(&self, draw: impl FnOnce(&mut dyn CryptoRng) -> T) -> T {
        match &self.0 {
            Source::System => draw(&mut rand::rng()),
            Source::Seeded(rng) => draw(&mut *rng.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Dice(system)",
            Source::Seeded(_) => "Dice(seeded)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_dice_repeat_themselves_and_clones_share_the_row() {
        let (one, two) = (Dice::seeded(7), Dice::seeded(7));
        let row = |dice: &Dice| (0..4).map(|_| dice.u32()).collect::<Vec<_>>();
        assert_eq!(row(&one), row(&two));
        assert_ne!(row(&one.clone()), row(&Dice::seeded(7)));
    }

    #[test]
    fn unit_numbers_stay_below_one() {
        let dice = Dice::seeded(1);
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&dice.unit())));
    }

    #[test]
    fn system_dice_fall_differently() {
        let dice = Dice::system();
        let (mut one, mut two) = ([0; 16], [0; 16]);
        dice.fill(&mut one);
        dice.with(|rng| rng.fill_bytes(&mut two));
        assert_ne!(one, two);
    }
}

//! Chances that come out the same in every run with the same seed.

use fastrand::Rng;

/// Throws for what is numbered, such as the rows of a log. The same dice of the same number fall the
/// same way whenever they are thrown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    seed: u64,
    number: u64,
}

/// What the dice decide. Each thing is decided on its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Chance {
    LateRow = 1,
    DoubleRow,
    LostDelivery,
    DoubleDelivery,
    ReorderedDelivery,
    DelayOfDelivery,
}

impl Dice {
    pub(crate) const fn new(seed: u64, number: u64) -> Self {
        Self { seed, number }
    }

    /// From 0 up to 1.
    pub(crate) fn throw(self, chance: Chance) -> f64 {
        let parts = [self.seed, self.number, chance as u64];
        let mixed = parts
            .into_iter()
            .fold(0, |mixed: u64, part| Rng::with_seed(mixed ^ part.wrapping_mul(SPREAD)).u64(..));
        Rng::with_seed(mixed).f64()
    }

    /// Whether what happens to this share of all happens to this one.
    pub(crate) fn falls(self, chance: Chance, share: f64) -> bool {
        self.throw(chance) < share
    }
}

/// Spreads small numbers over all bits: the fraction of the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met_and_runs_are_the_same() {
        let fallen = |seed: u64, chance: Chance, share: f64| -> Vec<bool> {
            (0..10_000).map(|number| Dice::new(seed, number).falls(chance, share)).collect()
        };
        let count = |fallen: &[bool]| fallen.iter().filter(|it| **it).count();
        for (share, about) in
            [(0.0, 0..=0), (0.1, 850..=1_150), (0.5, 4_700..=5_300), (1.0, 10_000..=10_000)]
        {
            for seed in [0, 1, 7] {
                assert!(about.contains(&count(&fallen(seed, Chance::LateRow, share))), "{share}");
            }
        }
        let late = fallen(7, Chance::LateRow, 0.5);
        assert_eq!(late, fallen(7, Chance::LateRow, 0.5));
        for other in [fallen(8, Chance::LateRow, 0.5), fallen(7, Chance::DoubleRow, 0.5)] {
            let same = late.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!((4_700..=5_300).contains(&same), "{same}");
        }
    }
}

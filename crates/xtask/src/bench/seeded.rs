//! Numbers that are the same for the same seed, on any machine.

use scelle_testkit::Random;

/// What a bench draws.
pub(crate) struct Seeded(Random);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A number from `first` to `last`.
    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True so often in a thousand times.
    pub(crate) fn permille(&mut self, chance: usize) -> bool {
        self.below(1000) < chance
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.0.bytes(length)
    }

    /// Near a normal distribution of mean 0 and deviation 1: twelve dice.
    pub(crate) fn normal(&mut self) -> f64 {
        const DICE: usize = 12;
        let sum: f64 = (0..DICE)
            .map(|_| self.below(1 << 30) as f64 / f64::from(1 << 30))
            .sum();
        sum - DICE as f64 / 2.0
    }
}

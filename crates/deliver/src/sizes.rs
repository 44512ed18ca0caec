//! How large the pieces of a bundle are.

/// The least that S3 takes as a part that is not the last, and so the least of all.
const LEAST: u64 = 5 << 20;
/// Bytes of the largest first piece: each is held in memory.
pub(crate) const MOST_FIRST: u64 = 1 << 30;
/// The usual size of the first pieces.
const USUAL: u64 = 8 << 20;
/// From which piece on (counted from 0) pieces are how many times as large as the first ones.
type Steps = &'static [(u32, u64)];
/// Where a store takes 10,000 of them, as S3 does.
const FEW: Steps = &[(0, 1), (1000, 4), (3000, 8), (9000, 64)];
/// Where it takes any number; what was sent is listed in a file, which stays short.
const MANY: Steps = &[(0, 1), (100_000, 8)];

/// The sizes of a bundle's pieces: each piece's follows from its number alone.
///
/// S3 takes 10,000 parts, and nobody knows how large a bundle becomes that is still being written.
/// Of small ones, pieces stay small, so that little is held in memory and little is sent again:
/// with first pieces of 8 MiB, they are 32 MiB past 7 GiB, 64 MiB past 70 GiB and 512 MiB past
/// 445 GiB, and 10,000 hold 945 GiB. A store that takes any number has them of 8 MiB, and of 64 MiB past 781 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceSizes {
    first: u64,
    steps: Steps,
}

impl Default for PieceSizes {
    fn default() -> Self {
        Self::new(USUAL)
    }
}

impl PieceSizes {
    /// Those that begin with pieces of so many bytes; at least 5 MiB, at most 1 GiB.
    pub fn new(first_bytes: u64) -> Self {
        Self {
            first: first_bytes.clamp(LEAST, MOST_FIRST),
            steps: FEW,
        }
    }

    /// Those for a store that takes no more than so many pieces.
    #[must_use]
    pub fn within(mut self, pieces: u32) -> Self {
        self.steps = if pieces == u32::MAX { MANY } else { FEW };
        self
    }

    /// Those with which a bundle of so many bytes has no more than so many pieces.
    #[must_use]
    pub fn fitting(mut self, bytes: u64, pieces: u32) -> Self {
        while self.capacity(pieces) < bytes {
            self.first *= 2;
        }
        self
    }

    /// Bytes of the first pieces.
    pub fn first_bytes(self) -> u64 {
        self.first
    }

    /// Bytes of a piece, counted from 0.
    pub fn bytes(self, index: u32) -> u64 {
        let step = self.steps.iter().rev().find(|(from, _)| *from <= index);
        self.first * step.map_or(1, |(_, times)| *times)
    }

    /// Bytes of the first `pieces` pieces.
    pub fn capacity(self, pieces: u32) -> u64 {
        let ends = self.steps.iter().skip(1).map(|(from, _)| *from);
        self.steps
            .iter()
            .zip(ends.chain([u32::MAX]))
            .map(|((from, times), end)| {
                u64::from(pieces.min(end).saturating_sub(*from)) * times * self.first
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_number_alone() {
        let sizes = PieceSizes::default();
        let mut sum = 0;
        for index in 0..10_000 {
            assert_eq!(sizes.capacity(index), sum, "{index}");
            sum += sizes.bytes(index);
        }
        assert_eq!(sum, 968_000 << 20);
        assert_eq!(sizes.bytes(9_999), 512 << 20);
        assert_eq!(PieceSizes::new(1).first_bytes(), 5 << 20);
    }

    #[test]
    fn large_files_fit() {
        let sizes = PieceSizes::default();
        assert_eq!(sizes.fitting(968_000 << 20, 10_000), sizes);
        let larger = sizes.fitting((968_000 << 20) + 1, 10_000);
        assert_eq!(larger.first_bytes(), 16 << 20);
        let largest = sizes.fitting(5 << 40, 10_000);
        assert!(largest.capacity(10_000) >= 5 << 40 && largest.bytes(9_999) <= 5 << 30);
    }

    #[test]
    fn any_number_of_pieces_stays_small() {
        let sizes = PieceSizes::default().within(u32::MAX);
        assert_eq!(sizes.bytes(99_999), 8 << 20);
        assert_eq!(sizes.bytes(1_000_000), 64 << 20);
        assert_eq!(sizes.capacity(100_001), (800_000 << 20) + (64 << 20));
        assert_eq!(sizes.fitting(5 << 40, u32::MAX), sizes);
        assert_eq!(PieceSizes::default().within(10_000), PieceSizes::default());
    }
}

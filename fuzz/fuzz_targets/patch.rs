//! Patches out of fuzzed bytes: places, lengths, and what is written there.

/// The longest patch.
const LONGEST: usize = 31;

/// Each patch is a place of 24 bits, a length, and so many bytes.
pub fn patches(data: &[u8]) -> Vec<(usize, &[u8])> {
    let mut patches = Vec::new();
    let mut rest = data;
    while let [high, middle, low, length, tail @ ..] = rest {
        let place = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        let length = (usize::from(*length) % (LONGEST + 1)).min(tail.len());
        let (bytes, after) = tail.split_at(length);
        patches.push((place, bytes));
        rest = after;
    }
    patches
}

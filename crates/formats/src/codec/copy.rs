//! Copying what was made already.

/// What is moved at once.
const WORD: usize = 16;

/// Copies `length` bytes from `distance` before `at` to `at`, bytes just made included. Bytes past
/// them may be overwritten with anything.
///
/// The caller has checked that `1 <= distance <= at` and `at + length <= out.len()`.
#[inline(always)]
pub(super) fn copy_match(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let end = at + length;
    // Near the end there is no room for whole words.
    if end + WORD > out.len() {
        return copy_bytes(out, at, distance, length);
    }
    let (mut from, mut to) = (at - distance, at);
    if distance >= WORD {
        loop {
            let word: [u8; WORD] = word_at(out, from);
            out[to..to + WORD].copy_from_slice(&word);
            (from, to) = (from + WORD, to + WORD);
            if to >= end {
                return;
            }
        }
    }
    // A short pattern is repeated in a word; what lies past it there is cut off first.
    let mut pattern = u128::from_le_bytes(word_at(out, from)) & !(u128::MAX << (8 * distance));
    let mut filled = 8 * distance;
    while filled < u128::BITS as usize {
        pattern |= pattern << filled;
        filled *= 2;
    }
    // Whole repeats only, so that the next word begins where the pattern does.
    let step = WORD / distance * distance;
    loop {
        out[to..to + WORD].copy_from_slice(&pattern.to_le_bytes());
        to += step;
        if to >= end {
            return;
        }
    }
}

#[inline(always)]
fn word_at(out: &[u8], at: usize) -> [u8; WORD] {
    let mut word = [0; WORD];
    word.copy_from_slice(&out[at..at + WORD]);
    word
}

#[cold]
#[inline(never)]
fn copy_bytes(out: &mut [u8], at: usize, distance: usize, length: usize) {
    for to in at..at + length {
        out[to] = out[to - distance];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distance_and_length() {
        for distance in 1..40 {
            for length in 1..70 {
                for room in [0, 1, 15, 16, 17, 40] {
                    let mut out: Vec<u8> = (0..40 + length + room).map(|at| at as u8).collect();
                    let mut slow = out.clone();
                    copy_match(&mut out, 40, distance, length);
                    copy_bytes(&mut slow, 40, distance, length);
                    assert_eq!(out[..40 + length], slow[..40 + length]);
                }
            }
        }
    }
}

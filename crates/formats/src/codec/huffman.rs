//! Canonical Huffman codes.
//!
//! Codes of up to `BITS` bits are found by one look into a table, longer ones by comparing with
//! the last code of each length: they are rare, which is why they are long.

use super::{Bits, CodecError};

/// The longest code.
pub(super) const MAX_BITS: usize = 16;
/// The bits of a table's entry that hold the length of the code, below the symbol.
const LENGTH_BITS: u32 = 5;
const LENGTH_MASK: u16 = (1 << LENGTH_BITS) - 1;

/// Codes for `SYMBOLS` symbols, with a table of `1 << BITS == ENTRIES` entries.
pub(super) struct Codes<const ENTRIES: usize, const SYMBOLS: usize> {
    /// Symbol and length; 0 where the code is longer, or there is none.
    table: [u16; ENTRIES],
    /// The symbols in the order of their codes.
    sorted: [u16; SYMBOLS],
    /// For each length, the code behind its last one, in the highest 16 bits.
    ends: [u32; MAX_BITS + 1],
    /// For each length, its first code, and where its symbols begin in `sorted`.
    firsts: [(u32, u32); MAX_BITS + 1],
}

impl<const ENTRIES: usize, const SYMBOLS: usize> Codes<ENTRIES, SYMBOLS> {
    const BITS: u32 = ENTRIES.trailing_zeros();

    pub(super) fn new() -> Self {
        Self {
            table: [0; ENTRIES],
            sorted: [0; SYMBOLS],
            ends: [0; MAX_BITS + 1],
            firsts: [(0, 0); MAX_BITS + 1],
        }
    }

    /// Makes the codes from the length of each symbol's one, 0 for none; at most [`MAX_BITS`].
    ///
    /// A code that leaves bits without a symbol is accepted; such bits are then an error.
    pub(super) fn build(&mut self, lengths: &[u8; SYMBOLS]) -> Result<(), CodecError> {
        let mut counts = [0u32; MAX_BITS + 1];
        for length in lengths {
            counts[usize::from(*length) % (MAX_BITS + 1)] += 1;
        }
        counts[0] = 0;
        let (mut code, mut index) = (0u32, 0u32);
        let mut places = [0u32; MAX_BITS + 1];
        for length in 1..=MAX_BITS {
            self.firsts[length] = (code, index);
            places[length] = index;
            code += counts[length] << (MAX_BITS - length);
            index += counts[length];
            self.ends[length] = code;
        }
        if code > 1 << MAX_BITS {
            return Err(CodecError {
                made: 0,
                why: "a Huffman code has more symbols than bits",
            });
        }
        for (symbol, length) in lengths.iter().enumerate() {
            let length = usize::from(*length) % (MAX_BITS + 1);
            if length > 0 {
                self.sorted[places[length] as usize] = symbol as u16;
                places[length] += 1;
            }
        }
        let mut filled = 0;
        for length in 1..=Self::BITS {
            let (from, count) = (
                self.firsts[length as usize].1 as usize,
                counts[length as usize],
            );
            let width = 1 << (Self::BITS - length);
            for symbol in &self.sorted[from..from + count as usize] {
                let entry = symbol << LENGTH_BITS | length as u16;
                self.table[filled..filled + width].fill(entry);
                filled += width;
            }
        }
        self.table[filled..].fill(0);
        Ok(())
    }

    /// The next symbol; `None` where the bits are no code. At least [`MAX_BITS`] must be ready.
    #[inline(always)]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let peek = bits.peek();
        let entry = self.table[(peek >> (64 - Self::BITS)) as usize];
        if entry == 0 {
            return self.long(bits);
        }
        bits.skip(u32::from(entry & LENGTH_MASK));
        Some(usize::from(entry >> LENGTH_BITS))
    }

    #[inline(never)]
    fn long(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let code = (bits.peek() >> (64 - MAX_BITS)) as u32;
        let length = (Self::BITS as usize + 1..=MAX_BITS).find(|at| code < self.ends[*at])?;
        let (first, index) = self.firsts[length];
        let within = code.checked_sub(first)? >> (MAX_BITS - length);
        bits.skip(length as u32);
        self.sorted
            .get((index + within) as usize)
            .map(|it| usize::from(*it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of every length: symbol n has n + 1 bits, the last two 16.
    #[test]
    fn short_and_long_codes() {
        let mut lengths = [0u8; 17];
        for (at, length) in lengths.iter_mut().enumerate() {
            *length = (at as u8 + 1).min(16);
        }
        let mut codes = Codes::<16, 17>::new();
        codes.build(&lengths).expect("it is full");
        for symbol in 0..17u32 {
            // As many ones as the symbol's number, then a zero.
            let word = !(u64::MAX >> symbol);
            let units: Vec<u8> = (0..4)
                .flat_map(|at| ((word >> (48 - 16 * at)) as u16).to_le_bytes())
                .collect();
            let mut bits = Bits::new(&units, 0);
            bits.refill();
            assert_eq!(codes.symbol(&mut bits), Some(symbol as usize));
        }
        lengths[0] = 0;
        codes.build(&lengths).expect("half of it is free");
        let mut bits = Bits::new(&[0xFF; 8], 0);
        bits.refill();
        assert_eq!(codes.symbol(&mut bits), None);
        assert!(codes.build(&[1; 17]).is_err());
    }
}

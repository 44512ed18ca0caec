//! A stream of bits in 16-bit little-endian units, the highest bit of each first.

use super::CodecError;

/// Bits that are there after [`Bits::refill`].
pub(super) const REFILLED: u32 = 48;

/// Reads bits; past the end of the input they are zeros, which [`Bits::check`] finds out.
pub(super) struct Bits<'a> {
    input: &'a [u8],
    /// Where the next unit lies.
    at: usize,
    /// The next bits, the first one highest. Below the `count` valid ones may stand those that
    /// follow: a refill sets them once more to the same.
    buffer: u64,
    count: u32,
    /// How many of the valid bits lie past the end.
    past: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(input: &'a [u8], at: usize) -> Self {
        Self {
            input,
            at,
            buffer: 0,
            count: 0,
            past: 0,
        }
    }

    /// Makes at least [`REFILLED`] bits ready.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let Some(bytes) = self.input.get(self.at..).and_then(<[u8]>::first_chunk) else {
            return self.refill_at_end();
        };
        let word = u64::from_le_bytes(*bytes);
        // Four units, the first one highest.
        const EVEN: u64 = 0x0000_FFFF_0000_FFFF;
        let word = (word & EVEN) << 16 | word >> 16 & EVEN;
        self.buffer |= word.rotate_left(32) >> self.count;
        let units = (63 - self.count) / 16;
        self.at += 2 * units as usize;
        self.count += 16 * units;
    }

    #[cold]
    #[inline(never)]
    fn refill_at_end(&mut self) {
        while self.count < REFILLED {
            let unit = match self.input.get(self.at..).and_then(<[u8]>::first_chunk) {
                Some(unit) => u16::from_le_bytes(*unit),
                None => {
                    self.past += 16;
                    0
                }
            };
            self.buffer |= u64::from(unit) << (REFILLED - self.count);
            self.at += 2;
            self.count += 16;
        }
    }

    /// The next bits, the first one highest.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.buffer
    }

    /// How many bits are ready.
    #[inline(always)]
    pub(super) fn ready(&self) -> u32 {
        self.count
    }

    /// Passes over some bits that are ready.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count = self.count.wrapping_sub(count);
    }

    /// The next bits, at most 31 of those that are ready.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        // In two steps, since 64 bits can't be shifted out at once.
        let value = (self.buffer >> 1 >> (63 - count)) as u32;
        self.skip(count);
        value
    }

    /// Whether no bit past the end was used.
    pub(super) fn check(&self, made: usize) -> Result<(), CodecError> {
        if self.past > self.count {
            return Err(CodecError {
                made,
                why: "the input ends early",
            });
        }
        Ok(())
    }

    /// Gives units back until fewer than `keep` + 16 bits are ready, and says where the next byte
    /// lies; `None` past the end.
    pub(super) fn give_back(&mut self, keep: u32) -> Option<usize> {
        let units = self.count.checked_sub(keep)? / 16;
        self.at -= 2 * units as usize;
        self.count -= 16 * units;
        self.past = self.past.saturating_sub(16 * units);
        self.buffer &= !(u64::MAX.checked_shr(self.count).unwrap_or(0));
        Some(self.at).filter(|at| *at <= self.input.len())
    }

    /// Passes over some bytes that lie between the units, after [`Bits::give_back`].
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.input.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    /// Forgets what is ready, and goes on at a byte.
    pub(super) fn restart(&mut self, at: usize) {
        *self = Self::new(self.input, at);
    }

    /// All input from a byte on.
    pub(super) fn from(&self, at: usize) -> &'a [u8] {
        self.input.get(at..).unwrap_or(&[])
    }
}

//! LZX, as WIM files and WOF have it.
//!
//! The form differs from that of cabinets: each chunk stands alone, its window is the chunk
//! itself, blocks state their size in one bit or sixteen, and calls are always translated.
//!
//! # Layout
//! 16-bit little-endian units of bits, the highest bit first. A chunk consists of blocks:
//!
//! | bits | meaning |
//! |-----:|---------|
//! | 3 | 1 verbatim, 2 with aligned distances, 3 not compressed |
//! | 1 | 1: the block makes 32768 bytes |
//! | 16 | else how many it makes |
//!
//! Types 1 and 2 go on with the lengths of codes: for type 2 eight of the aligned code (3 bits
//! each); of the main code for 256 literals, then for its matches; of the length code. Each
//! of these three is written as differences to the block before, in a code of its own whose 20
//! lengths precede it (4 bits each): 0 to 16 is what is taken away, modulo 17; 17 and 18 are runs of
//! 4 + 4 bits and of 20 + 5 bits zeros; 19 is a run of 4 + 1 bits of the difference that follows.
//!
//! A main symbol from 256 on is a match: bits 0–2 are the length less two, where 7 goes on in a
//! symbol of the length code; the rest is a slot. Slots 0 to 2 are the last three distances; others
//! give the base of a distance and the number of bits that follow. With the aligned code, the last
//! three of three or more bits are a symbol of it.
//!
//! Type 3 goes on at the next unit (a whole unit is passed over where one ends just there) with
//! the last three distances, 32 bits each, and the bytes; an odd count is padded.
//!
//! After decoding, in all but the last 10 bytes, the four bytes behind 0xE8 are made relative again,
//! as if the chunk were at 0 of a file of 12,000,000 bytes.
//!
//! # Sources
//! - [MS-PATCH], "LZX DELTA Compression and Decompression", for the codes.
//! - libyal/libfwnt, "Compression methods", and the comments of wimlib on what WIM changes.
//! - That a call in the eleventh byte from the end is not translated is seen in samples.

use super::{Bits, CodecError, Codes, copy_match};

/// The most bytes that a chunk makes.
pub const CHUNK_BYTES: usize = 32 << 10;

const LITERALS: usize = 256;
/// Slots of distances in a window of 32 KiB.
const SLOTS: usize = 30;
const MAIN_SYMBOLS: usize = LITERALS + 8 * SLOTS;
const LENGTH_SYMBOLS: usize = 249;
const ALIGNED_SYMBOLS: usize = 8;
const PRE_SYMBOLS: usize = 20;
const MIN_LENGTH: usize = 2;
const LONG_LENGTH: usize = 7;
/// The size of the file that calls are translated for.
const CALLS_FILE_BYTES: i32 = 12_000_000;
/// Calls are not translated in the last bytes of a chunk.
const CALLS_TAIL_BYTES: usize = 10;

/// Bits that follow each slot.
const SLOT_BITS: [u8; SLOTS] = {
    let mut bits = [0; SLOTS];
    let mut slot = 4;
    while slot < SLOTS {
        bits[slot] = (slot / 2 - 1) as u8;
        slot += 1;
    }
    bits
};
/// The distance at which each slot begins; the first three are not used.
const SLOT_BASES: [u16; SLOTS] = {
    let mut bases = [0; SLOTS];
    let (mut slot, mut next) = (3, 3);
    while slot < SLOTS {
        // Distances are stored with 2 added.
        bases[slot] = next - 2;
        next += 1 << SLOT_BITS[slot];
        slot += 1;
    }
    bases
};

/// A decoder; its tables are used again for each chunk.
pub struct Decoder {
    main: Codes<2048, MAIN_SYMBOLS>,
    length: Codes<1024, LENGTH_SYMBOLS>,
    aligned: Codes<128, ALIGNED_SYMBOLS>,
    pre: Codes<64, PRE_SYMBOLS>,
    main_lengths: [u8; MAIN_SYMBOLS],
    length_lengths: [u8; LENGTH_SYMBOLS],
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder.
    pub fn new() -> Self {
        Self {
            main: Codes::new(),
            length: Codes::new(),
            aligned: Codes::new(),
            pre: Codes::new(),
            main_lengths: [0; MAIN_SYMBOLS],
            length_lengths: [0; LENGTH_SYMBOLS],
        }
    }

    /// Decodes one chunk, which makes as many bytes as `out` has, at most [`CHUNK_BYTES`].
    ///
    /// # Errors
    /// Where the input is damaged or makes fewer bytes; what `out` then holds is of no meaning.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), CodecError> {
        let mut made = 0;
        if out.len() > CHUNK_BYTES {
            let why = "a chunk has more bytes than its window";
            return Err(CodecError { made, why });
        }
        self.main_lengths.fill(0);
        self.length_lengths.fill(0);
        let mut recent = [1; 3];
        let mut bits = Bits::new(input, 0);
        while made < out.len() {
            let error = |why| CodecError { made, why };
            bits.refill();
            let kind = bits.take(3);
            let size = match bits.take(1) {
                1 => CHUNK_BYTES,
                _ => bits.take(16) as usize,
            };
            if size == 0 || size > out.len() - made {
                return Err(error("a block makes no bytes, or more than there are"));
            }
            match kind {
                1 | 2 => {
                    let is_aligned = kind == 2;
                    self.read_codes(&mut bits, is_aligned)
                        .map_err(|it| error(it.why))?;
                    bits.check(made)?;
                    let out = &mut out[..made + size];
                    if is_aligned {
                        self.block::<true>(&mut bits, out, made, &mut recent)?;
                    } else {
                        self.block::<false>(&mut bits, out, made, &mut recent)?;
                    }
                }
                3 => stored(&mut bits, &mut out[made..made + size], &mut recent)
                    .ok_or(error("a block that is not compressed is cut"))?,
                _ => return Err(error("a block of unknown type")),
            }
            made += size;
            bits.check(made)?;
        }
        translate_calls(out);
        Ok(())
    }

    fn read_codes(&mut self, bits: &mut Bits<'_>, is_aligned: bool) -> Result<(), CodecError> {
        if is_aligned {
            let mut lengths = [0; ALIGNED_SYMBOLS];
            bits.refill();
            lengths.fill_with(|| bits.take(3) as u8);
            self.aligned.build(&lengths)?;
        }
        let (literals, matches) = self.main_lengths.split_at_mut(LITERALS);
        read_lengths(bits, &mut self.pre, literals)?;
        read_lengths(bits, &mut self.pre, matches)?;
        self.main.build(&self.main_lengths)?;
        read_lengths(bits, &mut self.pre, &mut self.length_lengths)?;
        self.length.build(&self.length_lengths)
    }

    /// Decodes a block that fills `out` from `made` on.
    fn block<const ALIGNED: bool>(
        &self,
        bits: &mut Bits<'_>,
        out: &mut [u8],
        mut made: usize,
        recent: &mut [usize; 3],
    ) -> Result<(), CodecError> {
        const NO_SYMBOL: &str = "bits that are no code";
        while made < out.len() {
            // Enough for a main symbol, a length and the distance.
            bits.refill();
            let error = |why| CodecError { made, why };
            let mut symbol = self.main.symbol(bits).ok_or(error(NO_SYMBOL))?;
            if let Ok(literal) = u8::try_from(symbol) {
                out[made] = literal;
                made += 1;
                if made == out.len() {
                    break;
                }
                // Literals come in runs, and there are bits for another symbol.
                let error = |why| CodecError { made, why };
                symbol = self.main.symbol(bits).ok_or(error(NO_SYMBOL))?;
                if let Ok(literal) = u8::try_from(symbol) {
                    out[made] = literal;
                    made += 1;
                    continue;
                }
                bits.refill();
            }
            let error = |why| CodecError { made, why };
            let mut length = symbol & 7;
            if length == LONG_LENGTH {
                length += self.length.symbol(bits).ok_or(error(NO_SYMBOL))?;
            }
            length += MIN_LENGTH;
            let slot = (symbol - LITERALS) >> 3;
            let distance = if slot < 3 {
                let distance = recent[slot];
                recent[slot] = recent[0];
                distance
            } else {
                let (base, count) = (usize::from(SLOT_BASES[slot]), u32::from(SLOT_BITS[slot]));
                let more = if ALIGNED && count >= 3 {
                    bits.refill();
                    let high = bits.take(count - 3) as usize;
                    high << 3 | self.aligned.symbol(bits).ok_or(error(NO_SYMBOL))?
                } else {
                    bits.take(count) as usize
                };
                recent[2] = recent[1];
                recent[1] = recent[0];
                base + more
            };
            recent[0] = distance;
            // A distance of zero comes from a block that is not compressed.
            if distance == 0 || distance > made {
                return Err(error("a match lies before its chunk"));
            }
            if length > out.len() - made {
                return Err(error("a match makes more bytes than its block"));
            }
            copy_match(out, made, distance, length);
            made += length;
        }
        Ok(())
    }
}

/// Reads the lengths of some codes as differences to those that stand there.
fn read_lengths(
    bits: &mut Bits<'_>,
    pre: &mut Codes<64, PRE_SYMBOLS>,
    lengths: &mut [u8],
) -> Result<(), CodecError> {
    let mut pre_lengths = [0; PRE_SYMBOLS];
    for half in pre_lengths.chunks_mut(PRE_SYMBOLS / 2) {
        bits.refill();
        half.fill_with(|| bits.take(4) as u8);
    }
    pre.build(&pre_lengths)?;
    let error = CodecError {
        made: 0,
        why: "bits that are no length of a code",
    };
    let mut at = 0;
    while let Some(known) = lengths.get(at) {
        let less = |symbol: usize| {
            let difference = u8::try_from(symbol).ok().filter(|symbol| *symbol < 17);
            difference.map(|less| (known + 17 - less) % 17)
        };
        bits.refill();
        let (count, length) = match pre.symbol(bits).ok_or(error)? {
            17 => (4 + bits.take(4), 0),
            18 => (20 + bits.take(5), 0),
            19 => {
                let count = 4 + bits.take(1);
                let symbol = pre.symbol(bits).ok_or(error)?;
                (count, less(symbol).ok_or(error)?)
            }
            symbol => (1, less(symbol).ok_or(error)?),
        };
        // A run may go past the end.
        let end = lengths.len().min(at + count as usize);
        lengths[at..end].fill(length);
        at = end;
    }
    Ok(())
}

/// Reads a block that is not compressed.
fn stored(bits: &mut Bits<'_>, out: &mut [u8], recent: &mut [usize; 3]) -> Option<()> {
    bits.refill();
    // What is left of a unit is passed over, or a whole one.
    let at = bits.give_back(1)?;
    let head: &[u8; 12] = bits.from(at).first_chunk()?;
    for (distance, bytes) in recent.iter_mut().zip(head.as_chunks::<4>().0) {
        *distance = usize::try_from(u32::from_le_bytes(*bytes)).ok()?;
    }
    let bytes = bits.from(at + head.len()).get(..out.len())?;
    out.copy_from_slice(bytes);
    bits.restart(at + head.len() + out.len().next_multiple_of(2));
    Some(())
}

/// Where the next call lies, from `at` on.
fn call_at(bytes: &[u8], mut at: usize) -> Option<usize> {
    const CALL: u8 = 0xE8;
    // Eight bytes at a time, for most are none: a byte that is one becomes zero.
    const ONES: u64 = 0x0101_0101_0101_0101;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word) ^ (ONES * CALL as u64);
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter()
        .position(|byte| *byte == CALL)
        .map(|found| at + found)
}

/// Makes the targets of calls relative again.
fn translate_calls(out: &mut [u8]) {
    let Some(end) = out.len().checked_sub(CALLS_TAIL_BYTES) else {
        return;
    };
    let mut at = 0;
    while let Some(found) = call_at(&out[..end], at) {
        at = found;
        let Some(target) = out[at + 1..].first_chunk_mut::<4>() else {
            return;
        };
        let absolute = i32::from_le_bytes(*target);
        // Chunks are short.
        let place = at as i32;
        if (0..CALLS_FILE_BYTES).contains(&absolute) {
            *target = (absolute - place).to_le_bytes();
        } else if (-place..0).contains(&absolute) {
            *target = (absolute + CALLS_FILE_BYTES).to_le_bytes();
        }
        at = end.min(at + 5);
    }
}

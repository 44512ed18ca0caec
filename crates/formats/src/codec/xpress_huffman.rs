//! XPRESS with Huffman codes (LZ77+Huffman).
//!
//! # Layout
//! Blocks, each of which stands for 64 KiB (the last one for what is left). A block begins with
//! 256 bytes: the lengths of the codes of 512 symbols, 4 bits each, the low ones first. Then
//! follow 16-bit little-endian units of bits, the highest bit first:
//!
//! | symbol | meaning |
//! |-------:|---------|
//! | 0–255 | a literal byte |
//! | 256–511 | a match: bits 0–3 are the length less three, bits 4–7 how many bits the distance has besides its highest one, which follow |
//!
//! A length of 15 goes on in a byte that is added; where that is 255, in 16 bits that stand for
//! all of it; where these are 0, in 32. These bytes lie behind the units that a reader who keeps
//! at least 16 bits ready has taken so far. Windows and wimlib count the symbol's own bits as
//! read already; some writers do not, and their output is tried in that way after the first fails.
//!
//! # Sources
//! - [MS-XCA] 2.1 and 2.2, "LZ77+Huffman".

use super::{Bits, CodecError, Codes, copy_match};

const SYMBOLS: usize = 512;
const LENGTHS_BYTES: usize = SYMBOLS / 2;
/// What a block stands for.
const BLOCK_BYTES: usize = 64 << 10;
/// What stays ready of the bits where bytes lie between them.
const KEPT_BITS: u32 = 16;
const MIN_LENGTH: usize = 3;
const LONG_LENGTH: usize = 15;

/// A decoder; its tables are used again for each input.
pub struct Decoder {
    codes: Codes<2048, SYMBOLS>,
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
            codes: Codes::new(),
        }
    }

    /// Decodes as many bytes as `out` has room for: the format does not say how many there are.
    ///
    /// # Errors
    /// Where the input is damaged or makes fewer bytes; what `out` then holds is of no meaning.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<(), CodecError> {
        self.decode_all::<false>(input, out)
            .or_else(|error| self.decode_all::<true>(input, out).map_err(|_| error))
    }

    fn decode_all<const EARLY: bool>(
        &mut self,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(), CodecError> {
        let (mut made, mut at) = (0, 0);
        while made < out.len() {
            let error = |why| CodecError { made, why };
            let lengths = input
                .get(at..)
                .and_then(<[u8]>::first_chunk::<LENGTHS_BYTES>);
            let lengths = lengths.ok_or(error("the input ends inside the lengths of codes"))?;
            self.codes.build(&code_lengths(lengths))?;
            (made, at) = self.block::<EARLY>(input, at + LENGTHS_BYTES, out, made)?;
        }
        Ok(())
    }

    /// Decodes a block from `made` on, and says how far output and input went. `EARLY` is the form
    /// in which bytes come before the bits of their symbol.
    fn block<const EARLY: bool>(
        &self,
        input: &[u8],
        at: usize,
        out: &mut [u8],
        mut made: usize,
    ) -> Result<(usize, usize), CodecError> {
        let stop = out.len().min(made + BLOCK_BYTES);
        let mut bits = Bits::new(input, at);
        while made < stop {
            bits.refill();
            let error = |why| CodecError { made, why };
            let mut ready = bits.ready();
            let symbol = self.codes.symbol(&mut bits);
            let mut symbol = symbol.ok_or(error(NO_SYMBOL))?;
            if let Ok(literal) = u8::try_from(symbol) {
                out[made] = literal;
                made += 1;
                if made == stop {
                    break;
                }
                // There are bits for another literal, and for a match behind it.
                let error = |why| CodecError { made, why };
                ready = bits.ready();
                symbol = self.codes.symbol(&mut bits).ok_or(error(NO_SYMBOL))?;
                if let Ok(literal) = u8::try_from(symbol) {
                    out[made] = literal;
                    made += 1;
                    continue;
                }
            }
            let symbol_bits = ready - bits.ready();
            // A long code leaves too few for the distance.
            bits.refill();
            let error = |why| CodecError { made, why };
            let mut length = symbol & 15;
            if length == LONG_LENGTH {
                let keep = KEPT_BITS - if EARLY { symbol_bits } else { 0 };
                length =
                    long_length(&mut bits, keep).ok_or(error("a length is cut or can't be"))?;
                bits.refill();
            }
            length = length.saturating_add(MIN_LENGTH);
            let high = (symbol as u32 >> 4) & 15;
            let distance = 1 << high | bits.take(high) as usize;
            if distance > made {
                return Err(error("a match lies before the output"));
            }
            if length > out.len() - made {
                return Err(error("a match makes more bytes than there are"));
            }
            copy_match(out, made, distance, length);
            made += length;
        }
        bits.check(made)?;
        bits.refill();
        // Only where another block follows is it of interest where this one ends.
        let end = bits.give_back(KEPT_BITS).unwrap_or(input.len());
        Ok((made, end))
    }
}

const NO_SYMBOL: &str = "bits that are no code";

/// What a length of 15 goes on in.
#[inline(never)]
fn long_length(bits: &mut Bits<'_>, keep: u32) -> Option<usize> {
    bits.give_back(keep)?;
    let [more] = bits.bytes()?;
    if more < u8::MAX {
        return Some(LONG_LENGTH + usize::from(more));
    }
    let whole = match u16::from_le_bytes(bits.bytes()?) {
        0 => u32::from_le_bytes(bits.bytes()?),
        whole => whole.into(),
    };
    usize::try_from(whole).ok().filter(|it| *it >= LONG_LENGTH)
}

fn code_lengths(bytes: &[u8; LENGTHS_BYTES]) -> [u8; SYMBOLS] {
    let mut lengths = [0; SYMBOLS];
    for (pair, byte) in lengths.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = [byte & 15, byte >> 4];
    }
    lengths
}

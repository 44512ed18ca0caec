//! LZNT1.
//!
//! # Layout
//! Chunks, each of which stands for 4096 bytes (the last one for what is left) and can be decoded
//! alone. A chunk begins with 16 bits, little-endian:
//!
//! | bits | meaning |
//! |-----:|---------|
//! | 0–11 | bytes that follow, less one |
//! | 12–14 | 3 |
//! | 15 | 1: compressed; 0: as they stand |
//!
//! Zeros there end the input. What is compressed consists of groups: a byte of flags, the lowest
//! first, and eight tokens. Flag 0 is one literal byte; flag 1 is 16 bits, the high ones of which
//! are a distance less one and the low ones a length less three. The further the chunk has got,
//! the more bits has the distance: 4 up to 16 bytes, 5 up to 32, and so on to 12.
//!
//! # Damage
//! A chunk that can't be decoded costs its own 4096 bytes; the next one is found by its head. Where
//! a head can't be, all that follows is lost.
//!
//! # Sources
//! - [MS-XCA] 2.5, "LZNT1 Algorithm Details".
//! - linux-ntfs, "NTFS Documentation", "Compression", for compression units.

use std::ops::Range;

use super::{CodecError, copy_match};

/// What a chunk stands for.
pub const CHUNK_BYTES: usize = 4096;

/// Decodes into `out`, and says how many bytes of it were made.
///
/// # Errors
/// At the first damage; or where `out` is too small.
pub fn decode(input: &[u8], out: &mut [u8]) -> Result<usize, CodecError> {
    let mut first = None;
    let made = decode_chunks(input, out, &mut |range, why| {
        let made = range.start;
        first.get_or_insert(CodecError { made, why });
    });
    match first {
        Some(error) => Err(error),
        None => Ok(made),
    }
}

/// Decodes all that can be decoded, and says how far the input went. `damaged` is told which
/// ranges of `out` could not be, in order, and why; zeros stand there.
///
/// A chunk that ends early is filled up with zeros where another one follows it. What `out` holds
/// past the end is of no meaning.
pub fn decode_chunks(
    input: &[u8],
    out: &mut [u8],
    damaged: &mut dyn FnMut(Range<usize>, &'static str),
) -> usize {
    let (mut rest, mut made, mut end) = (input, 0, 0);
    let mut lose = |out: &mut [u8], range: Range<usize>, why| {
        out[range.clone()].fill(0);
        damaged(range, why);
    };
    // A last byte alone can be no head, and is padding.
    while let Some((head, after)) = rest.split_first_chunk() {
        let head = u16::from_le_bytes(*head);
        if head == 0 {
            break;
        }
        // The chunk before was not the last one.
        out[end..made].fill(0);
        end = made;
        let all = out.len();
        if made == all {
            lose(
                out,
                all..all,
                "there are more chunks than the output has room for",
            );
            break;
        }
        let size = usize::from(head & 0x0FFF) + 1;
        if head & 0x7000 != 0x3000 {
            lose(out, made..all, "the head of a chunk can't be");
            return all;
        }
        let room = &mut out[made..all.min(made + CHUNK_BYTES)];
        let stop = made + room.len();
        let Some((chunk, after)) = after.split_at_checked(size) else {
            lose(out, made..all, "the input ends inside a chunk");
            return all;
        };
        rest = after;
        let outcome = if head & 0x8000 == 0 {
            match room.get_mut(..size) {
                Some(room) => {
                    room.copy_from_slice(chunk);
                    Ok(size)
                }
                None => Err("a chunk is longer than 4096 bytes"),
            }
        } else {
            decode_chunk(chunk, room)
        };
        match outcome {
            Ok(count) => end = made + count,
            Err(why) => {
                lose(out, made..stop, why);
                end = stop;
            }
        }
        made = stop;
    }
    end
}

/// Decodes one chunk, and says how many bytes it has.
fn decode_chunk(chunk: &[u8], out: &mut [u8]) -> Result<usize, &'static str> {
    const TOO_LONG: &str = "a chunk makes more bytes than it may";
    /// Stands above the flags of a group: what is left is this when all are used.
    const GROUP_END: u32 = 1 << 8;
    let (mut rest, mut at) = (chunk, 0);
    while let Some((flags, after)) = rest.split_first() {
        rest = after;
        let mut flags = u32::from(*flags) | GROUP_END;
        loop {
            let literals = flags.trailing_zeros() as usize;
            // A group has eight at most; those past the last are overwritten.
            if let Some(eight) = rest.first_chunk::<8>()
                && let Some(room) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut)
            {
                *room = *eight;
                (rest, at) = (&rest[literals..], at + literals);
            } else {
                for _ in 0..literals {
                    let Some((literal, after)) = rest.split_first() else {
                        return Ok(at);
                    };
                    if at == CHUNK_BYTES {
                        return Ok(at);
                    }
                    *out.get_mut(at).ok_or(TOO_LONG)? = *literal;
                    (rest, at) = (after, at + 1);
                }
            }
            flags >>= literals;
            if flags == 1 {
                break;
            }
            // The flags of the last group may have no tokens; a full chunk needs no more.
            if rest.is_empty() || at == CHUNK_BYTES {
                return Ok(at);
            }
            let Some((token, after)) = rest.split_first_chunk() else {
                return Err("a chunk ends inside a token");
            };
            let token = usize::from(u16::from_le_bytes(*token));
            // The bits of the distance are those of the last place, and at least four.
            let last = at.checked_sub(1).ok_or("a chunk begins with a match")?;
            let distance_bits = (usize::BITS - last.leading_zeros()).max(4);
            let length_bits = 16 - distance_bits;
            let distance = (token >> length_bits) + 1;
            let length = (token & ((1 << length_bits) - 1)) + 3;
            if distance > at {
                return Err("a match lies before its chunk");
            }
            if length > out.len() - at {
                return Err(TOO_LONG);
            }
            copy_match(out, at, distance, length);
            (rest, at) = (after, at + length);
            flags >>= 1;
            if flags == 1 {
                break;
            }
        }
    }
    Ok(at)
}

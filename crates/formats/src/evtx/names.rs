//! Names of elements, attributes and entities.
//!
//! A name is an offset in the chunk. Where it is the offset right after itself, the name stands
//! there: the next name (4), hash (2), length (2), UTF-16, a zero.

use std::ops::Range;

use super::{plan::Str, text::Utf16};

/// The next name, hash and length, before a name.
pub(super) const NAME_HEAD_BYTES: usize = 8;
/// The zero after a name.
pub(super) const NAME_END_BYTES: usize = 2;

/// Where tokens refer to a name.
#[derive(Clone, Debug)]
pub(super) struct NameRef {
    /// Where the name's offset stands in the chunk.
    pub(super) at: usize,
    /// Whether the name follows it.
    pub(super) inline: bool,
    /// Where the name's hash, length and units lie in the chunk.
    pub(super) stored: Range<usize>,
}

/// What stands before a name, as a key of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    None,
    Attribute,
    Instruction,
}

impl Prefix {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Attribute => "@",
            Self::Instruction => "?",
        }
    }
}

/// The names of the chunk that were converted last, by their offsets: every template of a chunk
/// has the same ones.
#[derive(Debug)]
pub(super) struct Names([Option<(u32, Prefix, Str)>; Self::PLACES]);

impl Names {
    const PLACES: usize = 256;

    /// Where that name is kept, or would be; another one may be there.
    pub(super) fn place(&mut self, at: u32, prefix: Prefix) -> &mut Option<(u32, Prefix, Str)> {
        let place = at as usize / 2 + prefix as usize * (Self::PLACES / 2);
        &mut self.0[place % Self::PLACES]
    }
}

impl Default for Names {
    fn default() -> Self {
        Self([None; Self::PLACES])
    }
}

/// Whether a stored name is one: other bytes look like one too, where it was overwritten.
///
/// The hash is not specified. This one is right for all 22,714 names of the logs that it was
/// tried on, of which the longest has 46 characters.
pub(super) fn is_name(name: Utf16<'_>, stored_hash: u16) -> bool {
    const MOST_UNITS: usize = 256;
    if name.0.len() > MOST_UNITS * 2 {
        return false;
    }
    let units = name.0.chunks_exact(2);
    let mut units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let hash = units.clone().fold(0u32, |hash, unit| {
        hash.wrapping_mul(65_599).wrapping_add(unit.into())
    });
    // A name with a damaged hash still names something.
    hash as u16 == stored_hash
        || units.all(|unit| {
            u8::try_from(unit).is_ok_and(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':')
            })
        })
}

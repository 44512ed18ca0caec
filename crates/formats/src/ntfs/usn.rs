//! Records of the change journal, `$Extend\$UsnJrnl:$J`.
//!
//! # Layout (little-endian)
//! | offset v2 | v3 | v4 | bytes | field |
//! |----------:|---:|---:|------:|-------|
//! |   0 |  0 |  0 |      4 | length of the record, a multiple of 8 |
//! |   4 |  4 |  4 |  2 + 2 | major and minor version |
//! |   8 |  8 |  8 | 8 (16) | reference of the file; 16 bytes in v3 and v4 |
//! |  16 | 24 | 24 | 8 (16) | reference of its directory; 16 bytes in v3 and v4 |
//! |  24 | 40 | 40 |      8 | USN: where the record stands in the journal |
//! |  32 | 48 |  — |      8 | time, FILETIME (100 ns, UTC) |
//! |  40 | 56 | 48 |      4 | reasons |
//! |  44 | 60 | 52 |      4 | who caused it |
//! |  48 | 64 |  — |      4 | security id |
//! |  52 | 68 |  — |      4 | DOS attributes |
//! |  56 | 72 |  — |  2 + 2 | length and offset of the name, in bytes |
//! |  60 | 76 |  — |      … | name, UTF-16 |
//! |   — |  — | 56 |      4 | extents that later records list |
//! |   — |  — | 60 |  2 + 2 | extents here; size of one |
//! |   — |  — | 64 | 16 × n | extents: offset and length of changed bytes |
//!
//! # Damage
//! What is no record says why; [`find`] searches the next one, at any byte.
//!
//! # Sources
//! - Microsoft, `winioctl.h`: `USN_RECORD_V2`, `USN_RECORD_V3`, `USN_RECORD_V4`,
//!   `USN_RECORD_EXTENT`.
//! - libyal/libfsntfs, "New Technologies File System (NTFS)", section "USN change journal".

use super::{
    MAX_NAME_UNITS,
    field::{u16_at, u32_at, u64_at},
};

/// The longest record: one never crosses the end of a page of that many bytes in the journal.
pub const MAX_USN_RECORD_BYTES: usize = 4096;
/// The shortest record: version 2, without a name.
pub const MIN_USN_RECORD_BYTES: usize = 60;
const V3_NAME_AT: usize = 76;
const V4_EXTENTS_AT: usize = 64;
const EXTENT_BYTES: usize = 16;

/// Bits of [`UsnRecord::reasons`] that say how a name came or went.
#[expect(missing_docs, reason = "the names are the format's own")]
pub mod reason {
    pub const FILE_CREATE: u32 = 0x0000_0100;
    pub const FILE_DELETE: u32 = 0x0000_0200;
    pub const RENAME_OLD_NAME: u32 = 0x0000_1000;
    pub const RENAME_NEW_NAME: u32 = 0x0000_2000;
    pub const CLOSE: u32 = 0x8000_0000;
}

/// The DOS attribute of directories.
const DIRECTORY: u32 = 0x10;

/// One record of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsnRecord<'a> {
    /// Its bytes, padding included.
    pub length: usize,
    /// Major version: 2, 3 or 4.
    pub version: u16,
    /// The file's 128-bit id; a 64-bit reference on NTFS.
    pub file: u128,
    /// Its directory's.
    pub parent: u128,
    /// Where the record stands in the journal.
    pub usn: u64,
    /// FILETIME; version 4 has none.
    pub ticks_100ns: Option<u64>,
    /// Why it was written, see [`reason`].
    pub reasons: u32,
    /// Who caused it.
    pub source: u32,
    /// The descriptor's number in `$Secure`; version 4 has none.
    pub security_id: Option<u32>,
    /// DOS attributes; version 4 has none.
    pub attributes: Option<u32>,
    /// The name, UTF-16LE; version 4 has none.
    pub name: Option<&'a [u8]>,
    /// The changed ranges, [`UsnRecord::extents`] reads them.
    extents: &'a [u8],
    /// How many of them later records list.
    pub remaining_extents: Option<u32>,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoUsnRecord {
    /// The bytes end before the record does.
    #[error("a record needs {need} bytes, {have} are there")]
    Short {
        /// Bytes that it needs, as far as is known.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// The length is none that a record has.
    #[error("{0} is no length of a record")]
    Length(u32),
    /// The version is none that is known.
    #[error("unknown version {0}.{1}")]
    Version(u16, u16),
    /// The name or the extents lie outside of the record.
    #[error("it states {0} outside of it")]
    Outside(&'static str),
}

impl<'a> UsnRecord<'a> {
    /// Decodes the record that begins with the first byte.
    ///
    /// # Errors
    /// Where no record begins there.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, NoUsnRecord> {
        let short = |need| NoUsnRecord::Short {
            need,
            have: bytes.len(),
        };
        let length = u32_at(bytes, 0).ok_or(short(MIN_USN_RECORD_BYTES))?;
        let major = u16_at(bytes, 4).ok_or(short(MIN_USN_RECORD_BYTES))?;
        let minor = u16_at(bytes, 6).ok_or(short(MIN_USN_RECORD_BYTES))?;
        let least = match (major, minor) {
            (2, 0) => MIN_USN_RECORD_BYTES,
            (3, 0) => V3_NAME_AT,
            (4, 0) => V4_EXTENTS_AT,
            _ => return Err(NoUsnRecord::Version(major, minor)),
        };
        let size = length as usize;
        if !(least..=MAX_USN_RECORD_BYTES).contains(&size) || !size.is_multiple_of(8) {
            return Err(NoUsnRecord::Length(length));
        }
        let record = bytes.get(..size).ok_or(short(size))?;
        // All fixed fields lie in `least` bytes; a default is never taken.
        let u16_in = |at| u16_at(record, at).unwrap_or(0);
        let u32_in = |at| u32_at(record, at).unwrap_or(0);
        let u64_in = |at| u64_at(record, at).unwrap_or(0);
        let u128_in = |at| u128::from(u64_in(at)) | u128::from(u64_in(at + 8)) << 64;
        let mut found = Self {
            length: size,
            version: major,
            file: 0,
            parent: 0,
            usn: 0,
            ticks_100ns: None,
            reasons: 0,
            source: 0,
            security_id: None,
            attributes: None,
            name: None,
            extents: &[],
            remaining_extents: None,
        };
        // Where the USN stands; the fields after it are the same in versions 2 and 3.
        let usn_at = if major == 2 {
            found.file = u64_in(8).into();
            found.parent = u64_in(16).into();
            24
        } else {
            found.file = u128_in(8);
            found.parent = u128_in(24);
            40
        };
        found.usn = u64_in(usn_at);
        if major == 4 {
            found.reasons = u32_in(48);
            found.source = u32_in(52);
            found.remaining_extents = Some(u32_in(56));
            let bytes = usize::from(u16_in(60)) * EXTENT_BYTES;
            let end = V4_EXTENTS_AT + bytes;
            if usize::from(u16_in(62)) != EXTENT_BYTES && bytes > 0 {
                return Err(NoUsnRecord::Outside("a list of extents"));
            }
            found.extents = record
                .get(V4_EXTENTS_AT..end)
                .ok_or(NoUsnRecord::Outside("a list of extents"))?;
            return Ok(found);
        }
        found.ticks_100ns = Some(u64_in(usn_at + 8));
        found.reasons = u32_in(usn_at + 16);
        found.source = u32_in(usn_at + 20);
        found.security_id = Some(u32_in(usn_at + 24));
        found.attributes = Some(u32_in(usn_at + 28));
        let name_bytes = usize::from(u16_in(usn_at + 32));
        let name_at = usize::from(u16_in(usn_at + 34));
        let is_name =
            name_at >= least && name_bytes.is_multiple_of(2) && name_bytes <= MAX_NAME_UNITS * 2;
        found.name = is_name
            .then(|| record.get(name_at..name_at + name_bytes))
            .flatten();
        if found.name.is_none() {
            return Err(NoUsnRecord::Outside("a name"));
        }
        Ok(found)
    }

    /// Whether it is about a directory, as far as it says.
    pub fn is_directory(&self) -> bool {
        self.attributes.is_some_and(|bits| bits & DIRECTORY != 0)
    }

    /// Offset and length of each range of the file that was changed.
    pub fn extents(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.extents.chunks_exact(EXTENT_BYTES).map(|extent| {
            // The chunk has both.
            let at = |at| u64_at(extent, at).unwrap_or(0);
            (at(0), at(8))
        })
    }
}

/// What lies at a place of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsnItem<'a> {
    /// A record, which begins at that offset of the bytes.
    Record(usize, UsnRecord<'a>),
    /// A record begins at that offset, and goes on past the end of the bytes.
    Cut(usize),
    /// Bytes from the first offset up to the second that are no record, and why the first of
    /// them is none.
    Lost(usize, usize, NoUsnRecord),
}

/// What a run of bytes of the journal holds, in order; zeros, which fill what records leave of a
/// page, are passed over.
#[derive(Clone, Debug)]
pub struct UsnItems<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> UsnItems<'a> {
    /// Reads `bytes` from the offset `from` on.
    pub fn new(bytes: &'a [u8], from: usize) -> Self {
        Self { bytes, at: from }
    }
}

impl<'a> Iterator for UsnItems<'a> {
    type Item = UsnItem<'a>;

    #[inline]
    fn next(&mut self) -> Option<UsnItem<'a>> {
        if let Some(Ok(record)) = self.bytes.get(self.at..).map(UsnRecord::decode) {
            let at = self.at;
            self.at += record.length;
            return Some(UsnItem::Record(at, record));
        }
        let at = self.at + zeros(self.bytes.get(self.at..)?);
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        // A length of 256 begins with a zero, and records begin at multiples of 8.
        let first = (at / 8 * 8).max(self.at);
        let why = match UsnRecord::decode(&self.bytes[first..]) {
            Ok(record) => {
                self.at = first + record.length;
                return Some(UsnItem::Record(first, record));
            }
            Err(why) => why,
        };
        match find(self.bytes, (at.saturating_sub(3)).max(self.at)) {
            Found::Record(next) if next <= at => {
                self.at = next;
                self.next()
            }
            Found::Cut(next) if next <= at => {
                self.at = self.bytes.len();
                Some(UsnItem::Cut(next))
            }
            Found::Record(next) | Found::Cut(next) => {
                self.at = next;
                Some(UsnItem::Lost(
                    at,
                    next - zeros_at_end(&rest[..next - at]),
                    why,
                ))
            }
            Found::Nothing => {
                self.at = self.bytes.len();
                let end = self.bytes.len() - zeros_at_end(rest);
                Some(UsnItem::Lost(at, end, why))
            }
        }
    }
}

enum Found {
    Record(usize),
    Cut(usize),
    Nothing,
}

/// The first place from `from` on where a record begins, whole or cut by the end of the bytes.
fn find(bytes: &[u8], from: usize) -> Found {
    let mut at = from;
    loop {
        // Versions 2, 3 and 4 with nothing in the other three bytes: most places fail here.
        let Some(version) = bytes.get(at + 4..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Found::Nothing;
        };
        if matches!(version, [2..=4, 0, 0, 0]) {
            match UsnRecord::decode(&bytes[at..]) {
                Ok(_) => return Found::Record(at),
                Err(NoUsnRecord::Short { .. }) => return Found::Cut(at),
                Err(_) => {}
            }
        }
        at += 1;
    }
}

/// How many zeros the bytes begin with.
fn zeros(bytes: &[u8]) -> usize {
    let words = bytes
        .chunks_exact(8)
        .take_while(|word| **word == [0; 8])
        .count();
    let rest = &bytes[words * 8..];
    words * 8 + rest.iter().take_while(|byte| **byte == 0).count()
}

fn zeros_at_end(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(usn: u64, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; MIN_USN_RECORD_BYTES];
        bytes[4] = 2;
        bytes[8..16].copy_from_slice(&(7u64 | 2 << 48).to_le_bytes());
        bytes[16..24].copy_from_slice(&(5u64 | 5 << 48).to_le_bytes());
        bytes[24..32].copy_from_slice(&usn.to_le_bytes());
        bytes[40..44].copy_from_slice(&reason::FILE_CREATE.to_le_bytes());
        bytes[52] = 0x10;
        bytes[58] = 60;
        let units: Vec<u16> = name.encode_utf16().collect();
        bytes[56..58].copy_from_slice(&(2 * units.len() as u16).to_le_bytes());
        bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    fn starts(bytes: &[u8]) -> Vec<usize> {
        UsnItems::new(bytes, 0)
            .filter_map(|item| match item {
                UsnItem::Record(at, _) => Some(at),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_record_reads_as_written() {
        let bytes = v2(4096, "folder");
        let record = UsnRecord::decode(&bytes).expect("a record");
        assert_eq!((record.version, record.usn), (2, 4096));
        assert!(record.is_directory());
        assert_eq!(record.file, 7 | 2 << 48);
        assert_eq!(record.name.map(<[u8]>::len), Some(12));
        for length in 0..bytes.len() {
            assert!(UsnRecord::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn gaps_are_passed_over_aligned_or_not() {
        for gap in [0, 1, 2, 3, 7, 8, 9, 4096, 5001] {
            for name in ["a", &"n".repeat(97), &"n".repeat(98), &"n".repeat(255)] {
                let mut bytes = v2(0, "first");
                bytes.resize(bytes.len() + gap, 0);
                let second = bytes.len();
                bytes.extend(v2(1, name));
                assert_eq!(starts(&bytes), [0, second], "{gap} {}", name.len());
            }
        }
    }

    #[test]
    fn damage_is_told_and_passed() {
        let mut bytes = v2(0, "first");
        let lost = bytes.len();
        bytes.extend(v2(1, "second"));
        let third = bytes.len();
        bytes.extend(v2(2, "third"));
        bytes[lost] = 9;
        let items: Vec<_> = UsnItems::new(&bytes, 0).collect();
        assert_eq!(items.len(), 3);
        assert!(matches!(items[1], UsnItem::Lost(from, to, _) if from == lost && to <= third));
        assert!(matches!(items[2], UsnItem::Record(at, _) if at == third));
    }

    #[test]
    fn cut_anywhere_ends_with_a_cut_record() {
        let bytes = v2(0, "first");
        for length in 8..bytes.len() {
            let items: Vec<_> = UsnItems::new(&bytes[..length], 0).collect();
            assert_eq!(items, [UsnItem::Cut(0)], "{length}");
        }
        for length in 1..8 {
            let items: Vec<_> = UsnItems::new(&bytes[..length], 0).collect();
            assert!(matches!(items[..], [UsnItem::Lost(0, ..)]), "{length}");
        }
    }
}

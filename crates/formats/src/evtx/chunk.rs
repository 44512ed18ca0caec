//! Chunks: their header, and where their records lie.
//!
//! | offset | bytes | field of the chunk header                              |
//! |-------:|------:|--------------------------------------------------------|
//! |      0 |     8 | `ElfChnk\0`                                            |
//! |      8 |    16 | first and last record number                           |
//! |     24 |    16 | first and last record id                               |
//! |     40 |     4 | header size, 128                                       |
//! |     44 |     4 | offset of the last record                              |
//! |     48 |     4 | offset of the free space                               |
//! |     52 |     4 | CRC-32 of the records, 512 to the free space           |
//! |    124 |     4 | CRC-32 of the bytes 0 to 120 and 128 to 512            |
//! |    128 |   384 | offsets of shared names and templates                  |
//!
//! A record is `**\0\0`, its size, its id, the FILETIME at which it was written, binary XML, and
//! its size again. Archived logs say that the free space begins at the chunk's end, and fill it
//! with zeros.

use std::ops::Range;

use crate::{Cursor, DecodeError};

use super::SUMMED_BYTES;

/// The size of a chunk.
pub const CHUNK_BYTES: usize = 65_536;
/// The first bytes of a chunk.
pub const CHUNK_MAGIC: &[u8; 8] = b"ElfChnk\0";
/// The size of a record's header.
pub const RECORD_HEADER_BYTES: usize = 24;

/// The size of a chunk's header.
pub const CHUNK_HEADER_BYTES: usize = 512;
const RECORD_MAGIC: [u8; 4] = *b"**\0\0";
/// Header and the second size.
const RECORD_MIN_BYTES: usize = RECORD_HEADER_BYTES + 4;

/// A chunk's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The first record's number in the log.
    pub first_number: u64,
    /// The last record's number in the log.
    pub last_number: u64,
    /// The first record's id.
    pub first_id: u64,
    /// The last record's id.
    pub last_id: u64,
    /// Where the last record begins.
    pub last_record_at: u32,
    /// Where the free space begins.
    pub free_space_at: u32,
    /// Whether the header's own checksum is right.
    pub header_ok: bool,
    /// Whether the checksum of the records is right; also `false` where the chunk is cut.
    pub records_ok: bool,
}

impl ChunkHeader {
    /// Reads the header of the chunk that `bytes` hold, and checks both checksums.
    ///
    /// # Errors
    /// [`DecodeError`] where the magic is another or the header is cut.
    pub fn decode(bytes: &[u8], base: u64) -> Result<Self, DecodeError> {
        let mut cur = Cursor::new(bytes, base);
        let magic = cur.array::<8>("chunk magic")?;
        if &magic != CHUNK_MAGIC {
            return Err(DecodeError::Unknown {
                field: "chunk magic",
                at: base,
                value: u64::from_le_bytes(magic),
            });
        }
        let first_number = cur.u64("first record number")?;
        let last_number = cur.u64("last record number")?;
        let first_id = cur.u64("first record id")?;
        let last_id = cur.u64("last record id")?;
        cur.skip("header size", 4)?;
        let last_record_at = cur.u32("last record offset")?;
        let free_space_at = cur.u32("free space offset")?;
        let records_sum = cur.u32("checksum of the records")?;
        cur.skip("reserved", 68)?;
        let header_sum = cur.u32("checksum of the header")?;
        cur.skip("shared offsets", CHUNK_HEADER_BYTES - 128)?;

        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[..SUMMED_BYTES]);
        sum.update(&bytes[128..CHUNK_HEADER_BYTES]);
        let records = bytes.get(CHUNK_HEADER_BYTES..free_space_at as usize);
        Ok(Self {
            first_number,
            last_number,
            first_id,
            last_id,
            last_record_at,
            free_space_at,
            header_ok: sum.finalize() == header_sum,
            records_ok: records.is_some_and(|records| crc32fast::hash(records) == records_sum),
        })
    }

    /// Where the declared records end, within a chunk of `len` bytes.
    pub fn declared_end(&self, len: usize) -> usize {
        (self.free_space_at as usize)
            .max(CHUNK_HEADER_BYTES)
            .min(len)
    }
}

/// A record that was found in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its bytes in the chunk, header and second size included.
    pub range: Range<usize>,
    /// Its id.
    pub id: u64,
    /// When it was written, as FILETIME.
    pub written: u64,
    /// Whether it lies outside the chunk's declared records.
    pub recovered: bool,
    /// Whether the second size, after the record, equals the first one.
    pub closed: bool,
}

impl Located {
    /// Where its binary XML lies in the chunk.
    pub fn body(&self) -> Range<usize> {
        self.range.start + RECORD_HEADER_BYTES..self.range.end - 4
    }
}

/// Bytes among a chunk's declared records that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where they lie in the chunk.
    pub range: Range<usize>,
    /// What is wrong.
    pub why: &'static str,
}

/// Finds the records of a chunk, in the order of their offsets: those that it declares by walking
/// from one to the next, and those that its damaged and free parts still hold by their magic.
///
/// `header` is `None` where the chunk's magic is gone: whatever it holds is recovered then.
/// Records that a newer one overwrote in part are found too, as not [closed](Located::closed).
pub fn records(
    chunk: &[u8],
    header: Option<&ChunkHeader>,
    mut found: impl FnMut(Result<Located, Damage>),
) {
    let declared_end = header
        .map_or(CHUNK_HEADER_BYTES, |header| {
            header.declared_end(chunk.len())
        })
        .min(chunk.len());
    let is_declared = |id: u64| {
        header.is_some_and(|header| {
            header.records_ok || (header.first_id..=header.last_id).contains(&id)
        })
    };
    let mut pos = CHUNK_HEADER_BYTES.min(chunk.len());
    while pos < declared_end {
        match record_at(chunk, pos) {
            Some(mut record) if record.closed && record.range.end <= declared_end => {
                record.recovered = !is_declared(record.id);
                pos = record.range.end;
                found(Ok(record));
                continue;
            }
            Some(mut record) if record.is_plausible() => {
                // Its own end is damaged; the next record tells how much of it is left.
                let next = next_record(chunk, pos + RECORD_HEADER_BYTES, declared_end);
                let limit = next.unwrap_or(chunk.len());
                record.recovered = !is_declared(record.id);
                record.range.end = record.range.end.min(limit.max(pos + RECORD_MIN_BYTES));
                pos = next.unwrap_or(record.range.end.max(declared_end));
                found(Ok(record));
                continue;
            }
            _ => {}
        }
        let next = next_record(chunk, pos + 1, declared_end);
        let end = next.unwrap_or(declared_end);
        if next.is_some() || chunk[pos..end].iter().any(|byte| *byte != 0) {
            found(Err(Damage {
                range: pos..end,
                why: "these bytes among the declared records are no record",
            }));
        }
        pos = end;
    }
    while let Some(at) = next_record(chunk, pos, chunk.len()) {
        let next = next_record(chunk, at + RECORD_HEADER_BYTES, chunk.len());
        match record_at(chunk, at) {
            Some(mut record) if record.closed || record.is_plausible() => {
                record.recovered = true;
                if !record.closed {
                    let limit = next.unwrap_or(chunk.len()).max(at + RECORD_MIN_BYTES);
                    record.range.end = record.range.end.min(limit);
                }
                pos = if record.closed {
                    record.range.end
                } else {
                    next.unwrap_or(chunk.len())
                };
                found(Ok(record));
            }
            _ => pos = at + 1,
        }
    }
}

/// The record at a place in a chunk whose two sizes agree, where it lies behind the declared records, or among them with an id that
/// the header declares. [`records`] gives the same, if those before it lead there. Reads no more than the record; of `header`
/// no checksum of records.
pub fn record_alone(chunk: &[u8], header: &ChunkHeader, at: usize) -> Option<Located> {
    let mut record = record_at(chunk, at).filter(|record| record.closed)?;
    let declared_end = header.declared_end(chunk.len());
    if at >= declared_end {
        record.recovered = true;
        return Some(record);
    }
    let is_inside = at >= CHUNK_HEADER_BYTES && record.range.end <= declared_end;
    let is_declared = (header.first_id..=header.last_id).contains(&record.id);
    (is_inside && is_declared).then_some(record)
}

impl Located {
    /// Whether the header of a record whose end does not confirm it may be one.
    fn is_plausible(&self) -> bool {
        // FILETIMEs of 1990 and 2200, and more ids than any log lives to give.
        const EARLIEST: u64 = 122_761_440_000_000_000;
        const LATEST: u64 = 189_030_240_000_000_000;
        const MOST_IDS: u64 = 1 << 48;
        (EARLIEST..LATEST).contains(&self.written) && self.id < MOST_IDS
    }
}

fn record_at(chunk: &[u8], at: usize) -> Option<Located> {
    let mut cur = Cursor::new(chunk.get(at..)?, 0);
    let magic = cur.array::<4>("record magic").ok()?;
    let size = cur.u32("record size").ok()? as usize;
    let id = cur.u64("record id").ok()?;
    let written = cur.u64("written").ok()?;
    let end = at.checked_add(size)?;
    if magic != RECORD_MAGIC || size < RECORD_MIN_BYTES || end > chunk.len() {
        return None;
    }
    Some(Located {
        range: at..end,
        id,
        written,
        recovered: false,
        closed: chunk[end - 4..end] == (size as u32).to_le_bytes(),
    })
}

/// Where the next bytes lie, from `from` up to `end`, that start like a record.
fn next_record(chunk: &[u8], from: usize, end: usize) -> Option<usize> {
    let space = chunk.get(from..end)?;
    let mut at = 0;
    while at < space.len() {
        // Most free space is zeros: eight bytes are passed over in one go.
        if let Some(eight) = space[at..].first_chunk()
            && !has_star(u64::from_le_bytes(*eight))
        {
            at += 8;
        } else if space[at..].starts_with(&RECORD_MAGIC) {
            return Some(from + at);
        } else {
            at += 1;
        }
    }
    None
}

/// Whether one of eight bytes is the magic's first.
fn has_star(eight: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let stars_are_zero = eight ^ (ONES * u64::from(RECORD_MAGIC[0]));
    stars_are_zero.wrapping_sub(ONES) & !stars_are_zero & (ONES << 7) != 0
}

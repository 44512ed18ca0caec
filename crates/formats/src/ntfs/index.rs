//! Index records (`INDX`) of a directory: the names in it, and those that were.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     4 | `INDX` |
//! |   0x04 | 2 + 2 | offset and words of the update sequence, as in an MFT record |
//! |   0x08 |     8 | `$LogFile` sequence number |
//! |   0x10 |     8 | which cluster of the index this is |
//! |   0x18 |     4 | offset of the first entry, from 0x18 |
//! |   0x1C |     4 | end of the entries, from 0x18 |
//! |   0x20 |     4 | bytes allocated, from 0x18 |
//! |   0x24 |     1 | 1: entries have nodes below them |
//!
//! An entry:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     8 | reference of the file |
//! |   0x08 | 2 + 2 | bytes of the entry, of its `$FILE_NAME` |
//! |   0x0C |     2 | flags: 1 has a node below, 2 the last one, which has no name |
//! |   0x10 |       | `$FILE_NAME` |
//!
//! # Slack
//! What lies after the last entry are names that were there before: entries move up when one is
//! taken out, and half of them go elsewhere when a record is split. A name is taken for one where
//! all of its fields could be: its directory's sequence number is not 0, its name space is one
//! of the four, no letter is zero, each time is none or between 1970 and 2200. Everything else
//! there is a gap.
//!
//! # Damage
//! A torn record is decoded, and says so. Entries past one whose length can't be are looked for as
//! slack is.

use super::{
    FileName,
    field::{u16_at, u32_at, u64_at},
};

const STRIDE: usize = 512;
/// Offsets in the record count from here.
const NODE: usize = 0x18;
const HEADER_BYTES: usize = 0x28;
const ENTRY_HEADER_BYTES: usize = 0x10;
const NAME_HEADER_BYTES: usize = 0x42;
const LAST: u16 = 2;
/// 1970 and 2200, FILETIME.
const PLAUSIBLE: std::ops::Range<u64> = 116_444_736_000_000_000..189_027_648_000_000_000;

/// The bytes of an index record, as its header states them.
pub fn index_record_bytes(bytes: &[u8]) -> Option<usize> {
    let size = u32_at(bytes, 0x20)? as usize + NODE;
    let is_size =
        size.is_power_of_two() && (STRIDE..=super::MAX_RECORD_BYTES as usize).contains(&size);
    (bytes.starts_with(b"INDX") && is_size).then_some(size)
}

/// A decoded index record.
#[derive(Clone, Copy, Debug)]
pub struct IndexRecord<'a> {
    /// `$LogFile` sequence number of the last change.
    pub lsn: u64,
    /// Which cluster of the index it is.
    pub vcn: u64,
    /// Whether a stride's end was not as its update sequence says.
    pub torn: bool,
    /// Its bytes, fixups undone.
    bytes: &'a [u8],
    first: usize,
    end: usize,
}

/// What an index record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexItem<'a> {
    /// An entry.
    Live(IndexName<'a>),
    /// A name after the last entry.
    Slack(IndexName<'a>),
    /// Bytes in which entries should be and are not, and why.
    Lost(usize, usize, &'static str),
}

/// A name in an index record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexName<'a> {
    /// Where the entry begins in the record; in slack, where its name's header would.
    pub at: usize,
    /// Where its name ends.
    pub end: usize,
    /// The reference of the file; `None` where it was overwritten.
    pub file: Option<u64>,
    /// Its name, directory, times and sizes.
    pub name: FileName<'a>,
}

impl<'a> IndexRecord<'a> {
    /// Decodes the bytes of one record, in place: the fixups are undone in `bytes`.
    /// `None` where they are none.
    pub fn decode(bytes: &'a mut [u8]) -> Option<Self> {
        if !bytes.starts_with(b"INDX") || bytes.len() < HEADER_BYTES {
            return None;
        }
        let torn = undo_fixups(bytes);
        let bytes: &'a [u8] = bytes;
        let within = |at: u32| NODE.saturating_add(at as usize).min(bytes.len());
        let first = within(u32_at(bytes, NODE)?);
        Some(Self {
            lsn: u64_at(bytes, 0x08)?,
            vcn: u64_at(bytes, 0x10)?,
            torn,
            bytes,
            first: first.max(HEADER_BYTES),
            end: within(u32_at(bytes, NODE + 4)?),
        })
    }

    /// The names in the content of `$INDEX_ROOT`, which has the same node behind 16 bytes of its own and
    /// no fixups; and whether there are records besides. `None` where it is cut.
    ///
    /// | offset | bytes | field |
    /// |-------:|------:|-------|
    /// |   0x10 | 4 × 3 | offset of the first entry, end of the entries, bytes allocated, from 0x10 |
    /// |   0x1C |     1 | 1: entries have nodes below them |
    pub fn of_root(content: &'a [u8]) -> Option<(Self, bool)> {
        const ROOT_NODE: usize = 0x10;
        let within = |at: u32| ROOT_NODE.saturating_add(at as usize).min(content.len());
        let has_nodes = content.get(ROOT_NODE + 0x0C)? & 1 != 0;
        let record = Self {
            lsn: 0,
            vcn: 0,
            torn: false,
            bytes: content,
            first: within(u32_at(content, ROOT_NODE)?).max(ROOT_NODE + 0x10),
            end: within(u32_at(content, ROOT_NODE + 4)?),
        };
        Some((record, has_nodes))
    }

    /// Its bytes, fixups undone.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Shows what it holds, entries first, then slack.
    pub fn items(&self, visit: &mut dyn FnMut(IndexItem<'a>)) {
        let mut at = self.first;
        let mut lost = None;
        let mut saw_last = false;
        while at < self.end {
            let entry = &self.bytes[at..self.end];
            let (Some(file), Some(length), Some(flags)) =
                (u64_at(entry, 0), u16_at(entry, 8), u16_at(entry, 0x0C))
            else {
                lost = Some("the last entry is cut");
                break;
            };
            let length = usize::from(length);
            if length < ENTRY_HEADER_BYTES || length > entry.len() || !length.is_multiple_of(8) {
                lost = Some("an entry has a length that can't be");
                break;
            }
            if flags & LAST != 0 {
                saw_last = true;
                at += length;
                break;
            }
            match FileName::parse(&entry[ENTRY_HEADER_BYTES..length]) {
                Some(name) => visit(IndexItem::Live(IndexName {
                    at,
                    end: at + length,
                    file: Some(file),
                    name,
                })),
                None => visit(IndexItem::Lost(at, at + length, "its $FILE_NAME is cut")),
            }
            at += length;
        }
        if let Some(why) = lost {
            visit(IndexItem::Lost(at, self.end, why));
        } else if !saw_last {
            visit(IndexItem::Lost(at, at, "there is no last entry"));
        }
        self.slack(at, visit);
    }

    fn slack(&self, from: usize, visit: &mut dyn FnMut(IndexItem<'a>)) {
        let mut at = from.next_multiple_of(8);
        while at + NAME_HEADER_BYTES < self.bytes.len() {
            let Some(name) = FileName::parse(&self.bytes[at..]).filter(is_plausible) else {
                at += 8;
                continue;
            };
            let name_bytes = NAME_HEADER_BYTES + name.utf16le.len();
            // The entry's own header may have been overwritten.
            let header = at
                .checked_sub(ENTRY_HEADER_BYTES)
                .filter(|start| *start >= from)
                .map(|start| &self.bytes[start..at])
                .filter(|header| {
                    u16_at(header, 0x0A).map(usize::from) == Some(name_bytes)
                        && u16_at(header, 8).is_some_and(|length| {
                            usize::from(length) >= ENTRY_HEADER_BYTES + name_bytes
                        })
                });
            visit(IndexItem::Slack(IndexName {
                at: if header.is_some() {
                    at - ENTRY_HEADER_BYTES
                } else {
                    at
                },
                end: at + name_bytes,
                file: header.and_then(|header| u64_at(header, 0)),
                name,
            }));
            at = (at + name_bytes).next_multiple_of(8);
        }
    }
}

fn is_plausible(name: &FileName<'_>) -> bool {
    let times = [name.created, name.modified, name.changed, name.accessed];
    name.parent >> 48 != 0
        && name.namespace <= 3
        && !name.utf16le.is_empty()
        && name.utf16le.chunks_exact(2).all(|unit| unit != [0, 0])
        && times.iter().any(|ticks| *ticks != 0)
        && times
            .iter()
            .all(|ticks| *ticks == 0 || PLAUSIBLE.contains(ticks))
}

/// Puts back what the update sequence keeps, and says whether a stride was torn.
pub(super) fn undo_fixups(bytes: &mut [u8]) -> bool {
    let strides = bytes.len() / STRIDE;
    let start = usize::from(u16_at(bytes, 4).unwrap_or(0));
    let words = usize::from(u16_at(bytes, 6).unwrap_or(0));
    let sequence = bytes
        .get(start..start + 2 * (strides + 1))
        .map(<[u8]>::to_vec);
    let (Some(sequence), true) = (sequence, words > strides) else {
        return true;
    };
    let (number, kept) = sequence.split_at(2);
    let mut torn = false;
    for (stride, kept) in bytes.chunks_exact_mut(STRIDE).zip(kept.chunks_exact(2)) {
        torn |= stride[STRIDE - 2..] != *number;
        stride[STRIDE - 2..].copy_from_slice(kept);
    }
    torn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_are_cut() {
        for (first, end) in [
            (0, 0),
            (0x28, u32::MAX),
            (u32::MAX, u32::MAX),
            (0x28, 0x200),
        ] {
            for fill in [0u8, 0xFF, 0x41] {
                let mut bytes = vec![fill; 4096];
                bytes[..4].copy_from_slice(b"INDX");
                bytes[0x18..0x1C].copy_from_slice(&first.to_le_bytes());
                bytes[0x1C..0x20].copy_from_slice(&end.to_le_bytes());
                for length in [0, 40, 41, 511, 512, 4096] {
                    let mut cut = bytes[..length].to_vec();
                    if let Some(record) = IndexRecord::decode(&mut cut) {
                        let mut lost = 0;
                        record.items(&mut |item| {
                            lost += usize::from(matches!(item, IndexItem::Lost(..)));
                        });
                        assert!(lost > 0, "{first} {end} {fill} {length}");
                    }
                }
            }
        }
    }
}

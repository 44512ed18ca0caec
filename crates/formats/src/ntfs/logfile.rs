//! `$LogFile`, the journal of transactions: pages and records.
//!
//! # Layout (little-endian)
//! Two restart pages, then (version 1.1) two or (2.0) 32 pages that hold what was written last a
//! second time, then a ring of pages. All pages have an update sequence.
//!
//! A restart page (`RSTR`): 0x10 and 0x14 sizes of a system and of a log page, 0x18 offset of the
//! restart area, 0x1A and 0x1C minor and major version. The area: 0x00 newest LSN, 0x10 bits of an
//! LSN that count rounds of the ring, 0x18 size of the file, 0x24 and 0x26 bytes of a record's and of
//! a page's header.
//!
//! A page (`RCRD`): 0x08 last LSN (in a copy of version 1.1: the page's own offset), 0x18 offset of
//! the first free byte, 0x20 last LSN that ends in it, 0x3C the page's own offset in a copy of
//! version 2.0.
//!
//! A record:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 | 3 × 8 | its LSN, the one before of the same client, the next one to undo |
//! |   0x18 |     4 | bytes of data after the header |
//! |   0x20 | 4 + 4 | kind: 1 record, 2 checkpoint; transaction |
//! |   0x30 | 2 + 2 | redo and undo operation |
//! |   0x34 | 4 × 2 | offset (from 0x30) and length of redo data, of undo data |
//! |   0x3C | 2 + 2 | target attribute, clusters listed |
//! |   0x40 | 2 + 2 | offset of the record, in it of the attribute |
//! |   0x44 |     2 | 512-byte block in the cluster |
//! |   0x48 |     8 | target VCN |
//!
//! An LSN says where its record is: its low bits are the offset in the file, divided by 8. So
//! records are found without following them from one to the next, those of earlier rounds too.
//! Data goes on at the first byte after the header of the next page.
//!
//! # Sources
//! - libyal/libfsntfs, "New Technologies File System (NTFS)", section "$LogFile".
//! - The Linux-NTFS project, "NTFS Documentation", `$LogFile`.
//! - The fields of version 2.0 (offset of a copied page, 32 of them) are observed in samples.

use super::{
    field::{u16_at, u32_at, u64_at},
    index::undo_fixups,
};

/// The bytes of a record's own header.
pub const LOG_RECORD_HEADER_BYTES: usize = 0x30;
/// The most bytes that a record's data has: what a transaction logs are parts of MFT and index
/// records, and tables of what is open.
pub const MAX_LOG_DATA_BYTES: usize = 1 << 20;
const PAGE_HEADER_BYTES: usize = 0x40;
/// An operation, without its list of clusters.
const OPERATION_BYTES: usize = 0x20;

/// What a restart page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPage {
    /// Major and minor version.
    pub version: (u16, u16),
    /// Bytes of a page of the ring.
    pub page_bytes: u32,
    /// The newest LSN when it was written.
    pub current_lsn: u64,
    /// Bits of an LSN that count rounds.
    pub sequence_bits: u32,
    /// The size of the file.
    pub file_bytes: u64,
    /// Where records begin in a page.
    pub data_offset: u16,
    /// Whether a stride was torn.
    pub torn: bool,
}

impl RestartPage {
    /// Decodes a restart page, whose fixups are undone in `bytes`; `None` where it is none.
    pub fn decode(bytes: &mut [u8]) -> Option<Self> {
        if !bytes.starts_with(b"RSTR") {
            return None;
        }
        let torn = undo_fixups(bytes);
        let area = bytes.get(usize::from(u16_at(bytes, 0x18)?)..)?;
        let page = Self {
            version: (u16_at(bytes, 0x1C)?, u16_at(bytes, 0x1A)?),
            page_bytes: u32_at(bytes, 0x14)?,
            current_lsn: u64_at(area, 0)?,
            sequence_bits: u32_at(area, 0x10)?,
            file_bytes: u64_at(area, 0x18)?,
            data_offset: u16_at(area, 0x26)?,
            torn,
        };
        let is_sound = page.page_bytes.is_power_of_two()
            && (512..=super::MAX_RECORD_BYTES).contains(&page.page_bytes)
            && (20..=60).contains(&page.sequence_bits)
            && usize::from(page.data_offset) >= PAGE_HEADER_BYTES
            && u32::from(page.data_offset) < page.page_bytes;
        is_sound.then_some(page)
    }

    /// What a restart page of a file of so many bytes would say, where both are lost.
    pub fn assumed(file_bytes: u64) -> Self {
        let size_bits = 64 - file_bytes.max(2).saturating_sub(1).leading_zeros();
        Self {
            version: (2, 0),
            page_bytes: 4096,
            current_lsn: 0,
            sequence_bits: 67u32.saturating_sub(size_bits).clamp(20, 60),
            file_bytes,
            data_offset: PAGE_HEADER_BYTES as u16,
            torn: false,
        }
    }

    /// Where the record of an LSN lies.
    pub fn offset_of(&self, lsn: u64) -> u64 {
        (lsn & (u64::MAX >> self.sequence_bits)) << 3
    }

    /// Where the ring of pages begins.
    pub fn ring_offset(&self) -> u64 {
        let pages = if self.version.0 >= 2 { 34 } else { 4 };
        pages * u64::from(self.page_bytes)
    }
}

/// A page of records.
#[derive(Clone, Copy, Debug)]
pub struct LogPage<'a> {
    /// Where it belongs in the file; elsewhere than where it lies for a copy.
    pub home: u64,
    /// The last LSN that it says to have; 0 where it doesn't.
    pub last_lsn: u64,
    /// Whether a stride was torn.
    pub torn: bool,
    bytes: &'a [u8],
    data_offset: usize,
}

/// A record as it lies in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord<'a> {
    /// Where it begins in the page.
    pub at: usize,
    /// Its LSN.
    pub lsn: u64,
    /// The LSN before it of the same client.
    pub previous_lsn: u64,
    /// The next LSN to undo.
    pub undo_next_lsn: u64,
    /// Bytes of its data, which may go on in the next page.
    pub data_bytes: usize,
    /// Whether it is a checkpoint.
    pub is_checkpoint: bool,
    /// Its transaction: an offset in a table, used again and again.
    pub transaction: u32,
    /// What of its data is in this page.
    pub data: &'a [u8],
}

impl<'a> LogPage<'a> {
    /// Decodes the page that lies at `offset`, whose fixups are undone in `bytes`; `None` where it
    /// is none.
    pub fn decode(bytes: &'a mut [u8], offset: u64, restart: &RestartPage) -> Option<Self> {
        if !bytes.starts_with(b"RCRD") || bytes.len() < PAGE_HEADER_BYTES {
            return None;
        }
        let torn = undo_fixups(bytes);
        let bytes: &'a [u8] = bytes;
        let (mut home, mut last_lsn) = (offset, u64_at(bytes, 8)?);
        if offset < restart.ring_offset() {
            let stated = if restart.version.0 >= 2 {
                u64::from(u32_at(bytes, 0x3C)?)
            } else {
                std::mem::take(&mut last_lsn)
            };
            let is_place =
                stated >= restart.ring_offset() && stated.is_multiple_of(restart.page_bytes.into());
            if is_place {
                home = stated;
            }
        }
        Some(Self {
            home,
            last_lsn,
            torn,
            bytes,
            data_offset: restart.data_offset.into(),
        })
    }

    /// The bytes after the page's header, with which a record of the page before may go on.
    pub fn data(&self) -> &'a [u8] {
        self.bytes.get(self.data_offset..).unwrap_or(&[])
    }

    /// The record that begins at `at`, where one does.
    pub fn record_at(&self, at: usize, restart: &RestartPage) -> Option<LogRecord<'a>> {
        let bytes = self.bytes.get(at..)?;
        let header = bytes.get(..LOG_RECORD_HEADER_BYTES)?;
        let lsn = u64_at(header, 0)?;
        if lsn == 0 || restart.offset_of(lsn) != self.home + at as u64 {
            return None;
        }
        let (previous_lsn, undo_next_lsn) = (u64_at(header, 8)?, u64_at(header, 0x10)?);
        let kind = u32_at(header, 0x20)?;
        let data_bytes = u32_at(header, 0x18)? as usize;
        let is_record = matches!(kind, 1 | 2)
            && data_bytes <= MAX_LOG_DATA_BYTES
            && previous_lsn < lsn
            && undo_next_lsn <= lsn;
        is_record.then(|| {
            let data = &bytes[LOG_RECORD_HEADER_BYTES..];
            LogRecord {
                at,
                lsn,
                previous_lsn,
                undo_next_lsn,
                data_bytes,
                is_checkpoint: kind == 2,
                transaction: u32_at(header, 0x24).unwrap_or(0),
                data: &data[..data.len().min(data_bytes)],
            }
        })
    }

    /// Every record that begins in the page.
    pub fn records(&self, restart: &RestartPage) -> impl Iterator<Item = LogRecord<'a>> {
        let page = *self;
        let restart = *restart;
        let mut at = self.data_offset.next_multiple_of(8);
        std::iter::from_fn(move || {
            while at + LOG_RECORD_HEADER_BYTES <= page.bytes.len() {
                if let Some(record) = page.record_at(at, &restart) {
                    let length = LOG_RECORD_HEADER_BYTES + record.data_bytes;
                    at += length.next_multiple_of(8);
                    return Some(record);
                }
                at += 8;
            }
            None
        })
    }
}

/// What a record does to the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOperation<'a> {
    /// Operation that does it again.
    pub redo: u16,
    /// Operation that takes it back.
    pub undo: u16,
    /// Data of the first.
    pub redo_data: &'a [u8],
    /// Data of the second.
    pub undo_data: &'a [u8],
    /// Index of the attribute in the table of those that are open.
    pub target_attribute: u16,
    /// Offset of an attribute in its record, or of an entry in its index.
    pub record_offset: u16,
    /// Offset of the change in the attribute.
    pub attribute_offset: u16,
    /// 512-byte block in the cluster.
    pub cluster_block: u16,
    /// The cluster of the target, as a VCN.
    pub target_vcn: u64,
    /// Whether data lies past the bytes that are there.
    pub cut: bool,
}

impl<'a> LogOperation<'a> {
    /// Decodes the data of a record; `None` where it is cut before its own header ends.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let header = data.get(..OPERATION_BYTES)?;
        let mut cut = false;
        let mut part = |at| -> Option<&'a [u8]> {
            let start = usize::from(u16_at(header, at)?);
            let end = start + usize::from(u16_at(header, at + 2)?);
            cut |= end > data.len();
            Some(data.get(start..end.min(data.len())).unwrap_or(&[]))
        };
        let (redo_data, undo_data) = (part(4)?, part(8)?);
        Some(Self {
            redo: u16_at(header, 0)?,
            undo: u16_at(header, 2)?,
            redo_data,
            undo_data,
            target_attribute: u16_at(header, 0x0C)?,
            record_offset: u16_at(header, 0x10)?,
            attribute_offset: u16_at(header, 0x12)?,
            cluster_block: u16_at(header, 0x14)?,
            target_vcn: u64_at(header, 0x18)?,
            cut,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_says_where_its_record_is() {
        // As observed: files of 9,043,968 and 23,560,192 bytes have 43 and 42 such bits.
        let restart = RestartPage::assumed(9_043_968);
        assert_eq!(restart.sequence_bits, 43);
        assert_eq!(restart.offset_of(8_413_528), 0x3_0AC0);
        assert_eq!(RestartPage::assumed(23_560_192).sequence_bits, 42);
        for size in [0, 1, 2, 4096, u64::MAX] {
            assert!((20..=60).contains(&RestartPage::assumed(size).sequence_bits));
        }
    }

    #[test]
    fn lies_are_cut() {
        let restart = RestartPage::assumed(1 << 20);
        for fill in [0u8, 0xFF, 8] {
            for length in [0, 4, 63, 64, 100, 512, 4096] {
                let mut bytes = vec![fill; length];
                for (at, byte) in bytes.iter_mut().zip(*b"RCRD") {
                    *at = byte;
                }
                if let Some(page) = LogPage::decode(&mut bytes, 0x2_2000, &restart) {
                    assert_eq!(page.records(&restart).count(), 0);
                }
                let mut bytes = vec![fill; length];
                for (at, byte) in bytes.iter_mut().zip(*b"RSTR") {
                    *at = byte;
                }
                assert_eq!(RestartPage::decode(&mut bytes), None);
                let parsed = LogOperation::parse(&bytes);
                assert_eq!(parsed.is_some(), length >= OPERATION_BYTES);
            }
        }
    }
}

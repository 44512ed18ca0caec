//! Partition tables: where on a disk the volumes lie.
//!
//! # Sources
//! - UEFI Specification 2.10, chapter 5, "GUID Partition Table (GPT) Disk Layout".
//! - The MBR and the chain of extended boot records are described by no standard; see libyal,
//!   libvsgpt and "Master Boot Record (MBR) partition table".

use std::ops::Range;

use scelle_formats::{Cursor, DecodeError, ReadAt, ReadAtExt as _, ReadError};

/// Sector sizes that disks have.
const SECTOR_SIZES: [u64; 2] = [512, 4096];
/// More entries than any tool makes.
const MAX_GPT_ENTRIES: u32 = 4096;
const MAX_GPT_ENTRY_BYTES: u32 = 4096;
const GPT_HEADER_BYTES: usize = 92;
const MAX_LOGICAL: usize = 256;

const TABLE_AT: usize = 0x1BE;
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
const PROTECTIVE: u8 = 0xEE;
/// A partition of a dynamic disk (LDM).
const DYNAMIC: u8 = 0x42;
/// The same in a GPT: its database, and its data.
const DYNAMIC_GUIDS: [u128; 2] = [
    0xAAC8_0858_8F7E_E042_85D2_E1E9_0434_CFB3,
    0xA060_9BAF_3114_624F_BC68_3311_714A_69AD,
];

/// The partitions of a disk, in the order of their offsets, and what is wrong with its tables.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    /// The bytes of each partition.
    pub(crate) found: Vec<Range<u64>>,
    /// What is damaged.
    pub(crate) losses: Vec<ReadError>,
}

impl Partitions {
    /// Reads the tables of a disk; `None` where it has none.
    pub(crate) fn read(disk: &dyn ReadAt) -> Option<Self> {
        let mut partitions = Self::default();
        let is_disk = partitions.gpt(disk) || partitions.mbr(disk);
        if !is_disk {
            return None;
        }
        let losses = &mut partitions.losses;
        partitions.found.retain_mut(|range| {
            if range.end > disk.len() {
                losses.push(damaged(
                    "a partition",
                    range.start,
                    format!(
                        "it ends at {}, past the {} bytes of the disk",
                        range.end,
                        disk.len()
                    ),
                ));
                range.end = disk.len();
            }
            range.start < range.end
        });
        partitions
            .found
            .sort_by_key(|range| (range.start, range.end));
        partitions.found.dedup();
        Some(partitions)
    }

    /// Whether the disk has a GPT, whole or damaged.
    fn gpt(&mut self, disk: &dyn ReadAt) -> bool {
        for sector in SECTOR_SIZES {
            let backup_at = (disk.len() / sector).saturating_sub(1) * sector;
            let mut first_error = None;
            for at in [sector, backup_at] {
                match Gpt::read(disk, at, sector) {
                    Ok(None) => {}
                    Ok(Some((gpt, is_dynamic))) => {
                        if at == backup_at && first_error.is_none() {
                            first_error = Some(damaged(
                                "the primary GPT header",
                                sector,
                                "it is missing; the backup at the disk's end was used".to_owned(),
                            ));
                        }
                        self.losses.extend(first_error);
                        self.losses.extend(is_dynamic.then(dynamic));
                        self.found.extend(gpt);
                        return true;
                    }
                    Err(error) => {
                        first_error.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = first_error {
                self.losses.push(error);
                return true;
            }
        }
        false
    }

    /// Whether the disk has an MBR with at least one partition in it.
    fn mbr(&mut self, disk: &dyn ReadAt) -> bool {
        let Ok(Some(table)) = mbr_table(disk, 0) else {
            return false;
        };
        // Other boot sectors have the same signature, and code where the table would be.
        let plausible = table.iter().all(|entry| {
            let is_used = entry.sectors > 0;
            matches!(entry.status, 0 | 0x80) && (!is_used || (entry.kind != 0 && entry.start > 0))
        });
        // A protective entry without a GPT protects nothing that can be found.
        let used = |entry: &MbrEntry| entry.sectors > 0 && entry.kind != PROTECTIVE;
        let used: Vec<_> = table.into_iter().filter(used).collect();
        if used.is_empty() || !plausible {
            return false;
        }
        if used.iter().any(|entry| entry.kind == DYNAMIC) {
            self.losses.push(dynamic());
        }
        for entry in used {
            if EXTENDED.contains(&entry.kind) {
                self.logical(disk, entry.start);
            } else {
                self.found.push(entry.bytes(0));
            }
        }
        true
    }

    /// Follows the chain of extended boot records.
    fn logical(&mut self, disk: &dyn ReadAt, base: u64) {
        let mut seen = Vec::new();
        let mut at = base;
        loop {
            if seen.contains(&at) || seen.len() == MAX_LOGICAL {
                self.losses.push(damaged(
                    "the chain of extended boot records",
                    at * 512,
                    "it is endless".to_owned(),
                ));
                return;
            }
            seen.push(at);
            let table = match mbr_table(disk, at * 512) {
                Ok(Some(table)) => table,
                Ok(None) => {
                    self.losses.push(damaged(
                        "an extended boot record",
                        at * 512,
                        "it has no signature".to_owned(),
                    ));
                    return;
                }
                Err(error) => {
                    self.losses.push(error);
                    return;
                }
            };
            let mut next = None;
            for entry in table.into_iter().filter(|entry| entry.sectors > 0) {
                if EXTENDED.contains(&entry.kind) {
                    next = Some(base + entry.start);
                } else {
                    self.found.push(entry.bytes(at));
                }
            }
            match next {
                Some(sector) => at = sector,
                None => return,
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct MbrEntry {
    status: u8,
    kind: u8,
    /// The first sector, relative to something.
    start: u64,
    sectors: u64,
}

impl MbrEntry {
    fn bytes(&self, base_sector: u64) -> Range<u64> {
        // Sectors are 32-bit numbers here: nothing overflows.
        let start = base_sector + self.start;
        start * 512..(start + self.sectors) * 512
    }
}

/// The four entries of the boot record at `offset`; `None` where there is none.
fn mbr_table(disk: &dyn ReadAt, offset: u64) -> Result<Option<[MbrEntry; 4]>, ReadError> {
    let mut sector = [0; 512];
    disk.read_exact_at("a boot record", offset, &mut sector)?;
    if sector[510..] != [0x55, 0xAA] {
        return Ok(None);
    }
    Ok(Some(std::array::from_fn(|index| {
        let entry = &sector[TABLE_AT + 16 * index..][..16];
        let number = |at: usize| {
            u64::from(u32::from_le_bytes([
                entry[at],
                entry[at + 1],
                entry[at + 2],
                entry[at + 3],
            ]))
        };
        MbrEntry {
            status: entry[0],
            kind: entry[4],
            start: number(8),
            sectors: number(12),
        }
    })))
}

struct Gpt;

/// Partitions, and whether some are of a dynamic disk.
type Found = (Vec<Range<u64>>, bool);

impl Gpt {
    /// The partitions of the table whose header lies at `at`, and whether some are of a dynamic disk;
    /// `None` where there is no header.
    fn read(disk: &dyn ReadAt, at: u64, sector: u64) -> Result<Option<Found>, ReadError> {
        let mut header = vec![0; sector as usize];
        if disk.read_full_at(at, &mut header)? < header.len() || header[..8] != *b"EFI PART" {
            return Ok(None);
        }
        let (count, entry_bytes, entries) = Self::entries(disk, &header, at, sector)
            .map_err(|error| damaged("a GPT", at, error.to_string()))?;
        let mut found = Vec::new();
        let mut is_dynamic = false;
        for entry in entries
            .chunks_exact(entry_bytes as usize)
            .take(count as usize)
        {
            let mut cur = Cursor::new(entry, 0);
            let kind = cur.array("type").map_or(0, u128::from_be_bytes);
            let used = kind != 0;
            is_dynamic |= DYNAMIC_GUIDS.contains(&kind);
            let (first, last) = match (cur.skip("id", 16), cur.u64("first"), cur.u64("last")) {
                (Ok(()), Ok(first), Ok(last)) if used && last >= first => (first, last),
                _ => continue,
            };
            let end = last.checked_add(1).and_then(|end| end.checked_mul(sector));
            if let (Some(start), Some(end)) = (first.checked_mul(sector), end) {
                found.push(start..end);
            }
        }
        Ok(Some((found, is_dynamic)))
    }

    /// The count and size of the entries, and their bytes, all checksums checked.
    fn entries(
        disk: &dyn ReadAt,
        header: &[u8],
        at: u64,
        sector: u64,
    ) -> Result<(u32, u32, Vec<u8>), DecodeError> {
        let mut cur = Cursor::new(header, at);
        cur.skip("signature and revision", 12)?;
        let header_bytes = cur.u32("header size")? as usize;
        let header_crc = cur.u32("header checksum")?;
        if !(GPT_HEADER_BYTES..=header.len()).contains(&header_bytes) {
            return Err(DecodeError::Limit {
                field: "header size",
                at: at + 12,
                value: header_bytes as u64,
                limit: sector,
            });
        }
        let mut blank = header[..header_bytes].to_vec();
        blank[16..20].fill(0);
        check("header checksum", at + 16, &blank, header_crc)?;
        cur.skip("reserved, places and disk id", 72 - 20)?;
        let first = cur.u64("first sector of the entries")?;
        let count = cur.u32("number of entries")?;
        let entry_bytes = cur.u32("entry size")?;
        let entries_crc = cur.u32("entries' checksum")?;
        if count > MAX_GPT_ENTRIES || !(128..=MAX_GPT_ENTRY_BYTES).contains(&entry_bytes) {
            return Err(DecodeError::Limit {
                field: "number and size of entries",
                at: at + 80,
                value: u64::from(count) * u64::from(entry_bytes),
                limit: u64::from(MAX_GPT_ENTRIES) * u64::from(MAX_GPT_ENTRY_BYTES),
            });
        }
        // At most 16 MiB, and no more than the disk has.
        let start = first.saturating_mul(sector);
        let length = u64::from(count) * u64::from(entry_bytes);
        if start.saturating_add(length) > disk.len() {
            return Err(ReadError::Short {
                what: "the entries of a GPT",
                offset: start,
                need: length,
                have: disk.len().saturating_sub(start),
            }
            .into());
        }
        let mut entries = vec![0; length as usize];
        disk.read_exact_at("the entries of a GPT", start, &mut entries)?;
        check("entries' checksum", at + 88, &entries, entries_crc)?;
        Ok((count, entry_bytes, entries))
    }
}

fn check(field: &'static str, at: u64, bytes: &[u8], stated: u32) -> Result<(), DecodeError> {
    let found = crc32fast::hash(bytes);
    if found == stated {
        return Ok(());
    }
    Err(DecodeError::Invalid {
        field,
        at,
        why: format!("it states {stated:#010x}, the bytes have {found:#010x}"),
    })
}

fn dynamic() -> ReadError {
    ReadError::Unsupported {
        what: "a volume of a dynamic disk (LDM), which may lie in several partitions or disks,",
    }
}

fn damaged(what: &'static str, offset: u64, why: String) -> ReadError {
    ReadError::Damaged { what, offset, why }
}

//! Virtual hard disks, version 1: fixed, dynamic and differencing.
//!
//! # Layout (big-endian)
//! The file ends in a footer of 512 bytes (511 in old ones), of which others than fixed disks have a copy at
//! the beginning: `conectix`, data offset (u64 at 16), current size (u64 at 48), type (u32 at 60), checksum (u32 at
//! 64), id (16 at 68). At the data offset follows `cxsparse`: table offset (u64 at 16), entries (u32 at 28),
//! block size (u32 at 32), checksum (u32 at 36), the parent's id (16 at 40) and name (UTF-16 at 64).
//! A table entry is the sector of a block, or all ones; a block is a bitmap of its sectors, padded to a sector, and
//! its bytes. Checksums are the complement of the sum of all other bytes.
//! # What is read
//! In a differencing disk a sector whose bit is 0 is the parent's. In a dynamic disk a block that is there
//! is read whatever its bitmap says, as Virtual PC itself writes it.
//! # Sources
//! - Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0 (2006).

use std::sync::Arc;

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError, Window};

use super::{
    Opening,
    cache::Pages,
    ewf::damaged,
    mapped::{Layout, Place},
};

const FOOTER: &[u8] = b"conectix";
const FOOTER_BYTES: usize = 512;
const HEADER_BYTES: usize = 1024;
const SECTOR: u64 = 512;
const NO_BLOCK: u32 = u32::MAX;
/// Windows makes blocks of 512 KiB and 2 MiB.
const MAX_BLOCK_BYTES: u32 = 256 << 20;

type Footer = [u8; FOOTER_BYTES];

struct Sparse {
    pages: Pages,
    len: u64,
    table_at: u64,
    entries: u32,
    block_bytes: u64,
    bitmap_bytes: u64,
    parent: Option<Arc<dyn ReadAt>>,
}

/// The disk, or `None` where the file has no footer.
pub(super) fn open(opening: &mut Opening<'_>) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
    let file = opening.first.clone();
    let Some((footer, at)) = footer(opening, &file)? else {
        return Ok(None);
    };
    let len = u64_at(&footer, 48);
    match u32_at(&footer, 60) {
        2 => {
            let stored = at.unwrap_or(file.len());
            if len > stored {
                opening.lose(damaged(
                    "a fixed VHD",
                    at.unwrap_or_default(),
                    &format!("its footer states {len} bytes, it has {stored}"),
                ));
            }
            Ok(Some(Arc::new(Window::new(file, 0..len.min(stored)))))
        }
        kind @ (3 | 4) => {
            let layout = sparse(opening, &footer, len, kind == 4)?;
            Ok(Some(opening.mapped(layout)))
        }
        kind => Err(damaged(
            "the footer of a VHD",
            60,
            &format!("the disk type {kind} is unknown"),
        )),
    }
}

/// A footer whose checksum holds, and where the disk ends if it was found at the end; the copy
/// at the beginning serves where the one at the end is damaged.
fn footer(
    opening: &mut Opening<'_>,
    file: &Arc<dyn ReadAt>,
) -> Result<Option<(Footer, Option<u64>)>, ReadError> {
    for bytes in [FOOTER_BYTES, FOOTER_BYTES - 1] {
        let Some(at) = file.len().checked_sub(bytes as u64) else {
            continue;
        };
        let mut footer = [0; FOOTER_BYTES];
        if file.read_full_at(at, &mut footer[..bytes])? == bytes && is_footer(&footer) {
            return Ok(Some((footer, Some(at))));
        }
    }
    let mut footer = [0; FOOTER_BYTES];
    let have = file.read_full_at(0, &mut footer)?;
    if have < FOOTER_BYTES || !is_footer(&footer) || u32_at(&footer, 60) == 2 {
        return Ok(None);
    }
    opening.lose(damaged(
        "the footer of a VHD",
        file.len().saturating_sub(FOOTER_BYTES as u64),
        "it is missing or damaged; the copy at the beginning was used",
    ));
    Ok(Some((footer, None)))
}

fn is_footer(footer: &Footer) -> bool {
    footer.starts_with(FOOTER) && checksum(footer, 64) == u32_at(footer, 64)
}

fn checksum(bytes: &[u8], field: usize) -> u32 {
    let sum = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u32, |sum, byte| sum.wrapping_add((*byte).into()))
    };
    !sum(&bytes[..field]).wrapping_add(sum(&bytes[field + 4..]))
}

fn sparse(
    opening: &mut Opening<'_>,
    footer: &Footer,
    len: u64,
    has_parent: bool,
) -> Result<Sparse, ReadError> {
    let what = "the header of a dynamic VHD";
    let file = opening.first.clone();
    let at = u64_at(footer, 16);
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(what, at, &mut header)?;
    if !header.starts_with(b"cxsparse") {
        return Err(damaged(what, at, "its signature is missing"));
    }
    if checksum(&header, 36) != u32_at(&header, 36) {
        opening.lose(damaged(
            what,
            at,
            "its checksum fails; it was used as it stands",
        ));
    }
    let (table_at, entries) = (u64_at(&header, 16), u32_at(&header, 28));
    let block = u32_at(&header, 32);
    if !block.is_power_of_two() || !(SECTOR as u32..=MAX_BLOCK_BYTES).contains(&block) {
        return Err(damaged(what, at, &format!("blocks of {block} bytes")));
    }
    let block_bytes = u64::from(block);
    let needed = len.div_ceil(block_bytes);
    if needed > entries.into() {
        let why = format!("{len} bytes need {needed} blocks, its table has {entries}");
        opening.lose(damaged(what, at, &why));
    }
    // Of entries that the file has no room for, none is asked for one by one.
    let room = file.len().saturating_sub(table_at) / 4;
    if room < entries.into() {
        let why = format!("its table has {entries} entries, the file has room for {room}");
        opening.lose(damaged(what, at, &why));
    }
    let entries = u32::try_from(room).unwrap_or(u32::MAX).min(entries);
    let parent = if has_parent {
        Some(parent(opening, &header)?)
    } else {
        None
    };
    Ok(Sparse {
        pages: Pages {
            file,
            cache: opening.cache.clone(),
            layer: opening.next_layer(),
        },
        len,
        table_at,
        entries,
        block_bytes,
        bitmap_bytes: (block_bytes / SECTOR / 8).next_multiple_of(SECTOR),
        parent,
    })
}

/// Opens the parent by the name that the header has, and compares its id.
fn parent(
    opening: &mut Opening<'_>,
    header: &[u8; HEADER_BYTES],
) -> Result<Arc<dyn ReadAt>, ReadError> {
    let what = "the parent of a differencing VHD";
    let units: Vec<u16> = header[64..576]
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    let name = String::from_utf16_lossy(&units);
    let parent = opening.sibling(what, &name)?;
    if let Some((footer, _)) = footer(opening, &parent)?
        && footer[68..84] != header[40..56]
    {
        // A disk over another disk would be a disk that never was.
        return Err(damaged(
            what,
            40,
            &format!("{name:?} has not the id that is asked for"),
        ));
    }
    opening.parent(what, &name)
}

impl Sparse {
    fn block(&self, number: u64) -> Result<Option<u64>, ReadError> {
        if number >= self.entries.into() {
            return Err(damaged(
                "the block table of a VHD",
                number,
                "it has no such entry",
            ));
        }
        let at = self.table_at.saturating_add(number * 4);
        let sector = u32::from_be_bytes(self.pages.array("the block table of a VHD", at)?);
        Ok((sector != NO_BLOCK).then(|| u64::from(sector) * SECTOR))
    }

    fn locate_in(&self, offset: u64) -> Result<(Place<'_>, u64), ReadError> {
        let within = offset % self.block_bytes;
        let left = self.block_bytes - within;
        let block = self.block(offset / self.block_bytes)?;
        let (Some(at), Some(parent)) = (block, &self.parent) else {
            return Ok(match (block, &self.parent) {
                (None, Some(parent)) => (Place::Parent(parent), left),
                (None, None) => (Place::Hole, left),
                (Some(at), _) => (self.stored(at + self.bitmap_bytes + within), left),
            });
        };
        let sector = within / SECTOR;
        // As far as sectors come from the same side, within one piece of the bitmap.
        let mut bits = [0; 64];
        let first_byte = sector / 8;
        let count = (self.block_bytes / SECTOR).div_ceil(8) - first_byte;
        let bits = &mut bits[..count.min(64) as usize];
        self.pages
            .read("the sector bitmap of a VHD", at + first_byte, bits)?;
        let bit = |sector: u64| bits[(sector / 8 - first_byte) as usize] >> (7 - sector % 8) & 1;
        let end = ((first_byte + bits.len() as u64) * 8).min(self.block_bytes / SECTOR);
        let same = (sector..end)
            .take_while(|next| bit(*next) == bit(sector))
            .count() as u64;
        let place = if bit(sector) == 1 {
            self.stored(at + self.bitmap_bytes + within)
        } else {
            Place::Parent(parent)
        };
        Ok((place, (sector + same) * SECTOR - within))
    }

    fn stored(&self, at: u64) -> Place<'_> {
        Place::Stored(&self.pages.file, at)
    }
}

impl Layout for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        self.locate_in(offset).unwrap_or_else(|error| {
            let past_table = offset / self.block_bytes >= self.entries.into();
            let run = if past_table {
                u64::MAX
            } else {
                self.block_bytes - offset % self.block_bytes
            };
            (Place::Lost(error), run)
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    super::ewf::u32_at(bytes, at).swap_bytes()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

//! Virtual hard disks, version 2: fixed, dynamic and differencing.
//!
//! # Layout (little-endian)
//! | offset | content |
//! |-------:|---------|
//! |      0 | `vhdxfile` |
//! |   64 K, 128 K | two headers of 4 KiB: `head`, CRC-32C, sequence (u64 at 8), log id (16 at 48), log version (u16 at 64), version (u16), log length (u32 at 68), log offset (u64 at 72) |
//! |  192 K, 256 K | two region tables of 64 KiB: `regi`, CRC-32C, count; id (16), offset (u64), length (u32), required (u32) each |
//!
//! The region "metadata" has a table of items (id, offset, length, flags): block size and flags, disk size, sector size, parent
//! locator. The region "BAT" has an entry (u64) for each block, and after each 2^23 sectors one more for their bitmap: state (bits 0
//! to 2), offset in MiB (bits 20 to 63).
//! # What is read
//! The newer header and the first region table whose checksum holds. A log that was not played back is read over the file, and nothing
//! is written (`vhdx_log`). A parent lies in the same folder.
//! # Sources
//! - Microsoft, MS-VHDX, "Virtual Hard Disk v2 (VHDX) File Format".

use std::{ops::Range, sync::Arc};

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

use super::{
    Opening,
    cache::Pages,
    ewf::{damaged, u32_at},
    mapped::{Layout, Place},
    sums::crc32c,
    vhdx_log::{Log, Replayed},
};

pub(super) const SIGNATURE: &[u8] = b"vhdxfile";
const HEADERS_AT: [u64; 2] = [64 << 10, 128 << 10];
const REGIONS_AT: [u64; 2] = [192 << 10, 256 << 10];
const HEADER_BYTES: usize = 4096;
const REGION_BYTES: usize = 64 << 10;
const METADATA_BYTES: u64 = 64 << 10;
const MIB: u64 = 1 << 20;
const MAX_DISK_BYTES: u64 = 64 << 40;

type Guid = [u8; 16];
const BAT: Guid = guid(0x2DC2_7766, 0xF623, 0x4200, 0x9D64_115E_9BFD_4A08);
const METADATA: Guid = guid(0x8B7C_A206, 0x4790, 0x4B9A, 0xB8FE_575F_050F_886E);
const FILE_PARAMETERS: Guid = guid(0xCAA1_6737, 0xFA36, 0x4D43, 0xB3B6_33F0_AA44_E76B);
const DISK_SIZE: Guid = guid(0x2FA5_4224, 0xCD1B, 0x4876, 0xB211_5DBE_D83B_F4B8);
const SECTOR_BYTES: Guid = guid(0x8141_BF1D, 0xA96F, 0x4709, 0xBA47_F233_A8FA_AB5F);
const PHYSICAL_BYTES: Guid = guid(0xCDA3_48C7, 0x445D, 0x4471, 0x9CC9_E988_5251_C556);
const DISK_ID: Guid = guid(0xBECA_12AB, 0xB2E6, 0x4523, 0x93EF_C309_E000_C746);
const PARENT_LOCATOR: Guid = guid(0xA8D3_5F2D, 0xB30B, 0x454D, 0xABF7_D3D8_4834_AB0C);

/// A GUID as it is stored: its first three parts little-endian.
const fn guid(a: u32, b: u16, c: u16, d: u64) -> Guid {
    let (a, b, c, d) = (
        a.to_le_bytes(),
        b.to_le_bytes(),
        c.to_le_bytes(),
        d.to_be_bytes(),
    );
    [
        a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6],
        d[7],
    ]
}

pub(super) fn open(opening: &mut Opening<'_>) -> Result<Arc<dyn ReadAt>, ReadError> {
    let log = header(opening)?;
    if let Some(log) = log
        && let Some(replayed) = Replayed::read(opening.first.clone(), &log)?
    {
        // Everything after the header is as the log says it should be.
        opening.first = Arc::new(replayed);
    }
    let file = opening.first.clone();
    let regions = regions(opening, &*file)?;
    let items = metadata(&*file, regions.metadata)?;
    let parent = match &items.parent {
        Some(locator) => Some(parent(opening, &*file, locator.clone())?),
        None => None,
    };
    let blocks = items.len.div_ceil(items.block_bytes);
    let ratio = (items.sector_bytes << 23) / items.block_bytes;
    let entries = if parent.is_some() {
        blocks.div_ceil(ratio) * (ratio + 1)
    } else {
        blocks + blocks.saturating_sub(1) / ratio
    };
    let room = regions
        .bat
        .end
        .min(file.len())
        .saturating_sub(regions.bat.start);
    if entries * 8 > room {
        let why = format!("{} bytes need {entries} entries", items.len);
        return Err(damaged(
            "the block table of a VHDX",
            regions.bat.start,
            &why,
        ));
    }
    let layout = Vhdx {
        pages: Pages {
            file,
            cache: opening.cache.clone(),
            layer: opening.next_layer(),
        },
        len: items.len,
        block_bytes: items.block_bytes,
        sector_bytes: items.sector_bytes,
        ratio,
        bat_at: regions.bat.start,
        parent,
    };
    Ok(opening.mapped(layout))
}

/// Reads the newer header; returns where the log lies, if it has anything.
fn header(opening: &mut Opening<'_>) -> Result<Option<Log>, ReadError> {
    let what = "a header of a VHDX";
    let mut newest: Option<(u64, [u8; HEADER_BYTES])> = None;
    for at in HEADERS_AT {
        let mut bytes = [0; HEADER_BYTES];
        opening.first.read_exact_at(what, at, &mut bytes)?;
        if !bytes.starts_with(b"head") || !sums(&bytes) {
            opening.lose(damaged(what, at, "its signature or its checksum is wrong"));
            continue;
        }
        let sequence = u64_at(&bytes, 8);
        if newest.as_ref().is_none_or(|(best, _)| sequence > *best) {
            newest = Some((sequence, bytes));
        }
    }
    let Some((_, bytes)) = newest else {
        return Err(damaged(what, HEADERS_AT[0], "both are damaged"));
    };
    let version = u16::from_le_bytes([bytes[66], bytes[67]]);
    if version != 1 {
        return Err(damaged(
            what,
            HEADERS_AT[0],
            &format!("version {version} is unknown"),
        ));
    }
    let id: Guid = *bytes[48..].first_chunk().expect("16 of 4096 bytes");
    Ok((id != [0; 16]).then(|| Log {
        id,
        at: u64_at(&bytes, 72),
        len: u32_at(&bytes, 68).into(),
    }))
}

struct Regions {
    bat: Range<u64>,
    metadata: Range<u64>,
}

fn regions(opening: &mut Opening<'_>, file: &dyn ReadAt) -> Result<Regions, ReadError> {
    const MAX_REGIONS: usize = 2047;
    let what = "a region table of a VHDX";
    for at in REGIONS_AT {
        let mut bytes = vec![0; REGION_BYTES];
        file.read_exact_at(what, at, &mut bytes)?;
        if !bytes.starts_with(b"regi") || !sums(&bytes) {
            opening.lose(damaged(what, at, "its signature or its checksum is wrong"));
            continue;
        }
        let (mut bat, mut metadata) = (None, None);
        let count = u32_at(&bytes, 8) as usize;
        for entry in bytes[16..].chunks_exact(32).take(count.min(MAX_REGIONS)) {
            let start = u64_at(entry, 16);
            let range = start..start.saturating_add(u32_at(entry, 24).into());
            match *entry.first_chunk::<16>().expect("16 of 32 bytes") {
                BAT => bat = Some(range),
                METADATA => metadata = Some(range),
                _ if u32_at(entry, 28) & 1 == 1 => {
                    return Err(ReadError::Unsupported {
                        what: "a VHDX with a region that is required and unknown",
                    });
                }
                _ => {}
            }
        }
        let (Some(bat), Some(metadata)) = (bat, metadata) else {
            return Err(damaged(
                what,
                at,
                "it lacks the block table or the metadata",
            ));
        };
        return Ok(Regions { bat, metadata });
    }
    Err(damaged(what, REGIONS_AT[0], "both are damaged"))
}

struct Items {
    len: u64,
    block_bytes: u64,
    sector_bytes: u64,
    parent: Option<Range<u64>>,
}

fn metadata(file: &dyn ReadAt, region: Range<u64>) -> Result<Items, ReadError> {
    let what = "the metadata of a VHDX";
    let table = file.read_range(region.clone(), METADATA_BYTES as usize)?;
    if !table.starts_with(b"metadata") || table.len() < 32 {
        return Err(damaged(what, region.start, "their signature is missing"));
    }
    let count = usize::from(u16::from_le_bytes([table[10], table[11]]));
    let (mut parameters, mut len, mut sector_bytes, mut locator) = (None, None, None, None);
    for entry in table[32..].chunks_exact(32).take(count) {
        let id = *entry.first_chunk::<16>().expect("16 of 32 bytes");
        let (offset, length) = (u64::from(u32_at(entry, 16)), u64::from(u32_at(entry, 20)));
        let at = region.start.saturating_add(offset);
        let mut bytes = [0; 8];
        let mut read = |count: usize| {
            file.read_exact_at(what, at, &mut bytes[..count])?;
            Ok::<_, ReadError>(u64::from_le_bytes(bytes))
        };
        match id {
            FILE_PARAMETERS => parameters = Some(read(8)?),
            DISK_SIZE => len = Some(read(8)?),
            SECTOR_BYTES => sector_bytes = Some(read(4)?),
            PARENT_LOCATOR => locator = Some(at..at.saturating_add(length)),
            PHYSICAL_BYTES | DISK_ID => {}
            _ if u32_at(entry, 24) & 4 != 0 => {
                return Err(ReadError::Unsupported {
                    what: "a VHDX with an item that is required and unknown",
                });
            }
            _ => {}
        }
    }
    let (Some(parameters), Some(len), Some(sector_bytes)) = (parameters, len, sector_bytes) else {
        return Err(damaged(
            what,
            region.start,
            "size, block size or sector size is missing",
        ));
    };
    let block_bytes = parameters & u64::from(u32::MAX);
    if !block_bytes.is_power_of_two()
        || !(MIB..=256 * MIB).contains(&block_bytes)
        || ![512, 4096].contains(&sector_bytes)
        || len > MAX_DISK_BYTES
    {
        let why = format!("{len} bytes in blocks of {block_bytes}, sectors of {sector_bytes}");
        return Err(damaged(what, region.start, &why));
    }
    let has_parent = parameters >> 33 & 1 == 1;
    if has_parent && locator.is_none() {
        return Err(damaged(
            what,
            region.start,
            "a parent is needed and not named",
        ));
    }
    Ok(Items {
        len,
        block_bytes,
        sector_bytes,
        parent: locator.filter(|_| has_parent),
    })
}

/// Opens the parent by the first of its paths that has a file in the image's folder.
fn parent(
    opening: &mut Opening<'_>,
    file: &dyn ReadAt,
    locator: Range<u64>,
) -> Result<Arc<dyn ReadAt>, ReadError> {
    const PATHS: [&str; 3] = ["relative_path", "absolute_win32_path", "volume_path"];
    let what = "the parent of a differencing VHDX";
    let start = locator.start;
    let bytes = file.read_range(locator, 1 << 20)?;
    let text = |at: u32, length: u16| {
        let at = at as usize;
        let units = bytes.get(at..at + usize::from(length))?.chunks_exact(2);
        let units: Vec<u16> = units
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        Some(String::from_utf16_lossy(&units))
    };
    let mut named: [Option<String>; PATHS.len()] = Default::default();
    let count = bytes
        .get(18..20)
        .map_or(0, |raw| u16::from_le_bytes([raw[0], raw[1]]));
    let entries = bytes.get(20..).unwrap_or(&[]).chunks_exact(12);
    for entry in entries.take(count.into()) {
        let lengths = u32_at(entry, 8);
        let key = text(u32_at(entry, 0), lengths as u16);
        let path = text(u32_at(entry, 4), (lengths >> 16) as u16);
        if let Some(at) = PATHS.iter().position(|path| Some(*path) == key.as_deref()) {
            named[at] = path;
        }
    }
    let mut absent = damaged(what, start, "the locator names no file");
    for path in named.into_iter().flatten() {
        match opening.parent(what, &path) {
            Err(error @ ReadError::Absent { .. }) => absent = error,
            outcome => return outcome,
        }
    }
    Err(absent)
}

/// Whether the CRC-32C at offset 4 is that of the bytes, taken with the field as zeros.
pub(super) fn sums(bytes: &[u8]) -> bool {
    let head = crc32c(crc32c(0, &bytes[..4]), &[0; 4]);
    crc32c(head, &bytes[8..]) == u32_at(bytes, 4)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

struct Vhdx {
    pages: Pages,
    len: u64,
    block_bytes: u64,
    sector_bytes: u64,
    /// Blocks for each bitmap.
    ratio: u64,
    bat_at: u64,
    parent: Option<Arc<dyn ReadAt>>,
}

impl Vhdx {
    fn entry(&self, number: u64) -> Result<(u64, u64), ReadError> {
        let at = self.bat_at.saturating_add(number * 8);
        let raw = u64::from_le_bytes(self.pages.array("the block table of a VHDX", at)?);
        Ok((raw & 7, raw >> 20 << 20))
    }

    fn locate_in(&self, offset: u64) -> Result<(Place<'_>, u64), ReadError> {
        let block = offset / self.block_bytes;
        let within = offset % self.block_bytes;
        let left = self.block_bytes - within;
        let (state, at) = self.entry(block + block / self.ratio)?;
        let stored = || Place::Stored(&self.pages.file, at.saturating_add(within));
        let place = match (state, &self.parent) {
            (0, Some(parent)) => Place::Parent(parent),
            (0..=3, _) => Place::Hole,
            (6, _) => stored(),
            (7, Some(parent)) => return self.partial(offset, left, stored(), parent),
            _ => {
                let why = format!("block {block} has the state {state}");
                return Err(damaged("the block table of a VHDX", self.bat_at, &why));
            }
        };
        Ok((place, left))
    }

    /// A block of which some sectors are here and the others the parent's.
    fn partial<'a>(
        &'a self,
        offset: u64,
        left: u64,
        stored: Place<'a>,
        parent: &'a Arc<dyn ReadAt>,
    ) -> Result<(Place<'a>, u64), ReadError> {
        let what = "a sector bitmap of a VHDX";
        let chunk_bytes = self.block_bytes * self.ratio;
        let chunk = offset / chunk_bytes;
        let (state, at) = self.entry((chunk + 1) * (self.ratio + 1) - 1)?;
        if state != 6 {
            let why = format!("the bitmap of part {chunk} has the state {state}");
            return Err(damaged(what, self.bat_at, &why));
        }
        let sector = offset % chunk_bytes / self.sector_bytes;
        let left_sectors = left.div_ceil(self.sector_bytes);
        let first_byte = sector / 8;
        let count = (sector + left_sectors).div_ceil(8) - first_byte;
        let mut bits = [0; 64];
        let bits = &mut bits[..count.min(64) as usize];
        self.pages.read(what, at.saturating_add(first_byte), bits)?;
        let bit = |sector: u64| bits[(sector / 8 - first_byte) as usize] >> (sector % 8) & 1;
        let end = ((first_byte + bits.len() as u64) * 8).min(sector + left_sectors);
        let same = (sector..end)
            .take_while(|next| bit(*next) == bit(sector))
            .count() as u64;
        let place = if bit(sector) == 1 {
            stored
        } else {
            Place::Parent(parent)
        };
        Ok((place, same * self.sector_bytes - offset % self.sector_bytes))
    }
}

impl Layout for Vhdx {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        self.locate_in(offset).unwrap_or_else(|error| {
            (
                Place::Lost(error),
                self.block_bytes - offset % self.block_bytes,
            )
        })
    }
}

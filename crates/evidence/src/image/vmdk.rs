//! VMware's disks: descriptors with flat and sparse extents, single sparse files, and packed ones
//! (`streamOptimized`).
//!
//! # Layout (little-endian)
//! A descriptor is text: `createType`, `parentCID`, `parentFileNameHint`, and a line for each extent: access, sectors, kind
//! (`SPARSE`, `FLAT`, `ZERO`, `VMFS`), name, offset in sectors. It is a file, or lies in a sparse extent.
//!
//! A sparse extent begins with `KDMV`: version (u32 at 4), flags (u32 at 8), and in sectors of 512 bytes capacity (u64 at 12), grain
//! (u64 at 20), the descriptor's offset and length (u64 at 28 and 36), entries a grain table (u32 at 44), the copy of the grain
//! directory and the directory (u64 at 48 and 56); the way of compression (u16 at 77). A directory that lies at -1 is stated by a
//! second header, 1024 bytes before the end. Entries are sectors (u32): 0 is not there, 1 is zeros where flag 2 is set. A packed grain is
//! its sector (u64), its length (u32), and a zlib stream.
//! # Damage
//! A grain table that the directory misses is looked up in the copy of the directory.
//! # Sources
//! - VMware, "Virtual Disk Format 5.0".
//! - libyal, libvmdk, "VMware Virtual Disk Format (VMDK)".

use std::{ops::Range, sync::Arc};

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError, Window};

use super::{
    Opening,
    cache::Pages,
    ewf::{damaged, u32_at},
    mapped::{Concat, Layout, Place, RUNS_BESIDES},
    sums::inflate,
};

const SPARSE: &[u8] = b"KDMV";
const DESCRIPTOR: &[u8] = b"# Disk DescriptorFile";
const HEADER_BYTES: usize = 512;
const SECTOR: u64 = 512;
/// Descriptors of disks in very many pieces have some ten thousand bytes.
const MAX_DESCRIPTOR_BYTES: u64 = 1 << 20;
const MAX_EXTENTS: usize = 10_000;
const MAX_GRAIN_SECTORS: u64 = 1 << 15;
const AT_END: u64 = u64::MAX;

const HAS_ZERO_GRAINS: u32 = 1 << 2;
const IS_PACKED: u32 = 1 << 16;

pub(super) fn recognises(head: &[u8]) -> bool {
    head.starts_with(SPARSE) || head.starts_with(DESCRIPTOR)
}

pub(super) fn open(opening: &mut Opening<'_>) -> Result<Arc<dyn ReadAt>, ReadError> {
    let file = opening.first.clone();
    let mut head = [0; 4];
    file.read_exact_at("a VMDK", 0, &mut head)?;
    if head == SPARSE {
        let header = Header::read(&*file)?;
        let text = text(&*file, header.descriptor.clone())?;
        let parent = parent(opening, &text)?;
        let layout = Sparse::open(opening, file, header, parent)?;
        return Ok(opening.mapped(layout));
    }
    let text = text(&*file, 0..file.len())?;
    let parent = parent(opening, &text)?;
    let mut disk = Concat::new();
    let extents = text.lines().filter_map(Extent::parse);
    for (count, extent) in extents.enumerate() {
        if count >= MAX_EXTENTS {
            return Err(damaged(
                "a VMDK descriptor",
                0,
                "it has more extents than any disk",
            ));
        }
        let source = extent.open(opening, parent.as_ref(), disk.len())?;
        let length = extent.sectors.checked_mul(SECTOR);
        if !length.is_some_and(|length| disk.push(source, length)) {
            return Err(damaged(
                "a VMDK descriptor",
                0,
                "its extents are longer than any disk",
            ));
        }
    }
    if disk.len() == 0 {
        return Err(damaged("a VMDK descriptor", 0, "it names no extent"));
    }
    Ok(opening.mapped(disk))
}

fn text(file: &dyn ReadAt, range: Range<u64>) -> Result<String, ReadError> {
    let bytes = file.read_range(range, MAX_DESCRIPTOR_BYTES as usize)?;
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// The value of `key = value`, without its quotes.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case(key)
            .then(|| value.trim().trim_matches('"'))
    })
}

fn parent(
    opening: &mut Opening<'_>,
    descriptor: &str,
) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
    let what = "the parent of a VMDK";
    match value(descriptor, "parentCID") {
        None => return Ok(None),
        Some(id) if id.eq_ignore_ascii_case("ffffffff") => return Ok(None),
        Some(_) => {}
    }
    let name = value(descriptor, "parentFileNameHint")
        .ok_or_else(|| damaged(what, 0, "the descriptor does not name it"))?;
    opening.parent(what, name).map(Some)
}

/// A line of a descriptor.
struct Extent<'a> {
    sectors: u64,
    kind: &'a str,
    name: &'a str,
    offset: u64,
}

impl<'a> Extent<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let access = words.next()?;
        if !["RW", "RDONLY", "NOACCESS"].contains(&access) {
            return None;
        }
        let sectors = words.next()?.parse().ok()?;
        let kind = words.next()?.trim();
        let rest = words.next().unwrap_or("").trim();
        let (name, after) = match rest.strip_prefix('"') {
            Some(rest) => rest.split_once('"')?,
            None => ("", rest),
        };
        let offset = after
            .split_whitespace()
            .next()
            .map_or(Some(0), |at| at.parse().ok())?;
        Some(Self {
            sectors,
            kind,
            name,
            offset,
        })
    }

    /// Its bytes; `None` where they are zeros. `start` is where it begins in the disk.
    fn open(
        &self,
        opening: &mut Opening<'_>,
        parent: Option<&Arc<dyn ReadAt>>,
        start: u64,
    ) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
        let what = "an extent of a VMDK";
        let long = || damaged(what, start, "it is longer than any disk");
        let length = self.sectors.checked_mul(SECTOR).ok_or_else(long)?;
        match self.kind {
            "ZERO" => Ok(None),
            "FLAT" | "VMFS" => {
                let file = opening.sibling(what, self.name)?;
                let from = self.offset.checked_mul(SECTOR).ok_or_else(long)?;
                let end = from.checked_add(length).ok_or_else(long)?;
                if end > file.len() {
                    opening.lose(damaged(
                        what,
                        start,
                        &format!("{:?} has {} bytes of {end}", self.name, file.len()),
                    ));
                }
                Ok(Some(Arc::new(Window::new(file, from..end))))
            }
            "SPARSE" => {
                let file = opening.sibling(what, self.name)?;
                let header = Header::read(&*file)?;
                let end = start.checked_add(length).ok_or_else(long)?;
                let parent = parent.map(|parent| -> Arc<dyn ReadAt> {
                    Arc::new(Window::new(parent.clone(), start..end))
                });
                let layout = Sparse::open(opening, file, header, parent)?;
                Ok(Some(opening.mapped(layout)))
            }
            _ => Err(ReadError::Unsupported {
                what: "an extent of a VMDK of this kind (VMFSSPARSE, VMFSRDM, SESPARSE)",
            }),
        }
    }
}

/// What the header of a sparse extent states, in bytes.
struct Header {
    flags: u32,
    capacity: u64,
    grain_bytes: u64,
    descriptor: Range<u64>,
    entries_a_table: u64,
    copy_at: u64,
    directory_at: u64,
}

impl Header {
    fn read(file: &dyn ReadAt) -> Result<Self, ReadError> {
        let header = Self::read_at(file, 0)?;
        if header.directory_at != AT_END {
            return Ok(header);
        }
        // Written in one go: the header did not know yet what the footer states.
        let at = file.len().saturating_sub(2 * HEADER_BYTES as u64);
        let footer = Self::read_at(file, at)?;
        Ok(Self {
            descriptor: header.descriptor,
            ..footer
        })
    }

    fn read_at(file: &dyn ReadAt, at: u64) -> Result<Self, ReadError> {
        let what = "the header of a sparse VMDK extent";
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(what, at, &mut bytes)?;
        if !bytes.starts_with(SPARSE) {
            return Err(damaged(what, at, "its signature is missing"));
        }
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let sectors = |field: usize| {
            u64_at(field)
                .checked_mul(SECTOR)
                .ok_or_else(|| damaged(what, at + field as u64, "it is past any disk"))
        };
        let grain = u64_at(20);
        let entries = u64::from(u32_at(&bytes, 44));
        if !grain.is_power_of_two()
            || grain > MAX_GRAIN_SECTORS
            || !(1..=1 << 20).contains(&entries)
        {
            let why = format!("grains of {grain} sectors, {entries} a table");
            return Err(damaged(what, at, &why));
        }
        let flags = u32_at(&bytes, 8);
        let compression = u16::from_le_bytes([bytes[77], bytes[78]]);
        if flags & IS_PACKED != 0 && compression != 1 {
            let why = format!("the way of compression {compression} is unknown");
            return Err(damaged(what, at + 77, &why));
        }
        let descriptor = sectors(28)?;
        Ok(Self {
            flags,
            capacity: sectors(12)?,
            grain_bytes: grain * SECTOR,
            descriptor: descriptor..descriptor.saturating_add(sectors(36)?),
            entries_a_table: entries,
            copy_at: sectors(48)?,
            directory_at: if u64_at(56) == AT_END {
                AT_END
            } else {
                sectors(56)?
            },
        })
    }
}

struct Sparse {
    header: Header,
    pages: Pages,
    parent: Option<Arc<dyn ReadAt>>,
}

impl Sparse {
    fn open(
        opening: &mut Opening<'_>,
        file: Arc<dyn ReadAt>,
        header: Header,
        parent: Option<Arc<dyn ReadAt>>,
    ) -> Result<Self, ReadError> {
        let covers = header.grain_bytes * header.entries_a_table;
        let tables = header.capacity.div_ceil(covers);
        if tables * 4 > file.len() {
            let why = format!("{} bytes need {tables} grain tables", header.capacity);
            return Err(damaged("the header of a sparse VMDK extent", 12, &why));
        }
        Ok(Self {
            header,
            pages: Pages {
                file,
                cache: opening.cache.clone(),
                layer: opening.next_layer(),
            },
            parent,
        })
    }

    fn entry(&self, what: &'static str, at: u64) -> Result<u64, ReadError> {
        let sector = u32::from_le_bytes(self.pages.array(what, at)?);
        Ok(sector.into())
    }

    fn absent(&self) -> Place<'_> {
        self.parent
            .as_ref()
            .map_or(Place::Hole, |parent| Place::Parent(parent))
    }

    fn locate_in(&self, offset: u64) -> Result<(Place<'_>, u64), (ReadError, u64)> {
        let header = &self.header;
        let covers = header.grain_bytes * header.entries_a_table;
        let table_left = covers - offset % covers;
        let table = |directory: u64| {
            let at = directory.saturating_add(offset / covers * 4);
            self.entry("the grain directory of a VMDK", at)
        };
        let mut sector = table(header.directory_at).map_err(|error| (error, table_left))?;
        if sector == 0 && header.copy_at != 0 && header.flags & IS_PACKED == 0 {
            sector = table(header.copy_at).map_err(|error| (error, table_left))?;
        }
        if sector == 0 {
            return Ok((self.absent(), table_left));
        }
        let within = offset % header.grain_bytes;
        let left = header.grain_bytes - within;
        let at = sector * SECTOR + offset % covers / header.grain_bytes * 4;
        let grain = self
            .entry("a grain table of a VMDK", at)
            .map_err(|error| (error, left))?;
        let place = match grain {
            0 => self.absent(),
            1 if header.flags & HAS_ZERO_GRAINS != 0 => Place::Hole,
            _ if header.flags & IS_PACKED != 0 => Place::Packed {
                unit: grain,
                within: within as usize,
                unit_bytes: header.grain_bytes as usize,
            },
            _ => Place::Stored(&self.pages.file, grain * SECTOR + within),
        };
        Ok((place, left))
    }
}

impl Layout for Sparse {
    fn len(&self) -> u64 {
        self.header.capacity
    }

    // Entries of four bytes, each of one run; absent tables are a run each.
    fn most_runs(&self) -> u64 {
        self.pages.file.len() / 4 + RUNS_BESIDES
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        self.locate_in(offset)
            .unwrap_or_else(|(error, run)| (Place::Lost(error), run))
    }

    fn unpack(&self, unit: u64) -> Result<Vec<u8>, ReadError> {
        const MARKER_BYTES: u64 = 12;
        let what = "a packed grain of a VMDK";
        let at = unit * SECTOR;
        let mut marker = [0; MARKER_BYTES as usize];
        self.pages.file.read_exact_at(what, at, &mut marker)?;
        let stored = u64::from(u32_at(&marker, 8));
        let grain_bytes = self.header.grain_bytes;
        // Deflate makes at most a little more than it gets.
        let most = grain_bytes + grain_bytes / 8 + 1024;
        if stored > most {
            let why = format!("it states {stored} bytes for a grain of {grain_bytes}");
            return Err(damaged(what, at, &why));
        }
        let lba = u64::from(u32_at(&marker, 0)) | u64::from(u32_at(&marker, 4)) << 32;
        // The last grain may be cut at the capacity.
        let left = self
            .header
            .capacity
            .saturating_sub(lba.saturating_mul(SECTOR));
        let start = at + MARKER_BYTES;
        let packed = self
            .pages
            .file
            .read_range(start..start + stored, most as usize)?;
        inflate(true, what, start, &packed, grain_bytes.min(left) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_descriptor() {
        let extent = Extent::parse("RW 4192256 SPARSE \"a disk-s001.vmdk\"").expect("an extent");
        assert_eq!((extent.sectors, extent.kind), (4_192_256, "SPARSE"));
        assert_eq!((extent.name, extent.offset), ("a disk-s001.vmdk", 0));
        let extent = Extent::parse("RW 63 FLAT \"x-f001.vmdk\" 128").expect("an extent");
        assert_eq!((extent.name, extent.offset), ("x-f001.vmdk", 128));
        let extent = Extent::parse("RDONLY 99 ZERO").expect("an extent");
        assert_eq!((extent.kind, extent.name), ("ZERO", ""));
        for line in [
            "# RW 1 FLAT",
            "CID=1",
            "RW x FLAT \"a\" 0",
            "RW 1 FLAT \"a",
            "",
        ] {
            assert!(Extent::parse(line).is_none(), "{line}");
        }
        let text = "CID=12\nparentFileNameHint=\"../x.vmdk\"\n";
        assert_eq!(value(text, "parentFileNameHint"), Some("../x.vmdk"));
    }
}

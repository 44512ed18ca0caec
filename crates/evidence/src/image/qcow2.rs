//! QEMU's copy-on-write images, versions 2 and 3.
//!
//! # Layout (big-endian)
//! Header: `QFI\xfb`, version (u32), backing file's offset (u64) and length (u32), bits of a cluster (u32 at 20),
//! size (u64 at 24), encryption (u32 at 32), entries of the first table (u32 at 36) and its offset (u64 at 40),
//! snapshots (u32 at 60); in version 3 incompatible features (u64 at 72), the header's length (u32 at 100), the
//! way of compression (u8 at 104: 0 deflate, 1 zstd).
//! An entry of the first table names a cluster of entries of the second. Such an entry is the offset of a cluster
//! (bits 9 to 55), with bit 62 for a packed one and bit 0 (version 3) for zeros; a packed one is an offset and a
//! number of further sectors. With extended entries each has 64 bits more: which of 32 parts are there, and
//! which are zeros.
//! # What is read
//! The disk as it is now: of snapshots inside only their number is told. A backing file lies in the same folder. Encryption,
//! external data files and unknown incompatible features are refused.
//! # Sources
//! - QEMU, docs/interop/qcow2.txt.

use std::sync::Arc;

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

use super::{
    Opening,
    cache::Pages,
    ewf::damaged,
    mapped::{Layout, Place, RUNS_BESIDES},
    sums::inflate,
};

pub(super) const SIGNATURE: &[u8] = b"QFI\xfb\0\0\0";
const WHAT: &str = "the header of a QCOW2 image";
const HEADER_BYTES: usize = 112;
/// QEMU's own limits.
const MAX_TABLE_ENTRIES: u64 = 4 << 20;
const MAX_NAME_BYTES: u32 = 1023;
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;

const CORRUPT: u64 = 1 << 1;
const DIRTY: u64 = 1;
const EXTERNAL: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED: u64 = 1 << 4;

pub(super) struct Qcow2 {
    pages: Pages,
    len: u64,
    cluster_bits: u32,
    table_at: u64,
    is_extended: bool,
    is_zstd: bool,
    /// Version 2 knows no zero bit.
    has_zeros: bool,
    backing: Option<Arc<dyn ReadAt>>,
}

impl Qcow2 {
    pub(super) fn open(opening: &mut Opening<'_>) -> Result<Self, ReadError> {
        let file = opening.first.clone();
        let mut header = [0; HEADER_BYTES];
        let have = file.read_full_at(0, &mut header)?;
        let version = u32_at(&header, 4);
        if !(2..=3).contains(&version) {
            return Err(damaged(WHAT, 4, &format!("version {version} is unknown")));
        }
        if have < 72 || (version == 3 && have < 104) {
            return Err(damaged(WHAT, 0, "the file ends in it"));
        }
        let features = if version == 3 { u64_at(&header, 72) } else { 0 };
        let header_bytes = if version == 3 {
            u32_at(&header, 100)
        } else {
            72
        };
        features_allow(opening, features)?;
        if u32_at(&header, 32) != 0 {
            return Err(ReadError::Unsupported {
                what: "an encrypted QCOW2 image",
            });
        }
        let cluster_bits = u32_at(&header, 20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(damaged(
                WHAT,
                20,
                &format!("clusters of 2^{cluster_bits} bytes"),
            ));
        }
        let is_extended = features & EXTENDED != 0;
        if is_extended && cluster_bits < 14 {
            return Err(damaged(WHAT, 20, "extended entries with so small clusters"));
        }
        let (len, entries) = (u64_at(&header, 24), u64::from(u32_at(&header, 36)));
        let entry_bits = cluster_bits - if is_extended { 4 } else { 3 };
        let needed = len.div_ceil(1 << (cluster_bits + entry_bits));
        if needed > entries || entries > MAX_TABLE_ENTRIES {
            let why = format!("{len} bytes need {needed} entries, it states {entries}");
            return Err(damaged(WHAT, 36, &why));
        }
        let snapshots = u32_at(&header, 60);
        if snapshots > 0 {
            opening.lose(ReadError::Unsupported {
                what: "a snapshot inside a QCOW2 image (the disk as it is now is read)",
            });
        }
        let compression = if header_bytes > 104 { header[104] } else { 0 };
        if compression > 1 || (compression == 1 && features & COMPRESSION == 0) {
            return Err(damaged(
                WHAT,
                104,
                &format!("the way of compression {compression}"),
            ));
        }
        let backing = backing(opening, &header)?;
        Ok(Self {
            pages: Pages {
                file,
                cache: opening.cache.clone(),
                layer: opening.next_layer(),
            },
            len,
            cluster_bits,
            table_at: u64_at(&header, 40),
            is_extended,
            is_zstd: compression == 1,
            has_zeros: version == 3,
            backing,
        })
    }

    fn absent(&self) -> Place<'_> {
        self.backing
            .as_ref()
            .map_or(Place::Hole, |backing| Place::Parent(backing))
    }

    fn locate_in(&self, offset: u64) -> Result<(Place<'_>, u64), (ReadError, u64)> {
        let cluster_bytes = 1_u64 << self.cluster_bits;
        let entry_bits = self.cluster_bits - if self.is_extended { 4 } else { 3 };
        let table_covers = 1_u64 << (self.cluster_bits + entry_bits);
        let table_left = table_covers - offset % table_covers;
        let first = self.table_at.saturating_add(offset / table_covers * 8);
        let second = self.entry(first).map_err(|error| (error, table_left))? & OFFSET;
        if second == 0 {
            return Ok((self.absent(), table_left));
        }
        let within = offset % cluster_bytes;
        let left = cluster_bytes - within;
        let number = offset % table_covers / cluster_bytes;
        let at = second.saturating_add(number << (self.cluster_bits - entry_bits));
        let entry = self.entry(at).map_err(|error| (error, left))?;
        if entry >> 62 & 1 == 1 {
            let place = Place::Packed {
                // All that is needed to find the bytes again stands in the entry.
                unit: entry & (u64::MAX >> 2),
                within: within as usize,
                unit_bytes: cluster_bytes as usize,
            };
            return Ok((place, left));
        }
        let host = entry & OFFSET;
        if self.is_extended {
            let bits = self
                .entry(at.saturating_add(8))
                .map_err(|error| (error, left))?;
            let part_bytes = cluster_bytes / 32;
            let part = within / part_bytes;
            let place = match (bits >> part & 1, bits >> (part + 32) & 1) {
                (1, _) => Place::Stored(&self.pages.file, host.saturating_add(within)),
                (_, 1) => Place::Hole,
                _ => self.absent(),
            };
            return Ok((place, part_bytes - within % part_bytes));
        }
        let place = if self.has_zeros && entry & 1 == 1 {
            Place::Hole
        } else if host == 0 {
            self.absent()
        } else {
            Place::Stored(&self.pages.file, host.saturating_add(within))
        };
        Ok((place, left))
    }

    fn entry(&self, at: u64) -> Result<u64, ReadError> {
        Ok(u64::from_be_bytes(
            self.pages.array("a table of a QCOW2 image", at)?,
        ))
    }
}

impl Layout for Qcow2 {
    fn len(&self) -> u64 {
        self.len
    }

    // Entries of eight bytes, or of sixteen with 32 runs each; absent tables are a run each.
    fn most_runs(&self) -> u64 {
        self.pages
            .file
            .len()
            .saturating_mul(2)
            .saturating_add(RUNS_BESIDES)
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        self.locate_in(offset)
            .unwrap_or_else(|(error, run)| (Place::Lost(error), run))
    }

    fn unpack(&self, unit: u64) -> Result<Vec<u8>, ReadError> {
        let what = "a packed cluster of a QCOW2 image";
        let cluster_bytes = 1_usize << self.cluster_bits;
        let offset_bits = 62 - (self.cluster_bits - 8);
        let at = unit & ((1 << offset_bits) - 1);
        let sectors = (unit >> offset_bits) + 1;
        let stored = sectors * 512 - (at & 511);
        // The sectors may go on past the file: the last cluster is not padded.
        let packed = self
            .pages
            .file
            .read_range(at..at.saturating_add(stored), 4 << 20)?;
        if !self.is_zstd {
            return inflate(false, what, at, &packed, cluster_bytes);
        }
        let mut bytes = vec![0; cluster_bytes];
        let mut done = 0;
        let mut decoder = zstd::stream::raw::Decoder::new()
            .map_err(|error| damaged(what, at, &error.to_string()))?;
        let mut read = 0;
        while done < cluster_bytes {
            use zstd::stream::raw::Operation as _;
            let status = decoder
                .run_on_buffers(&packed[read..], &mut bytes[done..])
                .map_err(|error| damaged(what, at, &error.to_string()))?;
            if status.bytes_read == 0 && status.bytes_written == 0 {
                break;
            }
            read += status.bytes_read;
            done += status.bytes_written;
        }
        if done < cluster_bytes {
            return Err(damaged(
                what,
                at,
                &format!("it unpacks to {done} bytes of {cluster_bytes}"),
            ));
        }
        Ok(bytes)
    }
}

fn features_allow(opening: &mut Opening<'_>, features: u64) -> Result<(), ReadError> {
    if features & EXTERNAL != 0 {
        return Err(ReadError::Unsupported {
            what: "a QCOW2 image whose data lie in another file",
        });
    }
    let unknown = features & !(DIRTY | CORRUPT | COMPRESSION | EXTENDED);
    if unknown != 0 {
        let why = format!("the incompatible features {unknown:#x} are unknown");
        return Err(damaged(WHAT, 72, &why));
    }
    if features & CORRUPT != 0 {
        opening.lose(damaged(WHAT, 72, "it says that its tables are corrupt"));
    }
    Ok(())
}

/// Opens the file that this one rests on.
fn backing(
    opening: &mut Opening<'_>,
    header: &[u8; HEADER_BYTES],
) -> Result<Option<Arc<dyn ReadAt>>, ReadError> {
    let what = "the backing file of a QCOW2 image";
    let (at, length) = (u64_at(header, 8), u32_at(header, 16));
    if at == 0 {
        return Ok(None);
    }
    if length > MAX_NAME_BYTES {
        return Err(damaged(
            WHAT,
            16,
            &format!("the backing file's name has {length} bytes"),
        ));
    }
    let mut name = vec![0; length as usize];
    opening.first.read_exact_at(what, at, &mut name)?;
    let name = String::from_utf8_lossy(&name);
    opening.parent(what, &name).map(Some)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    super::ewf::u32_at(bytes, at).swap_bytes()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

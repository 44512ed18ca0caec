//! FAT12, FAT16 and FAT32, with long names.
//!
//! # Layout (little-endian)
//! Boot sector: bytes a sector (u16 at 11), sectors a cluster (u8 at 13), reserved sectors (u16 at 14), tables (u8 at 16), root
//! entries (u16 at 17), sectors (u16 at 19, else u32 at 32), sectors a table (u16 at 22, else u32 at 36), FAT32: root cluster (u32 at
//! 44); serial number and label at 39 and 43, FAT32: 67 and 71. The number of clusters says which of the three it is.
//!
//! A directory entry has 32 bytes: name (11), attributes (u8 at 11), case (u8 at 12), creation (u8 at 13, u16 at 14 and 16), access
//! (u16 at 18), first cluster (u16 at 20 and 26), change (u16 at 22 and 24), size (u32 at 28). Entries with the attributes 0x0F before
//! it hold its long name, the last part first.
//! # What is read
//! Names that have no long form keep the bytes of their code page, which is not stated anywhere. A
//! deleted entry's file is read as one piece, and only where all of its clusters are still free.
//! Times are local ones. An entry's number is its place on the volume, in 32 bytes.
//! # Sources
//! - Microsoft, "FAT: General Overview of On-Disk Format", version 1.03; ECMA-107.

use std::{ops::ControlFlow, sync::Arc};

use scelle_event::EvidencePath;
use scelle_formats::{ReadAt, ReadAtExt as _, ReadError, Window, ntfs::Run};

use super::{
    Found, MAX_DIRECTORY_BYTES, MAX_RUNS, Show, Tree, TreeVolume, damaged, dos_time, entry, stream,
};
use crate::{
    Attributes, EntryKind, Times, VolumeInfo, VolumeKind,
    image::{Cache, Pages},
    ntfs::{ExtentStream, Extents},
};

const ENTRY_BYTES: u64 = 32;
const DELETED: u8 = 0xE5;
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0F;
/// The root of FAT12 and FAT16 lies in no cluster.
const FIXED_ROOT: u64 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

pub(crate) struct Fat {
    volume: Arc<dyn ReadAt>,
    table: Pages,
    table_at: u64,
    width: Width,
    cluster_bytes: u64,
    clusters: u64,
    /// Where cluster 2 begins.
    heap_at: u64,
    root_at: u64,
    root_bytes: u64,
    root_cluster: u64,
}

impl Fat {
    /// Whether a boot sector is one of FAT: it has no signature that counts, so its fields do.
    pub(crate) fn recognises(sector: &[u8; 512]) -> bool {
        Geometry::read(sector).is_some()
    }

    /// Opens the volume; `offset` is where it begins in its source.
    pub(crate) fn open(
        volume: Arc<dyn ReadAt>,
        offset: u64,
        losses: &mut Vec<ReadError>,
    ) -> Result<TreeVolume<Self>, ReadError> {
        let what = "the boot sector of a FAT volume";
        let mut sector = [0; 512];
        volume.read_exact_at(what, 0, &mut sector)?;
        let geometry = Geometry::read(&sector).ok_or_else(|| damaged(what, 0, "it is none"))?;
        if geometry.bytes > volume.len() {
            let why = format!(
                "it states {} bytes, the volume has {}",
                geometry.bytes,
                volume.len()
            );
            losses.push(damaged(what, 0, &why));
        }
        let tree = Self {
            table: Pages::new(volume.clone(), Cache::new()),
            table_at: geometry.table_at,
            width: geometry.width,
            cluster_bytes: geometry.cluster_bytes,
            clusters: geometry.clusters,
            heap_at: geometry.heap_at,
            root_at: geometry.root_at,
            root_bytes: geometry.root_bytes,
            root_cluster: geometry.root_cluster,
            volume,
        };
        if tree.width == Width::Fat32 && !tree.is_cluster(tree.root_cluster) {
            let why = format!("the root's cluster is {}", tree.root_cluster);
            return Err(damaged(what, 44, &why));
        }
        let info = VolumeInfo {
            id: format!("fat-{:08X}", geometry.serial).into(),
            kind: VolumeKind::Fat,
            offset,
            size_bytes: Some(geometry.bytes),
            label: tree.label().or(geometry.label),
            cluster_bytes: u32::try_from(geometry.cluster_bytes).ok(),
        };
        Ok(TreeVolume { info, tree })
    }

    /// The label that the root has.
    fn label(&self) -> Option<String> {
        let directory = self.directory(self.root()).ok()?;
        let bytes = directory.read_range(0..64 << 10, 64 << 10).ok()?;
        let entry = bytes
            .chunks_exact(32)
            .take_while(|entry| entry[0] != 0)
            .find(|entry| {
                entry[0] != DELETED && entry[11] != LONG_NAME && entry[11] & LABEL != 0
            })?;
        trimmed(&entry[..11])
    }

    fn directory(&self, cluster: u64) -> Result<Box<dyn ReadAt>, ReadError> {
        if cluster == FIXED_ROOT {
            let range = self.root_at..self.root_at + self.root_bytes;
            return Ok(Box::new(Window::new(self.volume.clone(), range)));
        }
        // A directory states no size: it ends with its chain.
        let most = MAX_DIRECTORY_BYTES / self.cluster_bytes;
        let (runs, clusters, _) = self.chain(cluster, most.max(1))?;
        Ok(Box::new(self.extents(runs, clusters * self.cluster_bytes)))
    }

    fn extents(&self, runs: Vec<Run>, bytes: u64) -> ExtentStream {
        let heap = self.heap_at..self.volume.len();
        ExtentStream {
            source: Arc::new(Window::new(self.volume.clone(), heap)),
            extents: Extents::new(runs).0,
            cluster_bytes: self.cluster_bytes,
            real_bytes: bytes,
            valid_bytes: bytes,
        }
    }

    /// The clusters from one on, as far as the table leads, at most so many; whether it ended.
    fn chain(&self, first: u64, most: u64) -> Result<(Vec<Run>, u64, bool), ReadError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut cluster = first;
        let mut count = 0;
        // No chain is longer than the volume has clusters.
        while count < most.min(self.clusters) && runs.len() < MAX_RUNS {
            if !self.is_cluster(cluster) {
                return Ok((runs, count, true));
            }
            match runs.last_mut() {
                Some(run) if run.lcn.map(|lcn| lcn + run.clusters) == Some(cluster - 2) => {
                    run.clusters += 1;
                }
                _ => runs.push(Run {
                    vcn: count,
                    lcn: Some(cluster - 2),
                    clusters: 1,
                }),
            }
            count += 1;
            cluster = self.next(cluster)?;
        }
        Ok((runs, count, !self.is_cluster(cluster)))
    }

    fn is_cluster(&self, number: u64) -> bool {
        (2..self.clusters + 2).contains(&number)
    }

    /// What the table says of a cluster: the next one, 0 where it is free.
    fn next(&self, cluster: u64) -> Result<u64, ReadError> {
        let what = "the table of a FAT volume";
        let at = |bytes: u64| self.table_at + bytes;
        Ok(match self.width {
            Width::Fat12 => {
                let raw = self.table.array(what, at(cluster + cluster / 2))?;
                let raw = u64::from(u16::from_le_bytes(raw));
                if cluster.is_multiple_of(2) {
                    raw & 0xFFF
                } else {
                    raw >> 4
                }
            }
            Width::Fat16 => u16::from_le_bytes(self.table.array(what, at(cluster * 2))?).into(),
            Width::Fat32 => {
                let raw = u32::from_le_bytes(self.table.array(what, at(cluster * 4))?);
                u64::from(raw & 0x0FFF_FFFF)
            }
        })
    }

    fn found(&self, raw: &[u8], number: u64, long: &[u16]) -> Result<(Found, bool), ReadError> {
        let (attributes, is_deleted) = (raw[11], raw[0] == DELETED);
        let name = if long.is_empty() {
            EvidencePath::from_bytes(&short_name(raw))
        } else {
            EvidencePath::from_utf16(long.iter().copied())
        };
        let created = dos_time(u16_at(raw, 16), u16_at(raw, 14), raw[13]);
        let modified = dos_time(u16_at(raw, 24), u16_at(raw, 22), 0);
        let accessed = dos_time(u16_at(raw, 18), 0, 0);
        let is_sound = created.is_ok() && modified.is_ok() && accessed.is_ok();
        let times = Times {
            created: created.unwrap_or(None),
            modified: modified.unwrap_or(None),
            changed: None,
            accessed: accessed.unwrap_or(None),
            is_local: true,
        };
        let is_directory = attributes & DIRECTORY != 0;
        let kind = if is_directory {
            EntryKind::Directory
        } else {
            EntryKind::File
        };
        let mut entry = entry(name, number, kind, times);
        entry.attributes = Attributes(attributes.into());
        entry.deleted = is_deleted;
        let mut directory = None;
        if !is_directory {
            let size = u64::from(u32_at(raw, 28));
            entry.streams.push(stream(
                size,
                size.next_multiple_of(self.cluster_bytes),
                false,
            ));
        } else if !is_deleted {
            let cluster = self.first_cluster(raw);
            if !self.is_cluster(cluster) {
                let why = format!("its first cluster is {cluster}");
                return Err(damaged(
                    "a directory of a FAT volume",
                    number * ENTRY_BYTES,
                    &why,
                ));
            }
            directory = Some(cluster);
        }
        Ok((Found { entry, directory }, is_sound))
    }

    fn first_cluster(&self, raw: &[u8]) -> u64 {
        let high = match self.width {
            Width::Fat32 => u64::from(u16_at(raw, 20)) << 16,
            _ => 0,
        };
        high | u64::from(u16_at(raw, 26))
    }

    /// Where a place in a directory lies on the volume.
    fn place(&self, directory: u64, runs: &[Run], at: u64) -> u64 {
        if directory == FIXED_ROOT {
            return self.root_at + at;
        }
        let vcn = at / self.cluster_bytes;
        let run = &runs[runs.partition_point(|run| run.vcn <= vcn) - 1];
        let lcn = run.lcn.unwrap_or_default() + vcn - run.vcn;
        self.heap_at + lcn * self.cluster_bytes + at % self.cluster_bytes
    }
}

impl Tree for Fat {
    fn root(&self) -> u64 {
        match self.width {
            Width::Fat32 => self.root_cluster,
            _ => FIXED_ROOT,
        }
    }

    fn most_names(&self) -> u64 {
        self.volume.len() / ENTRY_BYTES
    }

    fn list(&self, directory: u64, show: Show<'_>) -> ControlFlow<()> {
        let what = "a directory of a FAT volume";
        let mut runs = Vec::new();
        if directory != FIXED_ROOT {
            let most = (MAX_DIRECTORY_BYTES / self.cluster_bytes).max(1);
            match self.chain(directory, most) {
                Ok((found, _, ended)) => {
                    runs = found;
                    if !ended {
                        show(Err(damaged(what, directory, "it has no end; it is cut")))?;
                    }
                }
                Err(error) => return show(Err(error)),
            }
        }
        let bytes = match self.directory(directory) {
            Ok(bytes) => Pages::new(bytes.into(), Cache::new()),
            Err(error) => return show(Err(error)),
        };
        let mut long = LongName::default();
        let mut at = 0;
        while at < bytes.file.len() {
            let raw: [u8; ENTRY_BYTES as usize] = match bytes.array(what, at) {
                Ok(raw) => raw,
                Err(error) => {
                    show(Err(error))?;
                    // The rest of the cluster is as lost.
                    at = (at + 1).next_multiple_of(self.cluster_bytes);
                    continue;
                }
            };
            let place = self.place(directory, &runs, at);
            at += ENTRY_BYTES;
            match raw[0] {
                0 => return ControlFlow::Continue(()),
                _ if raw[11] & 0x3F == LONG_NAME => long.add(&raw),
                b'.' if raw[11] & DIRECTORY != 0 && (raw[1] == b' ' || raw[1] == b'.') => {}
                _ if raw[11] & LABEL != 0 => long = LongName::default(),
                _ => {
                    let name = long.take(&raw);
                    match self.found(&raw, place / ENTRY_BYTES, &name) {
                        Ok((found, is_sound)) => {
                            show(Ok(found))?;
                            if !is_sound {
                                show(Err(damaged("a time of a FAT entry", place, "it is none")))?;
                            }
                        }
                        Err(error) => show(Err(error))?,
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn stream(&self, number: u64) -> Result<Box<dyn ReadAt>, ReadError> {
        let what = "an entry of a FAT directory";
        let mut raw = [0; ENTRY_BYTES as usize];
        let place = number.saturating_mul(ENTRY_BYTES);
        self.volume.read_exact_at(what, place, &mut raw)?;
        let size = u64::from(u32_at(&raw, 28));
        let needed = size.div_ceil(self.cluster_bytes);
        let first = self.first_cluster(&raw);
        if needed == 0 {
            return Ok(Box::new(self.extents(Vec::new(), 0)));
        }
        if raw[0] != DELETED {
            // Where the chain ends early, the rest of the file is unreadable.
            let (runs, ..) = self.chain(first, needed)?;
            return Ok(Box::new(self.extents(runs, size)));
        }
        for cluster in first..first + needed {
            if !self.is_cluster(cluster) || self.next(cluster)? != 0 {
                return Err(ReadError::Unsupported {
                    what: "a deleted FAT file of whose clusters some were taken since",
                });
            }
        }
        let runs = vec![Run {
            vcn: 0,
            lcn: Some(first - 2),
            clusters: needed,
        }];
        Ok(Box::new(self.extents(runs, size)))
    }
}

/// The parts of a long name, as they come.
#[derive(Default)]
struct LongName {
    /// By their place in the name, the last first.
    parts: Vec<[u16; 13]>,
    /// The checksum of the short name that they say they belong to.
    sum: u8,
    is_deleted: bool,
}

impl LongName {
    const MAX_PARTS: usize = 20;

    fn add(&mut self, raw: &[u8]) {
        let is_first = raw[0] & 0x40 != 0 && raw[0] != DELETED;
        let is_deleted = raw[0] == DELETED;
        if is_first || self.is_deleted != is_deleted || self.parts.len() >= Self::MAX_PARTS {
            self.parts.clear();
        }
        (self.sum, self.is_deleted) = (raw[13], is_deleted);
        let mut part = [0; 13];
        let places = (1..11)
            .step_by(2)
            .chain((14..26).step_by(2))
            .chain([28, 30]);
        for (unit, place) in part.iter_mut().zip(places) {
            *unit = u16_at(raw, place);
        }
        self.parts.push(part);
    }

    /// The name, where the parts belong to this entry.
    fn take(&mut self, raw: &[u8]) -> Vec<u16> {
        let parts = std::mem::take(&mut self.parts);
        let sum = |first: u8| {
            let name = std::iter::once(first).chain(raw[1..11].iter().copied());
            name.fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(byte))
        };
        // A deleted entry has lost its first letter: the sum says which it was, if any fits.
        let fits = if raw[0] == DELETED {
            self.is_deleted && (0..=255).any(|first| sum(first) == self.sum)
        } else {
            !self.is_deleted && sum(raw[0]) == self.sum
        };
        if !fits {
            return Vec::new();
        }
        let units = parts.into_iter().rev().flatten();
        units.take_while(|unit| *unit != 0).collect()
    }
}

/// The short name, with its dot and in the case that its flags say.
fn short_name(raw: &[u8]) -> Vec<u8> {
    let mut name = raw[..11].to_vec();
    match name[0] {
        DELETED => name[0] = b'_',
        // The letter that would say that the entry is deleted.
        0x05 => name[0] = DELETED,
        _ => {}
    }
    let (base, ending) = name.split_at_mut(8);
    if raw[12] & 0x08 != 0 {
        base.make_ascii_lowercase();
    }
    if raw[12] & 0x10 != 0 {
        ending.make_ascii_lowercase();
    }
    let mut whole = base.trim_ascii_end().to_vec();
    let ending = ending.trim_ascii_end();
    if !ending.is_empty() {
        whole.push(b'.');
        whole.extend(ending);
    }
    whole
}

fn trimmed(label: &[u8]) -> Option<String> {
    let label = label.trim_ascii_end();
    (!label.is_empty() && label != b"NO NAME").then(|| String::from_utf8_lossy(label).into_owned())
}

/// What the boot sector states, in bytes.
struct Geometry {
    width: Width,
    bytes: u64,
    cluster_bytes: u64,
    clusters: u64,
    table_at: u64,
    root_at: u64,
    root_bytes: u64,
    root_cluster: u64,
    heap_at: u64,
    serial: u32,
    label: Option<String>,
}

impl Geometry {
    fn read(sector: &[u8; 512]) -> Option<Self> {
        let sector_bytes = u64::from(u16_at(sector, 11));
        let cluster = u64::from(sector[13]);
        let reserved = u64::from(u16_at(sector, 14));
        let tables = u64::from(sector[16]);
        let root_entries = u64::from(u16_at(sector, 17));
        let either = |short: usize, long: usize| match u16_at(sector, short) {
            0 => u64::from(u32_at(sector, long)),
            short => short.into(),
        };
        let sectors = either(19, 32);
        let table_sectors = either(22, 36);
        let is_sound = sector.ends_with(&[0x55, 0xAA])
            && [0xEB, 0xE9].contains(&sector[0])
            && [512, 1024, 2048, 4096].contains(&sector_bytes)
            && cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&tables)
            && sector[21] >= 0xF0
            && table_sectors > 0
            && &sector[3..11] != b"NTFS    "
            && &sector[3..11] != b"EXFAT   ";
        if !is_sound {
            return None;
        }
        let root_sectors = (root_entries * ENTRY_BYTES).div_ceil(sector_bytes);
        let heap = reserved + tables * table_sectors + root_sectors;
        let clusters = sectors.checked_sub(heap)? / cluster;
        let is_fat32 = u16_at(sector, 22) == 0;
        let width = match clusters {
            0 => return None,
            _ if is_fat32 => Width::Fat32,
            1..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => return None,
        };
        let entry_bits = match width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        };
        let has_entries = table_sectors * sector_bytes * 8 / entry_bits;
        let (serial_at, label_at) = if is_fat32 { (67, 71) } else { (39, 43) };
        Some(Self {
            width,
            bytes: sectors * sector_bytes,
            cluster_bytes: cluster * sector_bytes,
            clusters: clusters.min(has_entries.saturating_sub(2)),
            table_at: reserved * sector_bytes,
            root_at: (heap - root_sectors) * sector_bytes,
            root_bytes: root_entries * ENTRY_BYTES,
            root_cluster: u32_at(sector, 44).into(),
            heap_at: heap * sector_bytes,
            serial: u32_at(sector, serial_at),
            label: trimmed(&sector[label_at..label_at + 11]),
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

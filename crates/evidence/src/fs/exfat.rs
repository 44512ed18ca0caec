//! exFAT.
//!
//! # Layout (little-endian)
//! Boot sector: `EXFAT   ` at 3, sectors (u64 at 72), table's sector and length (u32 at 80 and 84), cluster heap's sector (u32 at
//! 88), clusters (u32 at 92), root cluster (u32 at 96), serial number (u32 at 100), shifts for bytes a sector and sectors a cluster
//! (u8 at 108 and 109).
//!
//! A file is a set of directory entries of 32 bytes. `0x85`: entries after it (u8 at 1), checksum (u16 at 2), attributes (u16 at 4),
//! creation, change, access (u32 each at 8, 12, 16), centiseconds of the first two (u8 at 20 and 21), their offsets from UTC (u8 at 22, 23,
//! 24). `0xC0`: flags (u8 at 1; bit 1: the clusters follow one another), length of the name (u8 at 3), valid bytes (u64 at 8), first
//! cluster (u32 at 20), size (u64 at 24). `0xC1`: 15 units of the name. Deleted entries lack bit 7.
//! # What is read
//! A deleted file as its table still leads, or in one piece where it was so, and only where all
//! clusters are free. Times are UTC where all three state their offset, else local ones. An entry's
//! number is its place on the volume, in 32 bytes.
//! # Sources
//! - Microsoft, "exFAT file system specification".

use std::{ops::ControlFlow, sync::Arc};

use scelle_event::{EvidencePath, UtcNanos};
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
const IN_USE: u8 = 0x80;
const BITMAP: u8 = 0x81;
const LABEL: u8 = 0x83;
const FILE: u8 = 0x85;
const STREAM: u8 = 0xC0;
const NAME: u8 = 0xC1;
const DIRECTORY: u16 = 0x10;
const IS_CONTIGUOUS: u8 = 2;
/// The specification's own limit, of the file entry and 18 others.
const MAX_SET: usize = 19;

pub(crate) struct Exfat {
    volume: Arc<dyn ReadAt>,
    table: Pages,
    table_at: u64,
    cluster_bytes: u64,
    clusters: u64,
    heap_at: u64,
    root_cluster: u64,
    /// Which clusters are taken; without it no deleted file can be vouched for.
    bitmap: Option<Box<dyn ReadAt>>,
}

/// Where a file's bytes lie.
#[derive(Clone, Copy)]
struct Content {
    first: u64,
    size: u64,
    valid: u64,
    is_contiguous: bool,
}

impl Exfat {
    pub(crate) fn recognises(sector: &[u8; 512]) -> bool {
        &sector[3..11] == b"EXFAT   " && sector.ends_with(&[0x55, 0xAA])
    }

    /// Opens the volume; `offset` is where it begins in its source.
    pub(crate) fn open(
        volume: Arc<dyn ReadAt>,
        offset: u64,
        losses: &mut Vec<ReadError>,
    ) -> Result<TreeVolume<Self>, ReadError> {
        let what = "the boot sector of an exFAT volume";
        let mut sector = [0; 512];
        volume.read_exact_at(what, 0, &mut sector)?;
        let (sector_shift, cluster_shift) = (sector[108], sector[109]);
        if !(9..=12).contains(&sector_shift) || cluster_shift > 25 - sector_shift {
            let why = format!("sectors of 2^{sector_shift} bytes, 2^{cluster_shift} a cluster");
            return Err(damaged(what, 108, &why));
        }
        let sectors = |at: usize| u64::from(u32_at(&sector, at)) << sector_shift;
        let bytes = u64_at(&sector, 72).checked_mul(1 << sector_shift);
        let bytes = bytes.ok_or_else(|| damaged(what, 72, "it is longer than any disk"))?;
        if bytes > volume.len() {
            let why = format!("it states {bytes} bytes, the volume has {}", volume.len());
            losses.push(damaged(what, 72, &why));
        }
        let table_entries = sectors(84) / 4;
        let mut tree = Self {
            table: Pages::new(volume.clone(), Cache::new()),
            table_at: sectors(80),
            cluster_bytes: 1 << (sector_shift + cluster_shift),
            clusters: u64::from(u32_at(&sector, 92)).min(table_entries.saturating_sub(2)),
            heap_at: sectors(88),
            root_cluster: u32_at(&sector, 96).into(),
            bitmap: None,
            volume,
        };
        if !tree.is_cluster(tree.root_cluster) {
            let why = format!("the root's cluster is {}", tree.root_cluster);
            return Err(damaged(what, 96, &why));
        }
        let (label, bitmap) = tree.critical()?;
        match bitmap {
            Some(bitmap) => tree.bitmap = Some(Box::new(tree.content(bitmap)?)),
            None => losses.push(damaged("an exFAT volume", 0, "it has no allocation bitmap")),
        }
        let info = VolumeInfo {
            id: format!("exfat-{:08X}", u32_at(&sector, 100)).into(),
            kind: VolumeKind::Exfat,
            offset,
            size_bytes: Some(bytes),
            label,
            cluster_bytes: u32::try_from(tree.cluster_bytes).ok(),
        };
        Ok(TreeVolume { info, tree })
    }

    /// The root's entries that speak of the volume: its label, where its bitmap lies.
    fn critical(&self) -> Result<(Option<String>, Option<Content>), ReadError> {
        let (root, _) = self.directory(self.root_cluster)?;
        let bytes = root.read_range(0..64 << 10, 64 << 10)?;
        let (mut label, mut bitmap) = (None, None);
        for raw in bytes.chunks_exact(32).take_while(|raw| raw[0] != 0) {
            if raw[0] == LABEL {
                let units = raw[2..24].chunks_exact(2).take(raw[1].into());
                let units: Vec<u16> = units.map(|unit| u16_at(unit, 0)).collect();
                label = (!units.is_empty()).then(|| String::from_utf16_lossy(&units));
            } else if raw[0] == BITMAP && raw[1] & 1 == 0 {
                let size = u64_at(raw, 24).min(self.clusters.div_ceil(8));
                bitmap = Some(Content {
                    first: u32_at(raw, 20).into(),
                    size,
                    valid: size,
                    is_contiguous: false,
                });
            }
        }
        Ok((label, bitmap))
    }

    fn is_cluster(&self, number: u64) -> bool {
        (2..self.clusters + 2).contains(&number)
    }

    /// The bytes of a directory, and whether they have an end. Its number is its first cluster and,
    /// from bit 32 on, how many follow it, where they do so without a chain.
    fn directory(&self, number: u64) -> Result<(ExtentStream, bool), ReadError> {
        let (first, contiguous) = (number & u64::from(u32::MAX), number >> 32);
        let most = (MAX_DIRECTORY_BYTES / self.cluster_bytes).max(1);
        if contiguous > 0 {
            let clusters = contiguous.min(most);
            let runs = self.contiguous(first, clusters)?;
            return Ok((
                self.extents(runs, clusters * self.cluster_bytes),
                contiguous <= most,
            ));
        }
        let (runs, clusters, ended) = self.chain(first, most)?;
        Ok((self.extents(runs, clusters * self.cluster_bytes), ended))
    }

    fn contiguous(&self, first: u64, clusters: u64) -> Result<Vec<Run>, ReadError> {
        if !self.is_cluster(first) {
            let why = format!("its first cluster is {first}");
            return Err(damaged("a file of an exFAT volume", first, &why));
        }
        Ok(vec![Run {
            vcn: 0,
            lcn: Some(first - 2),
            clusters: clusters.min(self.clusters + 2 - first),
        }])
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

    fn content(&self, content: Content) -> Result<ExtentStream, ReadError> {
        let needed = content.size.div_ceil(self.cluster_bytes);
        let runs = if needed == 0 {
            Vec::new()
        } else if content.is_contiguous {
            self.contiguous(content.first, needed)?
        } else {
            self.chain(content.first, needed)?.0
        };
        let mut stream = self.extents(runs, content.size);
        stream.valid_bytes = content.valid.min(content.size);
        Ok(stream)
    }

    /// The clusters from one on, at most so many, and whether the chain ended.
    fn chain(&self, first: u64, most: u64) -> Result<(Vec<Run>, u64, bool), ReadError> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut cluster, mut count) = (first, 0);
        // No chain is longer than the volume has clusters.
        while count < most.min(self.clusters) && runs.len() < MAX_RUNS && self.is_cluster(cluster) {
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
            let at = self.table_at + cluster * 4;
            cluster =
                u32::from_le_bytes(self.table.array("the table of an exFAT volume", at)?).into();
        }
        Ok((runs, count, !self.is_cluster(cluster)))
    }

    fn is_free(&self, cluster: u64) -> Result<bool, ReadError> {
        let Some(bitmap) = &self.bitmap else {
            return Ok(false);
        };
        let mut byte = [0];
        let index = cluster - 2;
        bitmap.read_exact_at("the bitmap of an exFAT volume", index / 8, &mut byte)?;
        Ok(byte[0] >> (index % 8) & 1 == 0)
    }
}

/// A set of entries that make a file.
struct Set {
    raw: Vec<[u8; ENTRY_BYTES as usize]>,
}

impl Set {
    /// Reads the set that begins at `at`; `None` where the entries after it are not its own.
    fn read(directory: &Pages, at: u64) -> Result<Option<Self>, ReadError> {
        let what = "an entry of an exFAT directory";
        let first: [u8; ENTRY_BYTES as usize] = directory.array(what, at)?;
        let kind = first[0] & !IN_USE;
        let count = usize::from(first[1]) + 1;
        if kind != FILE & !IN_USE || !(3..=MAX_SET).contains(&count) {
            return Ok(None);
        }
        let is_deleted = first[0] & IN_USE == 0;
        let mut raw = vec![first];
        for index in 1..count as u64 {
            let next: [u8; ENTRY_BYTES as usize] =
                directory.array(what, at + index * ENTRY_BYTES)?;
            let expected = if index == 1 { STREAM } else { NAME };
            let is_own = next[0] & !IN_USE == expected & !IN_USE || index > 2;
            if !is_own || (next[0] & IN_USE == 0) != is_deleted {
                return Ok(None);
            }
            raw.push(next);
        }
        Ok(Some(Self { raw }))
    }

    fn is_deleted(&self) -> bool {
        self.raw[0][0] & IN_USE == 0
    }

    /// Whether the checksum is that of the set, as it was before it was deleted.
    fn sums(&self) -> bool {
        let mut sum = 0_u16;
        for (number, raw) in self.raw.iter().enumerate() {
            for (at, byte) in raw.iter().enumerate() {
                let byte = if at == 0 { byte | IN_USE } else { *byte };
                if number > 0 || !(2..4).contains(&at) {
                    sum = sum.rotate_right(1).wrapping_add(byte.into());
                }
            }
        }
        sum == u16_at(&self.raw[0], 2)
    }

    fn name(&self) -> EvidencePath {
        let units = self.raw[2..]
            .iter()
            .filter(|raw| raw[0] | IN_USE == NAME)
            .flat_map(|raw| raw[2..].chunks_exact(2).map(|unit| u16_at(unit, 0)));
        EvidencePath::from_utf16(units.take(self.raw[1][3].into()))
    }

    fn content(&self) -> Content {
        let raw = &self.raw[1];
        Content {
            first: u32_at(raw, 20).into(),
            size: u64_at(raw, 24),
            valid: u64_at(raw, 8),
            is_contiguous: raw[1] & IS_CONTIGUOUS != 0,
        }
    }

    /// Its times, and whether all are times.
    fn times(&self) -> (Times, bool) {
        let raw = &self.raw[0];
        let places = [
            (8, raw[20], raw[22]),
            (12, raw[21], raw[23]),
            (16, 0, raw[24]),
        ];
        let is_local = places.iter().any(|(_, _, offset)| offset & 0x80 == 0);
        let mut is_sound = true;
        let times = places.map(|(at, centiseconds, offset)| {
            let time = dos_time(u16_at(raw, at + 2), u16_at(raw, at), centiseconds);
            is_sound &= time.is_ok();
            // Seven bits with their sign, in quarters of an hour.
            let quarters = i128::from(((offset << 1) as i8) >> 1);
            let east = if is_local {
                0
            } else {
                quarters * 900 * 1_000_000_000
            };
            time.unwrap_or(None)
                .map(|time| UtcNanos::from_nanos(time.nanos() - east))
        });
        let times = Times {
            created: times[0],
            modified: times[1],
            changed: None,
            accessed: times[2],
            is_local,
        };
        (times, is_sound)
    }
}

impl Tree for Exfat {
    fn root(&self) -> u64 {
        self.root_cluster
    }

    fn most_names(&self) -> u64 {
        self.volume.len() / ENTRY_BYTES
    }

    fn list(&self, number: u64, show: Show<'_>) -> ControlFlow<()> {
        let what = "a directory of an exFAT volume";
        let (directory, ended) = match self.directory(number) {
            Ok(found) => found,
            Err(error) => return show(Err(error)),
        };
        if !ended {
            show(Err(damaged(what, number, "it has no end; it is cut")))?;
        }
        let pages = Pages::new(Arc::new(directory.clone()), Cache::new());
        let mut at = 0;
        while at < directory.len() {
            let kind: [u8; 1] = match pages.array(what, at) {
                Ok(kind) => kind,
                Err(error) => {
                    show(Err(error))?;
                    at = (at + 1).next_multiple_of(self.cluster_bytes);
                    continue;
                }
            };
            if kind[0] == 0 {
                break;
            }
            let place = self.heap_at + directory.place(at).unwrap_or_default();
            let set = match kind[0] | IN_USE {
                FILE => match Set::read(&pages, at) {
                    Ok(set) => set,
                    Err(error) => {
                        show(Err(error))?;
                        None
                    }
                },
                _ => None,
            };
            let Some(set) = set else {
                if kind[0] == FILE {
                    show(Err(damaged(what, place, "a file's entries are not whole")))?;
                }
                at += ENTRY_BYTES;
                continue;
            };
            at += set.raw.len() as u64 * ENTRY_BYTES;
            if !set.sums() {
                show(Err(damaged(
                    what,
                    place,
                    "the checksum of a file's entries fails",
                )))?;
            }
            let content = set.content();
            let (times, is_sound) = set.times();
            let attributes = u16_at(&set.raw[0], 4);
            let is_directory = attributes & DIRECTORY != 0;
            let kind = if is_directory {
                EntryKind::Directory
            } else {
                EntryKind::File
            };
            let mut entry = entry(set.name(), place / ENTRY_BYTES, kind, times);
            entry.attributes = Attributes(attributes.into());
            entry.deleted = set.is_deleted();
            let mut directory = None;
            if !is_directory {
                let allocated = content.size.div_ceil(self.cluster_bytes);
                let allocated = allocated.saturating_mul(self.cluster_bytes);
                entry.streams.push(stream(content.size, allocated, false));
            } else if !entry.deleted && self.is_cluster(content.first) {
                let clusters = content.size.div_ceil(self.cluster_bytes);
                let clusters = if content.is_contiguous { clusters } else { 0 };
                directory = Some(clusters.min(u32::MAX.into()) << 32 | content.first);
            }
            let is_lost = is_directory && !entry.deleted && directory.is_none();
            show(Ok(Found { entry, directory }))?;
            if is_lost {
                let why = format!("its first cluster is {}", content.first);
                show(Err(damaged(what, place, &why)))?;
            }
            if !is_sound {
                show(Err(damaged(
                    "a time of an exFAT entry",
                    place,
                    "it is none",
                )))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn stream(&self, number: u64) -> Result<Box<dyn ReadAt>, ReadError> {
        let what = "a file of an exFAT volume";
        let place = number.saturating_mul(ENTRY_BYTES);
        let Some(set) = self.set_at(place)? else {
            return Err(damaged(what, place, "its entries are not whole"));
        };
        let content = set.content();
        if set.is_deleted() {
            let stream = self.content(content)?;
            let mut clusters = 0;
            for run in stream.extents.runs() {
                for cluster in run.lcn.iter().flat_map(|lcn| *lcn..*lcn + run.clusters) {
                    if !self.is_free(cluster + 2)? {
                        return Err(ReadError::Unsupported {
                            what: "a deleted exFAT file of whose clusters some were taken since",
                        });
                    }
                    clusters += 1;
                }
            }
            if clusters < content.size.div_ceil(self.cluster_bytes) {
                return Err(damaged(what, place, "its chain of clusters is cut"));
            }
            return Ok(Box::new(stream));
        }
        Ok(Box::new(self.content(content)?))
    }
}

impl Exfat {
    /// The set of entries at a place of the volume. It may go on in the next cluster of its
    /// directory, which then need not follow here: the chain says where.
    fn set_at(&self, place: u64) -> Result<Option<Set>, ReadError> {
        let Some(in_heap) = place.checked_sub(self.heap_at) else {
            return Ok(None);
        };
        let cluster = in_heap / self.cluster_bytes + 2;
        let read = |runs| {
            let directory = Arc::new(self.extents(runs, 2 * self.cluster_bytes));
            Set::read(
                &Pages::new(directory, Cache::new()),
                in_heap % self.cluster_bytes,
            )
        };
        let (chained, clusters, _) = self.chain(cluster, 2)?;
        if clusters == 2
            && let Some(set) = read(chained)?
            && set.sums()
        {
            return Ok(Some(set));
        }
        // A directory in one piece has no chain, or one that means nothing.
        read(self.contiguous(cluster, 2)?)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

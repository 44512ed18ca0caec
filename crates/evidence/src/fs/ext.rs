//! ext2, ext3 and ext4.
//!
//! # Layout (little-endian)
//! Superblock at 1024: inodes (u32 at 0), blocks (u32 at 4 and 336), first block (u32 at 20), size of a block as 1024 << n (u32 at
//! 24), blocks and inodes a group (u32 at 32 and 40), `0xEF53` (u16 at 56), revision (u32 at 76), inode size (u16 at 88), features
//! (u32 at 92, 96, 100), UUID (16 at 104), label (16 at 120), size of a descriptor (u16 at 254). The descriptor of a group has its inode table
//! (u32 at 8 and 40).
//!
//! Inode: mode (u16 at 0), size (u32 at 4 and 108), access, change of metadata, change (u32 at 8, 12, 16), blocks (u32 at 28), flags (u32 at
//! 32), where its blocks lie (60 at 40); behind 128 bytes further bits of the times and the creation.
//! # What is read
//! Names as they stand; of deleted ones nothing is left where this looks. A journal that was not played back is not
//! read, and that is said. An entry's number is its inode.
//! # Sources
//! - The Linux kernel's documentation, "ext4 Data Structures and Algorithms".

use std::{ops::ControlFlow, sync::Arc};

use scelle_event::{EvidencePath, UtcNanos};
use scelle_formats::{Bytes, ReadAt, ReadAtExt as _, ReadError, ntfs::Run};

use super::{Found, MAX_DIRECTORY_BYTES, MAX_RUNS, Show, Tree, TreeVolume, damaged, entry, stream};
use crate::{
    EntryKind, StreamState, Times, VolumeInfo, VolumeKind,
    image::{Cache, Pages},
    ntfs::{ExtentStream, Extents},
};

const SUPERBLOCK_AT: u64 = 1024;
const ROOT: u64 = 2;
/// Blocks of a file's tree past which it is taken for endless.
const MAX_TREE_BLOCKS: u32 = 1 << 16;
const MAX_DEPTH: u16 = 5;
const MAX_LINK_BYTES: u64 = 4096;

const NEEDS_RECOVERY: u32 = 0x4;
const META_GROUPS: u32 = 0x10;
const HAS_64_BITS: u32 = 0x80;
/// Compression, a journal device, and what no one has written down yet.
const KNOWN: u32 = 0x2
    | 0x4
    | 0x10
    | 0x40
    | 0x80
    | 0x100
    | 0x200
    | 0x400
    | 0x1000
    | 0x2000
    | 0x4000
    | 0x8000
    | 0x1_0000
    | 0x2_0000;

const ENCRYPTED: u32 = 0x800;
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;

pub(crate) struct Ext {
    pages: Pages,
    volume: Arc<dyn ReadAt>,
    block_bytes: u64,
    blocks: u64,
    first_block: u64,
    blocks_a_group: u64,
    inodes: u64,
    inodes_a_group: u64,
    inode_bytes: u64,
    descriptor_bytes: u64,
    /// From which block of descriptors on they lie in their own groups.
    first_meta: u64,
    is_sparse: bool,
}

struct Inode {
    raw: Vec<u8>,
}

impl Inode {
    fn mode(&self) -> u16 {
        u16_at(&self.raw, 0)
    }

    fn size(&self) -> u64 {
        u64::from(u32_at(&self.raw, 4)) | u64::from(u32_at(&self.raw, 108)) << 32
    }

    fn flags(&self) -> u32 {
        u32_at(&self.raw, 32)
    }

    fn kind(&self) -> EntryKind {
        match self.mode() >> 12 {
            4 => EntryKind::Directory,
            8 => EntryKind::File,
            10 => EntryKind::Link,
            _ => EntryKind::Special,
        }
    }

    /// The 60 bytes that say where the blocks lie, or are the content themselves.
    fn places(&self) -> &[u8] {
        &self.raw[40..100]
    }

    fn times(&self) -> Times {
        let extra = match self.raw.len() {
            132.. => usize::from(u16_at(&self.raw, 128)) + 128,
            _ => 128,
        };
        let time = |at: usize, more: usize| {
            let seconds = i128::from(u32_at(&self.raw, at).cast_signed());
            let more = if more + 4 <= extra.min(self.raw.len()) {
                u32_at(&self.raw, more)
            } else {
                0
            };
            let seconds = seconds + (i128::from(more & 3) << 32);
            UtcNanos::from_nanos(seconds * 1_000_000_000 + i128::from(more >> 2))
        };
        // Zero is no time, as with a file that nobody has read.
        let stated = |time: UtcNanos| (time.nanos() != 0).then_some(time);
        Times {
            created: (extra.min(self.raw.len()) >= 148)
                .then(|| time(144, 148))
                .and_then(stated),
            modified: stated(time(16, 136)),
            changed: stated(time(12, 132)),
            accessed: stated(time(8, 140)),
            is_local: false,
        }
    }

    /// The content that lies in the inode itself: 60 bytes, and the value of `system.data`.
    fn inline(&self) -> Vec<u8> {
        const MAGIC: u32 = 0xEA02_0000;
        const SYSTEM: u8 = 7;
        let mut bytes = self.places().to_vec();
        let extra = match self.raw.len() {
            132.. => usize::from(u16_at(&self.raw, 128)),
            _ => return bytes,
        };
        let Some(attributes) = self.raw.get(128 + extra..).filter(|rest| rest.len() > 4) else {
            return bytes;
        };
        if u32_at(attributes, 0) != MAGIC {
            return bytes;
        }
        let entries = &attributes[4..];
        let mut at = 0;
        while let Some(entry) = entries
            .get(at..at + 16)
            .filter(|entry| u32_at(entry, 0) != 0)
        {
            let length = usize::from(entry[0]);
            let name = entries.get(at + 16..at + 16 + length);
            if entry[1] == SYSTEM && name == Some(b"data") {
                let start = usize::from(u16_at(entry, 2));
                let value = entries.get(start..).unwrap_or(&[]);
                bytes.extend(value.iter().take(u32_at(entry, 8) as usize));
                break;
            }
            at += (16 + length).next_multiple_of(4);
        }
        bytes
    }
}

impl Ext {
    /// Whether a superblock is at its place.
    pub(crate) fn recognises(superblock: &[u8; 512]) -> bool {
        u16_at(superblock, 56) == 0xEF53 && u32_at(superblock, 24) <= 6
    }

    /// Opens the volume; `offset` is where it begins in its source.
    pub(crate) fn open(
        volume: Arc<dyn ReadAt>,
        offset: u64,
        losses: &mut Vec<ReadError>,
    ) -> Result<TreeVolume<Self>, ReadError> {
        let what = "the superblock of an ext volume";
        let mut raw = [0; 1024];
        volume.read_exact_at(what, SUPERBLOCK_AT, &mut raw)?;
        let incompatible = u32_at(&raw, 96);
        if incompatible & !KNOWN != 0 {
            return Err(ReadError::Unsupported {
                what: "an ext volume with a feature that is not known",
            });
        }
        if incompatible & NEEDS_RECOVERY != 0 {
            losses.push(ReadError::Unsupported {
                what: "the journal of an ext volume, which was not played back before the image was made,",
            });
        }
        let shift = u32_at(&raw, 24);
        let is_old = u32_at(&raw, 76) == 0;
        let (blocks_a_group, inodes_a_group) = (u32_at(&raw, 32), u32_at(&raw, 40));
        let inode_bytes = if is_old {
            128
        } else {
            u64::from(u16_at(&raw, 88))
        };
        let has_64_bits = incompatible & HAS_64_BITS != 0;
        let descriptor_bytes = match u64::from(u16_at(&raw, 254)) {
            stated @ 64..=1024 if has_64_bits => stated,
            _ => 32,
        };
        let high = if has_64_bits {
            u64::from(u32_at(&raw, 336)) << 32
        } else {
            0
        };
        let block_bytes = 1024_u64 << shift.min(6);
        let is_sound = shift <= 6
            && blocks_a_group > 0
            && inodes_a_group > 0
            && inode_bytes.is_power_of_two()
            && (128..=block_bytes).contains(&inode_bytes)
            && descriptor_bytes.is_power_of_two();
        if !is_sound {
            let why = format!("inodes of {inode_bytes} bytes in blocks of 1024 << {shift}");
            return Err(damaged(what, SUPERBLOCK_AT, &why));
        }
        let blocks = high | u64::from(u32_at(&raw, 4));
        let bytes = blocks.saturating_mul(block_bytes);
        if bytes > volume.len() {
            let why = format!("it states {bytes} bytes, the volume has {}", volume.len());
            losses.push(damaged(what, SUPERBLOCK_AT, &why));
        }
        let tree = Self {
            pages: Pages::new(volume.clone(), Cache::new()),
            volume,
            block_bytes,
            blocks,
            first_block: u32_at(&raw, 20).into(),
            blocks_a_group: blocks_a_group.into(),
            inodes: u32_at(&raw, 0).into(),
            inodes_a_group: inodes_a_group.into(),
            inode_bytes,
            descriptor_bytes,
            first_meta: if incompatible & META_GROUPS != 0 {
                u32_at(&raw, 260).into()
            } else {
                u64::MAX
            },
            is_sparse: u32_at(&raw, 100) & 1 != 0,
        };
        tree.inode(ROOT)?;
        let label = raw[120..136].split(|byte| *byte == 0).next().unwrap_or(&[]);
        let info = VolumeInfo {
            id: format!("ext-{}", uuid(&raw[104..120])).into(),
            kind: VolumeKind::Ext,
            offset,
            size_bytes: Some(bytes),
            label: (!label.is_empty()).then(|| String::from_utf8_lossy(label).into_owned()),
            cluster_bytes: u32::try_from(block_bytes).ok(),
        };
        Ok(TreeVolume { info, tree })
    }

    fn inode(&self, number: u64) -> Result<Inode, ReadError> {
        let what = "an inode";
        if number == 0 || number > self.inodes {
            let why = format!("the volume has {}", self.inodes);
            return Err(damaged(what, number, &why));
        }
        let (group, index) = (
            (number - 1) / self.inodes_a_group,
            (number - 1) % self.inodes_a_group,
        );
        let descriptor = self.descriptor(group);
        let low: [u8; 4] = self
            .pages
            .array("a group descriptor", descriptor.saturating_add(8))?;
        let mut table = u64::from(u32::from_le_bytes(low));
        if self.descriptor_bytes >= 64 {
            let high: [u8; 4] = self
                .pages
                .array("a group descriptor", descriptor.saturating_add(40))?;
            table |= u64::from(u32::from_le_bytes(high)) << 32;
        }
        let at = table
            .saturating_mul(self.block_bytes)
            .saturating_add(index * self.inode_bytes);
        let mut raw = vec![0; self.inode_bytes as usize];
        self.pages.read(what, at, &mut raw)?;
        Ok(Inode { raw })
    }

    /// Where the descriptor of a group lies.
    fn descriptor(&self, group: u64) -> u64 {
        let in_block = self.block_bytes / self.descriptor_bytes;
        let number = group / in_block;
        let block = if number < self.first_meta {
            self.first_block + 1 + number
        } else {
            let first = number * in_block;
            let is_power = |base: u64| {
                let mut power = base;
                while power < first {
                    power *= base;
                }
                power == first
            };
            let has_copy = !self.is_sparse || first <= 1 || [3, 5, 7].into_iter().any(is_power);
            let start = first
                .saturating_mul(self.blocks_a_group)
                .saturating_add(self.first_block);
            start.saturating_add(u64::from(has_copy))
        };
        block
            .saturating_mul(self.block_bytes)
            .saturating_add(group % in_block * self.descriptor_bytes)
    }

    fn content(&self, inode: &Inode) -> Result<Box<dyn ReadAt>, ReadError> {
        let size = inode.size();
        if inode.flags() & ENCRYPTED != 0 {
            return Err(ReadError::Unsupported {
                what: "an encrypted ext4 file",
            });
        }
        if inode.flags() & INLINE != 0 {
            let mut bytes = inode.inline();
            bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
            if (bytes.len() as u64) < size {
                let why = format!("it has {} bytes of {size}", bytes.len());
                return Err(damaged("a file inside its inode", 0, &why));
            }
            return Ok(Box::new(Bytes(bytes)));
        }
        Ok(Box::new(self.blocks_of(inode, size)))
    }

    /// The stream of a file's blocks. Where its tree is damaged, what it lacks is unreadable.
    fn blocks_of(&self, inode: &Inode, size: u64) -> ExtentStream {
        let mut gather = Gather {
            ext: self,
            runs: Vec::new(),
            blocks_read: 0,
            is_whole: true,
        };
        let needed = size.div_ceil(self.block_bytes);
        if inode.flags() & EXTENTS != 0 {
            gather.extents(inode.places(), MAX_DEPTH + 1);
        } else {
            gather.indirect(inode.places(), needed);
        }
        let is_whole = gather.is_whole;
        let mut runs = gather.runs;
        if is_whole {
            runs = with_holes(runs, needed);
        }
        ExtentStream {
            source: self.volume.clone(),
            extents: Extents::new(runs).0,
            cluster_bytes: self.block_bytes,
            real_bytes: size,
            valid_bytes: size,
        }
    }

    /// The entry of a name.
    fn found(&self, name: &[u8], number: u64) -> Result<Found, ReadError> {
        let inode = self.inode(number)?;
        let kind = inode.kind();
        let mut entry = entry(EvidencePath::from_bytes(name), number, kind, inode.times());
        match kind {
            EntryKind::File => {
                let allocated = u64::from(u32_at(&inode.raw, 28)) * 512;
                let size = inode.size();
                let is_inline = inode.flags() & INLINE != 0;
                let allocated = if is_inline { 0 } else { allocated };
                let mut stream = stream(size, allocated, !is_inline && allocated < size);
                if inode.flags() & ENCRYPTED != 0 {
                    stream.state = StreamState::Unsupported("an encrypted ext4 file");
                }
                entry.streams.push(stream);
            }
            EntryKind::Link => entry.link_target = Some(self.target(&inode)?),
            _ => {}
        }
        let directory = (kind == EntryKind::Directory).then_some(number);
        Ok(Found { entry, directory })
    }

    fn target(&self, inode: &Inode) -> Result<EvidencePath, ReadError> {
        let size = inode.size();
        let is_inside = inode.flags() & EXTENTS == 0 && size < 60;
        let bytes = if is_inside {
            inode.places()[..size as usize].to_vec()
        } else {
            self.content(inode)?
                .read_range(0..size.min(MAX_LINK_BYTES), MAX_LINK_BYTES as usize)?
        };
        Ok(EvidencePath::from_bytes(&bytes))
    }

    /// Shows the names of a block of a directory.
    fn names(&self, block: &[u8], at: u64, show: Show<'_>) -> ControlFlow<()> {
        let mut rest = block;
        while rest.len() >= 8 {
            let number = u64::from(u32_at(rest, 0));
            let length = match usize::from(u16_at(rest, 4)) {
                // A block of 64 KiB does not fit the field.
                0 | 0xFFFF if block.len() == 1 << 16 => rest.len(),
                length => length,
            };
            let name = rest.get(8..8 + usize::from(rest[6]));
            let (Some(name), true) = (name, (8..=rest.len()).contains(&length)) else {
                let place = at + (block.len() - rest.len()) as u64;
                return show(Err(damaged(
                    "an ext directory",
                    place,
                    "an entry leaves its block",
                )));
            };
            if number != 0 && !name.is_empty() && name != b"." && name != b".." {
                show(self.found(name, number))?;
            }
            rest = &rest[length..];
        }
        ControlFlow::Continue(())
    }
}

impl Tree for Ext {
    fn root(&self) -> u64 {
        ROOT
    }

    fn most_names(&self) -> u64 {
        // A name of one letter takes twelve bytes.
        self.volume.len() / 12
    }

    fn list(&self, number: u64, show: Show<'_>) -> ControlFlow<()> {
        let inode = match self.inode(number) {
            Ok(inode) => inode,
            Err(error) => return show(Err(error)),
        };
        if inode.flags() & INLINE != 0 {
            let bytes = inode.inline();
            // The first four are the parent's inode; the value of the attribute is a block of its own.
            self.names(&bytes[4..60], 4, show)?;
            return self.names(&bytes[60..], 60, show);
        }
        let size = inode.size();
        if size > MAX_DIRECTORY_BYTES {
            show(Err(damaged(
                "an ext directory",
                number,
                "it is larger than any; it is cut",
            )))?;
        }
        let directory = self.blocks_of(&inode, size.min(MAX_DIRECTORY_BYTES));
        let mut block = vec![0; self.block_bytes as usize];
        let mut at = 0;
        while at < directory.len() {
            if directory.place(at).is_none() {
                let error = damaged("an ext directory", number, "it has no block from here on");
                return show(Err(error));
            }
            match directory.read_full_at(at, &mut block) {
                Ok(have) => self.names(&block[..have], at, show)?,
                Err(error) => show(Err(error))?,
            }
            at += self.block_bytes;
        }
        ControlFlow::Continue(())
    }

    fn stream(&self, number: u64) -> Result<Box<dyn ReadAt>, ReadError> {
        self.content(&self.inode(number)?)
    }
}

/// The runs of a file as they are found.
struct Gather<'e> {
    ext: &'e Ext,
    runs: Vec<Run>,
    blocks_read: u32,
    is_whole: bool,
}

impl Gather<'_> {
    fn block(&mut self, number: u64) -> Option<Vec<u8>> {
        self.blocks_read += 1;
        let mut bytes = vec![0; self.ext.block_bytes as usize];
        let at = number.saturating_mul(self.ext.block_bytes);
        let is_read = self.blocks_read <= MAX_TREE_BLOCKS
            && number < self.ext.blocks
            && self
                .ext
                .pages
                .read("a block of a file's tree", at, &mut bytes)
                .is_ok();
        self.is_whole &= is_read;
        is_read.then_some(bytes)
    }

    fn push(&mut self, vcn: u64, lcn: Option<u64>, clusters: u64) {
        if let Some(last) = self.runs.last_mut()
            && last.vcn + last.clusters == vcn
            && last.lcn.map(|lcn| lcn + last.clusters) == lcn
            && lcn.is_some()
        {
            last.clusters += clusters;
        } else if self.runs.len() < MAX_RUNS {
            self.runs.push(Run { vcn, lcn, clusters });
        } else {
            self.is_whole = false;
        }
    }

    /// A node of an extent tree, whose depth is below `above`.
    fn extents(&mut self, node: &[u8], above: u16) {
        const MAGIC: u16 = 0xF30A;
        /// Longer extents are allocated and not written yet.
        const LONGEST: u16 = 1 << 15;
        let (entries, depth) = (u16_at(node, 2), u16_at(node, 6));
        if u16_at(node, 0) != MAGIC || depth >= above {
            self.is_whole = false;
            return;
        }
        for raw in node[12..].chunks_exact(12).take(entries.into()) {
            let vcn = u64::from(u32_at(raw, 0));
            if depth > 0 {
                let number = u64::from(u32_at(raw, 4)) | u64::from(u16_at(raw, 8)) << 32;
                if let Some(child) = self.block(number) {
                    self.extents(&child, depth);
                }
                continue;
            }
            let length = u16_at(raw, 4);
            let lcn = u64::from(u32_at(raw, 8)) | u64::from(u16_at(raw, 6)) << 32;
            if length <= LONGEST {
                self.push(vcn, Some(lcn), length.into());
            } else {
                self.push(vcn, None, (length - LONGEST).into());
            }
        }
    }

    /// Twelve blocks, then blocks of blocks, up to three deep.
    fn indirect(&mut self, places: &[u8], needed: u64) {
        let fan_out = self.ext.block_bytes / 4;
        let mut vcn = 0;
        for (index, raw) in places.chunks_exact(4).enumerate() {
            let depth = index.saturating_sub(11) as u32;
            self.pointer(u32_at(raw, 0).into(), depth, vcn, needed);
            vcn += fan_out.pow(depth);
        }
    }

    fn pointer(&mut self, number: u64, depth: u32, vcn: u64, needed: u64) {
        if number == 0 || vcn >= needed {
            return;
        }
        if depth == 0 {
            self.push(vcn, Some(number), 1);
            return;
        }
        let Some(block) = self.block(number) else {
            return;
        };
        let covers = (self.ext.block_bytes / 4).pow(depth - 1);
        for (index, raw) in block.chunks_exact(4).enumerate() {
            self.pointer(
                u32_at(raw, 0).into(),
                depth - 1,
                vcn + index as u64 * covers,
                needed,
            );
        }
    }
}

/// What no run covers is a hole.
fn with_holes(mut runs: Vec<Run>, needed: u64) -> Vec<Run> {
    runs.sort_by_key(|run| run.vcn);
    let mut whole = Vec::with_capacity(runs.len());
    let mut at = 0;
    for run in runs {
        if run.vcn > at {
            whole.push(hole(at, run.vcn));
        }
        at = at.max(run.vcn + run.clusters);
        whole.push(run);
    }
    if at < needed {
        whole.push(hole(at, needed));
    }
    whole
}

fn hole(from: u64, to: u64) -> Run {
    Run {
        vcn: from,
        lcn: None,
        clusters: to - from,
    }
}

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| &hex[from..to];
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

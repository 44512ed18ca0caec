//! What a store says of each block.

use std::collections::BTreeMap;

use scelle_formats::vss::{BLOCK_BYTES, Descriptor};

pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;
const SECTOR: u64 = 512;

/// Where the bytes of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// On the volume as it is, at this offset.
    Data(u64),
    /// At this offset of what the next newer store makes of the volume.
    Forward(u64),
}

/// Some sectors of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    /// Where the block with these sectors lies on the volume.
    pub(super) data_at: u64,
    /// The first sector in the lowest bit.
    bitmap: u32,
}

impl Overlay {
    /// Whether the byte at `within` of the block is there, and for how many bytes from there that holds.
    pub(super) fn covers(&self, within: u64) -> (bool, u64) {
        let rest = self.bitmap >> (within / SECTOR);
        let is_there = rest & 1 == 1;
        let same = if is_there {
            rest.trailing_ones()
        } else {
            rest.trailing_zeros()
        };
        let end = (within / SECTOR + u64::from(same)) * SECTOR;
        (is_there, end.min(BLOCK) - within)
    }
}

/// A store's block list, its successive descriptors applied. Blocks are numbered from the volume's beginning.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub(super) held: BTreeMap<u32, Held>,
    pub(super) overlays: BTreeMap<u32, Overlay>,
    /// Where forwarders that nothing has resolved lead: from a block, to that of which it is a copy.
    pub(super) forwarded: BTreeMap<u32, u32>,
    /// How many descriptors were read.
    pub(super) read: usize,
}

impl Blocks {
    /// Applies the next descriptor of the list.
    ///
    /// # Errors
    /// What contradicts the format; the list can't be trusted then.
    pub(super) fn add(&mut self, descriptor: &Descriptor) -> Result<(), &'static str> {
        self.read += 1;
        let is_overlay = descriptor.flags & Descriptor::OVERLAY != 0;
        let is_forwarder = descriptor.flags & Descriptor::FORWARDER != 0;
        if is_overlay && is_forwarder {
            return Err("a block is both an overlay and forwarded");
        }
        let original = number(descriptor.original)?;
        let data_at = descriptor.data_at;
        if !is_forwarder && (!data_at.is_multiple_of(SECTOR) || data_at > i64::MAX as u64) {
            return Err("the data of a block lies at no place that a sector has");
        }
        if is_overlay {
            // A second one of the same block states more sectors, and nothing else.
            let bitmap = descriptor.bitmap;
            let overlay = Overlay { data_at, bitmap };
            let known = self.overlays.entry(original).or_insert(overlay);
            known.bitmap |= bitmap;
            return Ok(());
        }
        // What was forwarded to here is what this block was.
        let original = self.forwarded.remove(&original).unwrap_or(original);
        let held = if is_forwarder {
            let relative = number(descriptor.relative)?;
            if relative == original {
                return Ok(());
            }
            self.forwarded.insert(relative, original);
            Held::Forward(descriptor.relative)
        } else {
            Held::Data(data_at)
        };
        self.held.insert(original, held);
        Ok(())
    }

    /// The first block after `block` of which something is said.
    pub(super) fn next_after(&self, block: u32) -> Option<u32> {
        let from = block.checked_add(1)?;
        let held = self.held.range(from..).next().map(|(block, _)| *block);
        let overlaid = self.overlays.range(from..).next().map(|(block, _)| *block);
        let forwarded = self.forwarded.range(from..).next().map(|(block, _)| *block);
        [held, overlaid, forwarded].into_iter().flatten().min()
    }
}

fn number(offset: u64) -> Result<u32, &'static str> {
    if !offset.is_multiple_of(BLOCK) {
        return Err("a block lies at no multiple of 16 KiB");
    }
    u32::try_from(offset / BLOCK).map_err(|_| "a block lies past 64 TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(list: &[(u64, u64, u64, u32, u32)]) -> Blocks {
        let mut blocks = Blocks::default();
        for (original, relative, data, flags, bitmap) in list {
            let descriptor = Descriptor {
                original: original * BLOCK,
                relative: relative * BLOCK,
                data_at: data * BLOCK,
                flags: *flags,
                bitmap: *bitmap,
            };
            blocks.add(&descriptor).expect("sound");
        }
        blocks
    }

    #[test]
    fn a_later_descriptor_replaces_an_earlier_one_and_keeps_its_overlay() {
        let made = blocks(&[(3, 0, 70, 0, 0), (3, 0, 90, 2, 0b11), (3, 0, 71, 0, 0)]);
        assert_eq!(made.held[&3], Held::Data(71 * BLOCK));
        assert_eq!(made.overlays[&3].data_at, 90 * BLOCK);
        // The first place of an overlay stays, and its sectors grow.
        let made = blocks(&[(3, 0, 90, 2, 0b1), (3, 0, 91, 2, 0b1000)]);
        let overlay = made.overlays[&3];
        assert_eq!(overlay.data_at, 90 * BLOCK);
        assert_eq!(overlay.covers(0), (true, 512));
        assert_eq!(overlay.covers(700), (false, 1536 - 700));
        assert_eq!(overlay.covers(1536), (true, 512));
        assert_eq!(overlay.covers(2048), (false, BLOCK - 2048));
    }

    #[test]
    fn what_follows_a_forwarder_takes_its_place() {
        // Block 3 went to 8, and 8 was then kept: what was kept is block 3.
        let made = blocks(&[(3, 8, 0, 1, 0), (8, 0, 70, 0, 0)]);
        assert_eq!(made.held[&3], Held::Data(70 * BLOCK));
        assert!(!made.held.contains_key(&8) && made.forwarded.is_empty());
        // On to 9, and home again, where it needs no forwarder any more.
        let made = blocks(&[(3, 8, 0, 1, 0), (8, 9, 0, 1, 0)]);
        assert_eq!(made.held[&3], Held::Forward(9 * BLOCK));
        assert_eq!(made.forwarded[&9], 3);
        let made = blocks(&[(3, 8, 0, 1, 0), (8, 3, 0, 1, 0)]);
        assert_eq!(made.held[&3], Held::Forward(8 * BLOCK));
    }

    #[test]
    fn lies_are_refused() {
        let lie = |original, relative, data_at, flags| {
            let descriptor = Descriptor {
                original,
                relative,
                data_at,
                flags,
                bitmap: 0,
            };
            Blocks::default().add(&descriptor).is_err()
        };
        assert!(lie(1, 0, 0, 0));
        assert!(lie(0, 0, 1, 0));
        assert!(lie(0, 0, u64::MAX - 511, 0));
        assert!(lie(0, 5, 0, 1));
        assert!(lie(1 << 60, 0, 0, 0));
        assert!(lie(0, 0, 0, 3));
    }
}

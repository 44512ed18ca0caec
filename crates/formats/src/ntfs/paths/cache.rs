//! Directory paths that were asked for lately.

use super::{MAX_DIRECTORY_BYTES, ORPHANS, ROOT_ENTRY, Standing, entry_of};

/// How much a [`PathCache`] holds at most.
pub const CACHE_BYTES: usize = CACHE_ARENA_BYTES + CACHE_SLOTS * size_of::<Slot>();

pub(super) const CACHE_ARENA_BYTES: usize = 1 << 20;
const CACHE_SLOTS: usize = 1 << CACHE_SLOT_BITS;
const CACHE_SLOT_BITS: u32 = 12;

/// Directory paths that were asked for lately; one for each thread.
#[derive(Debug)]
pub struct PathCache {
    slots: Vec<Slot>,
    pub(super) arena: Vec<u8>,
    /// Room for the steps of one way up.
    pub(super) chain: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    reference: u64,
    known: Known,
}

/// Where a directory's path lies in the cache's arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    at: u32,
    length: u32,
    pub(super) standing: Standing,
}

impl Known {
    /// Nothing, before the arena's first byte.
    pub(super) const ROOT: Self = Self {
        at: 0,
        length: 0,
        standing: Standing::Rooted,
    };
    /// The arena always begins with the name of the orphans' folder.
    pub(super) const ORPHANS: Self = Self {
        at: 0,
        length: ORPHANS.len() as u32,
        standing: Standing::Orphan,
    };
}

impl Slot {
    /// The reference of no directory: the root is never kept.
    const EMPTY: Self = Self {
        reference: ROOT_ENTRY,
        known: Known::ROOT,
    };
}

impl Default for PathCache {
    fn default() -> Self {
        Self::new()
    }
}

impl PathCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self {
            slots: vec![Slot::EMPTY; CACHE_SLOTS],
            arena: ORPHANS.to_vec(),
            chain: Vec::new(),
        }
    }

    fn slot(reference: u64) -> usize {
        // Fibonacci hashing spreads neighbours and sequence numbers over the slots.
        (reference.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - CACHE_SLOT_BITS)) as usize
    }

    pub(super) fn get(&self, reference: u64) -> Option<Known> {
        if entry_of(reference) == ROOT_ENTRY {
            return Some(Known::ROOT);
        }
        let slot = self.slots[Self::slot(reference)];
        (slot.reference == reference).then_some(slot.known)
    }

    pub(super) fn keep(&mut self, reference: u64, known: Known) {
        self.slots[Self::slot(reference)] = Slot { reference, known };
    }

    pub(super) fn path(&self, known: Known) -> &[u8] {
        &self.arena[known.at as usize..(known.at + known.length) as usize]
    }

    /// Writes a known path at the end of the arena, to be extended there. Where the arena would
    /// grow past its limit, all else is forgotten.
    pub(super) fn begin(&mut self, known: Known) -> Known {
        let path = known.at as usize..(known.at + known.length) as usize;
        if self.arena.len() > CACHE_ARENA_BYTES - 2 * MAX_DIRECTORY_BYTES as usize {
            self.slots.fill(Slot::EMPTY);
            self.arena.copy_within(path.clone(), ORPHANS.len());
            self.arena.truncate(ORPHANS.len() + path.len());
            self.arena[..ORPHANS.len()].copy_from_slice(ORPHANS);
            let at = ORPHANS.len() as u32;
            return Known { at, ..known };
        }
        let at = self.arena.len() as u32;
        self.arena.extend_from_within(path);
        Known { at, ..known }
    }

    /// The path of a child of the directory whose path was written last.
    pub(super) fn extend(&mut self, parent: Known, name: &[u8]) -> Known {
        if parent.length > 0 {
            self.arena.push(b'/');
        }
        self.arena.extend_from_slice(name);
        let length = self.arena.len() as u32 - parent.at;
        Known { length, ..parent }
    }
}

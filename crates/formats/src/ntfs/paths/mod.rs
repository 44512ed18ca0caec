//! The names of a whole volume, and the full paths that they make.
//!
//! Many threads each fill a [`NamePart`] from a run of MFT records; [`NameTable::join`] puts the
//! parts together without copying them. Any number of threads then ask for paths, each with a
//! [`PathCache`] of its own.
//!
//! # Memory
//! [`BYTES_PER_ENTRY`] for each MFT entry, and the WTF-8 bytes of its best name (one byte a
//! character for ASCII). While the parts are joined, 4 bytes more an entry. A cache is at most
//! about [`CACHE_BYTES`].
//!
//! # What a path is
//! Components from the root down, `/` between them; see [`push_component`](super::push_component)
//! for their bytes. A directory is found by entry *and* sequence number: one that was reused since
//! is no parent. A deleted directory has had its sequence number raised by its deletion, so its
//! children still state the one before. What has no way to the root (the parent is missing, reused,
//! no directory, nameless, or part of a loop) hangs under [`ORPHANS`].
//! A directory whose own path would be longer than [`MAX_DIRECTORY_BYTES`] hangs there too.
//! The result does not depend on the order in which paths are asked for.

mod cache;
#[cfg(test)]
mod tests;

use cache::Known;
pub use cache::{CACHE_BYTES, PathCache};

/// The MFT entry of the root directory.
pub const ROOT_ENTRY: u64 = 5;
/// Where entries without a way to the root are shown, as the Sleuth Kit names it.
pub const ORPHANS: &[u8] = b"$OrphanFiles";
/// What a table costs for each entry, its name aside.
pub const BYTES_PER_ENTRY: usize = size_of::<Row>();
/// The longest path of a directory, in bytes: Windows makes none of more than 32,767 characters.
pub const MAX_DIRECTORY_BYTES: u32 = 32_767;
const ENTRY_MASK: u64 = (1 << 48) - 1;

/// The entry number in a 64-bit file reference.
pub const fn entry_of(reference: u64) -> u64 {
    reference & ENTRY_MASK
}

/// The sequence number in a 64-bit file reference.
pub const fn sequence_of(reference: u64) -> u16 {
    (reference >> 48) as u16
}

/// The 64-bit file reference of an entry in one of its uses.
pub const fn reference(entry: u64, sequence: u16) -> u64 {
    entry & ENTRY_MASK | (sequence as u64) << 48
}

/// How good a name of that name space is: Win32 before POSIX before DOS. 0 is no name at all.
pub const fn name_rank(namespace: u8) -> u8 {
    match namespace {
        2 => 1,
        1 | 3 => 3,
        _ => 2,
    }
}

/// What a base record's header says of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryUse {
    /// The entry's number.
    pub entry: u64,
    /// The sequence number of this use of it.
    pub sequence: u16,
    /// Whether it is allocated.
    pub in_use: bool,
    /// Whether it is a directory.
    pub directory: bool,
}

/// One `$FILE_NAME`: a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The reference of the directory.
    pub parent: u64,
    /// The name space: 0 POSIX, 1 Win32, 2 DOS, 3 Win32 and DOS.
    pub namespace: u8,
    /// The name, UTF-16LE.
    pub utf16le: &'a [u8],
}

/// An entry as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The sequence number of its last use.
    pub sequence: u16,
    /// Whether it is allocated.
    pub in_use: bool,
    /// Whether it is a directory.
    pub directory: bool,
    /// The directory of its best name; 0 where it has none.
    pub parent: u64,
    /// Its best name (Win32 before POSIX before DOS), WTF-8; `None` where it has none.
    pub name: Option<&'a [u8]>,
}

/// Whether a path leads to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Each directory on the way is there.
    Rooted,
    /// The way is lost; the path begins at [`ORPHANS`].
    Orphan,
}

/// One entry in 16 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    parent: u64,
    name_at: u32,
    /// The length of the name in the low ten bits, flags above.
    bits: u16,
    sequence: u16,
}

const LENGTH_MASK: u16 = 0x03FF;
const RANK_SHIFT: u32 = 10;
const DETACHED: u16 = 1 << 12;
const DIRECTORY: u16 = 1 << 13;
const IN_USE: u16 = 1 << 14;
const PRESENT: u16 = 1 << 15;

impl Row {
    fn is(self, flag: u16) -> bool {
        self.bits & flag != 0
    }

    fn rank(self) -> u16 {
        self.bits >> RANK_SHIFT & 3
    }

    /// Whether a reference with that sequence number means this use of the entry.
    fn answers_to(self, sequence: u16) -> bool {
        // Deletion raises the number; 0 is never used.
        let before = match self.sequence {
            0 | 1 => u16::MAX,
            number => number - 1,
        };
        self.sequence == sequence || (!self.is(IN_USE) && before == sequence)
    }
}

/// What one run of MFT records adds to a [`NameTable`].
#[derive(Debug)]
pub struct NamePart {
    first_entry: u64,
    rows: Vec<Row>,
    arena: Vec<u8>,
    /// Names that extension records hold for their base records.
    foreign: Vec<Foreign>,
}

/// A name in an extension record.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    base: u64,
    in_use: bool,
    row: Row,
}

impl NamePart {
    /// A part for `entries` entries from `first_entry` on, all of them unknown as yet.
    pub fn new(first_entry: u64, entries: usize) -> Self {
        Self {
            first_entry,
            rows: vec![Row::default(); entries],
            arena: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// Says what a base record's header holds. Entries outside of the part are left out.
    pub fn record(&mut self, entry: EntryUse) {
        if let Some(row) = slot(&mut self.rows, self.first_entry, entry.entry) {
            *row = Row {
                sequence: entry.sequence,
                bits: PRESENT
                    | if entry.in_use { IN_USE } else { 0 }
                    | if entry.directory { DIRECTORY } else { 0 },
                ..Row::default()
            };
        }
    }

    /// Adds a name that the entry's own record holds; the best one is kept.
    pub fn name(&mut self, entry: u64, name: Name<'_>) {
        if let Some(row) = slot(&mut self.rows, self.first_entry, entry) {
            let better = u16::from(name_rank(name.namespace)) > row.rank();
            if better {
                set_name(row, &mut self.arena, name);
            }
        }
    }

    /// Adds a name that an extension record holds for the record that `base` refers to, which
    /// may lie in any part; `in_use` is the extension record's own flag.
    pub fn extension_name(&mut self, base: u64, in_use: bool, name: Name<'_>) {
        let mut row = Row::default();
        set_name(&mut row, &mut self.arena, name);
        self.foreign.push(Foreign { base, in_use, row });
    }

    /// Gives back memory that was reserved for more names than came.
    #[must_use]
    pub fn shrunk(mut self) -> Self {
        self.arena.shrink_to_fit();
        self.foreign.shrink_to_fit();
        self
    }
}

fn slot(rows: &mut [Row], first_entry: u64, entry: u64) -> Option<&mut Row> {
    let index = usize::try_from(entry.checked_sub(first_entry)?).ok()?;
    rows.get_mut(index)
}

fn set_name(row: &mut Row, arena: &mut Vec<u8>, name: Name<'_>) {
    let start = arena.len();
    let units = (name.utf16le.len() / 2).min(super::MAX_NAME_UNITS);
    super::push_component(arena, &name.utf16le[..units * 2]);
    // Three bytes a code unit at most: 765 fit ten bits.
    let length = (arena.len() - start) as u16;
    let Ok(name_at) = u32::try_from(start) else {
        // A part of 4 GiB of names is none that anyone makes; its later entries stay nameless.
        arena.truncate(start);
        return;
    };
    row.parent = name.parent;
    row.name_at = name_at;
    row.bits = row.bits & !(LENGTH_MASK | 3 << RANK_SHIFT)
        | length
        | u16::from(name_rank(name.namespace)) << RANK_SHIFT;
}

/// Every entry's best name and parent.
#[derive(Debug)]
pub struct NameTable {
    parts: Vec<NamePart>,
    first_entry: u64,
    /// How many entries each part has; the last may have fewer.
    stride: u64,
}

/// A row, and the arena that holds its name.
#[derive(Clone, Copy)]
struct Found<'a> {
    row: Row,
    arena: &'a [u8],
}

impl<'a> Found<'a> {
    fn name(self) -> &'a [u8] {
        let start = self.row.name_at as usize;
        let length = usize::from(self.row.bits & LENGTH_MASK);
        self.arena.get(start..start + length).unwrap_or(&[])
    }

    fn has_name(self) -> bool {
        self.row.bits & LENGTH_MASK != 0
    }
}

impl NameTable {
    /// Joins parts that follow one another without a gap; each but the last has as many entries
    /// as the first one.
    pub fn join(parts: Vec<NamePart>) -> Self {
        let first_entry = parts.first().map_or(0, |part| part.first_entry);
        let stride = parts.first().map_or(1, |part| part.rows.len().max(1)) as u64;
        let mut table = Self {
            parts,
            first_entry,
            stride,
        };
        table.adopt_foreign_names();
        table.detach();
        table
    }

    /// How many entries there are, from the first to the last that was looked at.
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.rows.len() as u64).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the table holds in memory.
    pub fn heap_bytes(&self) -> usize {
        let parts = self.parts.capacity() * size_of::<NamePart>();
        self.parts.iter().fold(parts, |sum, part| {
            sum + part.rows.capacity() * size_of::<Row>()
                + part.arena.capacity()
                + part.foreign.capacity() * size_of::<Foreign>()
        })
    }

    /// An entry, where its base record was seen.
    pub fn get(&self, entry: u64) -> Option<Named<'_>> {
        let found = self.find(entry).filter(|found| found.row.is(PRESENT))?;
        Some(Named {
            sequence: found.row.sequence,
            in_use: found.row.is(IN_USE),
            directory: found.row.is(DIRECTORY),
            parent: found.row.parent,
            name: found.has_name().then(|| found.name()),
        })
    }

    /// The directory that `reference` means: still, or last, in that use.
    pub fn directory_by(&self, reference: u64) -> Option<Named<'_>> {
        let found = self.find(entry_of(reference))?;
        let is_it = found.row.is(PRESENT)
            && found.row.is(DIRECTORY)
            && found.has_name()
            && found.row.answers_to(sequence_of(reference));
        is_it.then(|| self.get(entry_of(reference))).flatten()
    }

    /// Whether an extension record that refers to `base` belongs to that entry: the entry is
    /// still, or was last, in that use, and the record is in use where the entry is.
    pub fn owns(&self, base: u64, in_use: bool) -> bool {
        self.find(entry_of(base)).is_some_and(|found| {
            found.row.is(PRESENT)
                && found.row.answers_to(sequence_of(base))
                && (in_use || !found.row.is(IN_USE))
        })
    }

    /// Appends the path of a name in the directory that `parent` refers to.
    pub fn push_path(
        &self,
        cache: &mut PathCache,
        parent: u64,
        name: &[u8],
        out: &mut Vec<u8>,
    ) -> Standing {
        let standing = self.push_directory(cache, parent, out);
        if entry_of(parent) != ROOT_ENTRY || standing == Standing::Orphan {
            out.push(b'/');
        }
        out.extend_from_slice(name);
        standing
    }

    /// Appends the path of the directory that `reference` refers to: nothing for the root,
    /// [`ORPHANS`] for one that is not there.
    pub fn push_directory(
        &self,
        cache: &mut PathCache,
        reference: u64,
        out: &mut Vec<u8>,
    ) -> Standing {
        let known = match cache.get(reference) {
            Some(known) => known,
            None => self.resolve(cache, reference),
        };
        out.extend_from_slice(cache.path(known));
        known.standing
    }

    /// Walks up to what is known already, then writes the path down from there.
    fn resolve(&self, cache: &mut PathCache, reference: u64) -> Known {
        let mut chain = std::mem::take(&mut cache.chain);
        chain.clear();
        let mut at = reference;
        let top = loop {
            if let Some(known) = cache.get(at) {
                break known;
            }
            match self.directory(at) {
                Step::Root => break Known::ROOT,
                Step::Lost => break Known::ORPHANS,
                Step::Up(found) => {
                    chain.push(at);
                    if found.row.is(DETACHED) {
                        break Known::ORPHANS;
                    }
                    at = found.row.parent;
                }
            }
        };
        // Each path on the way is the beginning of the next, so all of them are one text.
        let mut known = cache.begin(top);
        for step in chain.drain(..).rev() {
            if let Step::Up(found) = self.directory(step) {
                known = cache.extend(known, found.name());
                cache.keep(step, known);
            }
        }
        cache.chain = chain;
        known
    }

    fn find(&self, entry: u64) -> Option<Found<'_>> {
        let index = entry.checked_sub(self.first_entry)?;
        let part = self.parts.get(usize::try_from(index / self.stride).ok()?)?;
        let row = part.rows.get((index % self.stride) as usize)?;
        Some(Found {
            row: *row,
            arena: &part.arena,
        })
    }

    fn directory(&self, reference: u64) -> Step<'_> {
        let entry = entry_of(reference);
        if entry == ROOT_ENTRY {
            return Step::Root;
        }
        match self.find(entry) {
            Some(found)
                if found.row.is(PRESENT)
                    && found.row.is(DIRECTORY)
                    && found.has_name()
                    && found.row.answers_to(sequence_of(reference)) =>
            {
                Step::Up(found)
            }
            _ => Step::Lost,
        }
    }

    /// Gives base records the names that their extension records hold, where those are better.
    fn adopt_foreign_names(&mut self) {
        for from in 0..self.parts.len() {
            for foreign in std::mem::take(&mut self.parts[from].foreign) {
                let Foreign {
                    base,
                    in_use,
                    mut row,
                } = foreign;
                if !self.owns(base, in_use) {
                    continue;
                }
                let index = entry_of(base) - self.first_entry;
                let (part, at) = (
                    (index / self.stride) as usize,
                    (index % self.stride) as usize,
                );
                if self.parts[part].rows[at].rank() >= row.rank() {
                    continue;
                }
                let name = Found {
                    row,
                    arena: &self.parts[from].arena,
                }
                .name()
                .to_vec();
                let part = &mut self.parts[part];
                let Ok(name_at) = u32::try_from(part.arena.len()) else {
                    continue;
                };
                part.arena.extend_from_slice(&name);
                row.name_at = name_at;
                row.sequence = part.rows[at].sequence;
                row.bits |= part.rows[at].bits & (PRESENT | DIRECTORY | IN_USE);
                part.rows[at] = row;
            }
        }
    }

    /// Marks the directories at which a path must begin anew: every member of a loop, and those
    /// whose path would grow past the limit. After that no way up is endless.
    fn detach(&mut self) {
        /// The length of a directory's path plus one; 0 is not known yet.
        const BEING_WALKED: u32 = u32::MAX;
        let mut lengths = vec![0u32; self.len() as usize];
        let mut chain: Vec<u64> = Vec::new();
        let orphan_length = ORPHANS.len() as u32;
        for index in 0..lengths.len() as u64 {
            let mut at = self.first_entry + index;
            if !self.find(at).is_some_and(|found| found.row.is(DIRECTORY)) {
                continue;
            }
            // Up to something known.
            let mut above = loop {
                let slot = (at - self.first_entry) as usize;
                match lengths[slot] {
                    0 => {}
                    BEING_WALKED => {
                        self.detach_loop(at);
                        break orphan_length;
                    }
                    length => break length - 1,
                }
                let Some(found) = self.find(at) else {
                    break orphan_length;
                };
                lengths[slot] = BEING_WALKED;
                chain.push(at);
                if at == ROOT_ENTRY {
                    break 0;
                }
                match self.directory(found.row.parent) {
                    Step::Root => break 0,
                    Step::Lost => break orphan_length,
                    Step::Up(_) => at = entry_of(found.row.parent),
                }
            };
            // And down again.
            while let Some(entry) = chain.pop() {
                let slot = (entry - self.first_entry) as usize;
                let length = match self.find(entry) {
                    _ if entry == ROOT_ENTRY => 0,
                    Some(found) => {
                        let own = 1 + u32::from(found.row.bits & LENGTH_MASK);
                        if found.row.is(DETACHED) {
                            orphan_length + own
                        } else if above + own > MAX_DIRECTORY_BYTES {
                            self.mark_detached(entry);
                            orphan_length + own
                        } else {
                            above + own
                        }
                    }
                    None => orphan_length,
                };
                lengths[slot] = length + 1;
                above = length;
            }
        }
    }

    fn detach_loop(&mut self, member: u64) {
        let mut at = member;
        loop {
            self.mark_detached(at);
            let Some(found) = self.find(at) else { return };
            at = entry_of(found.row.parent);
            if at == member {
                return;
            }
        }
    }

    fn mark_detached(&mut self, entry: u64) {
        let index = entry - self.first_entry;
        let part = &mut self.parts[(index / self.stride) as usize];
        part.rows[(index % self.stride) as usize].bits |= DETACHED;
    }
}

enum Step<'a> {
    Root,
    Lost,
    Up(Found<'a>),
}

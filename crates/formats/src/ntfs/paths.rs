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

/// The MFT entry of the root directory.
pub const ROOT_ENTRY: u64 = 5;
/// Where entries without a way to the root are shown, as the Sleuth Kit names it.
pub const ORPHANS: &[u8] = b"$OrphanFiles";
/// What a table costs for each entry, its name aside.
pub const BYTES_PER_ENTRY: usize = size_of::<Row>();
/// The longest path of a directory, in bytes: Windows makes none of more than 32,767 characters.
pub const MAX_DIRECTORY_BYTES: u32 = 32_767;
/// How much a [`PathCache`] holds at most.
pub const CACHE_BYTES: usize = CACHE_ARENA_BYTES + CACHE_SLOTS * size_of::<Slot>();

const CACHE_ARENA_BYTES: usize = 1 << 20;
const CACHE_SLOTS: usize = 1 << CACHE_SLOT_BITS;
const CACHE_SLOT_BITS: u32 = 12;
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

/// Directory paths that were asked for lately; one for each thread.
#[derive(Debug)]
pub struct PathCache {
    slots: Vec<Slot>,
    arena: Vec<u8>,
    chain: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    reference: u64,
    known: Known,
}

/// Where a directory's path lies in the cache's arena.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: u32,
    length: u32,
    standing: Standing,
}

impl Known {
    /// Nothing, before the arena's first byte.
    const ROOT: Self = Self {
        at: 0,
        length: 0,
        standing: Standing::Rooted,
    };
    /// The arena always begins with the name of the orphans' folder.
    const ORPHANS: Self = Self {
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

    fn get(&self, reference: u64) -> Option<Known> {
        if entry_of(reference) == ROOT_ENTRY {
            return Some(Known::ROOT);
        }
        let slot = self.slots[Self::slot(reference)];
        (slot.reference == reference).then_some(slot.known)
    }

    fn keep(&mut self, reference: u64, known: Known) {
        self.slots[Self::slot(reference)] = Slot { reference, known };
    }

    fn path(&self, known: Known) -> &[u8] {
        &self.arena[known.at as usize..(known.at + known.length) as usize]
    }

    /// Writes a known path at the end of the arena, to be extended there. Where the arena would
    /// grow past its limit, all else is forgotten.
    fn begin(&mut self, known: Known) -> Known {
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
    fn extend(&mut self, parent: Known, name: &[u8]) -> Known {
        if parent.length > 0 {
            self.arena.push(b'/');
        }
        self.arena.extend_from_slice(name);
        let length = self.arena.len() as u32 - parent.at;
        Known { length, ..parent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as (number, sequence, in use, parent reference, name): all directories.
    type Tree = [(u64, u16, bool, u64, &'static str)];

    fn utf16le(name: &str) -> Vec<u8> {
        name.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn table(entries: u64, stride: u64, tree: &Tree) -> NameTable {
        let mut parts: Vec<NamePart> = (0..entries.div_ceil(stride))
            .map(|part| NamePart::new(part * stride, stride.min(entries - part * stride) as usize))
            .collect();
        for (entry, sequence, in_use, parent, name) in tree {
            let part = &mut parts[(entry / stride) as usize];
            part.record(EntryUse {
                entry: *entry,
                sequence: *sequence,
                in_use: *in_use,
                directory: true,
            });
            let name = Name {
                parent: *parent,
                namespace: 3,
                utf16le: &utf16le(name),
            };
            part.name(*entry, name);
        }
        NameTable::join(parts)
    }

    const ROOT: u64 = reference(ROOT_ENTRY, 5);

    fn path(table: &NameTable, cache: &mut PathCache, directory: u64) -> (String, Standing) {
        let mut out = Vec::new();
        let standing = table.push_path(cache, directory, b"file", &mut out);
        (String::from_utf8(out).expect("ASCII names"), standing)
    }

    #[test]
    fn paths_lead_to_the_root() {
        let tree: &Tree = &[
            (5, 5, true, ROOT, "."),
            (30, 1, true, ROOT, "Windows"),
            (31, 2, true, reference(30, 1), "System32"),
            (7, 9, true, reference(31, 2), "config"),
        ];
        let table = table(40, 8, tree);
        let mut cache = PathCache::new();
        let rooted = |text: &str| (text.to_owned(), Standing::Rooted);
        for _ in 0..2 {
            assert_eq!(path(&table, &mut cache, ROOT), rooted("file"));
            assert_eq!(
                path(&table, &mut cache, reference(7, 9)),
                rooted("Windows/System32/config/file")
            );
            assert_eq!(
                path(&table, &mut cache, reference(30, 1)),
                rooted("Windows/file")
            );
        }
        let config = table.get(7).expect("seen");
        assert_eq!(config.name, Some(&b"config"[..]));
        assert_eq!(config.parent, reference(31, 2));
        assert_eq!(table.get(8), None);
        assert_eq!(table.get(40), None);
    }

    #[test]
    fn lost_ways_are_orphans() {
        let tree: &Tree = &[
            (5, 5, true, ROOT, "."),
            (10, 3, true, ROOT, "reused"),
            (11, 3, false, ROOT, "deleted"),
            (12, 1, true, reference(99, 1), "parent-is-missing"),
            (13, 1, true, reference(12, 1), "below"),
            (14, 1, true, reference(14, 1), "self"),
            (15, 1, true, reference(16, 1), "loop-a"),
            (16, 1, true, reference(15, 1), "loop-b"),
            (17, 1, true, reference(16, 1), "below-loop"),
        ];
        let table = table(20, 20, tree);
        let expected = [
            (reference(10, 3), "reused/file", Standing::Rooted),
            (reference(10, 2), "$OrphanFiles/file", Standing::Orphan),
            (reference(11, 3), "deleted/file", Standing::Rooted),
            (reference(11, 2), "deleted/file", Standing::Rooted),
            (reference(11, 1), "$OrphanFiles/file", Standing::Orphan),
            (
                reference(13, 1),
                "$OrphanFiles/parent-is-missing/below/file",
                Standing::Orphan,
            ),
            (reference(14, 1), "$OrphanFiles/self/file", Standing::Orphan),
            (
                reference(15, 1),
                "$OrphanFiles/loop-a/file",
                Standing::Orphan,
            ),
            (
                reference(16, 1),
                "$OrphanFiles/loop-b/file",
                Standing::Orphan,
            ),
            (
                reference(17, 1),
                "$OrphanFiles/loop-b/below-loop/file",
                Standing::Orphan,
            ),
            (u64::MAX, "$OrphanFiles/file", Standing::Orphan),
        ];
        // In any order, with a cache that is fresh or not.
        let mut warm = PathCache::new();
        for order in [0, 1] {
            for index in 0..expected.len() {
                let at = if order == 0 {
                    index
                } else {
                    expected.len() - 1 - index
                };
                let (directory, text, standing) = expected[at];
                let expected = (text.to_owned(), standing);
                assert_eq!(path(&table, &mut warm, directory), expected);
                assert_eq!(path(&table, &mut PathCache::new(), directory), expected);
            }
        }
    }

    #[test]
    fn the_best_name_wins_wherever_it_lies() {
        let mut near = NamePart::new(0, 8);
        let mut far = NamePart::new(8, 8);
        let entry = |entry| EntryUse {
            entry,
            sequence: 1,
            in_use: true,
            directory: false,
        };
        let (dos, long) = (utf16le("PROGRA~1"), utf16le("Program Files"));
        let name = |namespace, utf16le| Name {
            parent: ROOT,
            namespace,
            utf16le,
        };
        near.record(entry(6));
        near.name(6, name(2, &dos));
        near.record(entry(7));
        near.name(7, name(1, &long));
        near.name(7, name(2, &dos));
        far.extension_name(reference(6, 1), true, name(1, &long));
        far.extension_name(reference(7, 1), true, name(0, &dos));
        // Another use of the entry, and an entry that is not there.
        far.extension_name(reference(6, 7), true, name(3, &dos));
        far.extension_name(reference(600, 1), true, name(3, &dos));
        // Left over from an earlier time: the record is free, the entry is not.
        far.extension_name(reference(6, 1), false, name(3, &dos));
        let table = NameTable::join(vec![near.shrunk(), far.shrunk()]);
        for entry in [6, 7] {
            let named = table.get(entry).expect("seen");
            assert_eq!(named.name, Some(&b"Program Files"[..]));
        }
    }

    #[test]
    fn hostile_trees_stay_cheap() {
        // One chain longer than any path may be, each directory above the next.
        let count = 60_000;
        let mut part = NamePart::new(0, count);
        let name = utf16le("n");
        for entry in 16..count as u64 {
            part.record(EntryUse {
                entry,
                sequence: 1,
                in_use: true,
                directory: true,
            });
            let parent = if entry == 16 {
                ROOT
            } else {
                reference(entry - 1, 1)
            };
            part.name(
                entry,
                Name {
                    parent,
                    namespace: 1,
                    utf16le: &name,
                },
            );
        }
        let table = NameTable::join(vec![part]);
        let mut cache = PathCache::new();
        let mut out = Vec::new();
        let (mut longest, mut orphans) = (0, 0);
        for entry in (16..count as u64).step_by(97) {
            out.clear();
            let standing = table.push_directory(&mut cache, reference(entry, 1), &mut out);
            let mut fresh = Vec::new();
            table.push_directory(&mut PathCache::new(), reference(entry, 1), &mut fresh);
            assert_eq!(out, fresh);
            longest = longest.max(out.len());
            orphans += usize::from(standing == Standing::Orphan);
        }
        assert!(longest <= MAX_DIRECTORY_BYTES as usize, "{longest}");
        assert!(longest > MAX_DIRECTORY_BYTES as usize / 2, "{longest}");
        assert!(orphans > 0);
        assert!(cache.arena.capacity() <= 2 * CACHE_ARENA_BYTES);
    }

    #[test]
    fn five_million_parents_of_themselves() {
        let count = 5_000_000;
        let mut part = NamePart::new(0, count);
        let name = utf16le("self");
        for entry in 16..count as u64 {
            part.record(EntryUse {
                entry,
                sequence: 1,
                in_use: true,
                directory: true,
            });
            part.name(
                entry,
                Name {
                    parent: reference(entry, 1),
                    namespace: 1,
                    utf16le: &name,
                },
            );
        }
        let table = NameTable::join(vec![part.shrunk()]);
        let per_entry = table.heap_bytes() as f64 / count as f64;
        assert!(per_entry <= (BYTES_PER_ENTRY + name.len() / 2) as f64 + 0.1);
        let mut cache = PathCache::new();
        let mut out = Vec::new();
        for entry in 16..count as u64 {
            out.clear();
            table.push_directory(&mut cache, reference(entry, 1), &mut out);
            assert_eq!(out, b"$OrphanFiles/self");
        }
        assert!(cache.arena.capacity() <= 2 * CACHE_ARENA_BYTES);
    }
}

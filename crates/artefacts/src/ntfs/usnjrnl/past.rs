//! What directories were called, and where they lay, at any moment of the journal.

use std::{collections::HashMap, ops::Range};

use scelle_formats::{
    ReadAt,
    ntfs::{
        UsnRecord,
        paths::{MAX_DIRECTORY_BYTES, ORPHANS, ROOT_ENTRY, entry_of},
        push_component, reason,
    },
};

use super::{
    super::{finding::is_before, mft::Names},
    order::Made,
};

/// What the survey keeps for each name that a directory had, the name's bytes aside.
pub const BYTES_PER_NAME: usize = size_of::<Fact>();
/// A cache that holds more directories, or more bytes of paths, is emptied.
const CACHE_DIRECTORIES: usize = 8192;
const CACHE_BYTES: usize = 1 << 20;
/// Directories below one another; what lies deeper begins at the folder of orphans.
const MAX_DEPTH: usize = 1024;

/// A name that a directory had from one record to another, as offsets in the journal.
#[derive(Clone, Copy, Debug)]
struct Fact {
    directory: u64,
    first: u64,
    last: u64,
    parent: u64,
    name_at: u32,
    name_bytes: u16,
    /// Whether the first of the records says that the name was new.
    new: bool,
}

/// What one unit says.
#[derive(Debug, Default)]
pub(super) struct PastPart {
    facts: Vec<Fact>,
    names: Vec<u8>,
    /// The last fact of each directory.
    latest: HashMap<u64, usize>,
    name: Vec<u8>,
}

impl PastPart {
    /// Adds a record about a directory.
    pub(super) fn add(&mut self, at: u64, record: &UsnRecord<'_>) {
        let (Ok(directory), Ok(parent), Some(name)) = (
            u64::try_from(record.file),
            u64::try_from(record.parent),
            record.name,
        ) else {
            return;
        };
        self.name.clear();
        push_component(&mut self.name, name);
        let Ok(name_at) = u32::try_from(self.names.len()) else {
            // A unit is far smaller.
            return;
        };
        if let Some(latest) = self.latest.get(&directory) {
            let fact = &mut self.facts[*latest];
            if fact.parent == parent && name_of(&self.names, fact) == self.name {
                fact.last = at;
                return;
            }
        }
        self.latest.insert(directory, self.facts.len());
        self.names.extend_from_slice(&self.name);
        let is_new = record.reasons & (reason::RENAME_NEW_NAME | reason::FILE_CREATE) != 0
            && record.reasons & reason::RENAME_OLD_NAME == 0;
        self.facts.push(Fact {
            directory,
            first: at,
            last: at,
            parent,
            name_at,
            // Three bytes a code unit at most.
            name_bytes: self.name.len() as u16,
            new: is_new,
        });
    }

    /// Gives back what only the unit needed.
    pub(super) fn shrunk(mut self) -> Self {
        self.latest = HashMap::new();
        self.name = Vec::new();
        self.facts.shrink_to_fit();
        self.names.shrink_to_fit();
        self
    }
}

fn name_of<'a>(names: &'a [u8], fact: &Fact) -> &'a [u8] {
    let start = fact.name_at as usize;
    names
        .get(start..start + usize::from(fact.name_bytes))
        .unwrap_or(&[])
}

/// Everything that is known of directories.
pub(super) struct Past {
    /// By directory, then in the order of the journal.
    facts: Vec<Fact>,
    names: Vec<u8>,
    table: Option<Names>,
    loss: Option<(Range<u64>, String)>,
}

/// Where a directory lies at some moment, and for how long.
struct Step<'a> {
    parent: u64,
    name: &'a [u8],
    /// The offsets between which that holds.
    during: Range<u64>,
    from_table: bool,
}

/// A path as it was found.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) orphan: bool,
    /// The record of the `$MFT` that the path rests on, and its reference.
    pub(super) basis: Option<(Range<u64>, u64)>,
}

impl Place {
    /// Appends the folder of those whose directory is not known.
    pub(super) fn lost(out: &mut Vec<u8>) -> Self {
        out.push(b'/');
        out.extend_from_slice(ORPHANS);
        Self {
            orphan: true,
            basis: None,
        }
    }
}

/// Paths of directories that were asked for lately, and when they hold.
#[derive(Debug, Default)]
pub(super) struct Cache {
    known: HashMap<u64, Known>,
    paths: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Known {
    during: Range<u64>,
    path: Range<usize>,
    orphan: bool,
    basis: Option<u64>,
}

impl Past {
    /// Joins what the units say with what the `$MFT` says, where there is one.
    pub(super) fn join(parts: Vec<PastPart>, mft: Option<&dyn ReadAt>) -> Self {
        let (table, loss) = match mft.map(|stream| (stream.len(), Names::read(stream))) {
            Some((_, Ok(names))) => (Some(names), None),
            Some((len, Err(error))) => (None, Some((0..len, error.to_string()))),
            None => (None, None),
        };
        let mut past = Self {
            facts: Vec::with_capacity(parts.iter().map(|part| part.facts.len()).sum()),
            names: Vec::with_capacity(parts.iter().map(|part| part.names.len()).sum()),
            table,
            loss,
        };
        for part in parts {
            // Names past 4 GiB are left out: a journal of that many directory names is none.
            let Ok(base) = u32::try_from(past.names.len()) else {
                break;
            };
            if u32::try_from(past.names.len() + part.names.len()).is_err() {
                break;
            }
            past.names.extend_from_slice(&part.names);
            past.facts.extend(part.facts.into_iter().map(|fact| Fact {
                name_at: fact.name_at + base,
                ..fact
            }));
        }
        past.facts
            .sort_unstable_by_key(|fact| (fact.directory, fact.first));
        past.merge();
        past
    }

    /// Joins neighbours that say the same.
    fn merge(&mut self) {
        let names = &self.names;
        self.facts.dedup_by(|later, earlier| {
            let same = later.directory == earlier.directory
                && later.parent == earlier.parent
                && name_of(names, later) == name_of(names, earlier);
            if same {
                earlier.last = later.last;
            }
            same
        });
        self.facts.shrink_to_fit();
    }

    /// Why the `$MFT` was no help, where there is one and it was none.
    pub(super) fn loss(&self) -> Option<&(Range<u64>, String)> {
        self.loss.as_ref()
    }

    /// The USNs of files that came, and whose creation the `$MFT` states to be earlier; sorted.
    pub(super) fn earlier(&self, mut made: Vec<Made>, mft: Option<&dyn ReadAt>) -> Vec<u64> {
        let (Some(names), Some(mft)) = (&self.table, mft) else {
            return Vec::new();
        };
        // In the order of the records, each of which is read once.
        made.sort_unstable();
        let mut earlier: Vec<u64> = Vec::new();
        for group in made.chunk_by(|one, other| one.file == other.file) {
            let Some(created) = names.created(mft, group[0].file) else {
                continue;
            };
            let forged = group.iter().filter(|made| is_before(created, made.ticks));
            earlier.extend(forged.map(|made| made.usn));
        }
        earlier.sort_unstable();
        earlier
    }

    /// What is known of a directory at the moment `at`; else between which offsets nothing is.
    fn step(&self, directory: u64, at: u64) -> Result<Step<'_>, Range<u64>> {
        let after = self
            .facts
            .partition_point(|fact| (fact.directory, fact.last) <= (directory, at));
        let of = |index: usize| self.facts.get(index).filter(|f| f.directory == directory);
        let earlier = after.checked_sub(1).and_then(of);
        let start = earlier.map_or(0, |fact| fact.last + 1);
        let as_stated = |fact: &Fact, during| Step {
            parent: fact.parent,
            name: name_of(&self.names, fact),
            during,
            from_table: false,
        };
        match of(after) {
            Some(fact) if fact.new && at < fact.first => {
                // It got this name later; the one before is known only if a record stated it.
                let during = start..fact.first;
                let before = earlier.map(|fact| as_stated(fact, during.clone()));
                before.ok_or(during)
            }
            Some(fact) if fact.new => Ok(as_stated(fact, fact.first..fact.last + 1)),
            Some(fact) => Ok(as_stated(fact, start..fact.last + 1)),
            None => {
                let named = self.table.as_ref().and_then(|names| {
                    let named = names.table.directory_by(directory)?;
                    Some((named.parent, named.name?))
                });
                match (named, earlier) {
                    (Some((parent, name)), _) => Ok(Step {
                        parent,
                        name,
                        during: start..u64::MAX,
                        from_table: true,
                    }),
                    (None, Some(fact)) => Ok(as_stated(fact, start..u64::MAX)),
                    (None, None) => Err(start..u64::MAX),
                }
            }
        }
    }

    /// Appends the path that a directory had at the moment `at`, `/` before each component.
    pub(super) fn push_directory(
        &self,
        cache: &mut Cache,
        directory: u64,
        at: u64,
        out: &mut Vec<u8>,
    ) -> Place {
        if entry_of(directory) == ROOT_ENTRY {
            return Place::default();
        }
        let hit = cache
            .known
            .get(&directory)
            .filter(|known| known.during.contains(&at));
        let known = match hit {
            Some(known) => known.clone(),
            None => self.climb(cache, directory, at),
        };
        out.extend_from_slice(&cache.paths[known.path]);
        Place {
            orphan: known.orphan,
            basis: known.basis.and_then(|reference| {
                let range = self.table.as_ref()?.range_of(entry_of(reference))?;
                Some((range, reference))
            }),
        }
    }

    /// Walks up to what is known, and writes the paths on the way back down.
    fn climb(&self, cache: &mut Cache, directory: u64, at: u64) -> Known {
        if cache.known.len() > CACHE_DIRECTORIES || cache.paths.len() > CACHE_BYTES {
            cache.known.clear();
            cache.paths.clear();
        }
        let mut chain: Vec<(u64, Step<'_>)> = Vec::new();
        let mut during = 0..u64::MAX;
        let mut current = directory;
        // A loop meets the mark again, which is moved at each power of two.
        let mut mark = directory;
        let mut is_loop = false;
        let mut known = loop {
            if entry_of(current) == ROOT_ENTRY {
                break Known::root();
            }
            let hit = cache.known.get(&current);
            if let Some(known) = hit.filter(|known| known.during.contains(&at)) {
                break known.clone();
            }
            if is_loop || chain.len() == MAX_DEPTH {
                break Known::lost(cache, during.clone());
            }
            match self.step(current, at) {
                Ok(step) => {
                    during = common(&during, &step.during);
                    let parent = step.parent;
                    chain.push((current, step));
                    is_loop = parent == mark;
                    if chain.len().is_power_of_two() {
                        mark = current;
                    }
                    current = parent;
                }
                Err(lost) => break Known::lost(cache, lost),
            }
        };
        if chain.is_empty() {
            cache.known.insert(directory, known.clone());
            return known;
        }
        // Each path on the way is the beginning of the next, so all of them are one text.
        let top = known.clone();
        let mut start = cache.paths.len();
        cache.paths.extend_from_within(known.path.clone());
        for (reference, step) in chain.into_iter().rev() {
            let length = cache.paths.len() - start + 1 + step.name.len();
            if is_loop || length > MAX_DIRECTORY_BYTES as usize {
                // The way up begins anew at each member of a loop, and where it grows too long.
                start = cache.paths.len();
                known = Known::lost(cache, known.during);
                if is_loop {
                    known.during = top.during.clone();
                }
            }
            cache.paths.push(b'/');
            cache.paths.extend_from_slice(step.name);
            known = Known {
                during: common(&known.during, &step.during),
                path: start..cache.paths.len(),
                orphan: known.orphan,
                basis: step.from_table.then_some(reference).or(known.basis),
            };
            cache.known.insert(reference, known.clone());
        }
        known
    }
}

impl Known {
    /// The root, whose path is empty.
    fn root() -> Self {
        Self {
            during: 0..u64::MAX,
            path: 0..0,
            orphan: false,
            basis: None,
        }
    }

    /// The folder of those whose directory is not known.
    fn lost(cache: &mut Cache, during: Range<u64>) -> Self {
        let start = cache.paths.len();
        Place::lost(&mut cache.paths);
        Self {
            during,
            path: start..cache.paths.len(),
            orphan: true,
            basis: None,
        }
    }
}

fn common(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}

//! From a path to the entry that has it.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::ControlFlow,
};

use scelle_event::EvidencePath;

use super::{NtfsVolume, walk};

/// Where every name of a volume leads, in 16 bytes a name.
///
/// Paths are kept as hashes under a key that is made anew each time, so nobody can make two
/// paths that meet; by chance, 2^32 names would have to be there.
pub(super) struct PathIndex {
    hasher: RandomState,
    /// The hash of a path, and the entry that has it; deleted ones sort after live ones.
    places: Vec<(u64, u64)>,
}

/// Set in an entry's number where it is deleted.
const DELETED: u64 = 1 << 63;

impl PathIndex {
    pub(super) fn build(volume: &NtfsVolume) -> Self {
        let hasher = RandomState::new();
        let mut places = Vec::new();
        let names = walk::names(&volume.records);
        walk::Walk::new(volume, &names)
            .without_details()
            .run(&mut |found| {
                // Losses were said by the walk that showed what is looked for here.
                if let Ok(entry) = found {
                    let number = entry.id.map_or(0, |id| id.entry);
                    let mark = if entry.deleted { DELETED } else { 0 };
                    let mut add = |path: &EvidencePath| {
                        places.push((hasher.hash_one(path.as_bytes()), number | mark));
                    };
                    add(&entry.path);
                    let others = entry.names.iter().map(|name| &name.path);
                    others
                        .filter(|path| **path != entry.path)
                        .for_each(&mut add);
                }
                ControlFlow::Continue(())
            })
            .is_break();
        places.sort_unstable();
        places.shrink_to_fit();
        Self { hasher, places }
    }

    /// The entry that has a path: a live one before deleted ones, of those the first.
    pub(super) fn find(&self, path: &EvidencePath) -> Option<u64> {
        let hash = self.hasher.hash_one(path.as_bytes());
        let at = self.places.partition_point(|place| place.0 < hash);
        let place = self.places.get(at).filter(|place| place.0 == hash)?;
        Some(place.1 & !DELETED)
    }
}

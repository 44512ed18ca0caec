//! Paths of trees made by hand.

use super::{cache::CACHE_ARENA_BYTES, *};

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

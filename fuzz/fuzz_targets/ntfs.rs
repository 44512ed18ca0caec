//! The decoders of NTFS structures, and the names that hostile ones make.

use std::hint::black_box;

use scelle_event::EvidencePath;
use scelle_formats::ntfs::{
    Attribute, Body, BootSector, FileName, IndexRecord, ListEntries, Record, ReparsePoint, Runs,
    Scratch, StandardInformation, VolumeInformation, kind,
    paths::{EntryUse, Name, NamePart, NameTable, PathCache},
};

const RECORD_BYTES: usize = 1024;
/// More than any path that Windows makes; a loop or a bomb would be longer.
const MAX_PATH_BYTES: usize = 1 << 20;

/// The first sector of a volume.
pub fn boot(data: &[u8]) {
    if let Ok(boot) = BootSector::parse(data) {
        boot.volume_bytes();
        boot.cluster_offset(u64::MAX);
        boot.cluster_offset(1);
    }
    BootSector::recognises(data);
}

/// Entries of an `$MFT`, each attribute decoded as what it says it is.
pub fn records(data: &[u8]) {
    let mut scratch = Scratch::new();
    for bytes in data.chunks(RECORD_BYTES) {
        let Ok(record) = Record::decode(bytes, &mut scratch) else {
            continue;
        };
        record.own_number();
        for attribute in record.attributes().flatten() {
            content(&attribute);
        }
    }
}

fn content(attribute: &Attribute<'_>) {
    EvidencePath::from_utf16(
        attribute
            .name
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]])),
    );
    match attribute.body {
        Body::Resident(content) => match attribute.kind {
            kind::STANDARD_INFORMATION => {
                black_box(StandardInformation::parse(content));
            }
            kind::FILE_NAME => {
                black_box(FileName::parse(content));
            }
            kind::ATTRIBUTE_LIST => {
                black_box(ListEntries::new(content).count());
            }
            kind::REPARSE_POINT => {
                black_box(ReparsePoint::parse(content));
            }
            kind::INDEX_ROOT => index_root(content),
            _ => {
                black_box(VolumeInformation::parse(content));
            }
        },
        Body::NonResident(part) => runs_from(part.runs(), part.first_vcn),
    }
}

/// A run list by itself; an attribute list, a reparse point and an index of the same bytes.
pub fn runs(data: &[u8]) {
    runs_from(Runs::new(data, 0), 0);
    black_box(ListEntries::new(data).count());
    black_box(ReparsePoint::parse(data));
    index_root(data);
}

fn index_root(content: &[u8]) {
    if let Some((root, has_nodes)) = IndexRecord::of_root(content) {
        black_box(has_nodes);
        root.items(&mut |item| {
            black_box(item);
        });
    }
}

fn runs_from(runs: Runs<'_>, first_vcn: u64) {
    let mut next = first_vcn;
    for run in runs {
        let Ok(run) = run else { break };
        assert_eq!(run.vcn, next, "runs follow one another");
        assert!(run.clusters > 0, "a run has clusters");
        next = run
            .vcn
            .checked_add(run.clusters)
            .expect("it ends in 64 bits");
    }
}

/// A table of names out of records that parent one another as they like.
pub fn names(data: &[u8]) {
    let rows: Vec<&[u8]> = data.chunks(8).collect();
    let halves = rows.len().div_ceil(2).max(1);
    let parts = rows
        .chunks(halves)
        .enumerate()
        .map(|(index, rows)| part((index * halves) as u64, rows, halves))
        .collect();
    let table = NameTable::join(parts);
    let mut cache = PathCache::new();
    let mut path = Vec::new();
    for entry in 0..table.len() {
        let Some(named) = table.get(entry) else {
            continue;
        };
        path.clear();
        table.push_path(
            &mut cache,
            named.parent,
            named.name.unwrap_or(b"?"),
            &mut path,
        );
        assert!(
            path.len() < MAX_PATH_BYTES,
            "a path of {} bytes",
            path.len()
        );
    }
}

fn part(first: u64, rows: &[&[u8]], entries: usize) -> NamePart {
    let mut part = NamePart::new(first, entries);
    for (index, row) in rows.iter().enumerate() {
        let entry = first + index as u64;
        let byte = |at: usize| row.get(at).copied().unwrap_or(0);
        let parent = u64::from(u16::from_le_bytes([byte(0), byte(1)])) | u64::from(byte(2)) << 48;
        part.record(EntryUse {
            entry,
            sequence: byte(2).into(),
            in_use: byte(3) & 1 != 0,
            directory: byte(3) & 2 != 0,
        });
        let name = Name {
            parent,
            namespace: byte(3) >> 4,
            utf16le: row.get(4..).unwrap_or(&[]),
        };
        if byte(3) & 4 != 0 {
            part.extension_name(parent, byte(3) & 1 != 0, name);
        } else {
            part.name(entry, name);
        }
    }
    part.shrunk()
}

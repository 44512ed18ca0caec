//! What of a snapshot may differ from the next newer state of its volume.
//!
//! Both are read through the same blocks wherever nothing was overwritten, so what lies at one place of both is the same
//! without being read. A file has changed where its record has, or where one of its clusters was overwritten.

use std::{
    collections::BTreeSet,
    ops::{ControlFlow, Range},
};

use scelle_formats::{
    RangeKind,
    ntfs::{
        Body, FileName, Record, Scratch, kind,
        paths::{EntryUse, Name, NamePart, NameTable, entry_of},
    },
};

use super::{NtfsVolume, records::Room, walk::Walk};
use crate::{Entry, EvidenceLoss};

impl NtfsVolume {
    /// Which bytes of `$MFT` lie in `changed`, or elsewhere than `newer` has them, in order.
    fn changed_mft(&self, newer: &Self, changed: &[Range<u64>]) -> Vec<Range<u64>> {
        let (mft, other) = (&self.records.mft, &newer.records.mft);
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut push = |range: Range<u64>| match found.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => found.push(range),
        };
        let mut at = 0;
        while at < mft.real_bytes {
            let piece = mft.piece(at);
            if at >= other.real_bytes || piece.kind != RangeKind::Data {
                push(at..piece.end);
                at = piece.end;
                continue;
            }
            let same = other.piece(at);
            let end = piece.end.min(same.end);
            if same.kind == RangeKind::Data && same.at == piece.at {
                let place = piece.at..piece.at + (end - at);
                let from = changed.partition_point(|range| range.end <= place.start);
                let within = changed[from..]
                    .iter()
                    .take_while(|one| one.start < place.end);
                for range in within {
                    let start = range.start.max(place.start) - place.start;
                    push(at + start..at + (range.end.min(place.end) - place.start));
                }
            } else {
                push(at..end);
            }
            at = end;
        }
        found
    }

    /// Shows the entries whose record or clusters lie in `changed`, or whose record lies elsewhere than `newer` has it.
    pub(crate) fn walk_changed(
        &self,
        newer: &Self,
        changed: &[Range<u64>],
        visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>,
    ) {
        let numbers = self.touched(&self.changed_mft(newer, changed), changed);
        let names = self.names_for(&numbers);
        // Whether the visitor ended it makes no difference any more.
        Walk::new(self, &names).run_over(&numbers, visit).is_break();
    }

    /// The base records of all that lies there.
    fn touched(&self, mft: &[Range<u64>], changed: &[Range<u64>]) -> BTreeSet<u64> {
        let records = &self.records;
        let size = records.record_bytes as u64;
        let mut touched = BTreeSet::new();
        let mut scratch = Scratch::new();
        let mut blocks = records.blocks();
        while let Some(block) = blocks.next() {
            // What can't be read is told by whoever lists the snapshot.
            let Ok(block) = block else { continue };
            let slots = block.bytes.chunks_exact(records.record_bytes);
            for (number, bytes) in (block.first..).zip(slots) {
                let Ok(record) = Record::decode(bytes, &mut scratch) else {
                    continue;
                };
                let is_touched = overlaps(mft, &(number * size..(number + 1) * size))
                    || self.has_clusters_in(&record, changed);
                if is_touched {
                    let header = &record.header;
                    touched.insert(if header.is_extension() {
                        entry_of(header.base)
                    } else {
                        number
                    });
                }
            }
        }
        touched
    }

    fn has_clusters_in(&self, record: &Record<'_>, changed: &[Range<u64>]) -> bool {
        record.attributes().flatten().any(|attribute| {
            let Body::NonResident(part) = attribute.body else {
                return false;
            };
            let mut runs = part.runs().map_while(Result::ok);
            runs.any(|run| {
                run.lcn.is_some_and(|lcn| {
                    let bytes = |clusters: u64| clusters.saturating_mul(self.records.cluster_bytes);
                    let start = bytes(lcn);
                    overlaps(changed, &(start..start.saturating_add(bytes(run.clusters))))
                })
            })
        })
    }

    /// The names of these entries, and of all directories on their way to the root.
    fn names_for(&self, numbers: &BTreeSet<u64>) -> NameTable {
        let records = &self.records;
        let count = usize::try_from(records.count).unwrap_or(usize::MAX);
        let mut part = NamePart::new(0, count);
        let (mut room, mut more) = (Room::default(), Room::default());
        let mut budget = records.budget();
        let mut seen = BTreeSet::new();
        let mut queue: Vec<u64> = numbers.iter().copied().collect();
        while let Some(number) = queue.pop() {
            if !seen.insert(number) {
                continue;
            }
            // A directory that can't be read is no way to the root.
            let Ok(record) = records.read(number, &mut room) else {
                continue;
            };
            if record.header.is_extension() {
                continue;
            }
            part.record(EntryUse {
                entry: number,
                sequence: record.header.sequence,
                in_use: record.header.in_use(),
                directory: record.header.is_directory(),
            });
            records.attributes(number, &record, &mut more, &mut budget, &mut |found| {
                let Ok(attribute) = found else { return };
                if attribute.kind != kind::FILE_NAME {
                    return;
                }
                let Some(name) = attribute.resident().and_then(FileName::parse) else {
                    return;
                };
                queue.push(entry_of(name.parent));
                let name = Name {
                    parent: name.parent,
                    namespace: name.namespace,
                    utf16le: name.utf16le,
                };
                part.name(number, name);
            });
        }
        NameTable::join(vec![part.shrunk()])
    }
}

/// Whether a range has a byte in one of others, which are in order and apart.
fn overlaps(ranges: &[Range<u64>], range: &Range<u64>) -> bool {
    let after = ranges.partition_point(|one| one.end <= range.start);
    ranges.get(after).is_some_and(|one| one.start < range.end)
}

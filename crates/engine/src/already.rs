//! Knows which records of a snapshot were parsed already, in the next newer state of its volume.
//!
//! A stream of a snapshot is compared with what was in fact parsed as the same artefact, of the same file, at the same path: where a
//! record lies in both at one place of the stream and of the volume, and nothing was written there since, both are the same bytes.
//! What was deleted, hidden or not recognised in the newer state was not parsed there, so it is parsed here.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use scelle_artefacts::{Apart, Cut};
use scelle_event::{ArtefactId, EvidencePath};
use scelle_evidence::{FileId, Volume};
use scelle_formats::{RangeKind, ReadAt};

use crate::parse::is_snapshot;

/// What was parsed of one volume after another, where snapshots stand behind their volume, the newest first.
#[derive(Default)]
pub(crate) struct Already(Mutex<States>);

#[derive(Default)]
struct States {
    /// Of each state of a volume so far, where it has something else than the one before; in order, in bytes of the volume.
    changes: Vec<Vec<Range<u64>>>,
    streams: HashMap<Key, Laid>,
}

/// One stream, whatever the state.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) artefact: ArtefactId,
    pub(crate) path: EvidencePath,
    pub(crate) name: Option<EvidencePath>,
    pub(crate) entry: Option<FileId>,
}

/// Where a stream that was parsed lay.
struct Laid {
    /// In which of the states that was.
    state: usize,
    from: u64,
    len: u64,
    apart: Apart,
    extents: Vec<Extent>,
}

/// Bytes of a stream that are stored as they are.
struct Extent {
    /// Of the stream.
    range: Range<u64>,
    /// Where on the volume the first one is.
    at: u64,
}

impl Already {
    /// Says which volume is parsed next.
    pub(crate) fn begin(&self, volume: &dyn Volume) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = is_snapshot(volume).then(|| volume.changes()).flatten();
        if changes.is_none() {
            *states = States::default();
        }
        states.changes.push(changes.unwrap_or_default());
    }

    /// Which bytes of a stream no newer state had parsed, in order; `None` is all of it. From now on they count as parsed.
    pub(crate) fn left(&self, key: Key, stream: &dyn ReadAt, cut: &Cut) -> Option<Vec<Range<u64>>> {
        let now = Laid {
            state: 0,
            from: cut.range.start,
            len: stream.len(),
            apart: cut.apart?,
            extents: extents(stream),
        };
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.changes.len().checked_sub(1)?;
        let newer = states.streams.get(&key);
        let left = newer
            // A hostile entry may have one stream twice.
            .filter(|newer| newer.state < state && newer.is_cut_like(&now))
            .map(|newer| now.left(newer, &states.changes[newer.state + 1..]));
        states.streams.insert(key, Laid { state, ..now });
        left
    }
}

impl Laid {
    /// Whether a record of `older` that lies where this one has it says the same in both.
    fn is_cut_like(&self, older: &Self) -> bool {
        self.from == older.from && self.apart.covers(&older.apart)
    }

    /// All that does not lie where `newer` has it, or was written to in one of `changes` since.
    fn left(&self, newer: &Self, changes: &[Vec<Range<u64>>]) -> Vec<Range<u64>> {
        let mut left = Vec::new();
        let mut at = 0;
        for extent in &self.extents {
            push(&mut left, at..extent.range.start);
            extent.left(&newer.extents, changes, &mut left);
            at = extent.range.end;
        }
        push(&mut left, at..self.len);
        // What the end cuts is told.
        if self.len != newer.len && self.len > 0 {
            push(&mut left, self.len - 1..self.len);
        }
        left
    }
}

impl Extent {
    fn left(&self, newer: &[Self], changes: &[Vec<Range<u64>>], left: &mut Vec<Range<u64>>) {
        let mut at = self.range.start;
        let first = newer.partition_point(|one| one.range.end <= at);
        for one in &newer[first..] {
            let same = at.max(one.range.start)..self.range.end.min(one.range.end);
            if same.start >= self.range.end {
                break;
            }
            push(left, at..same.start);
            at = same.end;
            let place = self.place(same.start);
            if place == one.place(same.start) {
                let place = place..place + (same.end - same.start);
                for written in written(&place, changes) {
                    let start = same.start + (written.start - place.start);
                    push(left, start..start + (written.end - written.start));
                }
            } else {
                push(left, same);
            }
        }
        push(left, at..self.range.end);
    }

    fn place(&self, offset: u64) -> u64 {
        self.at + (offset - self.range.start)
    }
}

/// The parts of `place` in which one of `changes` has a byte, in order and apart.
fn written(place: &Range<u64>, changes: &[Vec<Range<u64>>]) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    for changed in changes {
        let first = changed.partition_point(|one| one.end <= place.start);
        let within = changed[first..].iter();
        let within = within.take_while(|one| one.start < place.end);
        found.extend(within.map(|one| one.start.max(place.start)..one.end.min(place.end)));
    }
    found.sort_unstable_by_key(|one| one.start);
    let mut joined = Vec::new();
    found.into_iter().for_each(|one| push(&mut joined, one));
    joined
}

/// Appends a range that begins no earlier than the last one; empty ones are left out, and what touches is joined.
fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
        _ => ranges.push(range),
    }
}

/// Where a stream lies, as far as it is stored as it is.
fn extents(stream: &dyn ReadAt) -> Vec<Extent> {
    let mut extents = Vec::new();
    for (range, kind) in stream.ranges() {
        let mut at = range.start;
        while kind == RangeKind::Data && at < range.end {
            let Some(place) = stream.stored_at(at).filter(|place| !place.is_empty()) else {
                break;
            };
            let end = range.end.min(at + (place.end - place.start));
            extents.push(Extent {
                range: at..end,
                at: place.start,
            });
            at = end;
        }
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(extents: &[(Range<u64>, u64)]) -> Laid {
        let extents = extents.iter().cloned();
        Laid {
            state: 0,
            from: 0,
            len: 100,
            apart: Apart::default(),
            extents: extents.map(|(range, at)| Extent { range, at }).collect(),
        }
    }

    #[test]
    fn what_lies_as_it_lay_is_known() {
        let newer = laid(&[(0..40, 1000), (40..100, 2000)]);
        let older = laid(&[(0..20, 1000), (20..60, 1020), (70..100, 2030)]);
        // Of 20 to 60 the newer one has the second half elsewhere; 60 to 70 is not stored.
        assert_eq!(older.left(&newer, &[]), vec![40..70]);
        assert_eq!(newer.left(&newer, &[]), vec![]);
    }

    #[test]
    fn what_any_state_since_wrote_to_is_not_known() {
        let one = laid(&[(0..100, 1000)]);
        let changes = [vec![0..1010, 1050..1060], vec![1055..1070, 1099..3000]];
        assert_eq!(one.left(&one, &changes), vec![0..10, 50..70, 99..100]);
    }

    #[test]
    fn the_end_of_a_stream_that_grew_is_looked_at() {
        let newer = laid(&[(0..100, 1000)]);
        let older = Laid {
            len: 50,
            ..laid(&[(0..50, 1000)])
        };
        assert_eq!(older.left(&newer, &[]), vec![49..50]);
    }
}

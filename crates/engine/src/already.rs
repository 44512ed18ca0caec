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
    /// Of each snapshot of a volume so far, where it has something else than the state before; in order, in bytes of the volume.
    changes: Vec<Vec<Range<u64>>>,
    /// What was parsed before the state that is being parsed, which so doesn't depend on the order of its streams.
    streams: HashMap<Key, Kept>,
    kept_bytes: usize,
    /// What of this state was.
    fresh: Vec<(Key, Laid)>,
    fresh_bytes: usize,
}

/// What is kept of all streams of a volume at most, and of a state's: past it, streams of snapshots are parsed whole.
const KEPT_BYTES: usize = 32 << 20;

/// One stream, whatever the state.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) artefact: ArtefactId,
    pub(crate) path: EvidencePath,
    pub(crate) name: Option<EvidencePath>,
    pub(crate) entry: Option<FileId>,
}

/// A stream that was parsed, and how many of the changes are older than its state.
struct Kept {
    changes_before: usize,
    laid: Laid,
}

/// Where a stream lies, and how it is cut.
pub(crate) struct Laid {
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
        match is_snapshot(volume).then(|| volume.changes()).flatten() {
            Some(changes) => {
                states.take_fresh();
                states.changes.push(changes);
            }
            None => *states = States::default(),
        }
    }

    /// Which bytes of a stream that lies so no newer state had parsed, in order; `None` is all of it.
    pub(crate) fn left(&self, key: &Key, now: &Laid) -> Option<Vec<Range<u64>>> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = states.streams.get(key)?;
        (newer.laid.is_cut_like(now))
            .then(|| now.left(&newer.laid, &states.changes[newer.changes_before..]))
    }

    /// Counts a stream as parsed for the states that come: what was left of it was, to its end.
    pub(crate) fn keep(&self, key: Key, laid: Laid) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = bytes(&key, &laid);
        if states.fresh_bytes + more <= KEPT_BYTES {
            states.fresh_bytes += more;
            states.fresh.push((key, laid));
        }
    }
}

impl States {
    /// Takes over what was parsed of the state before. Where there is no room, what is known of a stream stands: that stays true.
    fn take_fresh(&mut self) {
        self.fresh_bytes = 0;
        for (key, laid) in std::mem::take(&mut self.fresh) {
            let before = self.streams.get(&key);
            let before = before.map_or(0, |before| bytes(&key, &before.laid));
            let now = self.kept_bytes - before + bytes(&key, &laid);
            if now <= KEPT_BYTES {
                self.kept_bytes = now;
                let changes_before = self.changes.len();
                let kept = Kept {
                    changes_before,
                    laid,
                };
                self.streams.insert(key, kept);
            }
        }
    }
}

/// What is kept of a stream takes about so many bytes.
fn bytes(key: &Key, laid: &Laid) -> usize {
    let names =
        key.path.as_bytes().len() + key.name.as_ref().map_or(0, |name| name.as_bytes().len());
    size_of::<Key>() + size_of::<Kept>() + names + size_of_val(&*laid.extents)
}

impl Laid {
    /// `None` where its records say nothing by themselves, or it has no place of its own on the volume.
    pub(crate) fn of(stream: &dyn ReadAt, cut: &Cut) -> Option<Self> {
        Some(Self {
            from: cut.range.start,
            len: stream.len(),
            apart: cut.apart?,
            extents: extents(stream).filter(|extents| !extents.is_empty())?,
        })
    }

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

/// Where a stream lies, as far as it is stored as it is; `None` where it is torn into more pieces than are kept.
fn extents(stream: &dyn ReadAt) -> Option<Vec<Extent>> {
    let mut extents = Vec::new();
    for (range, kind) in stream.ranges() {
        let mut at = range.start;
        while kind == RangeKind::Data && at < range.end {
            let Some(place) = stream.stored_at(at).filter(|place| !place.is_empty()) else {
                break;
            };
            if (extents.len() + 1) * size_of::<Extent>() > KEPT_BYTES {
                return None;
            }
            let end = range.end.min(at + (place.end - place.start));
            extents.push(Extent {
                range: at..end,
                at: place.start,
            });
            at = end;
        }
    }
    Some(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(extents: &[(Range<u64>, u64)]) -> Laid {
        let extents = extents.iter().cloned();
        Laid {
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

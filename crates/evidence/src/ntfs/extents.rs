//! Streams that lie in clusters of their own.

use std::{ops::Range, sync::Arc};

use scelle_formats::{
    RangeKind, ReadAt, ReadError,
    ntfs::{Run, RunError},
};

use crate::image::Joined;

/// Which clusters a stream has, in the order of the stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extents(Vec<Run>);

impl Extents {
    /// Puts runs of any order together. Where a run lies on one that came before it in the
    /// stream, it is left out, and that is said.
    pub(crate) fn new(mut runs: Vec<Run>) -> (Self, Option<RunError>) {
        let mut error = None;
        runs.sort_by_key(|run| run.vcn);
        let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            let Some(last) = joined.last_mut() else {
                joined.push(run);
                continue;
            };
            let end = end_of(last);
            let follows = match (last.lcn, run.lcn) {
                (Some(lcn), Some(next)) => lcn.checked_add(last.clusters) == Some(next),
                (None, None) => true,
                _ => false,
            };
            if end > run.vcn {
                error.get_or_insert(RunError {
                    vcn: run.vcn,
                    why: "lies where another one lies already",
                });
            } else if end == run.vcn && follows {
                last.clusters += run.clusters;
            } else {
                joined.push(run);
            }
        }
        (Self(joined), error)
    }

    /// The runs, in the order of the stream.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.0
    }
}

// A run decoder never lets the end of a run pass 64 bits.
fn end_of(run: &Run) -> u64 {
    run.vcn + run.clusters
}

/// A stream that lies in clusters of its volume.
#[derive(Clone)]
pub(crate) struct ExtentStream {
    pub(crate) source: Arc<dyn ReadAt>,
    pub(crate) extents: Extents,
    pub(crate) cluster_bytes: u64,
    /// The logical length.
    pub(crate) real_bytes: u64,
    /// Zeros are read from here on.
    pub(crate) valid_bytes: u64,
}

/// What lies at a place of a stream, up to `end`.
pub(super) struct Piece {
    pub(super) kind: RangeKind,
    /// Where on the volume, for data.
    pub(super) at: u64,
    pub(super) end: u64,
}

impl ExtentStream {
    /// Where in its source a byte of the stream lies, where it has one.
    pub(crate) fn place(&self, offset: u64) -> Option<u64> {
        let piece = (offset < self.real_bytes).then(|| self.piece(offset))?;
        (piece.kind == RangeKind::Data).then_some(piece.at)
    }

    /// What lies at `offset`, which is before the logical end.
    pub(super) fn piece(&self, offset: u64) -> Piece {
        let of = |kind, at, end: u64| Piece {
            kind,
            at,
            end: end.min(self.real_bytes),
        };
        let runs = &self.extents.0;
        let vcn = offset / self.cluster_bytes;
        let bytes = |clusters: u64| clusters.saturating_mul(self.cluster_bytes);
        let after = runs.partition_point(|run| run.vcn <= vcn);
        let run = after.checked_sub(1).map(|index| runs[index]);
        let run = run.filter(|run| vcn < end_of(run));
        let end = match run {
            Some(run) => bytes(end_of(&run)),
            None => runs.get(after).map_or(u64::MAX, |next| bytes(next.vcn)),
        };
        match run {
            Some(Run { lcn: None, .. }) => of(RangeKind::Hole, 0, end),
            _ if offset >= self.valid_bytes => of(RangeKind::PastValid, 0, end),
            // The record that should say where it lies is lost.
            None => of(RangeKind::Unreadable, 0, end.min(self.valid_bytes)),
            Some(Run {
                vcn,
                lcn: Some(lcn),
                ..
            }) => {
                let end = end.min(self.valid_bytes);
                let at = bytes(lcn).saturating_add(offset - bytes(vcn));
                match self.source.len().checked_sub(at) {
                    None | Some(0) => of(RangeKind::Unreadable, 0, end),
                    Some(left) => of(RangeKind::Data, at, end.min(offset.saturating_add(left))),
                }
            }
        }
    }
}

impl ReadAt for ExtentStream {
    fn len(&self) -> u64 {
        self.real_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.real_bytes.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let piece = self.piece(at);
            let count = ((want - done) as u64).min(piece.end - at) as usize;
            let part = &mut buf[done..done + count];
            let outcome = match piece.kind {
                RangeKind::Data => self.source.read_at(piece.at, part),
                RangeKind::Hole | RangeKind::PastValid => {
                    part.fill(0);
                    Ok(count)
                }
                RangeKind::Unreadable => Err(ReadError::Damaged {
                    what: "the run list of a stream",
                    offset: at,
                    why: "it has no cluster of the volume for this place".to_owned(),
                }),
            };
            match outcome {
                Ok(0) if done == 0 => {
                    return Err(ReadError::Short {
                        what: "the volume below a stream",
                        offset: piece.at,
                        need: count as u64,
                        have: 0,
                    });
                }
                Ok(0) => break,
                Ok(count) => done += count,
                // What was read stands; the next read will meet the error first.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let mut at = 0;
        let pieces = std::iter::from_fn(move || {
            (at < self.real_bytes).then(|| {
                let piece = self.piece(at);
                let range = at..piece.end;
                at = piece.end;
                (range, piece.kind)
            })
        });
        Box::new(Joined::new(pieces))
    }

    fn stored_at(&self, offset: u64) -> Option<Range<u64>> {
        let piece = (offset < self.real_bytes).then(|| self.piece(offset))?;
        (piece.kind == RangeKind::Data).then(|| piece.at..piece.at + (piece.end - offset))
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.slice_at(0..self.real_bytes)
    }

    fn slice_at(&self, range: Range<u64>) -> Option<&[u8]> {
        let is_inside = range.start <= range.end && range.end <= self.real_bytes;
        let piece = is_inside.then(|| self.piece(range.start))?;
        let is_whole = piece.kind == RangeKind::Data && piece.end >= range.end;
        let length = range.end - range.start;
        is_whole.then(|| self.source.slice_at(piece.at..piece.at + length))?
    }
}

#[cfg(test)]
mod tests {
    use scelle_formats::{Bytes, ReadAtExt as _};

    use super::*;

    fn runs_of(runs: &[(u64, Option<u64>, u64)]) -> Vec<Run> {
        let run = |&(vcn, lcn, clusters): &_| Run { vcn, lcn, clusters };
        runs.iter().map(run).collect()
    }

    fn stream(runs: &[(u64, Option<u64>, u64)], real: u64, valid: u64) -> ExtentStream {
        let (extents, error) = Extents::new(runs_of(runs));
        assert_eq!(error, None);
        ExtentStream {
            source: Arc::new(Bytes((0..=255).collect::<Vec<u8>>())),
            extents,
            cluster_bytes: 16,
            real_bytes: real,
            valid_bytes: valid,
        }
    }

    #[test]
    fn fragments_holes_and_the_valid_length() {
        use RangeKind::{Data, Hole, PastValid};
        // Parts out of order, as extension records may hold them.
        let stream = stream(
            &[
                (3, Some(2), 2),
                (0, Some(8), 1),
                (1, Some(9), 1),
                (2, None, 1),
            ],
            100,
            70,
        );
        let expected: Vec<u8> = (128..160)
            .chain([0; 16])
            .chain(32..54)
            .chain([0; 30])
            .collect();
        for start in 0..100 {
            for length in [1, 15, 16, 17, 200] {
                let mut buf = vec![0xEE; length];
                let have = stream.read_full_at(start, &mut buf).expect("in memory");
                let end = (start as usize + length).min(100);
                assert_eq!(buf[..have], expected[start as usize..end]);
            }
        }
        assert_eq!(
            stream.ranges().collect::<Vec<_>>(),
            [
                (0..32, Data),
                (32..48, Hole),
                (48..70, Data),
                (70..100, PastValid)
            ]
        );
        assert_eq!(stream.as_slice(), None);
    }

    #[test]
    fn what_no_cluster_is_known_for_is_unreadable() {
        use RangeKind::{Data, Unreadable};
        let lost = stream(&[(0, Some(0), 1), (3, Some(15), 9)], 1 << 60, 1 << 60);
        assert_eq!(
            lost.ranges().collect::<Vec<_>>(),
            [
                (0..16, Data),
                (16..48, Unreadable),
                (48..64, Data),
                (64..1 << 60, Unreadable)
            ]
        );
        let mut buf = [0; 40];
        assert_eq!(lost.read_at(0, &mut buf).expect("up to the loss"), 16);
        assert!(lost.read_at(16, &mut buf).is_err());
        assert!(lost.read_at(1 << 50, &mut buf).is_err());
        assert_eq!(lost.read_at(1 << 60, &mut buf).expect("the end"), 0);
    }

    #[test]
    fn overlaps_are_refused() {
        for second in [(0, Some(9), 1), (3, Some(9), 1), (2, None, 9)] {
            let (extents, error) = Extents::new(runs_of(&[(0, Some(0), 4), second]));
            assert!(error.is_some(), "{second:?}");
            assert_eq!(extents.0.len(), 1);
        }
        let (extents, error) = Extents::new(runs_of(&[(8, None, 2), (0, Some(0), 8)]));
        assert!(error.is_none() && extents.0[1].lcn.is_none());
    }

    #[test]
    fn a_whole_stream_in_memory_is_a_slice() {
        let whole = stream(&[(0, Some(2), 3)], 40, 40);
        assert_eq!(whole.as_slice().map(<[u8]>::len), Some(40));
        assert_eq!(whole.as_slice().and_then(<[u8]>::first), Some(&32));
    }

    #[test]
    fn a_piece_in_memory_is_a_slice() {
        let parts = stream(&[(0, Some(2), 2), (2, None, 1), (3, Some(5), 2)], 76, 70);
        let of = |range| parts.slice_at(range).map(|bytes| (bytes[0], bytes.len()));
        assert_eq!(of(0..32), Some((32, 32)));
        assert_eq!(of(16..20), Some((48, 4)));
        assert_eq!(of(48..70), Some((80, 22)));
        for range in [30..34, 32..40, 40..50, 60..71, 70..76, 70..90] {
            assert_eq!(of(range.clone()), None, "{range:?}");
        }
    }
}

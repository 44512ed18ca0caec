//! What no file has: free clusters, and the clusters of `$MFT` past its end, as one stream.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use scelle_formats::{RangeKind, ReadAt, ReadError};

use super::{
    bitmap::{BLOCK_CLUSTERS, Block},
    records::Records,
};
use crate::image::Joined;

/// The stream's name; a colon stands in no stream's name.
pub(super) const UNUSED_STREAM: &[u8] = b"$UNUSED:$CLUSTERS";

/// A stream as long as the volume, in which all that belongs to files is a hole: so an offset in it
/// is one on the volume.
pub(super) struct Unused {
    volume: Arc<dyn ReadAt>,
    bitmap: Box<dyn ReadAt>,
    cluster_bytes: u64,
    len: u64,
    /// The clusters that `$MFT` has and does not use, as bytes of the volume, in order.
    tail: Vec<Range<u64>>,
    block: Mutex<Block>,
}

/// What lies at a place, up to an end.
struct Piece {
    is_unused: bool,
    end: u64,
}

impl Unused {
    /// What a volume of so many clusters does not use.
    pub(super) fn new(records: &Records, bitmap: Box<dyn ReadAt>, clusters: u64) -> Self {
        let clusters = clusters.min(bitmap.len().saturating_mul(8));
        let len = clusters.saturating_mul(records.cluster_bytes);
        Self {
            volume: records.volume.clone(),
            bitmap,
            cluster_bytes: records.cluster_bytes,
            len,
            tail: tail_of(records, len),
            block: Mutex::default(),
        }
    }

    /// What lies at `at`, which is before the end.
    fn piece(&self, at: u64) -> Result<Piece, ReadError> {
        let after = self.tail.partition_point(|tail| tail.end <= at);
        let next = self.tail.get(after);
        if let Some(tail) = next.filter(|tail| tail.start <= at) {
            return Ok(Piece {
                is_unused: true,
                end: tail.end,
            });
        }
        let (is_free, end) = self.run(at / self.cluster_bytes)?;
        let end = end.saturating_mul(self.cluster_bytes).min(self.len);
        Ok(Piece {
            is_unused: is_free,
            end: next.map_or(end, |tail| tail.start.min(end)),
        })
    }

    /// Whether a cluster is free, and up to which one that holds, as far as one block of the bitmap
    /// goes.
    fn run(&self, lcn: u64) -> Result<(bool, u64), ReadError> {
        let number = lcn / BLOCK_CLUSTERS;
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let bits = block.of(self.bitmap.as_ref(), number)?;
        let mut at = (lcn % BLOCK_CLUSTERS) as usize;
        let is_taken = |at: usize| {
            bits.get(at / 8)
                .is_some_and(|byte| byte >> (at % 8) & 1 != 0)
        };
        let (first, all) = (is_taken(at), bits.len() * 8);
        let same = if first { 0xFF } else { 0 };
        while at < all && is_taken(at) == first {
            // Whole bytes at once, where they say the same.
            at += if at.is_multiple_of(8) && bits[at / 8] == same {
                8
            } else {
                1
            };
        }
        let end = number * BLOCK_CLUSTERS + at as u64;
        Ok((!first, end.max(lcn + 1)))
    }

    /// What lies in a range that the source says to be of that kind, in pieces.
    fn pieces(
        &self,
        within: Range<u64>,
        kind: RangeKind,
    ) -> impl Iterator<Item = (Range<u64>, RangeKind)> + '_ {
        let mut at = within.start;
        std::iter::from_fn(move || {
            if at >= within.end {
                return None;
            }
            let (kind, end) = match kind {
                RangeKind::Hole | RangeKind::PastValid => (RangeKind::Hole, within.end),
                _ => match self.piece(at) {
                    Ok(piece) if piece.is_unused => (kind, piece.end),
                    Ok(piece) => (RangeKind::Hole, piece.end),
                    Err(_) => {
                        let block = BLOCK_CLUSTERS * self.cluster_bytes;
                        (RangeKind::Unreadable, (at / block + 1) * block)
                    }
                },
            };
            let range = at..end.min(within.end);
            at = range.end;
            Some((range, kind))
        })
    }
}

/// The clusters of `$MFT` past its last record, as bytes of the volume.
fn tail_of(records: &Records, len: u64) -> Vec<Range<u64>> {
    let cluster = records.cluster_bytes;
    let used = records.mft.real_bytes.div_ceil(cluster);
    let mut tail = Vec::new();
    for run in records.mft.extents.runs() {
        let Some(lcn) = run.lcn else { continue };
        let skip = used.saturating_sub(run.vcn).min(run.clusters);
        let bytes = |lcn: u64| lcn.saturating_mul(cluster).min(len);
        let range = bytes(lcn.saturating_add(skip))..bytes(lcn.saturating_add(run.clusters));
        if !range.is_empty() {
            tail.push(range);
        }
    }
    tail.sort_by_key(|range| range.start);
    // Where two lie on each other, one is enough.
    tail.dedup_by(|later, earlier| {
        let meets = later.start <= earlier.end;
        if meets {
            earlier.end = earlier.end.max(later.end);
        }
        meets
    });
    tail
}

impl ReadAt for Unused {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < want {
            let at = offset + done as u64;
            let outcome = self.piece(at).and_then(|piece| {
                let count = (piece.end - at).min((want - done) as u64) as usize;
                let part = &mut buf[done..done + count];
                if piece.is_unused {
                    return self.volume.read_at(at, part);
                }
                part.fill(0);
                Ok(count)
            });
            match outcome {
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
        let stored = self.volume.ranges();
        let pieces = stored
            .take_while(|(range, _)| range.start < self.len)
            .flat_map(|(range, kind)| self.pieces(range.start..range.end.min(self.len), kind));
        Box::new(Joined::new(pieces))
    }
}

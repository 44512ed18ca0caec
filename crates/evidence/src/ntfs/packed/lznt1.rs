//! Streams that NTFS compresses.
//!
//! A unit is 16 clusters (the attribute says how many). One without clusters is a hole; one with
//! all of them stands as it is; in any other, the clusters at its beginning hold LZNT1 chunks.

use std::ops::Range;

use scelle_formats::{
    RangeKind, ReadAt as _, ReadAtExt as _, ReadError,
    codec::lznt1,
    ntfs::{COMPRESSED, Run},
};

use super::{
    super::{
        extents::ExtentStream,
        records::{Records, damaged},
    },
    Damage, Ranges, Units,
};
use crate::image::Joined;

/// The kind of compression that the flags of an attribute state for LZNT1.
pub(in crate::ntfs) const LZNT1: u16 = COMPRESSED & 1;
/// Windows has none past 64 KiB.
const MAX_UNIT_BYTES: u64 = 1 << 20;
/// Of a unit that stands as it is, so much is lost by one failing read.
const LOST_BYTES: usize = 4096;

/// A stream of compression units.
pub(in crate::ntfs) struct Lznt1 {
    /// The clusters as they stand.
    raw: ExtentStream,
    unit_bytes: u64,
    real_bytes: u64,
    valid_bytes: u64,
}

/// How a unit is stored.
enum Stored {
    Hole,
    AsItStands,
    /// So many bytes of chunks.
    Chunks(usize),
}

impl Lznt1 {
    pub(in crate::ntfs) fn new(
        records: &Records,
        (real_bytes, valid_bytes): (u64, u64),
        mut runs: Vec<Run>,
        exponent: u8,
    ) -> Result<Self, ReadError> {
        let clusters = 1u64.checked_shl(exponent.into());
        let unit_bytes = clusters
            .and_then(|clusters| clusters.checked_mul(records.cluster_bytes))
            .filter(|bytes| *bytes <= MAX_UNIT_BYTES)
            .ok_or_else(|| {
                let why = format!("2^{exponent} clusters are more than any unit has");
                damaged("the size of compression units", 0, why)
            })?;
        let unit_clusters = unit_bytes / records.cluster_bytes;
        // The last unit may end where its clusters do.
        let end = runs.iter().map(|run| run.vcn + run.clusters).max();
        if let Some(end) = end
            && let Some(whole) = end.checked_next_multiple_of(unit_clusters)
            && whole > end
        {
            runs.push(Run {
                vcn: end,
                lcn: None,
                clusters: whole - end,
            });
        }
        let whole = real_bytes.checked_next_multiple_of(unit_bytes);
        let raw_bytes = whole.unwrap_or(u64::MAX);
        Ok(Self {
            raw: records.stream((raw_bytes, raw_bytes), runs),
            unit_bytes,
            real_bytes,
            valid_bytes: valid_bytes.min(real_bytes),
        })
    }

    fn stored(&self, start: u64) -> Result<Stored, &'static str> {
        let end = start.saturating_add(self.unit_bytes);
        let mut at = start;
        let mut hole_at = None;
        while at < end.min(self.raw.real_bytes) {
            let piece = self.raw.piece(at);
            match (piece.kind, hole_at) {
                (RangeKind::Hole | RangeKind::PastValid, None) => hole_at = Some(at),
                (RangeKind::Hole | RangeKind::PastValid, Some(_)) => {}
                (_, None) => {}
                (_, Some(_)) => return Err("a hole lies before clusters of one unit"),
            }
            at = piece.end;
        }
        Ok(match hole_at {
            None => Stored::AsItStands,
            Some(at) if at == start => Stored::Hole,
            // It is within a unit.
            Some(at) => Stored::Chunks((at - start) as usize),
        })
    }

    /// Reads a unit that stands as it is, as far as that goes.
    fn read(&self, start: u64, out: &mut [u8]) -> Damage {
        let mut damage = Damage::new();
        let mut done = 0;
        while done < out.len() {
            let error = match self.raw.read_at(start + done as u64, &mut out[done..]) {
                Ok(0) => ReadError::Short {
                    what: "a compression unit",
                    offset: start,
                    need: out.len() as u64,
                    have: done as u64,
                },
                Ok(count) => {
                    done += count;
                    continue;
                }
                Err(error) => error,
            };
            let end = out.len().min((done / LOST_BYTES + 1) * LOST_BYTES);
            out[done..end].fill(0);
            damage.push((done..end, error));
            done = end;
        }
        damage
    }

    /// What lies at a unit's beginning, and in units of the same kind behind it.
    fn range(&self, at: u64) -> (Range<u64>, RangeKind) {
        let piece = self.raw.piece(at);
        if at >= self.valid_bytes {
            let unit_end = (at - at % self.unit_bytes).saturating_add(self.unit_bytes);
            // What a compressed unit saves is no hole.
            let is_hole = piece.kind == RangeKind::Hole && at.is_multiple_of(self.unit_bytes);
            let (end, kind) = match is_hole && piece.end >= unit_end {
                true => (piece.end - piece.end % self.unit_bytes, RangeKind::Hole),
                false => (unit_end, RangeKind::PastValid),
            };
            return (at..end.min(self.real_bytes), kind);
        }
        let end = at.saturating_add(self.unit_bytes);
        let (end, kind) = if piece.end >= end {
            let units = (piece.end - at) / self.unit_bytes * self.unit_bytes;
            (at + units, piece.kind)
        } else {
            let readable = |kind| kind != RangeKind::Unreadable;
            let mut next = piece.end;
            let mut is_readable = readable(piece.kind);
            while next < end.min(self.raw.real_bytes) {
                let piece = self.raw.piece(next);
                is_readable &= readable(piece.kind);
                next = piece.end;
            }
            let kind = match is_readable {
                true => RangeKind::Data,
                false => RangeKind::Unreadable,
            };
            (end, kind)
        };
        (at..end.min(self.valid_bytes), kind)
    }
}

impl Units for Lznt1 {
    /// The chunks of a unit.
    type State = Vec<u8>;

    fn real_bytes(&self) -> u64 {
        self.real_bytes
    }

    fn valid_bytes(&self) -> u64 {
        self.valid_bytes
    }

    fn unit_bytes(&self) -> usize {
        self.unit_bytes as usize
    }

    fn bytes_of(&self, _number: u64) -> usize {
        self.unit_bytes as usize
    }

    fn decode(&self, number: u64, chunks: &mut Vec<u8>, out: &mut [u8]) -> Damage {
        let start = number * self.unit_bytes;
        let all = 0..out.len();
        let mut damage = Damage::new();
        match self.stored(start) {
            Err(why) => {
                out.fill(0);
                let error = damaged("a compression unit", start, why.to_owned());
                damage.push((all, error));
            }
            Ok(Stored::Hole) => out.fill(0),
            Ok(Stored::AsItStands) => damage = self.read(start, out),
            Ok(Stored::Chunks(bytes)) => {
                chunks.resize(bytes, 0);
                let read = self.raw.read_exact_at("a compression unit", start, chunks);
                if let Err(error) = read {
                    out.fill(0);
                    damage.push((all, error));
                    return damage;
                }
                let made = lznt1::decode_chunks(chunks, out, &mut |range, why| {
                    if !range.is_empty() {
                        let at = start + range.start as u64;
                        damage.push((range, damaged("an LZNT1 chunk", at, why.to_owned())));
                    }
                });
                out[made..].fill(0);
            }
        }
        damage
    }

    fn ranges(&self) -> Ranges<'_> {
        let mut at = 0;
        Box::new(Joined::new(std::iter::from_fn(move || {
            (at < self.real_bytes).then(|| {
                let found = self.range(at);
                at = found.0.end;
                found
            })
        })))
    }
}

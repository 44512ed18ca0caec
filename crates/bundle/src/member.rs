//! Streams of a bundle, read at any place.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use scelle_formats::{RangeKind, ReadAt, ReadError};

use crate::{
    codec::SEGMENT_BYTES,
    file_line::Piece,
    open::Shared,
    reader::{Member, Segment},
};

/// Decoded segments that an open stream keeps: 32 MiB at most.
const KEPT_SEGMENTS: usize = 4;

/// What one member holds, read at any place: a segment is decoded and kept for a while.
pub(crate) struct MemberReader {
    shared: Arc<Shared>,
    member: Member,
    segments: OnceLock<Result<Vec<Segment>, String>>,
    kept: Mutex<Vec<(usize, Arc<Vec<u8>>)>>,
}

impl MemberReader {
    pub(crate) fn new(shared: &Arc<Shared>, member: &Member) -> Self {
        Self {
            shared: shared.clone(),
            member: member.clone(),
            segments: OnceLock::new(),
            kept: Mutex::new(Vec::new()),
        }
    }

    fn segment(&self, number: usize, offset: u64) -> Result<Arc<Vec<u8>>, ReadError> {
        let damaged = |why: &String| ReadError::Damaged {
            what: "a bundle's member",
            offset,
            why: format!("{}: {why}", self.member.name),
        };
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|(known, _)| *known == number) {
                let found = kept.remove(at);
                let bytes = found.1.clone();
                kept.push(found);
                return Ok(bytes);
            }
        }
        let segments = self
            .segments
            .get_or_init(|| self.shared.segments(&self.member))
            .as_ref()
            .map_err(damaged)?;
        let Some(segment) = segments.get(number) else {
            return Err(damaged(&"it has fewer segments than bytes".to_owned()));
        };
        let mut bytes = Vec::with_capacity(segment.size.min(SEGMENT_BYTES as u64) as usize);
        self.shared
            .archive()
            .decode_segment(self.member.facts.method, segment, &mut |piece| {
                bytes.extend_from_slice(piece);
            })
            .map_err(|why| damaged(&why))?;
        let bytes = Arc::new(bytes);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_SEGMENTS {
            kept.remove(0);
        }
        kept.push((number, bytes.clone()));
        Ok(bytes)
    }
}

impl ReadAt for MemberReader {
    fn len(&self) -> u64 {
        self.member.facts.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let left = self.len().saturating_sub(offset);
        let count = (buf.len() as u64).min(left) as usize;
        if count == 0 {
            return Ok(0);
        }
        if self.member.facts.method == crate::codec::Method::Store {
            if self.member.facts.compressed != self.member.facts.size {
                return Err(ReadError::Damaged {
                    what: "a bundle's member",
                    offset,
                    why: format!(
                        "{}: it is stored, and its two sizes differ",
                        self.member.name
                    ),
                });
            }
            let archive = self.shared.archive();
            let at = archive.data_at(&self.shared.folder, &self.member) + offset;
            return self.shared.source.read_at(at, &mut buf[..count]);
        }
        let number = (offset / SEGMENT_BYTES as u64) as usize;
        let bytes = self.segment(number, offset)?;
        let from = (offset % SEGMENT_BYTES as u64) as usize;
        let count = count.min(bytes.len().saturating_sub(from));
        buf[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
}

/// Pieces of a stream, by their offsets: size and where they are stored.
struct Spread(BTreeMap<u64, (u64, u64)>);

impl Spread {
    fn new(pieces: &[Piece]) -> Self {
        let mut stored = 0;
        Self(
            pieces
                .iter()
                .map(|(offset, length)| {
                    let at = stored;
                    stored += length;
                    (*offset, (*length, at))
                })
                .collect(),
        )
    }
}

/// A stream read back with its holes, and with what could not be read marked.
pub(crate) struct SparseReader {
    member: MemberReader,
    size: u64,
    pieces: Spread,
    unread: Arc<[Piece]>,
}

impl SparseReader {
    /// A stream of `size` bytes; without `pieces` all of it is stored.
    pub(crate) fn new(
        member: MemberReader,
        size: u64,
        pieces: Option<&[Piece]>,
        unread: Arc<[Piece]>,
    ) -> Self {
        Self {
            member,
            size,
            pieces: Spread::new(pieces.unwrap_or(&[(0, size)])),
            unread,
        }
    }
}

impl ReadAt for SparseReader {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let left = self.size.saturating_sub(offset);
        let count = (buf.len() as u64).min(left) as usize;
        if count == 0 {
            return Ok(0);
        }
        let before = self.pieces.0.range(..=offset).next_back();
        if let Some((begin, (length, stored))) = before
            && offset - begin < *length
        {
            let count = (count as u64).min(begin + length - offset) as usize;
            return self
                .member
                .read_at(stored + (offset - begin), &mut buf[..count]);
        }
        let next = self.pieces.0.range(offset..).next();
        let until = next.map_or(self.size, |(begin, _)| *begin);
        let count = (count as u64).min(until - offset) as usize;
        buf[..count].fill(0);
        Ok(count)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        let mut marks: Vec<(Range<u64>, RangeKind)> = Vec::new();
        let mut push = |range: Range<u64>, kind| {
            if range.start < range.end {
                marks.push((range, kind));
            }
        };
        let mut at = 0;
        let mut unread = self.unread.iter().peekable();
        for (begin, (length, _)) in &self.pieces.0 {
            push(at..*begin, RangeKind::Hole);
            at = *begin;
            let end = begin + length;
            while let Some((lost, bytes)) = unread.next_if(|(lost, _)| *lost < end) {
                let lost_at = (*lost).max(at);
                let lost_end = (lost + bytes).min(end);
                push(at..lost_at, RangeKind::Data);
                push(lost_at..lost_end, RangeKind::Unreadable);
                at = lost_end.max(at);
            }
            push(at..end, RangeKind::Data);
            at = end;
        }
        push(at..self.size, RangeKind::Hole);
        Box::new(marks.into_iter())
    }
}

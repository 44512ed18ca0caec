//! What of a stream is stored: its bytes in order, holes left out, unreadable ranges as zeros.

use scelle_formats::{Digests, Hasher, RangeKind, ReadAt, ReadError};

use crate::file_line::Piece;

/// A longer stream is not stored: the list of its segments would be longer than a checkpoint may
/// be.
pub(crate) const MOST_STORED_BYTES: u64 = 16 << 40;
/// Holes smaller than this are stored as zeros; NTFS makes none that are smaller.
const LEAST_HOLE_BYTES: u64 = 64 << 10;
/// More pieces than this are joined, the nearest first.
const MOST_PIECES: usize = 1 << 16;
/// Past this many bytes of holes the logical stream is not hashed: `$BadClus:$Bad` is as large as
/// its volume and holds nothing.
pub(crate) const HASHED_HOLE_BYTES: u64 = 1 << 30;
/// After a failed read the next try is at the next multiple of this.
const RETRY_BYTES: u64 = 4096;
/// Why there is no logical hash.
pub(crate) const REASON_HOLES: &str = "holes of more than 1 GiB";

/// The plan of a stream: which of its ranges are stored.
pub(crate) struct Layout {
    /// Size of the logical stream.
    pub(crate) size: u64,
    /// What is stored, in order; all of it in one piece where the stream has no holes.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) is_sparse: bool,
}

impl Layout {
    pub(crate) fn of(reader: &dyn ReadAt) -> Self {
        let size = reader.len();
        let mut least = LEAST_HOLE_BYTES;
        loop {
            match Self::with_least(reader, size, least) {
                Some(layout) => return layout,
                None => least *= 2,
            }
        }
    }

    fn with_least(reader: &dyn ReadAt, size: u64, least: u64) -> Option<Self> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (range, kind) in reader.ranges() {
            let end = range.end.min(size);
            if kind == RangeKind::Hole || range.start >= end {
                continue;
            }
            let count = pieces.len();
            match pieces.last_mut() {
                Some((offset, length))
                    if range.start < offset.saturating_add(*length).saturating_add(least) =>
                {
                    *length = (*length).max(end.saturating_sub(*offset));
                }
                _ if range.start < least => pieces.push((0, end)),
                _ if count == MOST_PIECES => return None,
                _ => pieces.push((range.start, end - range.start)),
            }
        }
        if let Some((offset, length)) = pieces.last_mut()
            && size - (*offset + *length) < least
        {
            *length = size - *offset;
        }
        if pieces.is_empty() && size < least && size > 0 {
            pieces.push((0, size));
        }
        let stored: u64 = pieces.iter().map(|(_, length)| length).sum();
        Some(Self {
            size,
            is_sparse: stored < size,
            pieces,
        })
    }

    /// How many bytes are stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, length)| length).sum()
    }
}

/// Reads what is stored, from its beginning to its end.
pub(crate) struct StoredReader<'a> {
    reader: &'a dyn ReadAt,
    pieces: std::slice::Iter<'a, Piece>,
    piece: Piece,
    /// What could not be read, as ranges of the logical stream.
    pub(crate) unread: Vec<Piece>,
    /// Why, the first time.
    pub(crate) cause: Option<String>,
}

impl<'a> StoredReader<'a> {
    pub(crate) fn new(reader: &'a dyn ReadAt, layout: &'a Layout) -> Self {
        Self {
            reader,
            pieces: layout.pieces.iter(),
            piece: (0, 0),
            unread: Vec::new(),
            cause: None,
        }
    }

    /// Fills `out` with the next stored bytes; there are as many left.
    pub(crate) fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.piece.1 == 0 {
                match self.pieces.next() {
                    Some(piece) => self.piece = *piece,
                    None => return,
                }
            }
            let (now, rest) = out.split_at_mut((out.len() as u64).min(self.piece.1) as usize);
            self.read(self.piece.0, now);
            self.piece.0 += now.len() as u64;
            self.piece.1 -= now.len() as u64;
            out = rest;
        }
    }

    fn read(&mut self, mut offset: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let done = match self.reader.read_at(offset, out) {
                Ok(0) => {
                    self.lose(offset, out, || "the stream ended early".into());
                    return;
                }
                Ok(count) => count.min(out.len()),
                Err(error) => {
                    let step = RETRY_BYTES - offset % RETRY_BYTES;
                    let count = step.min(out.len() as u64) as usize;
                    self.lose(offset, &mut out[..count], || error.to_string());
                    count
                }
            };
            offset += done as u64;
            out = &mut out[done..];
        }
    }

    fn lose(&mut self, offset: u64, out: &mut [u8], cause: impl FnOnce() -> String) {
        out.fill(0);
        let length = out.len() as u64;
        let is_full = self.unread.len() == MOST_PIECES;
        match self.unread.last_mut() {
            // Past so many, what lies between them counts as unread as well.
            Some((begin, known)) if is_full || *begin + *known == offset => {
                *known = offset + length - *begin;
            }
            _ => self.unread.push((offset, length)),
        }
        self.cause.get_or_insert_with(cause);
    }
}

/// Hashes the stored bytes and, where they differ, the logical stream.
pub(crate) struct StreamHasher {
    stored: Hasher,
    logical: Option<Logical>,
}

struct Logical {
    hasher: Hasher,
    size: u64,
    /// What is left of the pieces, the next one last.
    pieces: Vec<Piece>,
    at: u64,
}

impl StreamHasher {
    /// For a stream of `size` bytes of which `pieces` are stored.
    pub(crate) fn new(size: u64, pieces: &[Piece]) -> Self {
        let stored: u64 = pieces.iter().map(|(_, length)| length).sum();
        let holes = size - stored.min(size);
        let logical = (holes > 0 && holes <= HASHED_HOLE_BYTES).then(|| Logical {
            hasher: Hasher::new(),
            size,
            pieces: pieces.iter().rev().copied().collect(),
            at: 0,
        });
        Self {
            stored: Hasher::new(),
            logical,
        }
    }

    /// Takes the next stored bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.stored.update(bytes);
        if let Some(logical) = &mut self.logical {
            logical.update(bytes);
        }
    }

    /// The hashes of what is stored, and of the logical stream where that differs and is hashed.
    pub(crate) fn finish(self) -> (Digests, Option<Digests>) {
        let logical = self.logical.map(|mut logical| {
            logical.hasher.update_zeros(logical.size - logical.at);
            logical.hasher.finish()
        });
        (self.stored.finish(), logical)
    }
}

impl Logical {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some((offset, length)) = self.pieces.last_mut() else {
                return;
            };
            self.hasher.update_zeros(*offset - self.at);
            let (now, rest) = bytes.split_at((bytes.len() as u64).min(*length) as usize);
            self.hasher.update(now);
            *offset += now.len() as u64;
            *length -= now.len() as u64;
            self.at = *offset;
            if *length == 0 {
                self.pieces.pop();
            }
            bytes = rest;
        }
    }
}

/// The ledger's word for a stream that could not be opened.
pub(crate) fn outcome_of(error: &ReadError) -> scelle_event::Outcome {
    use scelle_event::Outcome;
    use std::io::ErrorKind;
    /// `ERROR_SHARING_VIOLATION` and `ERROR_LOCK_VIOLATION`.
    const WINDOWS_LOCKED: [i32; 2] = [32, 33];
    match error {
        ReadError::Absent { .. } => Outcome::Absent,
        ReadError::Unsupported { .. } | ReadError::Locked { .. } => Outcome::Unsupported,
        ReadError::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => Outcome::Absent,
            _ if cfg!(windows)
                && source
                    .raw_os_error()
                    .is_some_and(|code| WINDOWS_LOCKED.contains(&code)) =>
            {
                Outcome::Locked
            }
            ErrorKind::PermissionDenied => Outcome::Denied,
            ErrorKind::ResourceBusy => Outcome::Locked,
            _ => Outcome::Unreadable,
        },
        _ => Outcome::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use scelle_formats::Bytes;

    use super::*;

    #[test]
    fn unread_ranges_are_joined_past_a_limit() {
        let layout = Layout::of(&Bytes(vec![]));
        let mut reader = StoredReader::new(&Bytes(&[]), &layout);
        for number in 0..MOST_PIECES as u64 + 10 {
            reader.lose(number * 8192, &mut [1; 4096], || "torn".into());
        }
        assert_eq!(reader.unread.len(), MOST_PIECES);
        let first = (MOST_PIECES as u64 - 1) * 8192;
        assert_eq!(reader.unread.last(), Some(&(first, 10 * 8192 + 4096)));
    }
}

//! Files that the Windows Overlay Filter compresses: most of Windows 10 and 11 itself.
//!
//! # Layout of the stream `WofCompressedData`
//! A table of where each chunk but the first begins, counted from the end of the table: 32 bits each, or 64
//! where the file is longer than 32 bits can say. Then the chunks. One that is as long as what it stands for
//! is stored as it is.
//!
//! # Sources
//! - libyal/libfsntfs, "New Technologies File System (NTFS)", "Windows Overlay Filter (WOF)
//!   compressed data".

use std::ops::Range;

use scelle_formats::{
    RangeKind, ReadAt, ReadAtExt as _, ReadError,
    codec::{CodecError, lzx, xpress_huffman},
};

use super::{super::records::damaged, Damage, Ranges, Units};
use crate::image::Joined;

/// So much is read at once, as what it stands for.
const BATCH_BYTES: u64 = 512 << 10;
/// In streams of more chunks, a read has to find out what can't be read.
const MOST_LISTED_CHUNKS: u64 = 1 << 24;

/// By what a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ntfs) enum Algorithm {
    /// XPRESS, with chunks of so many bytes.
    Xpress(u32),
    Lzx,
}

impl Algorithm {
    /// By its number in a reparse point.
    pub(in crate::ntfs) fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Xpress(4 << 10)),
            1 => Some(Self::Lzx),
            2 => Some(Self::Xpress(8 << 10)),
            3 => Some(Self::Xpress(16 << 10)),
            _ => None,
        }
    }

    fn chunk_bytes(self) -> u64 {
        match self {
            Self::Xpress(bytes) => bytes.into(),
            Self::Lzx => lzx::CHUNK_BYTES as u64,
        }
    }
}

/// A file of compressed chunks.
pub(in crate::ntfs) struct Wof {
    packed: Box<dyn ReadAt>,
    algorithm: Algorithm,
    real_bytes: u64,
    chunks: u64,
    /// Bytes of each entry of the table.
    entry_bytes: u64,
}

impl Wof {
    /// A file of `real_bytes` whose chunks are `packed`.
    pub(in crate::ntfs) fn new(
        packed: Box<dyn ReadAt>,
        algorithm: Algorithm,
        real_bytes: u64,
    ) -> Result<Self, ReadError> {
        let is_wide = real_bytes > u32::MAX.into();
        let found = Self {
            algorithm,
            real_bytes,
            chunks: real_bytes.div_ceil(algorithm.chunk_bytes()),
            entry_bytes: if is_wide { 8 } else { 4 },
            packed,
        };
        // Each chunk has a byte at least: what can't be held is not taken for a length.
        if found.table_bytes().saturating_add(found.chunks) > found.packed.len() {
            return Err(damaged(
                "the stream WofCompressedData",
                0,
                format!(
                    "it has {} bytes, too few for a file of {real_bytes}",
                    found.packed.len()
                ),
            ));
        }
        Ok(found)
    }

    fn table_bytes(&self) -> u64 {
        self.chunks.saturating_sub(1) * self.entry_bytes
    }

    /// Where the chunks lie in the stream, and where the last one ends.
    fn places(&self, chunks: Range<u64>) -> Result<Vec<u64>, ReadError> {
        let table_bytes = self.table_bytes();
        // The entry for a chunk lies at its number less one.
        let first = chunks.start.max(1);
        let last = chunks.end.min(self.chunks.saturating_sub(1));
        let count = (last + 1).saturating_sub(first);
        let mut table = vec![0; (count * self.entry_bytes) as usize];
        self.packed.read_exact_at(
            "the table of WofCompressedData",
            (first - 1) * self.entry_bytes,
            &mut table,
        )?;
        let mut places = Vec::with_capacity(count as usize + 2);
        if chunks.start == 0 {
            places.push(table_bytes);
        }
        places.extend(table.chunks_exact(self.entry_bytes as usize).map(|entry| {
            let mut word = [0; 8];
            word[..entry.len()].copy_from_slice(entry);
            table_bytes.saturating_add(u64::from_le_bytes(word))
        }));
        if chunks.end == self.chunks {
            places.push(self.packed.len());
        }
        Ok(places)
    }

    /// Reads the places of some chunks, and the chunks, as far as they can be had in one piece.
    fn load(&self, number: u64, state: &mut State) -> Result<(), ReadError> {
        let most = BATCH_BYTES / self.algorithm.chunk_bytes();
        let until = state.until.clamp(number + 1, number + most);
        state.loaded.clear();
        state.places.clear();
        state.first = number;
        state.places = self.places(number..until.min(self.chunks))?;
        if let (Some(first), Some(last)) = (state.places.first(), state.places.last())
            && let Some(bytes) = last.checked_sub(*first)
            && bytes <= BATCH_BYTES
        {
            state.loaded.resize(bytes as usize, 0);
            // Where some of it can't be read, each chunk is tried alone.
            match self.packed.read_full_at(*first, &mut state.loaded) {
                Ok(have) => state.loaded.truncate(have),
                Err(_) => state.loaded.clear(),
            }
        }
        Ok(())
    }

    fn chunk(&self, number: u64, state: &mut State, out: &mut [u8]) -> Result<(), ReadError> {
        let bad = |why: String| damaged("a WOF chunk", number * self.algorithm.chunk_bytes(), why);
        let known = number.checked_sub(state.first);
        if known.is_none_or(|at| at + 1 >= state.places.len() as u64) {
            self.load(number, state)?;
        }
        let at = (number - state.first) as usize;
        let [start, end] = state.places[at..][..2] else {
            return Err(bad("the table does not say where it lies".to_owned()));
        };
        let size = end
            .checked_sub(start)
            .and_then(|size| usize::try_from(size).ok());
        let size = size
            .filter(|size| *size <= out.len())
            .ok_or_else(|| bad(format!("the table says that it lies from {start} to {end}")))?;
        let place = start.checked_sub(state.places[0]).map(|at| at as usize);
        let input = match place.and_then(|at| state.loaded.get(at..at.checked_add(size)?)) {
            Some(input) => input,
            None => {
                state.alone.resize(size, 0);
                self.packed
                    .read_exact_at("a WOF chunk", start, &mut state.alone)?;
                &state.alone[..]
            }
        };
        if size == out.len() {
            out.copy_from_slice(input);
            return Ok(());
        }
        let outcome = match self.algorithm {
            Algorithm::Xpress(_) => state.xpress.get_or_insert_default().decode(input, out),
            Algorithm::Lzx => state.lzx.get_or_insert_default().decode(input, out),
        };
        outcome.map_err(|error: CodecError| bad(error.to_string()))
    }
}

/// What a thread needs to decompress.
#[derive(Default)]
pub(in crate::ntfs) struct State {
    /// Up to which chunk it will read.
    until: u64,
    /// The chunk of the first place.
    first: u64,
    places: Vec<u64>,
    /// What lies from the first place on.
    loaded: Vec<u8>,
    /// A chunk that was read alone.
    alone: Vec<u8>,
    xpress: Option<Box<xpress_huffman::Decoder>>,
    lzx: Option<Box<lzx::Decoder>>,
}

impl Units for Wof {
    type State = State;

    fn real_bytes(&self) -> u64 {
        self.real_bytes
    }

    fn valid_bytes(&self) -> u64 {
        self.real_bytes
    }

    fn unit_bytes(&self) -> usize {
        self.algorithm.chunk_bytes() as usize
    }

    fn bytes_of(&self, number: u64) -> usize {
        let chunk_bytes = self.algorithm.chunk_bytes();
        let before = number.saturating_mul(chunk_bytes);
        chunk_bytes.min(self.real_bytes.saturating_sub(before)) as usize
    }

    fn ahead(&self, numbers: Range<u64>, state: &mut State) {
        state.until = numbers.end;
    }

    fn decode(&self, number: u64, state: &mut State, out: &mut [u8]) -> Damage {
        match self.chunk(number, state, out) {
            Ok(()) => Damage::new(),
            Err(error) => {
                out.fill(0);
                vec![(0..out.len(), error)]
            }
        }
    }

    fn ranges(&self) -> Ranges<'_> {
        let lost: Vec<Range<u64>> = self
            .packed
            .ranges()
            .filter(|(_, kind)| *kind == RangeKind::Unreadable)
            .map(|(range, _)| range)
            .collect();
        if lost.is_empty() || self.chunks > MOST_LISTED_CHUNKS {
            let all = (0..self.real_bytes, RangeKind::Data);
            return Box::new((self.real_bytes > 0).then_some(all).into_iter());
        }
        let chunk_bytes = self.algorithm.chunk_bytes();
        Box::new(Joined::new((0..self.chunks).map(move |number| {
            let place = self.places(number..number + 1);
            let is_lost = match place.as_deref() {
                Ok([start, end, ..]) => lost
                    .iter()
                    .any(|lost| lost.start < *end && *start < lost.end),
                _ => true,
            };
            let start = number * chunk_bytes;
            let kind = match is_lost {
                true => RangeKind::Unreadable,
                false => RangeKind::Data,
            };
            (start..start + self.bytes_of(number) as u64, kind)
        })))
    }
}

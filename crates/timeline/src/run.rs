//! Rows in sorted runs: raw while they come in, packed once there are many.
//!
//! A raw run is an arena of blobs in the order of the input, and an entry of 32 bytes a row that
//! is sorted in its stead. A packed run holds the rows in their order, in compressed blocks of
//! some hundred rows: the keys apart from the blobs, so that merging reads no blob.

use std::{cmp::Ordering, collections::VecDeque, io, ops::Range};

use rayon::prelude::*;
use zstd::bulk::{Compressor, Decompressor};

use crate::{
    Error,
    blob::{Reader, UNDATED, blob_at, push_varint, read_head, read_row},
    names::Names,
    spill::{Spill, Stored},
};

/// A row of a raw run: its moment and its record's offset, and where its blob and itself are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The moment's [`rank`](crate::blob::rank) in two halves: 128 bits would align the entry
    /// to 48 bytes.
    high: u64,
    low: u64,
    pub(crate) offset: u64,
    pub(crate) blob: u32,
    pub(crate) row: u32,
}

impl Entry {
    pub(crate) fn new(at: u128, offset: u64, blob: usize, row: u32) -> Self {
        Self {
            high: (at >> 64) as u64,
            low: at as u64,
            offset,
            blob: u32::try_from(blob).expect("an arena is sealed long before 4 GiB"),
            row,
        }
    }

    /// Whether a row of that rank may have no moment.
    fn may_be_undated(&self) -> bool {
        self.at() == UNDATED
    }

    pub(crate) fn at(&self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

/// Rows as they came in.
#[derive(Default)]
pub(crate) struct Raw {
    pub(crate) arena: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) places: Places,
}

/// Which places the rows of a run have. Most runs are of one stream: then the order of two rows
/// seldom needs a look at their blobs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Places {
    /// There are no rows.
    #[default]
    None,
    /// All have this one.
    One(u32),
    /// There are several.
    Many,
}

impl Places {
    pub(crate) fn add(&mut self, other: Self) {
        *self = match (*self, other) {
            (Self::None, other) => other,
            (own, Self::None) => own,
            (own, other) if own == other => own,
            _ => Self::Many,
        };
    }
}

/// Past this an arena's positions would not fit 32 bits.
const ARENA_CAP: usize = 1 << 31;

impl Raw {
    pub(crate) fn bytes(&self) -> usize {
        self.arena.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Whether the rows of `unit` still fit the arena's positions.
    pub(crate) fn has_room_for(&self, unit: &Self) -> bool {
        self.arena.len() + unit.arena.len() <= ARENA_CAP
    }

    pub(crate) fn append(&mut self, unit: &Self) {
        let base = u32::try_from(self.arena.len()).expect("room was asked for");
        self.places.add(unit.places);
        self.arena.extend_from_slice(&unit.arena);
        self.entries.extend(unit.entries.iter().map(|entry| Entry {
            blob: entry.blob + base,
            ..*entry
        }));
    }

    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.places = Places::None;
    }

    pub(crate) fn sort(&mut self, names: &Names) {
        let arena = &*self.arena;
        let is_one_place = self.places != Places::Many;
        self.entries.par_sort_unstable_by(|a, b| {
            (a.high, a.low)
                .cmp(&(b.high, b.low))
                .then_with(|| {
                    // Of one stream the offset is next, unless one of both has no moment.
                    if is_one_place && !a.may_be_undated() {
                        a.offset.cmp(&b.offset)
                    } else {
                        Ordering::Equal
                    }
                })
                .then_with(|| compare_ties(&key_of(arena, a), &key_of(arena, b), names))
                // Rows that nothing tells apart keep the order of the input.
                .then_with(|| (a.blob, a.row).cmp(&(b.blob, b.row)))
        });
    }

    /// The sorted rows as a packed run.
    pub(crate) fn pack(&self, spill: &Spill) -> Result<Packed, Error> {
        let blocks: Vec<Vec<Block>> = self
            .entries
            .par_chunks(BLOCK_ROWS)
            .map_init(Packer::new, |packer, rows| match packer {
                Ok(packer) => packer.pack(&self.arena, rows, spill),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string()).into()),
            })
            .collect::<Result<_, _>>()?;
        Ok(Packed {
            rows: self.entries.len() as u64,
            blocks: blocks.into_iter().flatten().collect(),
        })
    }
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) at: u128,
    pub(crate) place: u32,
    pub(crate) ordinal: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) record: Option<u64>,
    pub(crate) dated: bool,
}

pub(crate) fn key_of(arena: &[u8], entry: &Entry) -> Key {
    let bytes = &arena[entry.blob as usize..];
    let head = read_head(&mut Reader::new(bytes));
    let row = read_row(bytes, entry.row);
    Key {
        at: entry.at(),
        place: head.place,
        ordinal: row.ordinal,
        offset: entry.offset,
        length: head.length,
        record: head.record,
        dated: row.basis.is_dated(),
    }
}

impl Key {
    pub(crate) fn compare(&self, other: &Self, names: &Names) -> Ordering {
        self.at
            .cmp(&other.at)
            .then_with(|| compare_ties(self, other, names))
    }
}

fn compare_ties(a: &Key, b: &Key, names: &Names) -> Ordering {
    // The latest of all moments shares its rank with rows that have none; those come last.
    b.dated
        .cmp(&a.dated)
        .then_with(|| names.order_of_streams(a.place, b.place))
        .then_with(|| (a.offset, a.length).cmp(&(b.offset, b.length)))
        .then_with(|| names.order_of_artefacts(a.place, b.place))
        .then_with(|| (a.record, a.ordinal).cmp(&(b.record, b.ordinal)))
}

/// Sorted rows in compressed blocks.
pub(crate) struct Packed {
    pub(crate) rows: u64,
    pub(crate) blocks: Vec<Block>,
}

pub(crate) struct Block {
    rows: u32,
    keys: Frame,
    body: Frame,
}

/// A compressed block, and how many bytes it gives.
struct Frame {
    stored: Stored,
    bytes: u32,
}

impl Frame {
    fn unpack(
        &self,
        spill: &Spill,
        zstd: &mut Decompressor<'static>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        out.clear();
        out.reserve(self.bytes as usize);
        zstd.decompress_to_buffer(&spill.fetch(&self.stored)?, out)?;
        Ok(())
    }
}

/// Few enough that a merge of hundreds of runs holds a block of each.
const BLOCK_ROWS: usize = 512;
const BLOCK_BYTES: usize = 256 << 10;
/// The rows of one moment repeat each other: the fastest level finds that.
const LEVEL: i32 = -3;

struct Packer {
    keys: Vec<u8>,
    body: Vec<u8>,
    frame: Vec<u8>,
    zstd: Compressor<'static>,
}

impl Packer {
    fn new() -> io::Result<Self> {
        Ok(Self {
            keys: Vec::new(),
            body: Vec::new(),
            frame: Vec::new(),
            zstd: Compressor::new(LEVEL)?,
        })
    }

    fn pack(&mut self, arena: &[u8], rows: &[Entry], spill: &Spill) -> Result<Vec<Block>, Error> {
        let mut blocks = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            self.keys.clear();
            self.body.clear();
            let mut previous = (0, u32::MAX);
            let mut count = 0;
            for entry in rest {
                if self.body.len() >= BLOCK_BYTES {
                    break;
                }
                let (at, blob) = previous;
                write_key(&mut self.keys, at, &key_of(arena, entry));
                push_wide(&mut self.body, entry.at().wrapping_sub(at));
                push_varint(&mut self.body, entry.offset);
                push_varint(&mut self.body, entry.row.into());
                // Rows of one record and one moment are neighbours: their blob stands once.
                self.body.push((blob == entry.blob).into());
                if blob != entry.blob {
                    let bytes = blob_at(arena, entry.blob as usize);
                    self.body.extend_from_slice(bytes);
                }
                previous = (entry.at(), entry.blob);
                count += 1;
            }
            let mut frame = |bytes: &[u8]| {
                self.frame.clear();
                self.frame
                    .reserve(zstd::zstd_safe::compress_bound(bytes.len()));
                self.zstd.compress_to_buffer(bytes, &mut self.frame)?;
                Ok::<_, Error>(Frame {
                    stored: spill.keep(&self.frame)?,
                    bytes: u32::try_from(bytes.len()).expect("a block is far below 4 GiB"),
                })
            };
            blocks.push(Block {
                rows: count as u32,
                keys: frame(&self.keys)?,
                body: frame(&self.body)?,
            });
            rest = &rest[count..];
        }
        Ok(blocks)
    }
}

fn write_key(out: &mut Vec<u8>, before: u128, key: &Key) {
    push_wide(out, key.at.wrapping_sub(before));
    out.push(u8::from(key.dated) | u8::from(key.record.is_some()) << 1);
    push_varint(out, key.place.into());
    push_varint(out, key.offset);
    push_varint(out, key.length);
    push_varint(out, key.record.unwrap_or(0));
    push_varint(out, key.ordinal.into());
}

fn read_key(reader: &mut Reader<'_>, before: u128) -> Key {
    let at = before.wrapping_add(read_wide(reader));
    let flags = reader.byte();
    let place = reader.narrow();
    let offset = reader.varint();
    let length = reader.varint();
    let record = reader.varint();
    Key {
        at,
        place,
        ordinal: reader.narrow(),
        offset,
        length,
        record: (flags & 2 != 0).then_some(record),
        dated: flags & 1 != 0,
    }
}

/// 128 bits in two varints, the small half first.
fn push_wide(out: &mut Vec<u8>, value: u128) {
    push_varint(out, value as u64);
    push_varint(out, (value >> 64) as u64);
}

fn read_wide(reader: &mut Reader<'_>) -> u128 {
    let low = u128::from(reader.varint());
    low | u128::from(reader.varint()) << 64
}

/// One of the runs that are merged.
pub(crate) enum Run {
    Raw(Raw),
    Packed(Packed),
}

impl Run {
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Raw(raw) => raw.entries.len() as u64,
            Self::Packed(packed) => packed.rows,
        }
    }
}

/// Gives the keys of a run, one after the other.
pub(crate) struct Keys<'a> {
    run: &'a Run,
    next: usize,
    block: VecDeque<Key>,
    bytes: Vec<u8>,
    zstd: Decompressor<'static>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(run: &'a Run) -> io::Result<Self> {
        Ok(Self {
            run,
            next: 0,
            block: VecDeque::new(),
            bytes: Vec::new(),
            zstd: Decompressor::new()?,
        })
    }

    pub(crate) fn next(&mut self, spill: &Spill) -> Result<Option<Key>, Error> {
        match self.run {
            Run::Raw(raw) => {
                let entry = raw.entries.get(self.next);
                self.next += 1;
                Ok(entry.map(|entry| key_of(&raw.arena, entry)))
            }
            Run::Packed(packed) => {
                if self.block.is_empty() {
                    let Some(block) = packed.blocks.get(self.next) else {
                        return Ok(None);
                    };
                    self.next += 1;
                    block.keys.unpack(spill, &mut self.zstd, &mut self.bytes)?;
                    let mut reader = Reader::new(&self.bytes);
                    let mut at = 0;
                    for _ in 0..block.rows {
                        let key = read_key(&mut reader, at);
                        at = key.at;
                        self.block.push_back(key);
                    }
                }
                Ok(self.block.pop_front())
            }
        }
    }
}

/// A row as its run holds it.
#[derive(Clone, Copy)]
pub(crate) struct Sorted<'a> {
    pub(crate) at: u128,
    pub(crate) offset: u64,
    pub(crate) blob: &'a [u8],
    pub(crate) row: u32,
    /// Tells blobs apart: rows that follow each other with one number have one record.
    pub(crate) number: u64,
}

/// Gives the rows of a run from one on, in order.
pub(crate) struct Rows<'a> {
    run: &'a Run,
    spill: &'a Spill,
    next: u64,
    /// Of a packed run: the next block to load, the bytes of the last, what is left in it.
    block: usize,
    bytes: Vec<u8>,
    cursor: usize,
    left: u32,
    at: u128,
    blob: Range<usize>,
    number: u64,
    zstd: Decompressor<'static>,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(run: &'a Run, spill: &'a Spill, from: u64) -> Result<Self, Error> {
        let mut rows = Self {
            run,
            spill,
            next: from,
            block: 0,
            bytes: Vec::new(),
            cursor: 0,
            left: 0,
            at: 0,
            blob: 0..0,
            number: 0,
            zstd: Decompressor::new()?,
        };
        if let Run::Packed(packed) = run {
            let mut skip = from;
            while let Some(block) = packed.blocks.get(rows.block) {
                if u64::from(block.rows) > skip {
                    break;
                }
                skip -= u64::from(block.rows);
                rows.block += 1;
            }
            for _ in 0..skip {
                rows.next()?;
            }
        }
        Ok(rows)
    }

    /// The next row; the caller knows that there is one.
    pub(crate) fn next(&mut self) -> Result<Sorted<'_>, Error> {
        match self.run {
            Run::Raw(raw) => {
                let entry = &raw.entries[self.next as usize];
                self.next += 1;
                Ok(Sorted {
                    at: entry.at(),
                    offset: entry.offset,
                    blob: blob_at(&raw.arena, entry.blob as usize),
                    row: entry.row,
                    number: entry.blob.into(),
                })
            }
            Run::Packed(packed) => {
                if self.left == 0 {
                    let block = &packed.blocks[self.block];
                    self.block += 1;
                    block
                        .body
                        .unpack(self.spill, &mut self.zstd, &mut self.bytes)?;
                    self.left = block.rows;
                    self.cursor = 0;
                    self.at = 0;
                }
                self.left -= 1;
                let mut reader = Reader::new(&self.bytes[self.cursor..]);
                let at = self.at.wrapping_add(read_wide(&mut reader));
                let offset = reader.varint();
                let row = reader.narrow();
                let is_same = reader.byte() != 0;
                self.cursor = self.bytes.len() - reader.left();
                if !is_same {
                    let length = blob_at(&self.bytes, self.cursor).len();
                    self.blob = self.cursor..self.cursor + length;
                    self.cursor += length;
                    self.number += 1;
                }
                self.at = at;
                Ok(Sorted {
                    at,
                    offset,
                    blob: &self.bytes[self.blob.clone()],
                    row,
                    number: self.number,
                })
            }
        }
    }
}

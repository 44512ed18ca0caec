//! One record of an event log, from no more of the log than it rests on: what a proof of a row holds.
//!
//! Read are the log's beginning, the header of the record's chunk, the record, and, one after the other, the
//! templates and names in the chunk that its binary XML refers to. Where the record does not stand as the chunk's header
//! says (among the declared ones with another id, or with two sizes that differ), what it is follows from its neighbours, and all of the
//! chunk is read.
//!
//! # What is not asked
//! Whether the records before it lead to that offset. Bytes inside another record that look like a record with a fitting id are one here.
//! Nor are limits asked that hold for all records of a chunk together.

use std::ops::Range;

use scelle_formats::{
    DecodeError, ReadAt, ReadAtExt,
    evtx::{
        CHUNK_BYTES, CHUNK_HEADER_BYTES, CHUNK_MAGIC, ChunkHeader, Decoder, FILE_HEADER_BYTES,
        Located, RECORD_HEADER_BYTES, record_alone, records,
    },
};

use crate::{Emitter, ParseAlone};

use super::evtx::{Evtx, observe};

/// Rounds of decoding, each of which may find that more has to be read: names in templates in values in values.
const MOST_ROUNDS: usize = 64;

impl ParseAlone for Evtx {
    fn parse_alone(
        &self,
        at: u64,
        stream: &dyn ReadAt,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError> {
        let mut magic = [0; CHUNK_MAGIC.len()];
        stream.read_exact_at("event log", 0, &mut magic)?;
        let start = if &magic == CHUNK_MAGIC {
            0
        } else {
            FILE_HEADER_BYTES
        };
        let Some(in_chunks) = at.checked_sub(start).filter(|_| at < stream.len()) else {
            return Err(no_record(at));
        };
        let base = start + in_chunks / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        let mut chunk = Sparse::new(stream, base)?;
        let place = (at - base) as usize;
        let located = chunk.locate(place)?.ok_or_else(|| no_record(at))?;
        chunk.read_for(&located)?;
        observe(
            &mut fresh(Decoder::new()),
            &chunk.bytes,
            base,
            &located,
            out,
        );
        Ok(())
    }
}

fn no_record(at: u64) -> DecodeError {
    DecodeError::Invalid {
        field: "record",
        at,
        why: "no record begins here".to_owned(),
    }
}

fn fresh(mut decoder: Decoder) -> Decoder {
    decoder.start_chunk();
    decoder
}

/// A chunk of which some is read; zeros stand for the rest.
struct Sparse<'a> {
    stream: &'a dyn ReadAt,
    base: u64,
    bytes: Vec<u8>,
    /// What was read: ranges in order, none of which touches another.
    have: Vec<Range<usize>>,
}

impl<'a> Sparse<'a> {
    fn new(stream: &'a dyn ReadAt, base: u64) -> Result<Self, DecodeError> {
        let length = stream.len().saturating_sub(base).min(CHUNK_BYTES as u64) as usize;
        let mut chunk = Self {
            stream,
            base,
            bytes: vec![0; length],
            have: Vec::new(),
        };
        if length < CHUNK_BYTES {
            // That the log ends here is something that the record rests on: its last byte shows it.
            chunk.need(length.saturating_sub(1)..length)?;
        }
        Ok(chunk)
    }

    /// Reads a range, as far as the chunk goes; whether something was missing of it.
    fn need(&mut self, range: Range<usize>) -> Result<bool, DecodeError> {
        let range = range.start.min(self.bytes.len())..range.end.min(self.bytes.len());
        let is_there = |have: &Range<usize>| have.start <= range.start && range.end <= have.end;
        if range.is_empty() || self.have.iter().any(is_there) {
            return Ok(false);
        }
        let at = self.base + range.start as u64;
        self.stream
            .read_exact_at("event log", at, &mut self.bytes[range.clone()])?;
        self.have.push(range);
        self.have.sort_unstable_by_key(|have| have.start);
        let mut joined: Vec<Range<usize>> = Vec::with_capacity(self.have.len());
        for have in self.have.drain(..) {
            match joined.last_mut() {
                Some(last) if have.start <= last.end => last.end = last.end.max(have.end),
                _ => joined.push(have),
            }
        }
        self.have = joined;
        Ok(true)
    }

    /// The record at that place in the chunk.
    fn locate(&mut self, place: usize) -> Result<Option<Located>, DecodeError> {
        self.need(0..CHUNK_HEADER_BYTES)?;
        self.need(place..place + RECORD_HEADER_BYTES)?;
        if let Ok(header) = ChunkHeader::decode(&self.bytes, self.base) {
            let size = self.bytes.get(place + 4..place + 8);
            let size = size
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |size| u32::from_le_bytes(*size));
            self.need(place..place.saturating_add(size as usize))?;
            if let Some(located) = record_alone(&self.bytes, &header, place) {
                return Ok(Some(located));
            }
        }
        self.need(0..CHUNK_BYTES)?;
        let header = ChunkHeader::decode(&self.bytes, self.base).ok();
        let mut located = None;
        records(&self.bytes, header.as_ref(), |found| {
            if let Ok(found) = found
                && found.range.start == place
            {
                located = Some(found);
            }
        });
        Ok(located)
    }

    /// Reads what the record's binary XML refers to, until nothing is missing.
    fn read_for(&mut self, located: &Located) -> Result<(), DecodeError> {
        for _ in 0..MOST_ROUNDS {
            let mut decoder = fresh(Decoder::watched());
            // What is wrong with it is told by whoever decodes it when all is there.
            let damage = decoder
                .decode(&self.bytes, self.base, located.body())
                .map(drop);
            let seen = decoder.seen().to_vec();
            drop(damage);
            let mut is_missing = false;
            for range in seen {
                is_missing |= self.need(range)?;
            }
            if !is_missing {
                return Ok(());
            }
        }
        Err(DecodeError::Limit {
            field: "references in a record",
            at: self.base + located.range.start as u64,
            value: MOST_ROUNDS as u64 + 1,
            limit: MOST_ROUNDS as u64,
        })
    }
}

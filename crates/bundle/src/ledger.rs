//! Lines kept until the end, compressed, in memory.
//!
//! `records/*.jsonl` stand behind the payload, and nothing may be spilled to a disk in clear. So
//! each is compressed as it grows, into the very bytes of the member that it will be.

use std::io::{BufRead, BufReader, Read};

use flate2::read::DeflateDecoder;
use scelle_formats::{Digests, Hasher};

use crate::{
    codec::{BLOCK_BYTES, DICTIONARY_BYTES, Method, SEGMENT_BYTES},
    zip::Facts,
};

/// A tag file under construction.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What primes the next block, then the bytes that it will hold.
    buffer: Vec<u8>,
    history_bytes: usize,
    compressed: Compressed,
    crc: crc32fast::Hasher,
    hasher: Hasher,
}

/// The compressed bytes of a whole member.
#[derive(Default)]
pub(crate) struct Compressed {
    blocks: Vec<Box<[u8]>>,
    /// Compressed bytes a segment.
    pub(crate) segments: Vec<u64>,
    size: u64,
}

impl Ledger {
    /// Adds a line, without its end.
    pub(crate) fn push(&mut self, line: &[u8]) {
        let begin = self.buffer.len();
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.hasher.update(&self.buffer[begin..]);
        // A full block waits for one more byte: the last block of all must not be empty.
        while self.buffer.len() - self.history_bytes > BLOCK_BYTES {
            self.encode(BLOCK_BYTES, false);
        }
    }

    fn encode(&mut self, bytes: usize, is_last: bool) {
        let (history, rest) = self.buffer.split_at(self.history_bytes);
        let block = Method::Deflate.encode_block(history, &rest[..bytes], is_last);
        self.crc.combine(&block.crc);
        self.compressed.push(block.data, block.size);
        let end = self.history_bytes + bytes;
        let is_segment_end = self.compressed.size.is_multiple_of(SEGMENT_BYTES as u64);
        self.history_bytes = if is_segment_end {
            0
        } else {
            DICTIONARY_BYTES.min(end)
        };
        self.buffer.drain(..end - self.history_bytes);
    }

    /// The member that the lines make.
    pub(crate) fn finish(mut self) -> (Compressed, Facts, Digests) {
        self.encode(self.buffer.len() - self.history_bytes, true);
        let facts = Facts {
            method: Method::Deflate,
            crc32: self.crc.finalize(),
            compressed: self.compressed.segments.iter().sum(),
            size: self.compressed.size,
        };
        (self.compressed, facts, self.hasher.finish())
    }
}

impl Compressed {
    fn push(&mut self, data: Vec<u8>, size: usize) {
        if self.size.is_multiple_of(SEGMENT_BYTES as u64) {
            self.segments.push(0);
        }
        if let Some(segment) = self.segments.last_mut() {
            *segment += data.len() as u64;
        }
        self.size += size as u64;
        self.blocks.push(data.into_boxed_slice());
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(|block| &**block)
    }

    /// The lines again, in order.
    pub(crate) fn lines(&self) -> Lines<'_> {
        Lines {
            reader: BufReader::with_capacity(
                1 << 16,
                DeflateDecoder::new(Joined {
                    blocks: &self.blocks,
                    at: 0,
                }),
            ),
            line: Vec::new(),
        }
    }
}

/// Reads lines back, one at a time.
pub(crate) struct Lines<'a> {
    reader: BufReader<DeflateDecoder<Joined<'a>>>,
    line: Vec<u8>,
}

impl Lines<'_> {
    /// The next line, without its end.
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        self.line.clear();
        self.reader
            .read_until(b'\n', &mut self.line)
            .expect("what was deflated here inflates");
        self.line.strip_suffix(b"\n")
    }
}

struct Joined<'a> {
    blocks: &'a [Box<[u8]>],
    at: usize,
}

impl Read for Joined<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while let [first, rest @ ..] = self.blocks {
            let left = &first[self.at..];
            if left.is_empty() {
                self.blocks = rest;
                self.at = 0;
                continue;
            }
            let count = left.len().min(out.len());
            out[..count].copy_from_slice(&left[..count]);
            self.at += count;
            return Ok(count);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        let lines: Vec<Vec<u8>> = (0..200_000u32)
            .map(|at| format!("line {at} {}", at.wrapping_mul(2_654_435_761)).into_bytes())
            .collect();
        let mut ledger = Ledger::default();
        let mut whole = Vec::new();
        for line in &lines {
            ledger.push(line);
            whole.extend_from_slice(line);
            whole.push(b'\n');
        }
        let (compressed, facts, digests) = ledger.finish();
        assert_eq!(facts.size, whole.len() as u64);
        assert_eq!(digests, Digests::of(&whole));
        assert_eq!(facts.crc32, crc32fast::hash(&whole));
        let mut back = compressed.lines();
        for line in &lines {
            assert_eq!(back.next(), Some(&line[..]));
        }
        assert_eq!(back.next(), None);
        let (empty, facts, _) = Ledger::default().finish();
        assert_eq!((facts.size, empty.lines().next()), (0, None));
    }
}

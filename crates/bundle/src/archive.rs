//! The archive as it grows: members, the hash of all before, the central directory.

use std::io;

use scelle_formats::{Digests, ReadAt, ReadAtExt as _};

use crate::{
    Error, Output,
    checkpoint::Segments,
    codec::{Block, Method, SEGMENT_BYTES},
    ledger::{Compressed, Lines},
    reader::Found,
    zip::{Directory, Facts},
};

/// Bytes that are gathered before they are hashed and written.
const BUFFER_BYTES: usize = 1 << 20;
/// How many segments of one stream are under way at most, twice: read and compressed.
const MOST_SEGMENTS: usize = 8;

/// An output that counts and hashes.
pub(crate) struct Archive<W> {
    out: W,
    folder: String,
    buffer: Vec<u8>,
    /// Bytes handed to `out`.
    written: u64,
    hasher: blake3::Hasher,
    /// Facts of all members but the payload's names, packed; names of tag files in order.
    packed: Vec<u8>,
    tag_names: Vec<String>,
    members: u64,
    /// Of members with more than one segment, until a checkpoint takes them.
    pub(crate) segments: Vec<Segments>,
}

/// Whether a member is evidence or one of the bag's own files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Payload,
    Tag,
}

impl<W: Output> Archive<W> {
    pub(crate) fn new(out: W, folder: &str) -> Self {
        Self {
            out,
            folder: format!("{folder}/"),
            buffer: Vec::with_capacity(BUFFER_BYTES + (BUFFER_BYTES >> 2)),
            written: 0,
            hasher: blake3::Hasher::new(),
            packed: Vec::new(),
            tag_names: Vec::new(),
            members: 0,
            segments: Vec::new(),
        }
    }

    /// Goes on with an archive of which `written` bytes are there, whose hash is `hasher`; its
    /// members are told by [`known`](Self::known).
    pub(crate) fn resume(out: W, folder: &str, hasher: blake3::Hasher, written: u64) -> Self {
        Self {
            hasher,
            written,
            ..Self::new(out, folder)
        }
    }

    /// Notes a member that is there already; a checkpoint has its segments.
    pub(crate) fn known(&mut self, kind: Kind, name: &str, facts: &Facts) {
        self.note(kind, name, 0, facts, vec![]);
    }

    /// Writes a payload member whose compressed bytes lie in another archive.
    pub(crate) fn copy(
        &mut self,
        name: &str,
        found: &Found,
        source: &dyn ReadAt,
        segments: &[u64],
    ) -> Result<(), Error> {
        let offset = self.len();
        let full = format!("{}{name}", self.folder);
        found.facts.local(&full, &mut self.buffer);
        let (mut at, end) = (found.data_at, found.data_at + found.facts.compressed);
        let mut step = vec![0; BUFFER_BYTES];
        while at < end {
            let count = (end - at).min(BUFFER_BYTES as u64) as usize;
            source.read_exact_at("a member", at, &mut step[..count])?;
            self.put(&step[..count])?;
            at += count as u64;
        }
        found.facts.descriptor(&mut self.buffer);
        self.note(Kind::Payload, name, offset, &found.facts, segments.to_vec());
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The BLAKE3 of all bytes so far.
    pub(crate) fn hash(&mut self) -> Result<blake3::Hash, Error> {
        self.flush()?;
        Ok(self.hasher.finalize())
    }

    /// Puts all bytes so far on the device.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.out.sync().map_err(Error::Write)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.buffer);
        self.out.write_all(&self.buffer).map_err(Error::Write)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Notes a member that was written at `offset`.
    fn note(&mut self, kind: Kind, name: &str, offset: u64, facts: &Facts, segments: Vec<u64>) {
        self.packed
            .push(facts.method.number() as u8 | u8::from(kind == Kind::Tag) << 7);
        self.packed.extend_from_slice(&facts.crc32.to_le_bytes());
        put_varint(&mut self.packed, facts.compressed);
        put_varint(&mut self.packed, facts.size);
        self.members += 1;
        if kind == Kind::Tag {
            self.tag_names.push(name.to_owned());
        }
        if segments.len() > 1 {
            self.segments.push(Segments {
                member: name.to_owned(),
                offset,
                crc32: facts.crc32,
                compressed: segments,
            });
        }
    }

    /// Writes a member whose compressed bytes are all there.
    pub(crate) fn put_member<'a>(
        &mut self,
        kind: Kind,
        name: &str,
        facts: &Facts,
        blocks: impl Iterator<Item = &'a [u8]>,
        segments: Vec<u64>,
    ) -> Result<(), Error> {
        let offset = self.len();
        let full = format!("{}{name}", self.folder);
        facts.local(&full, &mut self.buffer);
        for block in blocks {
            self.put(block)?;
        }
        facts.descriptor(&mut self.buffer);
        self.note(kind, name, offset, facts, segments);
        Ok(())
    }

    /// Writes a member of one segment, of which all blocks are there.
    pub(crate) fn put_blocks(
        &mut self,
        kind: Kind,
        name: &str,
        method: Method,
        blocks: &[Block],
    ) -> Result<(), Error> {
        let mut crc = crc32fast::Hasher::new();
        blocks.iter().for_each(|block| crc.combine(&block.crc));
        let facts = Facts {
            method,
            crc32: crc.finalize(),
            compressed: blocks.iter().map(|block| block.data.len() as u64).sum(),
            size: blocks.iter().map(|block| block.size as u64).sum(),
        };
        let data = blocks.iter().map(|block| &block.data[..]);
        self.put_member(kind, name, &facts, data, vec![])
    }

    /// Writes a tag file that is in memory.
    pub(crate) fn put_bytes(
        &mut self,
        name: &str,
        method: Method,
        bytes: &[u8],
    ) -> Result<Digests, Error> {
        let mut at = 0;
        let mut hasher = scelle_formats::Hasher::new();
        self.put_stream(
            Kind::Tag,
            name,
            method,
            bytes.len() as u64,
            |out| {
                out.copy_from_slice(&bytes[at..at + out.len()]);
                at += out.len();
            },
            |bytes| hasher.update(bytes),
        )?;
        Ok(hasher.finish())
    }

    /// Writes a tag file that was compressed as it grew.
    pub(crate) fn put_compressed(
        &mut self,
        name: &str,
        compressed: &Compressed,
        facts: &Facts,
    ) -> Result<(), Error> {
        self.put_member(
            Kind::Tag,
            name,
            facts,
            compressed.blocks(),
            compressed.segments.clone(),
        )
    }

    /// Writes a member of `size` bytes: `fill` gives them in order, `hash` sees them in order.
    ///
    /// Reading, hashing and compressing go on at the same time on the caller's rayon pool.
    pub(crate) fn put_stream(
        &mut self,
        kind: Kind,
        name: &str,
        method: Method,
        size: u64,
        mut fill: impl FnMut(&mut [u8]) + Send,
        mut hash: impl FnMut(&[u8]) + Send,
    ) -> Result<(), Error> {
        let offset = self.len();
        let full = format!("{}{name}", self.folder);
        let mut facts = Facts {
            method,
            crc32: 0,
            compressed: 0,
            size,
        };
        let is_one_segment = size <= SEGMENT_BYTES as u64;
        if !is_one_segment {
            facts.local(&full, &mut self.buffer);
        }
        let batch = SEGMENT_BYTES * (rayon::current_num_threads() / 4).clamp(1, MOST_SEGMENTS);
        let mut left = size;
        let mut take = |buffer: &mut Vec<u8>, fill: &mut dyn FnMut(&mut [u8])| {
            let count = left.min(batch as u64) as usize;
            buffer.resize(count, 0);
            fill(buffer);
            left -= count as u64;
            left == 0
        };
        let mut crc = crc32fast::Hasher::new();
        let mut segments = Vec::new();
        let (mut now, mut next) = (Vec::new(), Vec::new());
        let mut is_last = take(&mut now, &mut fill);
        loop {
            let is_next_last;
            let (blocks, ()) = if is_last {
                is_next_last = true;
                rayon::join(|| method.encode(&now, true), || hash(&now))
            } else {
                let ((blocks, ()), ended) = rayon::join(
                    || rayon::join(|| method.encode(&now, false), || hash(&now)),
                    || take(&mut next, &mut fill),
                );
                is_next_last = ended;
                (blocks, ())
            };
            let mut in_segment = 0;
            for block in &blocks {
                crc.combine(&block.crc);
                facts.compressed += block.data.len() as u64;
                if in_segment == 0 {
                    segments.push(0);
                }
                if let Some(segment) = segments.last_mut() {
                    *segment += block.data.len() as u64;
                }
                in_segment = (in_segment + block.size) % SEGMENT_BYTES;
            }
            if is_one_segment {
                facts.crc32 = crc.finalize();
                facts.local(&full, &mut self.buffer);
                for block in &blocks {
                    self.put(&block.data)?;
                }
                break;
            }
            for block in &blocks {
                self.put(&block.data)?;
            }
            if is_last {
                facts.crc32 = crc.finalize();
                facts.descriptor(&mut self.buffer);
                break;
            }
            std::mem::swap(&mut now, &mut next);
            is_last = is_next_last;
        }
        self.note(kind, name, offset, &facts, segments);
        Ok(())
    }

    /// Writes the central directory and the end; the payload's names are in `files`, in order.
    pub(crate) fn finish(
        mut self,
        mut files: Lines<'_>,
        member_of: impl Fn(&[u8]) -> Result<String, Error>,
    ) -> Result<(W, u64), Error> {
        let start = self.len();
        let packed = std::mem::take(&mut self.packed);
        let tag_names = std::mem::take(&mut self.tag_names);
        let mut tag_names = tag_names.iter();
        let mut rest = &packed[..];
        let mut offset = 0;
        const OWN: &str = "what was packed here unpacks";
        while let [head, tail @ ..] = rest {
            let (crc32, tail) = tail.split_first_chunk::<4>().expect(OWN);
            rest = tail;
            let facts = Facts {
                method: Method::from_number(u16::from(head & 0x7F)).expect(OWN),
                crc32: u32::from_le_bytes(*crc32),
                compressed: get_varint(&mut rest).expect(OWN),
                size: get_varint(&mut rest).expect(OWN),
            };
            let name = if head & 0x80 == 0 {
                member_of(files.next().expect(OWN))?
            } else {
                tag_names.next().expect(OWN).clone()
            };
            let full = format!("{}{name}", self.folder);
            facts.central(&full, offset, &mut self.buffer);
            self.put(&[])?;
            offset += facts.span(&full).expect(OWN);
        }
        debug_assert_eq!(offset, start, "the members' spans are the archive so far");
        Directory {
            members: self.members,
            offset: start,
            bytes: self.len() - start,
        }
        .end(&mut self.buffer);
        self.sync()?;
        Ok((self.out, self.written))
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn get_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// An error of ours as a joiner of `scelle_parallel` passes it on.
pub(crate) fn to_io(error: Error) -> io::Error {
    io::Error::other(error)
}

/// The error that [`to_io`] wrapped.
pub(crate) fn from_io(error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::Write)
}

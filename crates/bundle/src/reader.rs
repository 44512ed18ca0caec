//! Reading members out of an archive, strictly.

use scelle_formats::{ReadAt, ReadAtExt as _};

use crate::{
    codec::{Method, SEGMENT_BYTES},
    ends,
    zip::{self, Directory, Facts},
};

/// Bytes of the central directory that are read at a time.
const DIRECTORY_STEP_BYTES: u64 = 256 << 10;

/// A member as the central directory has it; its name is without the bundle's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) facts: Facts,
    pub(crate) offset: u64,
}

/// An archive whose end record was found.
#[derive(Clone, Copy)]
pub(crate) struct ArchiveReader<'a> {
    pub(crate) source: &'a dyn ReadAt,
    pub(crate) directory: Directory,
}

impl<'a> ArchiveReader<'a> {
    /// Reads the end record; why there is none, if there is none.
    pub(crate) fn open(source: &'a dyn ReadAt) -> Result<Self, String> {
        let length = source.len();
        let from = length.saturating_sub(Directory::TAIL_BYTES as u64);
        let tail = source
            .read_range(from..length, Directory::TAIL_BYTES)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            source,
            directory: Directory::parse(&tail, length)?,
        })
    }

    /// The bundle's folder: what every name begins with, `/` included.
    pub(crate) fn folder(&self) -> Result<String, String> {
        let mut records = self.records();
        match records.next_record()? {
            Some((_, name, _)) => name
                .split_once('/')
                .map(|(folder, _)| format!("{folder}/"))
                .filter(|folder| crate::writer::is_plain(&folder[..folder.len() - 1]))
                .ok_or_else(|| format!("{name:?} lies in no bundle's folder")),
            None => Err("the archive is empty".into()),
        }
    }

    fn records(&self) -> Records<'a> {
        Records {
            archive: *self,
            at: self.directory.offset,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// The members in order, as they must lie: the first at 0, each behind the one before, the
    /// central directory behind the last.
    pub(crate) fn members(&self, folder: &'a str) -> Members<'a> {
        Members {
            records: self.records(),
            folder,
            expected: 0,
            left: self.directory.members,
        }
    }

    /// Checks the bytes around a member's data.
    pub(crate) fn check_frame(&self, folder: &str, member: &Member) -> Result<(), String> {
        let full = format!("{folder}{}", member.name);
        let mut header = Vec::new();
        member.facts.local(&full, &mut header);
        self.expect(member.offset, &header)
            .map_err(|_| "its local header differs from the central directory")?;
        let mut descriptor = Vec::new();
        member.facts.descriptor(&mut descriptor);
        let at = member.offset + member.facts.data_at(&full) + member.facts.compressed;
        self.expect(at, &descriptor)
            .map_err(|_| "its descriptor differs from the central directory".into())
    }

    fn expect(&self, offset: u64, bytes: &[u8]) -> Result<(), ()> {
        let mut there = vec![0; bytes.len()];
        match self.source.read_full_at(offset, &mut there) {
            Ok(count) if count == bytes.len() && there == bytes => Ok(()),
            _ => Err(()),
        }
    }

    /// Where a member's data begins.
    pub(crate) fn data_at(&self, folder: &str, member: &Member) -> u64 {
        member.offset + member.facts.data_at(&format!("{folder}{}", member.name))
    }

    /// Decodes a member from its beginning to its end. `segments` are the compressed bytes of
    /// each of its segments; without them it is decoded as one stream, as any Zip tool does.
    pub(crate) fn decode(
        &self,
        folder: &str,
        member: &Member,
        segments: &[u64],
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        let data_at = self.data_at(folder, member);
        if segments.is_empty() {
            let whole = Segment::whole(data_at, &member.facts);
            return self.decode_segment(member.facts.method, &whole, output);
        }
        for segment in Segment::all(data_at, &member.facts, segments)? {
            self.decode_segment(member.facts.method, &segment, output)?;
        }
        Ok(())
    }

    pub(crate) fn decode_segment(
        &self,
        method: Method,
        segment: &Segment,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        let (mut at, end) = (segment.offset, segment.offset + segment.compressed);
        method.decode(
            segment.size,
            segment.is_last,
            &mut |buffer| {
                let count = (end - at).min(buffer.len() as u64) as usize;
                let count = self
                    .source
                    .read_full_at(at, &mut buffer[..count])
                    .map_err(|error| error.to_string())?;
                at += count as u64;
                Ok(count)
            },
            output,
        )
    }

    /// A whole member of at most `cap` bytes, its frame and CRC checked.
    pub(crate) fn read(
        &self,
        folder: &str,
        member: &Member,
        segments: &[u64],
        cap: u64,
    ) -> Result<Vec<u8>, String> {
        if member.facts.size > cap {
            return Err(format!(
                "it claims {} bytes, more than the {cap} that it may have",
                member.facts.size
            ));
        }
        self.check_frame(folder, member)?;
        let mut bytes = Vec::new();
        self.decode(folder, member, segments, &mut |piece| {
            bytes.extend_from_slice(piece);
        })?;
        if crc32fast::hash(&bytes) != member.facts.crc32 {
            return Err("its CRC does not fit its bytes".into());
        }
        Ok(bytes)
    }
}

/// A part of a member that is decoded alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Where its compressed bytes begin in the archive.
    pub(crate) offset: u64,
    pub(crate) compressed: u64,
    pub(crate) size: u64,
    pub(crate) is_last: bool,
}

impl Segment {
    /// All of a member as one.
    pub(crate) fn whole(data_at: u64, facts: &Facts) -> Self {
        Self {
            offset: data_at,
            compressed: facts.compressed,
            size: facts.size,
            is_last: true,
        }
    }

    /// A member's segments.
    pub(crate) fn all(data_at: u64, facts: &Facts, table: &[u64]) -> Result<Vec<Self>, String> {
        const STEP: u64 = SEGMENT_BYTES as u64;
        if !facts.has_segments() {
            if facts.method == Method::Store && facts.compressed != facts.size {
                return Err("its stored size and its size differ".into());
            }
            return Ok(vec![Self::whole(data_at, facts)]);
        }
        let count = facts.size.div_ceil(STEP);
        let total = table
            .iter()
            .try_fold(0u64, |sum, bytes| sum.checked_add(*bytes));
        if table.len() as u64 != count || total != Some(facts.compressed) {
            return Err("the checkpoint's list of its segments does not fit it".into());
        }
        let mut offset = data_at;
        Ok(table
            .iter()
            .zip(0..)
            .map(|(compressed, number)| {
                let segment = Self {
                    offset,
                    compressed: *compressed,
                    size: STEP.min(facts.size - number * STEP),
                    is_last: number + 1 == count,
                };
                offset += compressed;
                segment
            })
            .collect())
    }
}

/// The records of the central directory, as they stand.
struct Records<'a> {
    archive: ArchiveReader<'a>,
    /// Where the next bytes are read.
    at: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Records<'_> {
    fn next_record(&mut self) -> Result<Option<(Facts, &str, u64)>, String> {
        let end = self.archive.directory.offset + self.archive.directory.bytes;
        loop {
            let parsed = zip::parse_central(&self.buffer[self.used..])?;
            if let Some((.., length)) = parsed {
                let begin = self.used;
                self.used += length;
                // Parsed again, since the borrow of the first must end before the buffer grows.
                return Ok(zip::parse_central(&self.buffer[begin..])?
                    .map(|(facts, name, offset, _)| (facts, name, offset)));
            }
            if self.at == end {
                return if self.used == self.buffer.len() {
                    Ok(None)
                } else {
                    Err("the central directory ends inside a record".into())
                };
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let count = (end - self.at).min(DIRECTORY_STEP_BYTES) as usize;
            let begin = self.buffer.len();
            self.buffer.resize(begin + count, 0);
            self.archive
                .source
                .read_exact_at("the central directory", self.at, &mut self.buffer[begin..])
                .map_err(|error| error.to_string())?;
            self.at += count as u64;
        }
    }
}

/// The members, checked to lie one behind the other.
pub(crate) struct Members<'a> {
    records: Records<'a>,
    folder: &'a str,
    expected: u64,
    left: u64,
}

impl Members<'_> {
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, String> {
        let directory = self.records.archive.directory;
        let Some((facts, full, offset)) = self.records.next_record()? else {
            if self.left > 0 {
                return Err("the central directory has fewer members than the end says".into());
            }
            if self.expected != directory.offset {
                return Err("bytes lie between the last member and the central directory".into());
            }
            return Ok(None);
        };
        self.left = self
            .left
            .checked_sub(1)
            .ok_or("the central directory has more members than the end says")?;
        let name = full
            .strip_prefix(self.folder)
            .ok_or_else(|| format!("{full:?} lies outside the bundle's folder"))?;
        if offset != self.expected {
            return Err(format!(
                "{name:?} begins at {offset}, and the member before ends at {}: members overlap, \
                 or bytes lie between them",
                self.expected
            ));
        }
        self.expected = facts
            .span(full)
            .and_then(|span| span.checked_add(offset))
            .filter(|end| *end <= directory.offset)
            .ok_or_else(|| format!("{name:?} reaches into the central directory"))?;
        let most = facts
            .compressed
            .saturating_mul(facts.method.highest_ratio())
            .saturating_add(SEGMENT_BYTES as u64);
        if facts.size > most {
            return Err(format!(
                "{name:?} claims {} bytes, more than {} can stand for",
                facts.size, facts.compressed
            ));
        }
        Ok(Some(Member {
            name: name.to_owned(),
            facts,
            offset,
        }))
    }
}

/// The longest local header: fixed part, name, Zip64 field.
pub(crate) const HEADER_BYTES: usize = 30 + 1024;

/// A whole member that was found by its local header; its name is with the bundle's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) facts: Facts,
    pub(crate) offset: u64,
    pub(crate) data_at: u64,
    pub(crate) end: u64,
}

/// The member whose local header is at `at`, written as it should be; `compressed` says how many
/// bytes it takes where its header does not, and is found by decoding where nobody knows.
///
/// # Errors
/// Why there is none.
pub(crate) fn member_at(
    source: &dyn ReadAt,
    at: u64,
    compressed: Option<u64>,
) -> Result<Found, String> {
    find_member(source, at, compressed, u64::MAX)
}

/// The member whose local header is at `at`, as [`member_at`] finds it, where it stands for no more
/// than `most` bytes.
///
/// # Errors
/// Why there is none.
pub(crate) fn small_member_at(source: &dyn ReadAt, at: u64, most: u64) -> Result<Found, String> {
    find_member(source, at, None, most)
}

fn find_member(
    source: &dyn ReadAt,
    at: u64,
    compressed: Option<u64>,
    most: u64,
) -> Result<Found, String> {
    let end = at.saturating_add(HEADER_BYTES as u64);
    let header = source
        .read_range(at..end, HEADER_BYTES)
        .map_err(|error| error.to_string())?;
    let (mut facts, name, length) =
        zip::parse_local(&header).ok_or("no member's header is there")?;
    let name = name.to_owned();
    let data_at = at.saturating_add(length as u64);
    if zip::local_has_descriptor(&header) {
        let compressed = match compressed {
            Some(compressed) => compressed,
            None => ends::find_end(source, facts.method, data_at, most)?.ok_or("it is cut")?,
        };
        facts = read_descriptor(source, facts, data_at, compressed)?;
    }
    let mut canonical = Vec::new();
    facts.local(&name, &mut canonical);
    let end = facts
        .span(&name)
        .and_then(|span| span.checked_add(at))
        .filter(|end| *end <= source.len())
        .ok_or("it is cut")?;
    if !header.starts_with(&canonical) {
        return Err("its local header is not in the one form".into());
    }
    Ok(Found {
        name,
        facts,
        offset: at,
        data_at,
        end,
    })
}

/// The name of the member whose local header is at `at`, and up to 512 bytes of what it begins with:
/// little is read for it, however much the member stands for.
pub(crate) fn beginning_at(source: &dyn ReadAt, at: u64) -> Result<(String, Vec<u8>), String> {
    const TAKEN_BYTES: usize = 4 << 10;
    const MADE_BYTES: usize = 512;
    let bytes = source
        .read_range(at..at.saturating_add(TAKEN_BYTES as u64), TAKEN_BYTES)
        .map_err(|error| error.to_string())?;
    let (facts, name, length) = zip::parse_local(&bytes).ok_or("no member's header is there")?;
    let data = bytes.get(length..).unwrap_or_default();
    Ok((name.to_owned(), facts.method.begin(data, MADE_BYTES)?))
}

/// What the header at `at` says of the member's name, whether or not the member is whole.
pub(crate) fn name_at(source: &dyn ReadAt, at: u64) -> Option<String> {
    let end = at.saturating_add(HEADER_BYTES as u64);
    let header = source.read_range(at..end, HEADER_BYTES).ok()?;
    zip::parse_local(&header).map(|(_, name, _)| name.to_owned())
}

/// The facts that stand behind a member's data.
fn read_descriptor(
    source: &dyn ReadAt,
    facts: Facts,
    data_at: u64,
    compressed: u64,
) -> Result<Facts, String> {
    let at = data_at.saturating_add(compressed);
    let tail = source
        .read_range(at..at.saturating_add(24), 24)
        .map_err(|error| error.to_string())?;
    // The local header says which form it has; that is checked when the header is made again.
    zip::parse_descriptor(&tail)
        .into_iter()
        .find_map(|(crc32, said, size)| {
            let facts = Facts {
                method: facts.method,
                crc32,
                compressed,
                size,
            };
            let mut canonical = Vec::new();
            facts.descriptor(&mut canonical);
            (said == compressed && !canonical.is_empty() && tail.starts_with(&canonical))
                .then_some(facts)
        })
        .ok_or_else(|| "its descriptor is not there".into())
}

impl Found {
    /// A whole member of at most `cap` bytes, its CRC checked.
    pub(crate) fn read(&self, source: &dyn ReadAt, cap: u64) -> Result<Vec<u8>, String> {
        if self.facts.size > cap {
            return Err(format!(
                "it claims {} bytes, more than the {cap} that it may have",
                self.facts.size
            ));
        }
        let mut bytes = Vec::new();
        self.decode(source, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Decodes it as one stream, and checks size and CRC.
    pub(crate) fn decode(
        &self,
        source: &dyn ReadAt,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        let mut crc = crc32fast::Hasher::new();
        let (mut at, end) = (self.data_at, self.data_at + self.facts.compressed);
        self.facts.method.decode(
            self.facts.size,
            true,
            &mut |buffer| {
                let count = (end - at).min(buffer.len() as u64) as usize;
                let count = source
                    .read_full_at(at, &mut buffer[..count])
                    .map_err(|error| error.to_string())?;
                at += count as u64;
                Ok(count)
            },
            &mut |piece| {
                crc.update(piece);
                output(piece);
            },
        )?;
        if crc.finalize() != self.facts.crc32 {
            return Err("its CRC does not fit its bytes".into());
        }
        Ok(())
    }
}

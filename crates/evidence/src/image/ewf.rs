//! Expert Witness images, version 1: `.E01` of EnCase and others, `.S01` of SMART.
//!
//! # Layout (little-endian)
//! A segment file is a head of 13 bytes (signature, 1, segment number, 0) and sections. A section
//! begins with a descriptor of 76 bytes: its type (16), the next section's offset (8), its size
//! (8), zeros (40), the Adler-32 of all that. What we read of them:
//!
//! | section | content |
//! |---|---|
//! | `volume`, `disk`, `data` | chunks (u32 at 4), sectors a chunk (u32 at 8), bytes a sector (u32 at 12), sectors (u64 at 16; `SMART`: u32) |
//! | `sectors` | the chunks that the next table speaks of |
//! | `table`, `table2` | entries (u32), 4, base offset (u64 at 8), 4, Adler-32; one u32 an entry, Adler-32 |
//! | `hash`, `digest` | MD5 (16); `digest` has SHA-1 (20) after it |
//! | `error2` | count (u32), from 520 on first sector and number (u32 each) |
//! | `next`, `done` | the segment, or the image, ends |
//!
//! An entry is an offset from the base; its highest bit says that the chunk is a zlib stream.
//! Other chunks end in the Adler-32 of their bytes. EnCase 6.7 writes segments over 2 GiB: past
//! an offset of 2^31 no chunk is compressed and all 32 bits count.
//! # Damage
//! A table whose checksum fails is replaced by its copy `table2`; where both fail the first is
//! used, since each chunk has a checksum of its own. A chunk that fails it can't be read.
//! # Sources
//! - libyal, libewf, "Expert Witness Compression Format (EWF)".

use std::ops::Range;

use scelle_formats::{Cursor, DecodeError, ReadAt, ReadAtExt as _, ReadError};

use super::{
    Opening, StoredHash,
    cache::Pages,
    mapped::{Layout, Place},
    sums::{adler32, inflate},
};

pub(super) const SIGNATURE: &[u8] = b"EVF\x09\x0d\x0a\xff\x00";
const HEAD_BYTES: u64 = 13;
const DESCRIPTOR_BYTES: usize = 76;
const TABLE_HEAD_BYTES: u64 = 24;
/// More than any writer makes in one segment; each costs one read.
const MAX_SECTIONS: usize = 1 << 16;
/// EnCase stops at 32768 sectors of 512 bytes.
pub(super) const MAX_CHUNK_BYTES: u64 = 16 << 20;
/// Past this offset an entry has no bit for compression.
const OVERFLOW: u64 = i32::MAX as u64;
const MAX_ERRORS: u32 = 4096;

pub(super) struct Ewf {
    chunk_bytes: u64,
    len: u64,
    tables: Vec<Table>,
    segments: Vec<Pages>,
}

/// The entries of one table.
struct Table {
    first_chunk: u64,
    count: u64,
    segment: usize,
    /// Where the entries lie.
    entries_at: u64,
    base: u64,
    /// Where the last chunk ends at the latest.
    data_end: u64,
    /// From which entry on all 32 bits are an offset.
    overflow_from: u64,
    is_sound: bool,
}

struct Section {
    kind: [u8; 16],
    /// Its content, without the descriptor.
    content: Range<u64>,
    next: u64,
}

impl Section {
    fn is(&self, name: &str) -> bool {
        self.kind.starts_with(name.as_bytes()) && self.kind[name.len()..].iter().all(|b| *b == 0)
    }
}

impl Ewf {
    pub(super) fn open(opening: &mut Opening<'_>) -> Result<Self, ReadError> {
        let mut image = Self {
            chunk_bytes: 0,
            len: 0,
            tables: Vec::new(),
            segments: Vec::new(),
        };
        let mut chunks_stated = 0;
        let mut file = opening.first.clone();
        loop {
            let number = image.segments.len() as u64 + 1;
            let layer = opening.next_layer();
            image.segments.push(Pages {
                file: file.clone(),
                cache: opening.cache.clone(),
                layer,
            });
            let ended = image.segment(opening, &*file, number, &mut chunks_stated)?;
            if ended {
                break;
            }
            let Some(extension) = opening
                .siblings
                .extension()
                .and_then(|first| segment_extension(&first, number + 1))
            else {
                opening.lose(damaged("a segment file", 0, "its name has no successor"));
                break;
            };
            match opening.siblings.with_extension(&extension)? {
                Some(next) => file = next,
                None => {
                    opening.lose(ReadError::Absent {
                        what: format!("the segment file .{extension}, of which more is needed,"),
                    });
                    break;
                }
            }
        }
        if image.chunk_bytes == 0 {
            return Err(damaged(
                "an EWF image",
                0,
                "no segment has a volume section",
            ));
        }
        let chunks = image
            .tables
            .last()
            .map_or(0, |table| table.first_chunk + table.count);
        let needed = image.len.div_ceil(image.chunk_bytes);
        if chunks < needed {
            opening.lose(damaged(
                "an EWF image",
                0,
                &format!("its tables have {chunks} chunks of {needed}; the rest can't be read"),
            ));
        }
        if u64::from(chunks_stated) != needed {
            opening.lose(damaged(
                "the volume section of an EWF image",
                0,
                &format!("it states {chunks_stated} chunks, its sectors need {needed}"),
            ));
        }
        Ok(image)
    }

    /// Reads the sections of a segment; true where the image ends in it.
    fn segment(
        &mut self,
        opening: &mut Opening<'_>,
        file: &dyn ReadAt,
        number: u64,
        chunks_stated: &mut u32,
    ) -> Result<bool, ReadError> {
        let mut head = [0; HEAD_BYTES as usize];
        file.read_exact_at("the head of an EWF segment", 0, &mut head)?;
        if !head.starts_with(SIGNATURE) {
            return Err(damaged("a segment file", 0, "it has no EWF signature"));
        }
        let stated = u64::from(u16::from_le_bytes([head[9], head[10]]));
        if stated != number {
            let why = format!("it says that it is segment {stated}, in the place of {number}");
            return Err(damaged("a segment file", 9, &why));
        }
        let mut at = HEAD_BYTES;
        let mut sectors: Option<Range<u64>> = None;
        for _ in 0..MAX_SECTIONS {
            let section = match section(file, at) {
                Ok(section) => section,
                Err(error) => {
                    opening.lose(error);
                    return Ok(false);
                }
            };
            if section.is("volume") || section.is("disk") || section.is("data") {
                self.volume(opening, file, &section, chunks_stated)?;
            } else if section.is("sectors") {
                sectors = Some(at..section.content.end);
            } else if section.is("table") {
                let data = sectors.clone().unwrap_or(at..section.content.end);
                match self.table(file, &section, data) {
                    Ok(table) => self.add(opening, table),
                    Err(error) => opening.lose(error),
                }
            } else if section.is("table2") {
                self.second_table(opening, file, &section, sectors.take());
            } else if section.is("hash") || section.is("digest") {
                if let Err(error) = hashes(opening, file, &section) {
                    opening.lose(error);
                }
            } else if section.is("error2") {
                if let Err(error) = errors(opening, file, &section) {
                    opening.lose(error);
                }
            } else if section.is("done") {
                return Ok(true);
            } else if section.is("next") {
                return Ok(false);
            }
            if section.next <= at {
                opening.lose(damaged("an EWF section", at, "it does not lead on"));
                return Ok(false);
            }
            at = section.next;
        }
        opening.lose(damaged(
            "an EWF segment",
            at,
            "it has more sections than any writer makes",
        ));
        Ok(false)
    }

    fn volume(
        &mut self,
        opening: &mut Opening<'_>,
        file: &dyn ReadAt,
        section: &Section,
        chunks_stated: &mut u32,
    ) -> Result<(), ReadError> {
        const SMART_BYTES: usize = 94;
        const ENCASE_BYTES: usize = 1052;
        let what = "the volume section of an EWF image";
        if self.chunk_bytes != 0 {
            // Later segments repeat it.
            return Ok(());
        }
        let at = section.content.start;
        let bytes = file.read_range(section.content.clone(), ENCASE_BYTES)?;
        let summed = match bytes.len() {
            ENCASE_BYTES | SMART_BYTES => bytes.len() - 4,
            length => {
                let why = format!("it has {length} bytes, which none has");
                return Err(damaged(what, at, &why));
            }
        };
        let mut cur = Cursor::new(&bytes, at);
        let mut read = || {
            cur.skip("media type", 4)?;
            let chunks = cur.u32("number of chunks")?;
            let sectors = cur.u32("sectors a chunk")?;
            let sector_bytes = cur.u32("bytes a sector")?;
            let count = match bytes.len() {
                SMART_BYTES => u64::from(cur.u32("number of sectors")?),
                _ => cur.u64("number of sectors")?,
            };
            Ok::<_, DecodeError>((chunks, sectors, sector_bytes, count))
        };
        let (chunks, sectors, sector_bytes, count) =
            read().map_err(|error| damaged(what, at, &error.to_string()))?;
        let stored = u32_at(&bytes, summed);
        if adler32(1, &bytes[..summed]) != stored {
            opening.lose(damaged(
                what,
                at,
                "its checksum fails; it was used as it stands",
            ));
        }
        let chunk_bytes = u64::from(sectors) * u64::from(sector_bytes);
        let len = count.checked_mul(sector_bytes.into());
        let (Some(len), 1..=MAX_CHUNK_BYTES) = (len, chunk_bytes) else {
            let why = format!("{count} sectors of {sector_bytes} bytes, {sectors} a chunk");
            return Err(damaged(what, at, &why));
        };
        (self.chunk_bytes, self.len, *chunks_stated) = (chunk_bytes, len, chunks);
        Ok(())
    }

    /// Reads a table's head, and compares its checksums.
    fn table(
        &self,
        file: &dyn ReadAt,
        section: &Section,
        data: Range<u64>,
    ) -> Result<Table, ReadError> {
        let what = "a table of an EWF image";
        let at = section.content.start;
        let mut head = [0; TABLE_HEAD_BYTES as usize];
        file.read_exact_at(what, at, &mut head)?;
        let count = u64::from(u32_at(&head, 0));
        let base = u64::from_le_bytes(head[8..16].try_into().expect("eight bytes"));
        let mut is_sound = adler32(1, &head[..20]) == u32_at(&head, 20);
        let entries_at = at + TABLE_HEAD_BYTES;
        let room = section
            .content
            .end
            .min(file.len())
            .saturating_sub(entries_at);
        if count * 4 > room {
            let why = format!("it states {count} entries and has room for {}", room / 4);
            return Err(damaged(what, at, &why));
        }
        let mut table = Table {
            first_chunk: self
                .tables
                .last()
                .map_or(0, |last| last.first_chunk + last.count),
            count,
            segment: self.segments.len() - 1,
            entries_at,
            base,
            data_end: data.end,
            overflow_from: count,
            is_sound: false,
        };
        let mut sum = 1;
        let mut block = vec![0; (count.min(16 << 10) * 4) as usize];
        let mut done = 0;
        let mut before: Option<u64> = None;
        while done < count {
            let entries = (count - done).min(16 << 10);
            let block = &mut block[..(entries * 4) as usize];
            file.read_exact_at(what, entries_at + done * 4, block)?;
            sum = adler32(sum, block);
            for (entry, raw) in block.chunks_exact(4).enumerate() {
                let raw = u64::from(u32_at(raw, 0));
                let number = done + entry as u64;
                if table.overflow_from == count {
                    // The chunk before ends past what 31 bits hold, so this one begins there.
                    let is_past = before.is_some_and(|before| {
                        raw > OVERFLOW && (raw & OVERFLOW) < before && raw > before
                    });
                    if is_past {
                        table.overflow_from = number;
                    }
                    before = Some(raw & OVERFLOW);
                }
            }
            done += entries;
        }
        // Tables of SMART have no checksum after their entries.
        if room >= count * 4 + 4 && data.start != section.content.start - DESCRIPTOR_BYTES as u64 {
            let mut stored = [0; 4];
            file.read_exact_at(what, entries_at + count * 4, &mut stored)?;
            is_sound &= u32::from_le_bytes(stored) == sum;
        }
        table.is_sound = is_sound;
        Ok(table)
    }

    /// Takes a table; what is wrong with it is said when its copy was seen.
    fn add(&mut self, opening: &mut Opening<'_>, table: Table) {
        if !table.is_sound {
            opening.lose(damaged(
                "a table of an EWF image",
                table.entries_at - TABLE_HEAD_BYTES,
                "its checksum fails",
            ));
        }
        self.tables.push(table);
    }

    /// Puts the copy of a table in the place of one that is damaged or missing.
    fn second_table(
        &mut self,
        opening: &mut Opening<'_>,
        file: &dyn ReadAt,
        section: &Section,
        sectors: Option<Range<u64>>,
    ) {
        let segment = self.segments.len() - 1;
        let Some(data) = sectors else { return };
        let is_copy = |last: &Table| last.segment == segment && last.data_end == data.end;
        let first = self.tables.pop_if(|last| is_copy(last));
        if let Some(first) = first.as_ref().filter(|first| first.is_sound) {
            // A copy that differs from a sound table is not needed.
            let kept = Table { ..*first };
            self.tables.push(kept);
            return;
        }
        match (self.table(file, section, data), first) {
            (Ok(second), first) if second.is_sound || first.is_none() => self.add(opening, second),
            (Err(error), None) => opening.lose(error),
            (_, first) => self.tables.extend(first),
        }
    }

    /// Where a chunk lies: its file, its first byte, its end at the latest, whether it is packed.
    fn chunk(&self, chunk: u64) -> Result<(&Pages, Range<u64>, bool), ReadError> {
        let after = self
            .tables
            .partition_point(|table| table.first_chunk <= chunk);
        let table = after.checked_sub(1).map(|at| &self.tables[at]);
        let Some(table) = table.filter(|table| chunk - table.first_chunk < table.count) else {
            return Err(damaged("a chunk of an EWF image", chunk, "no table has it"));
        };
        let what = "an entry of an EWF table";
        let entry = chunk - table.first_chunk;
        let segment = &self.segments[table.segment];
        let at = |entry: u64| {
            let raw: [u8; 4] = segment.array(what, table.entries_at + entry * 4)?;
            let raw = u64::from(u32::from_le_bytes(raw));
            let (offset, is_packed) = if entry >= table.overflow_from {
                (raw, false)
            } else {
                (raw & OVERFLOW, raw > OVERFLOW)
            };
            Ok::<_, ReadError>((table.base.saturating_add(offset), is_packed))
        };
        let (start, is_packed) = at(entry)?;
        let end = if entry + 1 < table.count {
            at(entry + 1)?.0
        } else {
            table.data_end
        };
        // Where the next entry is damaged, the chunk may still be whole.
        let end = if end > start { end } else { table.data_end };
        Ok((segment, start..end, is_packed))
    }
}

impl Layout for Ewf {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        let unit = offset / self.chunk_bytes;
        let within = offset % self.chunk_bytes;
        let end = self
            .tables
            .last()
            .map_or(0, |table| table.first_chunk + table.count);
        if unit >= end {
            let error = damaged("a chunk of an EWF image", unit, "no table has it");
            return (Place::Lost(error), self.len - offset);
        }
        let place = Place::Packed {
            unit,
            within: within as usize,
            unit_bytes: self.chunk_bytes as usize,
        };
        (place, self.chunk_bytes - within)
    }

    fn unpack(&self, unit: u64) -> Result<Vec<u8>, ReadError> {
        let what = "a chunk of an EWF image";
        let (segment, range, is_packed) = self.chunk(unit)?;
        let expected = self.chunk_bytes.min(self.len - unit * self.chunk_bytes) as usize;
        // Deflate makes at most a little more than it gets.
        let most = self.chunk_bytes as usize + self.chunk_bytes as usize / 8 + 1024;
        let start = range.start;
        let mut bytes = segment.file.read_range(range, most)?;
        if is_packed {
            return inflate(true, what, start, &bytes, expected);
        }
        unpacked(what, start, &mut bytes, expected, self.chunk_bytes as usize)?;
        Ok(bytes)
    }
}

/// Compares and takes off the Adler-32 after a chunk that is stored as it is.
pub(super) fn unpacked(
    what: &'static str,
    start: u64,
    bytes: &mut Vec<u8>,
    expected: usize,
    chunk_bytes: usize,
) -> Result<(), ReadError> {
    bytes.truncate(chunk_bytes + 4);
    let Some(summed) = bytes
        .len()
        .checked_sub(4)
        .filter(|summed| *summed >= expected)
    else {
        let why = format!("it has {} bytes of {}", bytes.len(), expected + 4);
        return Err(damaged(what, start, &why));
    };
    if adler32(1, &bytes[..summed]) != u32_at(bytes, summed) {
        return Err(damaged(what, start, "its checksum fails"));
    }
    bytes.truncate(expected);
    Ok(())
}

fn section(file: &dyn ReadAt, at: u64) -> Result<Section, ReadError> {
    let what = "a section of an EWF image";
    let mut bytes = [0; DESCRIPTOR_BYTES];
    file.read_exact_at(what, at, &mut bytes)?;
    if adler32(1, &bytes[..72]) != u32_at(&bytes, 72) {
        return Err(damaged(what, at, "the checksum of its descriptor fails"));
    }
    let kind = *bytes.first_chunk().expect("16 of 76 bytes");
    let next = u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes"));
    let size = u64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes"));
    let start = at + DESCRIPTOR_BYTES as u64;
    // Some writers leave the size empty; the next section's offset says as much.
    // No section reaches into the next one: what many of them claim is read once.
    let end = match next {
        _ if next <= at => at.saturating_add(size),
        _ if size < DESCRIPTOR_BYTES as u64 => next,
        _ => at.saturating_add(size).min(next),
    };
    Ok(Section {
        kind,
        content: start..end.max(start).min(file.len().max(start)),
        next,
    })
}

/// The hashes of the media that the acquirer left.
fn hashes(
    opening: &mut Opening<'_>,
    file: &dyn ReadAt,
    section: &Section,
) -> Result<(), ReadError> {
    let what = "the hashes of an EWF image";
    let is_digest = section.is("digest");
    let summed = if is_digest { 76 } else { 32 };
    let mut bytes = [0; 80];
    let bytes = &mut bytes[..summed + 4];
    file.read_exact_at(what, section.content.start, bytes)?;
    if adler32(1, &bytes[..summed]) != u32_at(bytes, summed) {
        return Err(damaged(what, section.content.start, "their checksum fails"));
    }
    opening.store(StoredHash::md5(&bytes[..16]));
    if is_digest {
        opening.store(StoredHash::sha1(&bytes[16..36]));
    }
    Ok(())
}

/// What the acquirer could not read; it stored zeros in its place.
fn errors(
    opening: &mut Opening<'_>,
    file: &dyn ReadAt,
    section: &Section,
) -> Result<(), ReadError> {
    const ENTRIES_AT: u64 = 520;
    let what = "the acquisition errors of an EWF image";
    let start = section.content.start;
    let mut count = [0; 4];
    file.read_exact_at(what, start, &mut count)?;
    let stated = u32::from_le_bytes(count);
    for entry in 0..stated.min(MAX_ERRORS) {
        let mut bytes = [0; 8];
        let at = start + ENTRIES_AT + u64::from(entry) * 8;
        file.read_exact_at(what, at, &mut bytes)?;
        let (first, sectors) = (u32_at(&bytes, 0), u32_at(&bytes, 4));
        opening.lose(damaged(
            "the disk as it was acquired",
            first.into(),
            &format!("from that sector on {sectors} could not be read then, and are zeros"),
        ));
    }
    if stated > MAX_ERRORS {
        let why = format!("{stated} are stated, of which {MAX_ERRORS} were read");
        return Err(damaged(what, start, &why));
    }
    Ok(())
}

/// The extension of segment `number`, after that of the first: `E02` to `E99`, then `EAA` to
/// `ZZZ`.
pub(super) fn segment_extension(first: &str, number: u64) -> Option<String> {
    let &[lead, _, _] = first.as_bytes() else {
        return None;
    };
    if !lead.is_ascii_alphabetic() {
        return None;
    }
    if number <= 99 {
        return Some(format!("{}{number:02}", lead as char));
    }
    let past = number - 100;
    let (top, a) = if lead.is_ascii_lowercase() {
        (b'z', b'a')
    } else {
        (b'Z', b'A')
    };
    let lead = u64::from(lead) + past / (26 * 26);
    let letter = |at: u64| char::from(a + (at % 26) as u8);
    (lead <= top.into()).then(|| {
        let lead = char::from(lead as u8);
        format!("{lead}{}{}", letter(past / 26), letter(past))
    })
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(*bytes.expect("the caller has these four bytes"))
}

pub(super) fn damaged(what: &'static str, offset: u64, why: &str) -> ReadError {
    ReadError::Damaged {
        what,
        offset,
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_encase_names_them() {
        let name = |number| segment_extension("E01", number);
        assert_eq!(name(2).as_deref(), Some("E02"));
        assert_eq!(name(99).as_deref(), Some("E99"));
        assert_eq!(name(100).as_deref(), Some("EAA"));
        assert_eq!(name(126).as_deref(), Some("EBA"));
        assert_eq!(name(99 + 676).as_deref(), Some("EZZ"));
        assert_eq!(name(100 + 676).as_deref(), Some("FAA"));
        assert_eq!(name(99 + 22 * 676).as_deref(), Some("ZZZ"));
        assert_eq!(name(100 + 22 * 676), None);
        assert_eq!(segment_extension("s01", 100).as_deref(), Some("saa"));
        assert_eq!(segment_extension("raw!", 2), None);
    }
}

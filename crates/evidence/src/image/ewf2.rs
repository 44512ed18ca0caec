//! Expert Witness images, version 2: `.Ex01` of EnCase 7 and later.
//!
//! # Layout (little-endian)
//! A segment file is a head of 32 bytes (signature, version 2.1, method of compression (u16 at 10), segment number (u32 at 12), the set's GUID) and
//! sections. A section ends in a descriptor of 64 bytes, so they are read from the end: type (u32), flags (u32: 1 has an MD5, 2 encrypted), offset of the
//! descriptor before (u64), bytes of data before this one (u64), 64 (u32), padding (u32), MD5 (16), zeros (12), Adler-32.
//!
//! | type | section | content |
//! |---:|---|---|
//! | 1 | device | packed UTF-16 table: `ts` sectors, `bp` bytes a sector |
//! | 2 | case | the same: `sb` sectors a chunk, `tb` chunks |
//! | 3 | sectors | chunks |
//! | 4 | table | first chunk (u64), entries (u32), 4, Adler-32, 12; 16 bytes an entry; Adler-32 |
//! | 5 | errors | entries (u32), 12, Adler-32, 12; first sector (u64), sectors (u32), 4 |
//! | 8, 9 | hash | MD5 (16) or SHA-1 (20), Adler-32 |
//! | 11 | keys | the image is encrypted |
//! | 13, 15 | end | of the segment, of the image |
//!
//! An entry is where the chunk lies (u64), its bytes (u32) and flags: 1 packed, 2 an Adler-32 follows it, 1 and 4 the offset is a
//! pattern of 8 bytes that fills it.
//! # Damage
//! There is no copy of a table. One whose checksum fails is used as it stands, since chunks have checksums of their own. A segment whose end is
//! cut has no way to its sections: what it held can't be read.
//! # Sources
//! - libyal, libewf, "Expert Witness Compression Format version 2 (EWF2)".

use std::ops::Range;

use scelle_formats::{ReadAt, ReadAtExt as _, ReadError};

use super::{
    Opening, StoredHash,
    cache::Pages,
    ewf::{MAX_CHUNK_BYTES, damaged, segment_extension, u32_at, unpacked},
    mapped::{Layout, Place},
    sums::{adler32, inflate, inflate_up_to},
};

pub(super) const SIGNATURE: &[u8] = b"EVF2\r\n\x81\0";
const HEAD_BYTES: u64 = 32;
const DESCRIPTOR_BYTES: u64 = 64;
const TABLE_HEAD_BYTES: u64 = 32;
const ENTRY_BYTES: u64 = 16;
const ENCRYPTED: u32 = 2;
/// More than any writer makes in one segment; none lies on another.
const MAX_SECTIONS: usize = 1 << 16;
/// Texts of devices and cases are a few lines.
const MAX_TEXT_BYTES: usize = 1 << 20;
const MAX_ERRORS: u64 = 4096;

const PACKED: u32 = 1;
const SUMMED: u32 = 2;
const PATTERN: u32 = 4;

pub(super) struct Ewf2 {
    chunk_bytes: u64,
    len: u64,
    /// In the order of their chunks; none lies over another.
    tables: Vec<Table>,
    segments: Vec<Pages>,
}

struct Table {
    first_chunk: u64,
    count: u64,
    segment: usize,
    entries_at: u64,
}

/// What is gathered before the image can be read.
#[derive(Default)]
struct Facts {
    sectors: Option<u64>,
    sector_bytes: Option<u64>,
    chunk_sectors: Option<u64>,
}

struct Section {
    kind: u32,
    flags: u32,
    before: u64,
    data: Range<u64>,
}

impl Ewf2 {
    pub(super) fn open(opening: &mut Opening<'_>) -> Result<Self, ReadError> {
        let mut image = Self {
            chunk_bytes: 0,
            len: 0,
            tables: Vec::new(),
            segments: Vec::new(),
        };
        let mut facts = Facts::default();
        let mut file = opening.first.clone();
        loop {
            let number = image.segments.len() as u64 + 1;
            let layer = opening.next_layer();
            image.segments.push(Pages {
                file: file.clone(),
                cache: opening.cache.clone(),
                layer,
            });
            match image.segment(opening, &*file, number, &mut facts) {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) if number == 1 => return Err(error),
                // Another one may still be whole.
                Err(error @ (ReadError::Damaged { .. } | ReadError::Short { .. })) => {
                    opening.lose(error);
                }
                Err(error) => return Err(error),
            }
            let first = opening.siblings.extension();
            let next = first.and_then(|first| extension(&first, number + 1));
            let Some(next) = next else {
                opening.lose(damaged("a segment file", 0, "its name has no successor"));
                break;
            };
            match opening.siblings.with_extension(&next)? {
                Some(next) => file = next,
                None => {
                    opening.lose(ReadError::Absent {
                        what: format!("the segment file .{next}, of which more is needed,"),
                    });
                    break;
                }
            }
        }
        image.set_sizes(&facts)?;
        image.order_tables(opening);
        Ok(image)
    }

    fn set_sizes(&mut self, facts: &Facts) -> Result<(), ReadError> {
        let (Some(sectors), Some(sector_bytes), Some(chunk_sectors)) =
            (facts.sectors, facts.sector_bytes, facts.chunk_sectors)
        else {
            let why = "no segment says how many sectors it has, and how they are cut into chunks";
            return Err(damaged("an Ex01 image", 0, why));
        };
        let chunk_bytes = chunk_sectors.checked_mul(sector_bytes);
        let len = sectors.checked_mul(sector_bytes);
        let (Some(len), Some(chunk_bytes @ 1..=MAX_CHUNK_BYTES)) = (len, chunk_bytes) else {
            let why = format!("{sectors} sectors of {sector_bytes} bytes, {chunk_sectors} a chunk");
            return Err(damaged("an Ex01 image", 0, &why));
        };
        (self.len, self.chunk_bytes) = (len, chunk_bytes);
        Ok(())
    }

    /// Sorts the tables, and leaves out those that speak of chunks which another one has.
    fn order_tables(&mut self, opening: &mut Opening<'_>) {
        self.tables.sort_by_key(|table| table.first_chunk);
        let mut end = 0;
        self.tables.retain(|table| {
            if table.first_chunk < end {
                let why = "it speaks of chunks that another table has; it was left out";
                opening.lose(damaged("a table of an Ex01 image", table.entries_at, why));
                return false;
            }
            end = table.first_chunk.saturating_add(table.count);
            true
        });
        let have: u64 = self.tables.iter().map(|table| table.count).sum();
        let needed = self.len.div_ceil(self.chunk_bytes);
        if have < needed {
            let why = format!("its tables have {have} chunks of {needed}; the rest can't be read");
            opening.lose(damaged("an Ex01 image", 0, &why));
        }
    }

    /// Reads the sections of a segment, from its end; true where the image ends in it.
    fn segment(
        &mut self,
        opening: &mut Opening<'_>,
        file: &dyn ReadAt,
        number: u64,
        facts: &mut Facts,
    ) -> Result<bool, ReadError> {
        check_head(file, number)?;
        let mut at = file.len().checked_sub(DESCRIPTOR_BYTES);
        let (mut is_last, mut is_first) = (false, true);
        for _ in 0..MAX_SECTIONS {
            let Some(place) = at.filter(|at| *at >= HEAD_BYTES) else {
                return Ok(is_last);
            };
            let section = match section(file, place) {
                Ok(section) => section,
                // Without its end nothing is known of a segment.
                Err(error) if is_first => return Err(error),
                Err(error) => {
                    opening.lose(error);
                    return Ok(is_last);
                }
            };
            is_first = false;
            is_last |= section.kind == 15;
            if section.flags & ENCRYPTED != 0 || section.kind == 11 {
                return Err(ReadError::Locked {
                    what: "an Ex01 image",
                    needs: "how is known to EnCase alone; have EnCase acquire it again without \
                            encryption, or export it as E01"
                        .to_owned(),
                });
            }
            // Sections that lie on one another would be read again and again.
            let before = section.before;
            let is_apart = before
                .checked_add(DESCRIPTOR_BYTES)
                .is_some_and(|end| end <= section.data.start);
            if before > 0 && !is_apart {
                let why = "the section before it is not before it; neither was read";
                opening.lose(damaged("an Ex01 section", place, why));
                return Ok(is_last);
            }
            self.take(opening, file, &section, facts);
            if before == 0 {
                return Ok(is_last);
            }
            at = Some(before);
        }
        opening.lose(damaged(
            "an Ex01 segment",
            at.unwrap_or(0),
            "it has more sections than any writer makes",
        ));
        Ok(is_last)
    }

    fn take(
        &mut self,
        opening: &mut Opening<'_>,
        file: &dyn ReadAt,
        section: &Section,
        facts: &mut Facts,
    ) {
        let taken = match section.kind {
            1 | 2 => read_facts(file, section, facts),
            4 => self.table(opening, file, section),
            5 => errors(opening, file, section),
            8 => hash(opening, file, section, 16),
            9 => hash(opening, file, section, 20),
            _ => Ok(()),
        };
        if let Err(error) = taken {
            opening.lose(error);
        }
    }

    /// Reads a table's head, and compares its checksums.
    fn table(
        &mut self,
        opening: &mut Opening<'_>,
        file: &dyn ReadAt,
        section: &Section,
    ) -> Result<(), ReadError> {
        let what = "a table of an Ex01 image";
        let at = section.data.start;
        let mut head = [0; TABLE_HEAD_BYTES as usize];
        file.read_exact_at(what, at, &mut head)?;
        let first_chunk = u64::from_le_bytes(*head.first_chunk().expect("32 bytes"));
        let count = u64::from(u32_at(&head, 8));
        let mut is_sound = adler32(1, &head[..16]) == u32_at(&head, 16);
        let entries_at = at + TABLE_HEAD_BYTES;
        let room = section.data.end.saturating_sub(entries_at);
        if count * ENTRY_BYTES + 4 > room {
            let room = room.saturating_sub(4) / ENTRY_BYTES;
            let why = format!("it states {count} entries and has room for {room}");
            return Err(damaged(what, at, &why));
        }
        is_sound &= sum_of(what, file, entries_at, count * ENTRY_BYTES)?;
        if !is_sound {
            opening.lose(damaged(
                what,
                at,
                "its checksum fails; it was used as it stands",
            ));
        }
        self.tables.push(Table {
            first_chunk,
            count,
            segment: self.segments.len() - 1,
            entries_at,
        });
        Ok(())
    }

    /// The table that has a chunk.
    fn table_of(&self, chunk: u64) -> Option<&Table> {
        let after = self
            .tables
            .partition_point(|table| table.first_chunk <= chunk);
        let table = &self.tables[after.checked_sub(1)?];
        (chunk - table.first_chunk < table.count).then_some(table)
    }
}

impl Layout for Ewf2 {
    fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, offset: u64) -> (Place<'_>, u64) {
        let unit = offset / self.chunk_bytes;
        if self.table_of(unit).is_none() {
            let error = damaged("a chunk of an Ex01 image", unit, "no table has it");
            let after = self
                .tables
                .partition_point(|table| table.first_chunk <= unit);
            let next = self.tables.get(after).map(|table| table.first_chunk);
            let end = next.and_then(|next| next.checked_mul(self.chunk_bytes));
            return (Place::Lost(error), end.unwrap_or(self.len) - offset);
        }
        let within = offset % self.chunk_bytes;
        let place = Place::Packed {
            unit,
            within: within as usize,
            unit_bytes: self.chunk_bytes as usize,
        };
        (place, self.chunk_bytes - within)
    }

    fn unpack(&self, unit: u64) -> Result<Vec<u8>, ReadError> {
        let what = "a chunk of an Ex01 image";
        let Some(table) = self.table_of(unit) else {
            return Err(damaged(what, unit, "no table has it"));
        };
        let segment = &self.segments[table.segment];
        let at = table.entries_at + (unit - table.first_chunk) * ENTRY_BYTES;
        let entry: [u8; ENTRY_BYTES as usize] = segment.array("an entry of an Ex01 table", at)?;
        let offset = u64::from_le_bytes(*entry.first_chunk().expect("16 bytes"));
        let (size, flags) = (u32_at(&entry, 8), u32_at(&entry, 12));
        let chunk_bytes = self.chunk_bytes as usize;
        let expected = self.chunk_bytes.min(self.len - unit * self.chunk_bytes) as usize;
        if flags & (PACKED | PATTERN) == PACKED | PATTERN {
            let pattern = offset.to_le_bytes();
            return Ok(pattern.iter().copied().cycle().take(expected).collect());
        }
        // Deflate makes at most a little more than it gets.
        let most = chunk_bytes + chunk_bytes / 8 + 1024;
        let range = offset..offset.saturating_add(size.into());
        let mut bytes = segment.file.read_range(range, most)?;
        if flags & PACKED != 0 {
            return inflate(true, what, offset, &bytes, expected);
        }
        if flags & SUMMED == 0 {
            if bytes.len() < expected {
                let why = format!("it has {} bytes of {expected}", bytes.len());
                return Err(damaged(what, offset, &why));
            }
            bytes.truncate(expected);
            return Ok(bytes);
        }
        // The last chunk may end with the disk, and be padded after its checksum.
        let short = bytes.get(..expected + 4);
        if short.is_some_and(|bytes| adler32(1, &bytes[..expected]) == u32_at(bytes, expected)) {
            bytes.truncate(expected);
            return Ok(bytes);
        }
        unpacked(what, offset, &mut bytes, expected, chunk_bytes)?;
        Ok(bytes)
    }
}

fn check_head(file: &dyn ReadAt, number: u64) -> Result<(), ReadError> {
    let mut head = [0; HEAD_BYTES as usize];
    file.read_exact_at("the head of an Ex01 segment", 0, &mut head)?;
    if !head.starts_with(SIGNATURE) {
        return Err(damaged("a segment file", 0, "it has no signature of EWF 2"));
    }
    if u16::from_le_bytes([head[10], head[11]]) == 2 {
        return Err(ReadError::Unsupported {
            what: "an Ex01 image that is packed with bzip2",
        });
    }
    let stated = u64::from(u32_at(&head, 12));
    if stated != number {
        let why = format!("it says that it is segment {stated}, in the place of {number}");
        return Err(damaged("a segment file", 12, &why));
    }
    Ok(())
}

fn section(file: &dyn ReadAt, at: u64) -> Result<Section, ReadError> {
    let what = "a section of an Ex01 image";
    let mut bytes = [0; DESCRIPTOR_BYTES as usize];
    file.read_exact_at(what, at, &mut bytes)?;
    if adler32(1, &bytes[..60]) != u32_at(&bytes, 60) {
        return Err(damaged(what, at, "the checksum of its descriptor fails"));
    }
    let number = |at: usize| {
        let bytes = bytes[at..at + 8].first_chunk();
        u64::from_le_bytes(*bytes.expect("eight bytes"))
    };
    let size = number(16);
    let start = at.checked_sub(size).filter(|start| *start >= HEAD_BYTES);
    let start = start.ok_or_else(|| {
        damaged(
            what,
            at,
            &format!("it states {size} bytes, which are not before it"),
        )
    })?;
    Ok(Section {
        kind: u32_at(&bytes, 0),
        flags: u32_at(&bytes, 4),
        before: number(8),
        data: start..at,
    })
}

/// Compares the Adler-32 that follows so many bytes with theirs.
fn sum_of(
    what: &'static str,
    file: &dyn ReadAt,
    start: u64,
    length: u64,
) -> Result<bool, ReadError> {
    const BLOCK_BYTES: u64 = 64 << 10;
    let mut block = vec![0; length.min(BLOCK_BYTES) as usize];
    let (mut sum, mut done) = (1, 0);
    while done < length {
        let count = (length - done).min(BLOCK_BYTES) as usize;
        file.read_exact_at(what, start + done, &mut block[..count])?;
        sum = adler32(sum, &block[..count]);
        done += count as u64;
    }
    let mut stored = [0; 4];
    file.read_exact_at(what, start + length, &mut stored)?;
    Ok(u32::from_le_bytes(stored) == sum)
}

/// Reads what device and case say of sizes: a line of names, and one of their values.
fn read_facts(file: &dyn ReadAt, section: &Section, facts: &mut Facts) -> Result<(), ReadError> {
    let what = "the text of an Ex01 image";
    let at = section.data.start;
    let packed = file.read_range(section.data.clone(), MAX_TEXT_BYTES)?;
    let bytes = inflate_up_to(what, at, &packed, MAX_TEXT_BYTES)?;
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let text = String::from_utf16_lossy(&units);
    let mut lines = text.trim_start_matches('\u{FEFF}').split('\n').skip(2);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(damaged(
            what,
            at,
            "it has no line of names and no line of values",
        ));
    };
    for (name, value) in names.split('\t').zip(values.split('\t')) {
        let fact = match (section.kind, name.trim_end()) {
            (1, "ts") => &mut facts.sectors,
            (1, "bp") => &mut facts.sector_bytes,
            (2, "sb") => &mut facts.chunk_sectors,
            _ => continue,
        };
        let number = value
            .trim_end()
            .parse()
            .map_err(|_| damaged(what, at, &format!("{name} is no number: {value:?}")))?;
        // Later segments repeat it.
        fact.get_or_insert(number);
    }
    Ok(())
}

/// A hash of the media that the acquirer left.
fn hash(
    opening: &mut Opening<'_>,
    file: &dyn ReadAt,
    section: &Section,
    length: usize,
) -> Result<(), ReadError> {
    let what = "a hash of an Ex01 image";
    let at = section.data.start;
    let mut bytes = [0; 24];
    let bytes = &mut bytes[..length + 4];
    file.read_exact_at(what, at, bytes)?;
    if adler32(1, &bytes[..length]) != u32_at(bytes, length) {
        return Err(damaged(what, at, "its checksum fails"));
    }
    opening.store(match length {
        16 => StoredHash::md5(&bytes[..length]),
        _ => StoredHash::sha1(&bytes[..length]),
    });
    Ok(())
}

/// What the acquirer could not read; it stored zeros in its place.
fn errors(
    opening: &mut Opening<'_>,
    file: &dyn ReadAt,
    section: &Section,
) -> Result<(), ReadError> {
    let what = "the acquisition errors of an Ex01 image";
    let start = section.data.start;
    let mut count = [0; 4];
    file.read_exact_at(what, start, &mut count)?;
    let stated = u64::from(u32::from_le_bytes(count));
    let room = (section.data.end - start).saturating_sub(TABLE_HEAD_BYTES) / ENTRY_BYTES;
    let read = stated.min(MAX_ERRORS).min(room);
    for entry in 0..read {
        let mut bytes = [0; ENTRY_BYTES as usize];
        let at = start + TABLE_HEAD_BYTES + entry * ENTRY_BYTES;
        file.read_exact_at(what, at, &mut bytes)?;
        let first = u64::from_le_bytes(*bytes.first_chunk().expect("16 bytes"));
        let sectors = u32_at(&bytes, 8);
        opening.lose(damaged(
            "the disk as it was acquired",
            first,
            &format!("from that sector on {sectors} could not be read then, and are zeros"),
        ));
    }
    if stated > read {
        let why = format!("{stated} are stated, of which {read} were read");
        return Err(damaged(what, start, &why));
    }
    Ok(())
}

/// The extension of segment `number`, after that of the first: `Ex02` to `Ex99`, then `ExAA` to
/// `EzZZ`.
fn extension(first: &str, number: u64) -> Option<String> {
    let lead = first.chars().next().filter(|_| first.len() == 4)?;
    let rest = segment_extension(first.get(1..)?, number)?;
    let (x, rest) = rest.split_at(1);
    Some(match lead {
        'E' => format!("E{x}{}", rest.to_uppercase()),
        'e' => format!("e{x}{rest}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_encase_names_them() {
        let name = |number| extension("Ex01", number);
        assert_eq!(name(2).as_deref(), Some("Ex02"));
        assert_eq!(name(99).as_deref(), Some("Ex99"));
        assert_eq!(name(100).as_deref(), Some("ExAA"));
        assert_eq!(name(99 + 676).as_deref(), Some("ExZZ"));
        assert_eq!(name(100 + 676).as_deref(), Some("EyAA"));
        assert_eq!(name(99 + 3 * 676).as_deref(), Some("EzZZ"));
        assert_eq!(name(100 + 3 * 676), None);
        assert_eq!(extension("ex01", 100).as_deref(), Some("exaa"));
        assert_eq!(extension("E01", 2), None);
    }
}

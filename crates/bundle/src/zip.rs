//! The bytes of a Zip64 archive, in the one form that bundles use.
//!
//! # Layout (little-endian; PKWARE APPNOTE 6.3.10)
//! local header, data, [descriptor]; the central directory; [Zip64 end, its locator]; end.
//!
//! # The one form
//! - date 1980-01-01, time 0, flag bit 11 (UTF-8 names), made by 6.3 on Unix, mode 0100644;
//! - a member of at most [`SEGMENT_BYTES`] states CRC and sizes in its local header and has no
//!   descriptor; a larger one has them zero there (flag bit 3) and a descriptor with signature;
//! - a member of at least [`ZIP64_BYTES`] has a Zip64 extra field in both headers and eight-byte
//!   sizes in its descriptor; an offset past 32 bits adds to the field in the central directory;
//! - the Zip64 end record and its locator stand exactly where a count, size or offset needs them;
//! - no comments, no other extra field, nothing between members.

use crate::codec::{Method, SEGMENT_BYTES};

/// From this uncompressed size on, a member is written with Zip64 sizes: compression may grow
/// incompressible bytes a little, so the step is below 2³²-1.
const ZIP64_BYTES: u64 = 0xF000_0000;
const LIMIT_32: u64 = 0xFFFF_FFFF;
const LIMIT_16: u64 = 0xFFFF;

const LOCAL: u32 = 0x0403_4B50;
pub(crate) const DESCRIPTOR: u32 = 0x0807_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END: u32 = 0x0605_4B50;
const ZIP64_END: u32 = 0x0606_4B50;
const ZIP64_LOCATOR: u32 = 0x0706_4B50;

const DATE_1980: u16 = 0x0021;
const FLAG_UTF8: u16 = 1 << 11;
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Host 3 (Unix), version 6.3.
const MADE_BY: u16 = 3 << 8 | 63;
/// A regular file, mode 0644.
const ATTRIBUTES: u32 = 0o100_644 << 16;

pub(crate) const LOCAL_BYTES: usize = 30;
pub(crate) const CENTRAL_BYTES: usize = 46;
pub(crate) const END_BYTES: usize = 22;
const ZIP64_END_BYTES: usize = 56;
const ZIP64_LOCATOR_BYTES: usize = 20;

/// What an archive says of one member, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) method: Method,
    pub(crate) crc32: u32,
    pub(crate) compressed: u64,
    pub(crate) size: u64,
}

impl Facts {
    /// Whether a reader that wants only a part of it needs to know where its segments end.
    pub(crate) fn has_segments(&self) -> bool {
        self.size > SEGMENT_BYTES as u64 && self.method != Method::Store
    }

    fn has_descriptor(&self) -> bool {
        self.size > SEGMENT_BYTES as u64
    }

    fn is_zip64(&self) -> bool {
        self.size >= ZIP64_BYTES
    }

    fn version_needed(&self, zip64: bool) -> u16 {
        match self.method {
            Method::Zstd => 63,
            _ if zip64 => 45,
            _ => 20,
        }
    }

    fn flags(&self) -> u16 {
        FLAG_UTF8
            | if self.has_descriptor() {
                FLAG_DESCRIPTOR
            } else {
                0
            }
    }

    /// How many bytes the member takes in the archive, all told.
    pub(crate) fn span(&self, name: &str) -> Option<u64> {
        let extra = if self.is_zip64() { 20 } else { 0 };
        let descriptor = match (self.has_descriptor(), self.is_zip64()) {
            (false, _) => 0,
            (true, false) => 16,
            (true, true) => 24,
        };
        (LOCAL_BYTES as u64 + name.len() as u64 + extra + descriptor).checked_add(self.compressed)
    }

    /// Where its data begins, counted from its local header.
    pub(crate) fn data_at(&self, name: &str) -> u64 {
        (LOCAL_BYTES + name.len() + if self.is_zip64() { 20 } else { 0 }) as u64
    }

    /// Appends the local header.
    pub(crate) fn local(&self, name: &str, out: &mut Vec<u8>) {
        let (crc32, compressed, size) = if self.has_descriptor() {
            (0, 0, 0)
        } else {
            (self.crc32, self.compressed, self.size)
        };
        put32(out, LOCAL);
        put16(out, self.version_needed(self.is_zip64()));
        put16(out, self.flags());
        put16(out, self.method.number());
        put16(out, 0);
        put16(out, DATE_1980);
        put32(out, crc32);
        if self.is_zip64() {
            put32(out, LIMIT_32 as u32);
            put32(out, LIMIT_32 as u32);
        } else {
            put32(out, compressed as u32);
            put32(out, size as u32);
        }
        put16(out, name.len() as u16);
        put16(out, if self.is_zip64() { 20 } else { 0 });
        out.extend_from_slice(name.as_bytes());
        if self.is_zip64() {
            put16(out, 1);
            put16(out, 16);
            put64(out, 0);
            put64(out, 0);
        }
    }

    /// Appends the descriptor, where the member has one.
    pub(crate) fn descriptor(&self, out: &mut Vec<u8>) {
        if !self.has_descriptor() {
            return;
        }
        put32(out, DESCRIPTOR);
        put32(out, self.crc32);
        if self.is_zip64() {
            put64(out, self.compressed);
            put64(out, self.size);
        } else {
            put32(out, self.compressed as u32);
            put32(out, self.size as u32);
        }
    }

    /// Appends the member's record in the central directory.
    pub(crate) fn central(&self, name: &str, offset: u64, out: &mut Vec<u8>) {
        let far = offset >= LIMIT_32;
        let extra_bytes: u16 = match (self.is_zip64(), far) {
            (false, false) => 0,
            (true, false) => 20,
            (false, true) => 12,
            (true, true) => 28,
        };
        put32(out, CENTRAL);
        put16(out, MADE_BY);
        put16(out, self.version_needed(extra_bytes > 0));
        put16(out, self.flags());
        put16(out, self.method.number());
        put16(out, 0);
        put16(out, DATE_1980);
        put32(out, self.crc32);
        if self.is_zip64() {
            put32(out, LIMIT_32 as u32);
            put32(out, LIMIT_32 as u32);
        } else {
            put32(out, self.compressed as u32);
            put32(out, self.size as u32);
        }
        put16(out, name.len() as u16);
        put16(out, extra_bytes);
        put16(out, 0);
        put16(out, 0);
        put16(out, 0);
        put32(out, ATTRIBUTES);
        put32(out, offset.min(LIMIT_32) as u32);
        out.extend_from_slice(name.as_bytes());
        if extra_bytes > 0 {
            put16(out, 1);
            put16(out, extra_bytes - 4);
            if self.is_zip64() {
                put64(out, self.size);
                put64(out, self.compressed);
            }
            if far {
                put64(out, offset);
            }
        }
    }
}

/// Where the central directory lies, and how many records it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) members: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Directory {
    /// Of an archive without one.
    pub(crate) const NONE: Self = Self {
        members: 0,
        offset: 0,
        bytes: 0,
    };
    /// Appends the records that end the archive.
    pub(crate) fn end(&self, out: &mut Vec<u8>) {
        let zip64 = self.members >= LIMIT_16 || self.offset >= LIMIT_32 || self.bytes >= LIMIT_32;
        if zip64 {
            put32(out, ZIP64_END);
            put64(out, ZIP64_END_BYTES as u64 - 12);
            put16(out, MADE_BY);
            put16(out, 45);
            put32(out, 0);
            put32(out, 0);
            put64(out, self.members);
            put64(out, self.members);
            put64(out, self.bytes);
            put64(out, self.offset);
            put32(out, ZIP64_LOCATOR);
            put32(out, 0);
            put64(out, self.offset + self.bytes);
            put32(out, 1);
        }
        put32(out, END);
        put16(out, 0);
        put16(out, 0);
        put16(out, self.members.min(LIMIT_16) as u16);
        put16(out, self.members.min(LIMIT_16) as u16);
        put32(out, self.bytes.min(LIMIT_32) as u32);
        put32(out, self.offset.min(LIMIT_32) as u32);
        put16(out, 0);
    }

    /// Reads it from the last bytes of an archive of `archive_bytes`; only the one form is taken.
    pub(crate) fn parse(tail: &[u8], archive_bytes: u64) -> Result<Self, String> {
        let end = tail
            .len()
            .checked_sub(END_BYTES)
            .and_then(|at| tail.get(at..))
            .ok_or("the archive is shorter than the record that ends one")?;
        if get32(end, 0) != END {
            return Err("the archive does not end with its end record".into());
        }
        let mut found = Self {
            members: u64::from(get16(end, 8)),
            bytes: u64::from(get32(end, 12)),
            offset: u64::from(get32(end, 16)),
        };
        if found.members == LIMIT_16 || found.bytes == LIMIT_32 || found.offset == LIMIT_32 {
            let at = tail
                .len()
                .checked_sub(END_BYTES + ZIP64_LOCATOR_BYTES + ZIP64_END_BYTES)
                .ok_or("the Zip64 end record is missing")?;
            let record = &tail[at..];
            if get32(record, 0) != ZIP64_END {
                return Err("the Zip64 end record is missing".into());
            }
            found = Self {
                members: get64(record, 24),
                bytes: get64(record, 40),
                offset: get64(record, 48),
            };
        }
        let mut canonical = Vec::new();
        found.end(&mut canonical);
        if !tail.ends_with(&canonical) {
            return Err("the end record is not in the one form".into());
        }
        let sum = found
            .offset
            .checked_add(found.bytes)
            .and_then(|sum| sum.checked_add(canonical.len() as u64));
        if sum != Some(archive_bytes) {
            return Err(
                "the end record does not point to a central directory just before it".into(),
            );
        }
        Ok(found)
    }

    /// How many bytes at an archive's end hold what [`parse`](Self::parse) needs.
    pub(crate) const TAIL_BYTES: usize = END_BYTES + ZIP64_LOCATOR_BYTES + ZIP64_END_BYTES;
}

/// The member that a record of the central directory describes, its offset, and the record's
/// length; `Ok(None)` where `bytes` end inside the record.
pub(crate) fn parse_central(bytes: &[u8]) -> Result<Option<(Facts, &str, u64, usize)>, String> {
    if bytes.len() < CENTRAL_BYTES {
        return Ok(None);
    }
    if get32(bytes, 0) != CENTRAL {
        return Err("a record of the central directory lacks its signature".into());
    }
    let name_bytes = usize::from(get16(bytes, 28));
    let extra_bytes = usize::from(get16(bytes, 30));
    let length = CENTRAL_BYTES + name_bytes + extra_bytes;
    if bytes.len() < length {
        return Ok(None);
    }
    let name = std::str::from_utf8(&bytes[CENTRAL_BYTES..CENTRAL_BYTES + name_bytes])
        .map_err(|_| "a member's name is not UTF-8")?;
    let method = Method::from_number(get16(bytes, 10))
        .ok_or_else(|| format!("{name:?} has the unknown method {}", get16(bytes, 10)))?;
    let mut facts = Facts {
        method,
        crc32: get32(bytes, 16),
        compressed: u64::from(get32(bytes, 20)),
        size: u64::from(get32(bytes, 24)),
    };
    let mut offset = u64::from(get32(bytes, 42));
    let extra = &bytes[CENTRAL_BYTES + name_bytes..length];
    let mut fields = extra.get(4..).unwrap_or(&[]).chunks_exact(8);
    let mut next = || {
        fields
            .next()
            .map(|field| get64(field, 0))
            .ok_or_else(|| format!("{name:?} lacks its Zip64 field"))
    };
    if facts.size == LIMIT_32 {
        facts.size = next()?;
        facts.compressed = next()?;
    }
    if offset == LIMIT_32 {
        offset = next()?;
    }
    let mut canonical = Vec::with_capacity(length);
    facts.central(name, offset, &mut canonical);
    if canonical != bytes[..length] {
        return Err(format!(
            "the central directory's record of {name:?} is not in the one form"
        ));
    }
    Ok(Some((facts, name, offset, length)))
}

/// What a local header says of itself: its facts (sizes zero where a descriptor follows), its
/// name, its length. Only for archives that were cut: `verify` compares whole headers.
pub(crate) fn parse_local(bytes: &[u8]) -> Option<(Facts, &str, usize)> {
    if bytes.len() < LOCAL_BYTES || get32(bytes, 0) != LOCAL {
        return None;
    }
    let name_bytes = usize::from(get16(bytes, 26));
    let extra_bytes = usize::from(get16(bytes, 28));
    let name = std::str::from_utf8(bytes.get(LOCAL_BYTES..LOCAL_BYTES + name_bytes)?).ok()?;
    let facts = Facts {
        method: Method::from_number(get16(bytes, 8))?,
        crc32: get32(bytes, 14),
        compressed: u64::from(get32(bytes, 18)),
        size: u64::from(get32(bytes, 22)),
    };
    Some((facts, name, LOCAL_BYTES + name_bytes + extra_bytes))
}

/// What a descriptor at the beginning of `bytes` says in each of its two forms: CRC, compressed
/// size, size.
pub(crate) fn parse_descriptor(bytes: &[u8]) -> Vec<(u32, u64, u64)> {
    let mut forms = Vec::new();
    if bytes.len() >= 16 && get32(bytes, 0) == DESCRIPTOR {
        let (compressed, size) = (get32(bytes, 8).into(), get32(bytes, 12).into());
        forms.push((get32(bytes, 4), compressed, size));
        if bytes.len() >= 24 {
            forms.push((get32(bytes, 4), get64(bytes, 8), get64(bytes, 16)));
        }
    }
    forms
}

/// Whether a local header says that a descriptor follows the data.
pub(crate) fn local_has_descriptor(header: &[u8]) -> bool {
    header.len() >= LOCAL_BYTES && get16(header, 6) & FLAG_DESCRIPTOR != 0
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// The callers have checked that the bytes are there.
fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from(get16(bytes, at)) | u32::from(get16(bytes, at + 2)) << 16
}

fn get64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get32(bytes, at)) | u64::from(get32(bytes, at + 4)) << 32
}

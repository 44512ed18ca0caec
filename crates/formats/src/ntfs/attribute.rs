//! What a record holds: attributes, one after another.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     4 | kind; 0xFFFFFFFF after the last one |
//! |   0x04 |     4 | length, padding included |
//! |   0x08 |     1 | 0 resident, 1 non-resident |
//! |   0x09 |     1 | UTF-16 units of the name |
//! |   0x0A |     2 | offset of the name |
//! |   0x0C |     2 | flags: 0x00FF compression, 0x4000 encrypted, 0x8000 sparse |
//! |   0x0E |     2 | id within the record |
//! |   0x10 | 4 + 2 | resident: length and offset of the content |
//! |   0x10 | 8 + 8 | non-resident: first and last VCN |
//! |   0x20 | 2 + 2 | offset of the runs; exponent of clusters a compression unit |
//! |   0x28 | 8+8+8 | allocated, real and valid length: in the part that begins at VCN 0 only |
//!
//! # Damage
//! An attribute whose fields point out of it is passed over with an error; where its length
//! itself can't be, nothing after it in the record can be found, and the iteration ends.

use super::{
    Runs,
    field::{u8_at, u16_at, u32_at, u64_at},
};

/// The kinds of attributes.
#[expect(missing_docs, reason = "the names are the format's own")]
pub mod kind {
    pub const STANDARD_INFORMATION: u32 = 0x10;
    pub const ATTRIBUTE_LIST: u32 = 0x20;
    pub const FILE_NAME: u32 = 0x30;
    pub const OBJECT_ID: u32 = 0x40;
    pub const SECURITY_DESCRIPTOR: u32 = 0x50;
    pub const VOLUME_NAME: u32 = 0x60;
    pub const VOLUME_INFORMATION: u32 = 0x70;
    pub const DATA: u32 = 0x80;
    pub const INDEX_ROOT: u32 = 0x90;
    pub const INDEX_ALLOCATION: u32 = 0xA0;
    pub const BITMAP: u32 = 0xB0;
    pub const REPARSE_POINT: u32 = 0xC0;
    pub const EA_INFORMATION: u32 = 0xD0;
    pub const EA: u32 = 0xE0;
    pub const LOGGED_UTILITY_STREAM: u32 = 0x100;
}

/// Any of these flags: the content is compressed. 1 is LZNT1.
pub const COMPRESSED: u16 = 0x00FF;
/// The content is encrypted by EFS.
pub const ENCRYPTED: u16 = 0x4000;
/// The content may have holes.
pub const SPARSE: u16 = 0x8000;

const END: u32 = u32::MAX;
const HEADER_BYTES: usize = 0x10;

/// One attribute, or one part of a non-resident one.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its kind, see [`kind`].
    pub kind: u32,
    /// Its id within the record.
    pub id: u16,
    /// [`COMPRESSED`], [`ENCRYPTED`], [`SPARSE`].
    pub flags: u16,
    /// Its name in UTF-16LE; most have none.
    pub name: &'a [u8],
    /// Its content, or where that lies.
    pub body: Body<'a>,
    /// Where it begins in the record.
    pub offset: u32,
    /// Its bytes in the record.
    pub length: u32,
}

/// Where an attribute's content is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// In the record.
    Resident(&'a [u8]),
    /// In clusters of its own.
    NonResident(NonResident<'a>),
}

/// Where the content of a non-resident attribute lies, and how long it is.
#[derive(Clone, Copy, Debug)]
pub struct NonResident<'a> {
    /// The first virtual cluster of this part.
    pub first_vcn: u64,
    /// The last virtual cluster of this part; one less than the first where there is none.
    pub last_vcn: u64,
    /// Clusters a compression unit, as an exponent of 2; 0 where it is not compressed.
    pub compression_exponent: u8,
    /// Bytes allocated, holes included. This and the next two are stated where the part begins
    /// at VCN 0, and are 0 elsewhere.
    pub allocated_bytes: u64,
    /// The logical length.
    pub real_bytes: u64,
    /// How much of it was ever written; zeros are read past it.
    pub valid_bytes: u64,
    runs: &'a [u8],
}

impl<'a> NonResident<'a> {
    /// The runs of this part.
    pub fn runs(&self) -> Runs<'a> {
        Runs::new(self.runs, self.first_vcn)
    }
}

impl<'a> Attribute<'a> {
    /// The content, where it is in the record.
    pub fn resident(&self) -> Option<&'a [u8]> {
        match self.body {
            Body::Resident(content) => Some(content),
            Body::NonResident(_) => None,
        }
    }

    /// Where the content lies, where it is not in the record.
    pub fn non_resident(&self) -> Option<NonResident<'a>> {
        match self.body {
            Body::Resident(_) => None,
            Body::NonResident(part) => Some(part),
        }
    }

    fn parse(bytes: &'a [u8], kind: u32, offset: usize) -> Option<Self> {
        let name_at = usize::from(u16_at(bytes, 0x0A)?);
        let name_bytes = usize::from(u8_at(bytes, 0x09)?) * 2;
        let name = match name_bytes {
            0 => &[],
            _ => bytes.get(name_at..name_at + name_bytes)?,
        };
        let body = if u8_at(bytes, 0x08)? == 0 {
            let length = u32_at(bytes, 0x10)? as usize;
            let at = usize::from(u16_at(bytes, 0x14)?);
            Body::Resident(bytes.get(at..at.checked_add(length)?)?)
        } else {
            let first_vcn = u64_at(bytes, 0x10)?;
            let size = |at| {
                if first_vcn == 0 {
                    u64_at(bytes, at)
                } else {
                    Some(0)
                }
            };
            Body::NonResident(NonResident {
                first_vcn,
                last_vcn: u64_at(bytes, 0x18)?,
                compression_exponent: u8_at(bytes, 0x22)?,
                allocated_bytes: size(0x28)?,
                real_bytes: size(0x30)?,
                valid_bytes: size(0x38)?,
                runs: bytes.get(usize::from(u16_at(bytes, 0x20)?)..)?,
            })
        };
        Some(Self {
            kind,
            id: u16_at(bytes, 0x0E)?,
            flags: u16_at(bytes, 0x0C)?,
            name,
            body,
            // Records are no longer than 64 KiB.
            offset: offset as u32,
            length: bytes.len() as u32,
        })
    }
}

/// An attribute that can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {kind:#x} at offset {offset} of the record {why}")]
pub struct AttributeError {
    /// Its kind.
    pub kind: u32,
    /// Where it begins in the record.
    pub offset: u32,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The attributes of a record, in order.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    record: &'a [u8],
    at: usize,
}

impl<'a> Attributes<'a> {
    /// The attributes of a record whose fixups are undone, from the one at `first` on.
    pub fn new(record: &'a [u8], first: usize) -> Self {
        Self { record, at: first }
    }

    fn end_with(&mut self, kind: u32, why: &'static str) -> Result<Attribute<'a>, AttributeError> {
        let offset = self.at as u32;
        self.at = self.record.len();
        Err(AttributeError { kind, offset, why })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, AttributeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.record.get(self.at..).filter(|rest| !rest.is_empty())?;
        let Some(kind) = u32_at(rest, 0) else {
            return Some(self.end_with(0, "begins past the bytes used"));
        };
        if kind == END {
            return None;
        }
        let Some(length) = u32_at(rest, 4).map(|length| length as usize) else {
            return Some(self.end_with(kind, "begins past the bytes used"));
        };
        if length < HEADER_BYTES {
            return Some(self.end_with(kind, "is shorter than its header"));
        }
        let Some(bytes) = rest.get(..length) else {
            return Some(self.end_with(kind, "ends past the bytes used"));
        };
        let offset = self.at;
        self.at += length;
        Some(Attribute::parse(bytes, kind, offset).ok_or(AttributeError {
            kind,
            offset: offset as u32,
            why: "states a name or content outside of itself",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(kind: u32, content: &[u8]) -> Vec<u8> {
        let length = (0x18 + content.len()).next_multiple_of(8);
        let mut bytes = vec![0; length];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[0x10..0x14].copy_from_slice(&(content.len() as u32).to_le_bytes());
        bytes[0x14] = 0x18;
        bytes[0x18..0x18 + content.len()].copy_from_slice(content);
        bytes
    }

    #[test]
    fn goes_on_past_a_damaged_one() {
        let mut record = resident(0x10, b"one");
        let mut damaged = resident(0x30, b"two");
        damaged[0x10] = 0xFF;
        record.extend(damaged);
        record.extend(resident(0x80, b"three"));
        record.extend(u32::MAX.to_le_bytes());
        let found: Vec<_> = Attributes::new(&record, 0).collect();
        assert_eq!(found.len(), 3);
        let content = |at: usize| found[at].as_ref().ok().and_then(Attribute::resident);
        assert_eq!(content(0), Some(&b"one"[..]));
        assert_eq!(found[1].as_ref().expect_err("damaged").kind, 0x30);
        assert_eq!(content(2), Some(&b"three"[..]));
    }

    #[test]
    fn cut_anywhere() {
        let mut record = resident(0x10, b"one");
        record.extend(resident(0x80, b"three"));
        for length in 0..record.len() {
            let whole = Attributes::new(&record[..length], 0)
                .filter(Result::is_ok)
                .count();
            assert!(whole <= 1, "cut at {length}");
            for first in [1, 7, length, length + 1, usize::MAX] {
                assert!(Attributes::new(&record[..length], first).count() <= 2);
            }
        }
    }
}

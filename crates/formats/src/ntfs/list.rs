//! `$ATTRIBUTE_LIST`: in which records the attributes of a file lie.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     4 | kind |
//! |   0x04 |     2 | length of this entry |
//! |   0x06 | 1 + 1 | UTF-16 units and offset of the attribute's name |
//! |   0x08 |     8 | first VCN of the part |
//! |   0x10 |     8 | reference of the record that holds it |
//! |   0x18 |     2 | id of the attribute in that record |
//!
//! # Damage
//! An entry whose length can't be ends the list.

use super::{
    AttributeError,
    field::{u8_at, u16_at, u32_at, u64_at},
};

/// Where one attribute, or one part of it, is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// The kind of the attribute.
    pub kind: u32,
    /// The name of the attribute in UTF-16LE.
    pub name: &'a [u8],
    /// The first virtual cluster of the part.
    pub first_vcn: u64,
    /// The 64-bit reference of the record that holds it.
    pub record: u64,
    /// Its id in that record.
    pub id: u16,
}

const ENTRY_BYTES: usize = 0x1A;

/// The entries of an attribute list, in order.
#[derive(Clone, Debug)]
pub struct ListEntries<'a> {
    content: &'a [u8],
    at: usize,
}

impl<'a> ListEntries<'a> {
    /// The entries in the content of the attribute.
    pub fn new(content: &'a [u8]) -> Self {
        Self { content, at: 0 }
    }
}

impl<'a> Iterator for ListEntries<'a> {
    type Item = Result<ListEntry<'a>, AttributeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self
            .content
            .get(self.at..)
            .filter(|rest| !rest.is_empty())?;
        let (kind, length) = (u32_at(rest, 0), u16_at(rest, 4));
        // A list may have room left at its end.
        if kind == Some(0) && length == Some(0) {
            return None;
        }
        let length = usize::from(length.unwrap_or(0));
        let bytes = rest
            .get(..length)
            .filter(|bytes| bytes.len() >= ENTRY_BYTES);
        let entry = bytes.and_then(|bytes| {
            let name_at = usize::from(u8_at(bytes, 7)?);
            let name_bytes = usize::from(u8_at(bytes, 6)?) * 2;
            Some(ListEntry {
                kind: u32_at(bytes, 0)?,
                name: match name_bytes {
                    0 => &[],
                    _ => bytes.get(name_at..name_at + name_bytes)?,
                },
                first_vcn: u64_at(bytes, 0x08)?,
                record: u64_at(bytes, 0x10)?,
                id: u16_at(bytes, 0x18)?,
            })
        });
        let offset = self.at as u32;
        self.at = match bytes {
            Some(bytes) => self.at + bytes.len(),
            None => self.content.len(),
        };
        Some(entry.ok_or(AttributeError {
            kind: kind.unwrap_or(0),
            offset,
            why: "is listed by a damaged entry",
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_cuts() {
        let mut one = vec![0; 0x20];
        one[0] = 0x80;
        one[4] = 0x20;
        one[6..8].copy_from_slice(&[1, 0x1A]);
        one[0x08] = 5;
        one[0x10] = 42;
        one[0x1A] = b'n';
        let list = [&one[..], &one[..], &[0; 8]].concat();
        let found: Vec<_> = ListEntries::new(&list).map(|e| e.expect("sound")).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].first_vcn, found[0].record), (5, 42));
        assert_eq!(found[1].name, b"n\0");
        for length in 0..list.len() {
            let whole = ListEntries::new(&list[..length]).filter(Result::is_ok);
            assert!(whole.count() <= length / one.len());
        }
        one[4] = 1;
        assert!(ListEntries::new(&one).all(|entry| entry.is_err()));
    }
}

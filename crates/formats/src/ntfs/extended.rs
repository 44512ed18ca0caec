//! `$EA`: extended attributes, which OS/2 programs and the Linux subsystem of Windows keep.
//!
//! # Layout (little-endian)
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! |   0x00 |     4 | bytes to the next attribute; after the last one 0, or to the end |
//! |   0x04 |     1 | flags; 0x80: a program must understand it |
//! |   0x05 | 1 + 2 | bytes of the name and of the value |
//! |   0x08 |       | the name, a zero byte, the value |
//!
//! # Damage
//! An attribute that lies outside of the bytes ends the list with an error.

use super::field::{u8_at, u16_at, u32_at};

/// One extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended<'a> {
    /// 0x80 says that a program must understand it.
    pub flags: u8,
    /// Its name, in a code page that is not stated.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// The attributes in the content of `$EA`, in order.
#[derive(Clone, Debug)]
pub struct ExtendedAttributes<'a> {
    rest: &'a [u8],
    /// Whether the last one says that another follows it, and none does.
    is_cut: bool,
}

impl<'a> ExtendedAttributes<'a> {
    /// The attributes in the content of the attribute.
    pub fn new(content: &'a [u8]) -> Self {
        Self {
            rest: content,
            is_cut: false,
        }
    }

    fn read(&mut self) -> Option<Extended<'a>> {
        let bytes = std::mem::take(&mut self.rest);
        let (name_bytes, value_bytes) = (usize::from(u8_at(bytes, 5)?), u16_at(bytes, 6)?);
        let value_at = 8 + name_bytes + 1;
        let found = Extended {
            flags: u8_at(bytes, 4)?,
            name: bytes.get(8..8 + name_bytes)?,
            value: bytes.get(value_at..value_at + usize::from(value_bytes))?,
        };
        let next = u32_at(bytes, 0)? as usize;
        if next > 0 {
            // It can't lie inside of this one.
            let after = bytes.get(next.max(value_at)..);
            self.is_cut = after.is_none();
            self.rest = after.unwrap_or(&[]);
        }
        Some(found)
    }
}

impl<'a> Iterator for ExtendedAttributes<'a> {
    type Item = Result<Extended<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        const CUT: &str = "an extended attribute is cut";
        if self.rest.is_empty() {
            return std::mem::take(&mut self.is_cut).then_some(Err(CUT));
        }
        Some(self.read().ok_or(CUT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_and_cuts() {
        let one = b"\x14\0\0\0\x80\x03\x04\0abc\0wxyz\0\0\0\0";
        let two = b"\0\0\0\0\0\x01\0\0z\0\0\0";
        let both = [&one[..], &two[..]].concat();
        let found: Vec<_> = ExtendedAttributes::new(&both).collect();
        let (first, second) = (found[0].expect("whole"), found[1].expect("whole"));
        assert_eq!(
            (first.name, first.value, first.flags),
            (&b"abc"[..], &b"wxyz"[..], 0x80)
        );
        assert_eq!((second.name, second.value), (&b"z"[..], &b""[..]));
        for length in 1..both.len() {
            let cut: Vec<_> = ExtendedAttributes::new(&both[..length]).collect();
            assert!(cut.len() <= 2);
            assert_eq!(
                cut.iter().any(Result::is_err),
                length < 0x14 + 10 && length != 0x14,
                "{length}"
            );
        }
        let looping = b"\x01\0\0\0\0\0\0\0\0".repeat(1000);
        assert!(ExtendedAttributes::new(&looping).count() <= 1001);
    }
}

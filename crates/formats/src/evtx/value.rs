//! Typed values, as templates are filled with them.

use std::io::Write;

use super::text::{Utf16, push_ansi};

/// What [MS-EVEN6] 2.2.12 calls a value type, without the array bit.
pub(super) mod kind {
    pub(crate) const NULL: u8 = 0x00;
    pub(crate) const STRING: u8 = 0x01;
    pub(crate) const ANSI_STRING: u8 = 0x02;
    pub(crate) const INT8: u8 = 0x03;
    pub(crate) const UINT8: u8 = 0x04;
    pub(crate) const INT16: u8 = 0x05;
    pub(crate) const UINT16: u8 = 0x06;
    pub(crate) const INT32: u8 = 0x07;
    pub(crate) const UINT32: u8 = 0x08;
    pub(crate) const INT64: u8 = 0x09;
    pub(crate) const UINT64: u8 = 0x0a;
    pub(crate) const REAL32: u8 = 0x0b;
    pub(crate) const REAL64: u8 = 0x0c;
    pub(crate) const BOOL: u8 = 0x0d;
    pub(crate) const GUID: u8 = 0x0f;
    pub(crate) const SIZE: u8 = 0x10;
    pub(crate) const FILETIME: u8 = 0x11;
    pub(crate) const SYSTEMTIME: u8 = 0x12;
    pub(crate) const SID: u8 = 0x13;
    pub(crate) const HEX32: u8 = 0x14;
    pub(crate) const HEX64: u8 = 0x15;
    pub(crate) const BINARY_XML: u8 = 0x21;
    pub(crate) const ARRAY: u8 = 0x80;
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// None.
    Null,
    /// Text of a template.
    Literal(&'a str),
    /// Text.
    Text(Utf16<'a>),
    /// Text in the writer's code page.
    Ansi(&'a [u8]),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A number that is shown in hexadecimal.
    Hex(u64),
    /// A floating-point number of 32 bits.
    Real32(f32),
    /// A floating-point number of 64 bits.
    Real64(f64),
    /// True or false.
    Bool(bool),
    /// A GUID, as it is stored.
    Guid(&'a [u8; 16]),
    /// A FILETIME, 100 ns since 1601.
    FileTime(u64),
    /// A calendar time in UTC.
    SystemTime(SystemTime),
    /// A security identifier.
    Sid(Sid<'a>),
    /// Bytes; also what does not have the size of its type, or has an unknown type.
    Binary(&'a [u8]),
}

/// A SYSTEMTIME: calendar fields, UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SystemTime {
    pub year: u16,
    pub month: u16,
    pub day: u16,
    pub hour: u16,
    pub minute: u16,
    pub second: u16,
    pub millisecond: u16,
}

/// A security identifier, whose count of parts fits its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sid<'a>(&'a [u8]);

impl<'a> Sid<'a> {
    const HEAD_BYTES: usize = 8;

    fn new(bytes: &'a [u8]) -> Option<Self> {
        let count = usize::from(*bytes.get(1)?);
        (bytes.len() == Self::HEAD_BYTES + 4 * count).then_some(Self(bytes))
    }

    /// Appends `S-1-5-…`, as [MS-DTYP] 2.4.2.1 has it.
    pub fn push_to(self, out: &mut Vec<u8>) {
        let authority = self.0[2..Self::HEAD_BYTES]
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        out.extend_from_slice(b"S-");
        push_decimal(self.0[0].into(), out);
        out.push(b'-');
        if authority > u32::MAX.into() {
            push_hex(authority, out);
        } else {
            push_decimal(authority, out);
        }
        for part in self.0[Self::HEAD_BYTES..].chunks_exact(4) {
            out.push(b'-');
            push_decimal(
                u32::from_le_bytes([part[0], part[1], part[2], part[3]]).into(),
                out,
            );
        }
    }
}

impl<'a> Scalar<'a> {
    /// The value that `bytes` hold, as `kind` says (without the array bit).
    pub(super) fn decode(kind: u8, bytes: &'a [u8]) -> Self {
        fn fixed<'a, const N: usize>(
            bytes: &'a [u8],
            decode: impl FnOnce([u8; N]) -> Scalar<'a>,
        ) -> Scalar<'a> {
            match <[u8; N]>::try_from(bytes) {
                Ok(bytes) => decode(bytes),
                Err(_) if bytes.is_empty() => Scalar::Null,
                Err(_) => Scalar::Binary(bytes),
            }
        }
        match kind {
            kind::NULL => Self::Null,
            kind::STRING => Self::Text(Utf16(bytes).trimmed()),
            kind::ANSI_STRING => Self::Ansi(trim_zeros(bytes)),
            kind::INT8 => fixed(bytes, |b| Self::Int(i8::from_le_bytes(b).into())),
            kind::UINT8 => fixed(bytes, |b| Self::Uint(u8::from_le_bytes(b).into())),
            kind::INT16 => fixed(bytes, |b| Self::Int(i16::from_le_bytes(b).into())),
            kind::UINT16 => fixed(bytes, |b| Self::Uint(u16::from_le_bytes(b).into())),
            kind::INT32 => fixed(bytes, |b| Self::Int(i32::from_le_bytes(b).into())),
            kind::UINT32 => fixed(bytes, |b| Self::Uint(u32::from_le_bytes(b).into())),
            kind::INT64 => fixed(bytes, |b| Self::Int(i64::from_le_bytes(b))),
            kind::UINT64 => fixed(bytes, |b| Self::Uint(u64::from_le_bytes(b))),
            kind::REAL32 => fixed(bytes, |b| Self::Real32(f32::from_le_bytes(b))),
            kind::REAL64 => fixed(bytes, |b| Self::Real64(f64::from_le_bytes(b))),
            // [MS-EVEN6] knows 0 and 1 only; what else is found is shown as the number it is.
            kind::BOOL => fixed(bytes, |b| match i32::from_le_bytes(b) {
                0 => Self::Bool(false),
                1 => Self::Bool(true),
                other => Self::Int(other.into()),
            }),
            kind::GUID => match bytes.try_into() {
                Ok(guid) => Self::Guid(guid),
                Err(_) if bytes.is_empty() => Self::Null,
                Err(_) => Self::Binary(bytes),
            },
            kind::FILETIME => fixed(bytes, |b| Self::FileTime(u64::from_le_bytes(b))),
            kind::SYSTEMTIME => fixed(bytes, |b| Self::SystemTime(SystemTime::decode(&b))),
            kind::SID if bytes.is_empty() => Self::Null,
            kind::SID => Sid::new(bytes).map_or(Self::Binary(bytes), Self::Sid),
            kind::HEX32 | kind::HEX64 | kind::SIZE => match *bytes {
                [a, b, c, d] => Self::Hex(u32::from_le_bytes([a, b, c, d]).into()),
                _ => fixed(bytes, |b| Self::Hex(u64::from_le_bytes(b))),
            },
            _ => Self::Binary(bytes),
        }
    }

    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The number, if it is one; text is read as a decimal or, after `0x`, hexadecimal number.
    pub fn as_u64(&self, scratch: &mut Vec<u8>) -> Option<u64> {
        match *self {
            Self::Int(number) => number.try_into().ok(),
            Self::Uint(number) | Self::Hex(number) => Some(number),
            Self::Literal(text) => parse_number(text),
            Self::Text(text) => parse_number(text.to_str(scratch)),
            _ => None,
        }
    }

    /// Appends the value as text: numbers in decimal or hexadecimal as their type says, GUIDs in
    /// braces, bytes in hexadecimal. Times are shown as the numbers that they are.
    pub fn push_to(&self, out: &mut Vec<u8>) {
        // Writing to a `Vec` can't fail.
        let mut push = |text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("a Vec takes all");
        };
        match *self {
            Self::Null => {}
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(text) => text.push_to(out),
            Self::Ansi(bytes) => push_ansi(bytes, out),
            Self::Int(number) => push(format_args!("{number}")),
            Self::Uint(number) | Self::FileTime(number) => push_decimal(number, out),
            Self::Hex(number) => push_hex(number, out),
            // The shortest digits that read back as the same number, on every platform.
            Self::Real32(number) => push(format_args!("{number:?}")),
            Self::Real64(number) => push(format_args!("{number:?}")),
            Self::Bool(truth) => push(format_args!("{truth}")),
            Self::Guid(guid) => push_guid(guid, out),
            Self::SystemTime(time) => push(format_args!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                time.year,
                time.month,
                time.day,
                time.hour,
                time.minute,
                time.second,
                time.millisecond
            )),
            Self::Sid(sid) => sid.push_to(out),
            Self::Binary(bytes) => {
                for byte in bytes {
                    push_hex_byte(*byte, out);
                }
            }
        }
    }
}

impl SystemTime {
    fn decode(bytes: &[u8; 16]) -> Self {
        let field = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            year: field(0),
            month: field(2),
            // Between them lies the day of the week.
            day: field(6),
            hour: field(8),
            minute: field(10),
            second: field(12),
            millisecond: field(14),
        }
    }

    /// Whether every field is one of a calendar.
    pub fn is_valid(&self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.millisecond < 1000
    }
}

/// The values of an array, one after another.
pub(super) fn for_each_of<'a>(kind: u8, bytes: &'a [u8], mut show: impl FnMut(Scalar<'a>)) {
    let width = match kind {
        kind::STRING => {
            let mut rest = &bytes[..bytes.len() & !1];
            while !rest.is_empty() {
                let end = rest.chunks_exact(2).position(|unit| unit == [0, 0]);
                let (item, next) = match end {
                    Some(end) => (&rest[..end * 2], &rest[end * 2 + 2..]),
                    None => (rest, &rest[rest.len()..]),
                };
                show(Scalar::Text(Utf16(item)));
                rest = next;
            }
            return;
        }
        kind::ANSI_STRING => {
            let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
            text.split(|byte| *byte == 0)
                .for_each(|item| show(Scalar::Ansi(item)));
            return;
        }
        kind::SID => {
            let mut rest = bytes;
            while let [_, count, ..] = *rest {
                let size = Sid::HEAD_BYTES + 4 * usize::from(count);
                let Some((sid, next)) = rest.split_at_checked(size) else {
                    break;
                };
                show(Scalar::decode(kind, sid));
                rest = next;
            }
            if !rest.is_empty() {
                show(Scalar::Binary(rest));
            }
            return;
        }
        kind::INT8 | kind::UINT8 => 1,
        kind::INT16 | kind::UINT16 => 2,
        kind::INT32 | kind::UINT32 | kind::REAL32 | kind::BOOL | kind::HEX32 => 4,
        kind::INT64 | kind::UINT64 | kind::REAL64 | kind::FILETIME | kind::HEX64 => 8,
        kind::GUID | kind::SYSTEMTIME => 16,
        // The width of sizes is not said anywhere; modern machines have 64 bits.
        kind::SIZE if bytes.len().is_multiple_of(8) => 8,
        kind::SIZE => 4,
        _ => bytes.len().max(1),
    };
    for item in bytes.chunks(width) {
        show(Scalar::decode(kind, item));
    }
}

/// The size of a value that stands in the token stream itself, where its type fixes one.
pub(super) fn fixed_size(kind: u8) -> Option<usize> {
    Some(match kind {
        kind::NULL => 0,
        kind::INT8 | kind::UINT8 => 1,
        kind::INT16 | kind::UINT16 => 2,
        kind::INT32 | kind::UINT32 | kind::REAL32 | kind::BOOL | kind::HEX32 => 4,
        kind::INT64 | kind::UINT64 | kind::REAL64 | kind::FILETIME | kind::HEX64 => 8,
        kind::GUID | kind::SYSTEMTIME => 16,
        _ => return None,
    })
}

fn trim_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = bytes {
        bytes = rest;
    }
    bytes
}

fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn push_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_hex(number: u64, out: &mut Vec<u8>) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    let mut text = [0; 18];
    text[..2].copy_from_slice(b"0x");
    for (place, digit) in text[2..2 + digits as usize].iter_mut().rev().enumerate() {
        *digit = HEX[(number >> (4 * place) & 15) as usize];
    }
    out.extend_from_slice(&text[..2 + digits as usize]);
}

fn push_hex_byte(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Appends a GUID as Windows shows it: `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`.
fn push_guid(guid: &[u8; 16], out: &mut Vec<u8>) {
    // The first three parts are stored as little-endian numbers. 16 stands for a dash.
    const ORDER: [u8; 20] = [
        3, 2, 1, 0, 16, 5, 4, 16, 7, 6, 16, 8, 9, 16, 10, 11, 12, 13, 14, 15,
    ];
    let mut text = [b'-'; 38];
    let mut at = 1;
    for place in ORDER {
        if let Some(byte) = guid.get(usize::from(place)) {
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 1;
        }
        at += 1;
    }
    text[0] = b'{';
    text[37] = b'}';
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: u8, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        Scalar::decode(kind, bytes).push_to(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn scalars_as_text() {
        assert_eq!(shown(kind::INT8, &[0xff]), "-1");
        assert_eq!(shown(kind::UINT64, &[0xff; 8]), "18446744073709551615");
        assert_eq!(shown(kind::HEX32, &[0, 0x10, 0, 0]), "0x1000");
        assert_eq!(shown(kind::HEX64, &[0; 8]), "0x0");
        assert_eq!(shown(kind::SIZE, &[0xff; 4]), "0xffffffff");
        assert_eq!(shown(kind::BOOL, &[1, 0, 0, 0]), "true");
        assert_eq!(shown(kind::BOOL, &[7, 0, 0, 0]), "7");
        assert_eq!(shown(kind::REAL64, &0.5f64.to_le_bytes()), "0.5");
        assert_eq!(
            shown(
                kind::GUID,
                &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
            ),
            "{04030201-0605-0807-090a-0b0c0d0e0f10}"
        );
        assert_eq!(
            shown(kind::SID, &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]),
            "S-1-5-18"
        );
        assert_eq!(
            shown(
                kind::SYSTEMTIME,
                &[0xe4, 7, 2, 0, 6, 0, 29, 0, 1, 0, 2, 0, 3, 0, 4, 0]
            ),
            "2020-02-29T01:02:03.004Z"
        );
        // A size that is not the type's keeps the bytes.
        assert_eq!(shown(kind::UINT32, &[1, 2]), "0102");
        assert_eq!(
            shown(kind::SID, &[1, 2, 0, 0, 0, 0, 0, 5]),
            "0102000000000005"
        );
        assert_eq!(shown(0x7f, &[1]), "01");
        assert_eq!(shown(kind::GUID, &[]), "");
    }

    #[test]
    fn arrays() {
        let shown = |kind, bytes: &[u8]| {
            let mut items = Vec::new();
            for_each_of(kind, bytes, |item| {
                let mut out = Vec::new();
                item.push_to(&mut out);
                items.push(String::from_utf8(out).expect("text"));
            });
            items
        };
        assert_eq!(shown(kind::UINT16, &[1, 0, 2, 0, 3]), ["1", "2", "03"]);
        assert_eq!(shown(kind::STRING, b"a\0\0\0\0\0b\0\0\0"), ["a", "", "b"]);
        assert_eq!(shown(kind::STRING, b"a\0"), ["a"]);
        assert_eq!(shown(kind::ANSI_STRING, b"a\0b\0"), ["a", "b"]);
        assert_eq!(
            shown(kind::SID, &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, 9]),
            ["S-1-5-18", "09"]
        );
        assert_eq!(shown(kind::UINT32, &[]), [""; 0]);
    }
}

//! The version resource, `VS_VERSIONINFO`: nested blocks of length, key and value.
//!
//! # Layout of a block (little-endian; value and children aligned to 4 bytes)
//! | offset | bytes | field                                             |
//! |-------:|------:|---------------------------------------------------|
//! |      0 |     2 | length of the block with its children, bytes      |
//! |      2 |     2 | length of the value: bytes, or UTF-16 code units  |
//! |      4 |     2 | 1 where the value is text                         |
//! |      6 |     – | key, UTF-16, ends with a zero                     |

use super::resources::Resources;
use crate::{Cursor, DecodeError};

const FIXED_SIGNATURE: u32 = 0xfeef_04bd;
/// Texts of all tables together.
const TEXT_LIMIT: usize = 256;

struct Block<'a> {
    key: String,
    value: &'a [u8],
    children: &'a [u8],
    children_at: u64,
}

/// Reads a block; returns it and how many bytes it takes, alignment included.
fn block(bytes: &[u8], at: u64) -> Result<(Block<'_>, usize), DecodeError> {
    let mut cur = Cursor::new(bytes, at);
    let length = usize::from(cur.u16("block length")?);
    let value_length = usize::from(cur.u16("value length")?);
    let is_text = cur.u16("value type")? == 1;
    let bytes = &bytes[..length.min(bytes.len())];
    if length < 6 {
        return Err(DecodeError::Invalid {
            field: "block length",
            at,
            why: format!("{length} bytes are less than its head"),
        });
    }
    let body = bytes.get(6..).unwrap_or_default();
    let (key, key_bytes) = text(body);
    let value_start = aligned(6 + key_bytes).min(bytes.len());
    let value_bytes = value_length * if is_text { 2 } else { 1 };
    let value_end = (value_start + value_bytes).min(bytes.len());
    let children = aligned(value_end).min(bytes.len());
    let block = Block {
        key,
        value: &bytes[value_start..value_end],
        children: &bytes[children..],
        children_at: at + children as u64,
    };
    Ok((block, aligned(length)))
}

fn aligned(offset: usize) -> usize {
    offset.next_multiple_of(4)
}

/// The text up to a zero, and how many bytes it takes, the zero included.
fn text(bytes: &[u8]) -> (String, usize) {
    let units = bytes.as_chunks::<2>().0;
    let end = units.iter().position(|unit| *unit == [0, 0]);
    let kept = units[..end.unwrap_or(units.len())].iter();
    let text = char::decode_utf16(kept.map(|unit| u16::from_le_bytes(*unit)))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    (text, end.map_or(units.len(), |end| end + 1) * 2)
}

/// Calls `each` with the blocks that lie one after another in `bytes`.
fn blocks<'a>(
    mut bytes: &'a [u8],
    mut at: u64,
    mut each: impl FnMut(Block<'a>, u64) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    // Two zero bytes are padding, not a block.
    while bytes.len() >= 6 && bytes[..2] != [0, 0] {
        let (block, step) = block(bytes, at)?;
        each(block, at)?;
        bytes = &bytes[step.min(bytes.len())..];
        at += step as u64;
    }
    Ok(())
}

/// Adds what the version resource in `bytes` says.
pub(super) fn read(bytes: &[u8], at: u64, out: &mut Resources) -> Result<(), DecodeError> {
    let (root, _) = block(bytes, at)?;
    if root.key != "VS_VERSION_INFO" {
        return Err(DecodeError::Invalid {
            field: "version resource",
            at,
            why: format!("its key is {:?}", root.key),
        });
    }
    if out.file_version.is_none() {
        out.file_version = fixed_version(root.value);
    }
    blocks(root.children, root.children_at, |info, _| {
        if info.key != "StringFileInfo" {
            return Ok(());
        }
        blocks(info.children, info.children_at, |table, _| {
            blocks(table.children, table.children_at, |entry, at| {
                if out.version.len() == TEXT_LIMIT {
                    return Err(DecodeError::Limit {
                        field: "version texts",
                        at,
                        value: TEXT_LIMIT as u64 + 1,
                        limit: TEXT_LIMIT as u64,
                    });
                }
                let (value, _) = text(entry.value);
                if !out.version.iter().any(|(key, _)| *key == entry.key) {
                    out.version.push((entry.key, value));
                }
                Ok(())
            })
        })
    })
}

/// `dwFileVersionMS` and `dwFileVersionLS` of `VS_FIXEDFILEINFO`.
fn fixed_version(value: &[u8]) -> Option<[u16; 4]> {
    let mut cur = Cursor::new(value, 0);
    if cur.u32("signature").ok()? != FIXED_SIGNATURE {
        return None;
    }
    cur.skip("structure version", 4).ok()?;
    let high = cur.u32("file version").ok()?;
    let low = cur.u32("file version").ok()?;
    Some([
        (high >> 16) as u16,
        high as u16,
        (low >> 16) as u16,
        low as u16,
    ])
}

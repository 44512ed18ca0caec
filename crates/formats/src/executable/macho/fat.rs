//! Universal binaries: one file, a slice for each architecture.

use std::ops::Range;

use crate::{Cursor, DecodeError, ReadAt, ReadAtExt};

const FAT: [u8; 4] = 0xcafe_babe_u32.to_be_bytes();
const FAT_64: [u8; 4] = 0xcafe_babf_u32.to_be_bytes();
/// Java classes begin with the same magic; there a version stands in place of the count, and no
/// class has one below 45.
const SLICE_LIMIT: u32 = 44;
const HEAD_BYTES: usize = 8;
const ENTRY_BYTES: usize = 20;
const ENTRY_64_BYTES: usize = 32;

/// An architecture of a universal binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Processor family and model as stored.
    pub cpu: (u32, u32),
    /// Where its bytes lie in the file, as stated.
    pub range: Range<u64>,
}

/// What a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A Mach-O file.
    MachO,
    /// An archive of object files: a static library.
    Archive,
    /// Something else, or nothing.
    Unknown,
}

/// What the bytes of a slice are, by their magic.
pub fn content(slice: &dyn ReadAt) -> Content {
    const ARCHIVE: [u8; 8] = *b"!<arch>\n";
    let mut head = [0; 8];
    // What can't be read is found again, and reported, by whoever reads it as a Mach-O file.
    let Ok(count) = slice.read_full_at(0, &mut head) else {
        return Content::MachO;
    };
    match head.first_chunk().filter(|_| count >= 4) {
        Some(magic) if super::commands::order(*magic).is_some() => Content::MachO,
        _ if head == ARCHIVE => Content::Archive,
        _ => Content::Unknown,
    }
}

/// Whether a file of that size, with that head, is a Mach-O file, thin or universal.
pub fn recognise(head: &[u8], len: u64) -> bool {
    let Some(magic) = head.first_chunk::<4>() else {
        return false;
    };
    match *magic {
        FAT | FAT_64 => decode(head, *magic == FAT_64).is_ok_and(|slices| {
            // At least the first one must be where it says.
            let first = slices.first();
            first.is_some_and(|first| {
                first.range.start < len && first.range.start >= HEAD_BYTES as u64
            })
        }),
        magic => super::commands::order(magic).is_some(),
    }
}

/// The slices of a universal binary; `None` for any other file.
///
/// # Errors
/// Where the count of slices is absurd, or the file ends before their table does.
pub fn slices(stream: &dyn ReadAt) -> Result<Option<Vec<Slice>>, DecodeError> {
    let most = HEAD_BYTES + SLICE_LIMIT as usize * ENTRY_64_BYTES;
    let head = stream.read_range(0..most as u64, most)?;
    match head.first_chunk::<4>() {
        Some(magic @ (&FAT | &FAT_64)) => decode(&head, *magic == FAT_64).map(Some),
        _ => Ok(None),
    }
}

fn decode(head: &[u8], wide: bool) -> Result<Vec<Slice>, DecodeError> {
    let mut cur = Cursor::new(head, 0);
    let word = |cur: &mut Cursor<'_>, field| cur.array(field).map(u32::from_be_bytes);
    word(&mut cur, "magic")?;
    let count = word(&mut cur, "number of architectures")?;
    if !(1..=SLICE_LIMIT).contains(&count) {
        return Err(DecodeError::Limit {
            field: "number of architectures",
            at: 4,
            value: count.into(),
            limit: SLICE_LIMIT.into(),
        });
    }
    let mut slices = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let at = cur.at();
        let entry = cur.take(
            "architecture",
            if wide { ENTRY_64_BYTES } else { ENTRY_BYTES },
        )?;
        let mut cur = Cursor::new(entry, at);
        let cpu = (word(&mut cur, "processor")?, word(&mut cur, "processor")?);
        let (start, size) = if wide {
            let mut long = |field| cur.array(field).map(u64::from_be_bytes);
            (long("offset")?, long("size")?)
        } else {
            let start = word(&mut cur, "offset")?;
            (start.into(), word(&mut cur, "size")?.into())
        };
        slices.push(Slice {
            cpu,
            range: start..start.saturating_add(size),
        });
    }
    Ok(slices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_classes_are_not_universal_binaries() {
        // Version 52.0: Java 8.
        let class = [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52, 0, 29, 10, 0];
        assert!(!recognise(&class, 4096));
        let mut fat = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 1];
        for word in [0x0100_000cu32, 0, 64, 100, 14] {
            fat.extend(word.to_be_bytes());
        }
        assert!(recognise(&fat, 164));
        assert!(!recognise(&fat, 60));
        assert!(!recognise(&fat[..20], 164));
    }
}

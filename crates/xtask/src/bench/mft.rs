//! A bigger `$MFT` out of a real one: its user records, again and again.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, ensure};

const RECORD: usize = 1024;
const STRIDE: usize = 512;
/// The volume's own records, which are there once.
const KEPT: usize = 64;
const REFERENCE_MASK: u64 = (1 << 48) - 1;

/// A record without its fixups, and where references to other copied records stand in it.
struct Plain {
    bytes: Vec<u8>,
    references: Vec<usize>,
    sound: bool,
}

/// Grows `source` to `bytes` bytes.
///
/// Copy 0 is the source as it is. In each later copy a record's own number, its parents and its
/// base record are moved up by the same constant where they point at a record that is copied too.
pub(crate) fn grow(source: &Path, out: &Path, bytes: u64) -> anyhow::Result<()> {
    let mft = fs::read(source).with_context(|| source.display().to_string())?;
    let records: Vec<Plain> = mft
        .chunks_exact(RECORD)
        .map(plain)
        .collect::<Result<_, _>>()?;
    ensure!(records.len() > KEPT, "{} holds files", source.display());
    let want = bytes as usize / RECORD;
    let step = records.len() - KEPT;
    let mut file = BufWriter::new(File::create(out)?);
    file.write_all(&mft[..records.len() * RECORD])?;
    let mut total = records.len();
    let mut copy = 1;
    while total < want {
        let take = step.min(want - total);
        for record in &records[KEPT..KEPT + take] {
            file.write_all(&moved(record, (copy * step) as u64))?;
        }
        total += take;
        copy += 1;
    }
    file.flush()?;
    Ok(())
}

/// A file that an `$MFT` has.
pub(crate) struct Listed {
    /// Entry and sequence.
    pub(crate) reference: u64,
    /// Its directory's.
    pub(crate) parent: u64,
    pub(crate) name: String,
    pub(crate) is_directory: bool,
}

/// The files in use of an `$MFT`, the volume's own left out, each by its first long name.
pub(crate) fn files(mft: &[u8]) -> anyhow::Result<Vec<Listed>> {
    let mut files = Vec::new();
    for (entry, record) in mft.chunks_exact(RECORD).enumerate().skip(KEPT) {
        let Plain { bytes, sound, .. } = plain(record)?;
        let (flags, is_base) = (u16_at(&bytes, 0x16), u64_at(&bytes, 0x20) == 0);
        if !sound || flags & 1 == 0 || !is_base {
            continue;
        }
        let name = attributes(&bytes).find_map(|at| {
            let content = at + usize::from(u16_at(&bytes, at + 0x14));
            // Names of the DOS kind stand for another one.
            let is_long = u32_at(&bytes, at) == 0x30 && bytes[content + 65] != 2;
            is_long.then_some(content)
        });
        let Some(content) = name else { continue };
        let units: Vec<u16> = (0..usize::from(bytes[content + 64]))
            .map(|unit| u16_at(&bytes, content + 66 + 2 * unit))
            .collect();
        files.push(Listed {
            reference: entry as u64 | u64::from(u16_at(&bytes, 0x10)) << 48,
            parent: u64_at(&bytes, content),
            name: String::from_utf16_lossy(&units),
            is_directory: flags & 2 != 0,
        });
    }
    Ok(files)
}

/// Where a record's attributes begin.
fn attributes(record: &[u8]) -> impl Iterator<Item = usize> {
    let end = u32_at(record, 0x18) as usize;
    let whole = move |at: &usize| {
        at + 16 <= end && u32_at(record, *at) != u32::MAX && u32_at(record, at + 4) > 0
    };
    let first = Some(usize::from(u16_at(record, 0x14)));
    std::iter::successors(first, |at| Some(at + u32_at(record, at + 4) as usize)).take_while(whole)
}

fn plain(record: &[u8]) -> anyhow::Result<Plain> {
    let mut bytes = record.to_vec();
    if &record[..4] != b"FILE" {
        return Ok(Plain {
            bytes,
            references: Vec::new(),
            sound: false,
        });
    }
    for (end, kept) in strides(record) {
        ensure!(
            record[end..end + 2] == record[sequence_at(record)..][..2],
            "a torn record"
        );
        bytes[end..end + 2].copy_from_slice(&record[kept..kept + 2]);
    }
    let mut references = Vec::new();
    let mut refers = |at: usize| {
        if u64_at(&bytes, at) & REFERENCE_MASK >= KEPT as u64 {
            references.push(at);
        }
    };
    refers(0x20);
    for at in attributes(&bytes) {
        if u32_at(&bytes, at) == 0x30 && bytes[at + 8] == 0 {
            refers(at + usize::from(u16_at(&bytes, at + 0x14)));
        }
    }
    Ok(Plain {
        bytes,
        references,
        sound: true,
    })
}

fn moved(record: &Plain, by: u64) -> Vec<u8> {
    let mut bytes = record.bytes.clone();
    if !record.sound {
        return bytes;
    }
    let own = u32_at(&bytes, 0x2C) + by as u32;
    bytes[0x2C..0x30].copy_from_slice(&own.to_le_bytes());
    for at in &record.references {
        let reference = u64_at(&bytes, *at) + by;
        bytes[*at..at + 8].copy_from_slice(&reference.to_le_bytes());
    }
    let sequence = [bytes[sequence_at(&bytes)], bytes[sequence_at(&bytes) + 1]];
    for (end, kept) in strides(&record.bytes) {
        bytes.copy_within(end..end + 2, kept);
        bytes[end..end + 2].copy_from_slice(&sequence);
    }
    bytes
}

fn sequence_at(record: &[u8]) -> usize {
    u16_at(record, 4).into()
}

/// The last two bytes of each stride, and where the update sequence keeps them.
fn strides(record: &[u8]) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (sequence, count) = (sequence_at(record), usize::from(u16_at(record, 6)));
    (1..count).map(move |stride| (stride * STRIDE - 2, sequence + 2 * stride))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

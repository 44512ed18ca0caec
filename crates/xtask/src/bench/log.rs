//! One big event log out of the chunks of many real ones.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::ensure;
use scelle_testkit::{Corpus, unpack};

pub(crate) const HEADER: usize = 4096;
pub(crate) const CHUNK: usize = 65_536;
const FIRST_RECORD: usize = 512;
/// The header counts chunks in 16 bits.
const MAX_CHUNKS: u64 = 65_535;

/// Writes a log of about `bytes` bytes: sound chunks of the corpus one after another, their
/// records numbered anew, all checksums right.
pub(crate) fn concatenate(corpus: &Corpus, out: &Path, bytes: u64) -> anyhow::Result<()> {
    let chunks = sound_chunks(corpus);
    ensure!(!chunks.is_empty(), "the corpus has no sound event log");
    let count = (bytes / CHUNK as u64).min(MAX_CHUNKS);
    let mut records = 1;
    let mut file = BufWriter::new(File::create(out)?);
    let mut body = Vec::new();
    for index in 0..count as usize {
        let (chunk, offsets) = &chunks[index % chunks.len()];
        body.clear();
        body.extend_from_slice(chunk);
        let first: u64 = records;
        for at in offsets {
            body[at + 8..at + 16].copy_from_slice(&records.to_le_bytes());
            records += 1;
        }
        for (at, number) in [
            (8, first),
            (16, records - 1),
            (24, first),
            (32, records - 1),
        ] {
            body[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let free = u32_at(&body, 48) as usize;
        let of_records = crc32fast::hash(&body[FIRST_RECORD..free]);
        body[52..56].copy_from_slice(&of_records.to_le_bytes());
        let of_header = header_checksum(&body);
        body[124..128].copy_from_slice(&of_header.to_le_bytes());
        if index == 0 {
            file.write_all(&vec![0; HEADER])?;
        }
        file.write_all(&body)?;
    }
    let mut file = file.into_inner()?;
    std::io::Seek::rewind(&mut file)?;
    file.write_all(&header(count as u16, records))?;
    Ok(())
}

/// A file header that says: so many chunks, this next record.
pub(crate) fn header(chunks: u16, next_record: u64) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header[..8].copy_from_slice(b"ElfFile\0");
    header[16..24].copy_from_slice(&u64::from(chunks.saturating_sub(1)).to_le_bytes());
    header[24..32].copy_from_slice(&next_record.to_le_bytes());
    header[32..36].copy_from_slice(&128u32.to_le_bytes());
    header[36..38].copy_from_slice(&1u16.to_le_bytes());
    header[38..40].copy_from_slice(&3u16.to_le_bytes());
    header[40..42].copy_from_slice(&(HEADER as u16).to_le_bytes());
    header[42..44].copy_from_slice(&chunks.to_le_bytes());
    let checksum = crc32fast::hash(&header[..120]);
    header[124..128].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn sound_chunks(corpus: &Corpus) -> Vec<(Vec<u8>, Vec<usize>)> {
    let mut seen = HashSet::new();
    let mut chunks = Vec::new();
    for path in corpus.files("evtx") {
        if !path.to_ascii_lowercase().contains(".evtx") {
            continue;
        }
        let log = unpack(&corpus.path(&path));
        for chunk in log.get(HEADER..).unwrap_or(&[]).chunks_exact(CHUNK) {
            if let Some(offsets) = records_of(chunk)
                && seen.insert(chunk.to_vec())
            {
                chunks.push((chunk.to_vec(), offsets));
            }
        }
    }
    chunks
}

/// Where the records of a chunk begin, if both of its checksums are right.
fn records_of(chunk: &[u8]) -> Option<Vec<usize>> {
    let free = u32_at(chunk, 48) as usize;
    let sound = &chunk[..8] == b"ElfChnk\0"
        && (FIRST_RECORD..=CHUNK).contains(&free)
        && u32_at(chunk, 52) == crc32fast::hash(&chunk[FIRST_RECORD..free])
        && u32_at(chunk, 124) == header_checksum(chunk);
    if !sound {
        return None;
    }
    let mut offsets = Vec::new();
    let mut at = FIRST_RECORD;
    while at + 28 <= free {
        let size = u32_at(chunk, at + 4) as usize;
        if &chunk[at..at + 4] != b"**\0\0" || size < 28 || at + size > free {
            return None;
        }
        offsets.push(at);
        at += size;
    }
    (at == free && !offsets.is_empty()).then_some(offsets)
}

fn header_checksum(chunk: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&chunk[..120]);
    checksum.update(&chunk[128..512]);
    checksum.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

//! The log of a VHDX that its writer had no time to play back, read over the file.
//!
//! # Layout (little-endian)
//! The log is a ring of sectors of 4 KiB. An entry: `loge`, CRC-32C of all of it, length (u32 at 8), tail (u32 at 12), sequence
//! (u64 at 16), descriptors (u32 at 24), log id (16 at 32), then descriptors of 32 bytes and, from the next sector on, data sectors.
//! `zero`: length (u64 at 8), file offset (u64 at 16), sequence. `desc`: last 4 bytes (u32 at 4), first 8 bytes (8 at 8), file offset
//! (u64 at 16), sequence; its data sector is `data`, sequence high (u32), 4084 bytes, sequence low (u32).
//!
//! What counts is the unbroken run of entries that begins at the tail of the entry with the highest sequence.
//! # Sources
//! - Microsoft, MS-VHDX, 2.3, "Log".

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use scelle_formats::{RangeKind, ReadAt, ReadAtExt as _, ReadError};

use super::{
    ewf::{damaged, u32_at},
    vhdx::{sums, u64_at},
};

const WHAT: &str = "the log of a VHDX";
const SECTOR: usize = 4096;
const ENTRY_HEAD_BYTES: usize = 64;
const DESCRIPTOR_BYTES: usize = 32;
/// Hyper-V makes logs of 1 MiB.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// Checksums are taken over no more than so many times the log.
const MAX_SUMMED: u64 = 8;
const MAX_ZERO_RANGES: usize = 4096;

/// Where the log lies.
pub(super) struct Log {
    pub(super) id: [u8; 16],
    pub(super) at: u64,
    pub(super) len: u64,
}

/// A file as it will be when its log was played back.
pub(super) struct Replayed {
    file: Arc<dyn ReadAt>,
    len: u64,
    /// By their number in the file; the number of the step that wrote it.
    sectors: BTreeMap<u64, (usize, Box<[u8; SECTOR]>)>,
    zeros: Vec<(usize, Range<u64>)>,
}

struct Entry {
    at: usize,
    len: usize,
    tail: usize,
    sequence: u64,
}

impl Replayed {
    /// Reads the log; `None` where nothing is to be played back.
    pub(super) fn read(file: Arc<dyn ReadAt>, log: &Log) -> Result<Option<Self>, ReadError> {
        if log.len == 0 || log.len > MAX_LOG_BYTES || !log.len.is_multiple_of(SECTOR as u64) {
            return Err(damaged(WHAT, log.at, &format!("it has {} bytes", log.len)));
        }
        let mut ring = vec![0; log.len as usize];
        file.read_exact_at(WHAT, log.at, &mut ring)?;
        let entries = entries(&ring, log)?;
        let Some(run) = active(&entries, ring.len()) else {
            // A log id, and no whole entry: the specification calls such a file corrupt.
            return Err(damaged(
                WHAT,
                log.at,
                "it has no sequence of entries that is whole",
            ));
        };
        let mut replayed = Self {
            len: file.len(),
            file,
            sectors: BTreeMap::new(),
            zeros: Vec::new(),
        };
        for (step, entry) in run.into_iter().enumerate() {
            let bytes = unrolled(&ring, entry.at, entry.len);
            replayed.play(step, entry, &bytes, log.at)?;
        }
        Ok(Some(replayed))
    }

    fn play(
        &mut self,
        step: usize,
        entry: &Entry,
        bytes: &[u8],
        log_at: u64,
    ) -> Result<(), ReadError> {
        let at = log_at + entry.at as u64;
        let count = u32_at(bytes, 24) as usize;
        let room = (bytes.len() - ENTRY_HEAD_BYTES) / DESCRIPTOR_BYTES;
        if count > room {
            return Err(damaged(
                WHAT,
                at,
                &format!("{count} descriptors, room for {room}"),
            ));
        }
        let head = (ENTRY_HEAD_BYTES + count * DESCRIPTOR_BYTES).next_multiple_of(SECTOR);
        let mut data = bytes.get(head..).unwrap_or(&[]).chunks_exact(SECTOR);
        for number in 0..count {
            let from = ENTRY_HEAD_BYTES + number * DESCRIPTOR_BYTES;
            let descriptor = &bytes[from..from + DESCRIPTOR_BYTES];
            let offset = u64_at(descriptor, 16);
            if !offset.is_multiple_of(SECTOR as u64) || u64_at(descriptor, 24) != entry.sequence {
                return Err(damaged(WHAT, at, "a descriptor is not of its entry"));
            }
            match &descriptor[..4] {
                b"zero" => {
                    let end = offset.saturating_add(u64_at(descriptor, 8));
                    if self.zeros.len() >= MAX_ZERO_RANGES {
                        return Err(damaged(WHAT, at, "it has more ranges of zeros than any"));
                    }
                    self.zeros.push((step, offset..end));
                    self.len = self.len.max(end);
                }
                b"desc" => {
                    let sector = data
                        .next()
                        .filter(|sector| {
                            let high = u64::from(u32_at(sector, 4));
                            let low = u64::from(u32_at(sector, SECTOR - 4));
                            sector.starts_with(b"data") && (high << 32 | low) == entry.sequence
                        })
                        .ok_or_else(|| damaged(WHAT, at, "a data sector is missing or torn"))?;
                    let mut whole = Box::new([0; SECTOR]);
                    whole.copy_from_slice(sector);
                    whole[..8].copy_from_slice(&descriptor[8..16]);
                    whole[SECTOR - 4..].copy_from_slice(&descriptor[4..8]);
                    self.sectors.insert(offset / SECTOR as u64, (step, whole));
                    self.len = self.len.max(offset.saturating_add(SECTOR as u64));
                }
                _ => return Err(damaged(WHAT, at, "a descriptor is of an unknown kind")),
            }
        }
        Ok(())
    }

    /// Reads within one sector.
    fn read_sector(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let number = offset / SECTOR as u64;
        let within = (offset % SECTOR as u64) as usize;
        let written = self.sectors.get(&number);
        let zeroed = self
            .zeros
            .iter()
            .filter(|(_, range)| range.contains(&offset))
            .map(|(step, _)| *step)
            .max();
        match (written, zeroed) {
            (Some((step, bytes)), zeroed) if zeroed.is_none_or(|zeroed| zeroed <= *step) => {
                buf.copy_from_slice(&bytes[within..within + buf.len()]);
            }
            (_, Some(_)) => buf.fill(0),
            _ => {
                // The log may make the file longer; what it does not write of that is zeros.
                let have = self.file.read_full_at(offset, buf)?;
                buf[have..].fill(0);
            }
        }
        Ok(())
    }

    /// Whether nothing of the log touches the range.
    fn is_untouched(&self, range: &Range<u64>) -> bool {
        let sectors = range.start / SECTOR as u64..range.end.div_ceil(SECTOR as u64);
        range.end <= self.file.len()
            && self.sectors.range(sectors).next().is_none()
            && !self
                .zeros
                .iter()
                .any(|(_, zeros)| zeros.start < range.end && range.start < zeros.end)
    }
}

impl ReadAt for Replayed {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let want = (buf.len() as u64).min(self.len.saturating_sub(offset));
        if self.is_untouched(&(offset..offset + want)) {
            return self.file.read_at(offset, &mut buf[..want as usize]);
        }
        let count = want.min(SECTOR as u64 - offset % SECTOR as u64) as usize;
        self.read_sector(offset, &mut buf[..count])?;
        Ok(count)
    }

    fn ranges(&self) -> Box<dyn Iterator<Item = (Range<u64>, RangeKind)> + '_> {
        Box::new(std::iter::once((0..self.len, RangeKind::Data)))
    }
}

/// Every entry whose checksum holds, by where it begins.
fn entries(ring: &[u8], log: &Log) -> Result<HashMap<usize, Entry>, ReadError> {
    let mut found = HashMap::new();
    let mut summed = 0;
    let mut at = 0;
    while at < ring.len() {
        let head = &ring[at..at + ENTRY_HEAD_BYTES];
        let len = u32_at(head, 8) as usize;
        let tail = u32_at(head, 12) as usize;
        let is_possible = head.starts_with(b"loge")
            && head[32..48] == log.id
            && (SECTOR..=ring.len()).contains(&len)
            && len.is_multiple_of(SECTOR)
            && tail.is_multiple_of(SECTOR)
            && tail < ring.len();
        if is_possible {
            summed += len as u64;
            if summed > MAX_SUMMED * ring.len() as u64 {
                let why = "more entries claim its sectors than it has room for";
                return Err(damaged(WHAT, log.at + at as u64, why));
            }
            if sums(&unrolled(ring, at, len)) {
                let sequence = u64_at(head, 16);
                found.insert(
                    at,
                    Entry {
                        at,
                        len,
                        tail,
                        sequence,
                    },
                );
                at += len;
                continue;
            }
        }
        at += SECTOR;
    }
    Ok(found)
}

/// The entries from the tail of the newest one on, up to it.
fn active(entries: &HashMap<usize, Entry>, ring: usize) -> Option<Vec<&Entry>> {
    let mut newest: Vec<&Entry> = entries.values().collect();
    newest.sort_by_key(|entry| std::cmp::Reverse((entry.sequence, entry.at)));
    // Older ends are only asked where the newer ones are broken.
    newest.into_iter().take(64).find_map(|head| {
        let mut run = vec![entries.get(&head.tail)?];
        loop {
            let last = *run.last()?;
            if last.at == head.at {
                return Some(run);
            }
            let next = entries.get(&((last.at + last.len) % ring))?;
            let follows = last.sequence.checked_add(1) == Some(next.sequence);
            if !follows || run.len() > entries.len() {
                return None;
            }
            run.push(next);
        }
    })
}

/// Bytes of the ring, over its end.
fn unrolled(ring: &[u8], at: usize, len: usize) -> Vec<u8> {
    let first = len.min(ring.len() - at);
    let mut bytes = ring[at..at + first].to_vec();
    bytes.extend_from_slice(&ring[..len - first]);
    bytes
}

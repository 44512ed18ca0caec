//! `$LogFile`, the journal of transactions of an NTFS volume: of a volume, or a copy alone.
//!
//! # Layout
//! See `scelle_formats::ntfs::{RestartPage, LogPage, LogRecord}`. One observation is one record, in
//! the order of their LSNs. What the redo and the undo of a record say of a file is decoded:
//!
//! | redo / undo | what it tells |
//! |---|---|
//! | InitializeFileRecordSegment | a file came: its name, times, entry |
//! | DeallocateFileRecordSegment | a file went |
//! | CreateAttribute, DeleteAttribute of `$FILE_NAME` | a name came, a name went |
//! | Add-, DeleteIndexEntry (root, allocation) | a name in a directory came, went |
//! | a name that comes in the transaction in which another of the file went | a new name for the old one |
//! | UpdateResidentValue of `$STANDARD_INFORMATION` | its times, and the old ones |
//! | UpdateFileName (root, allocation) | times and sizes in a directory, and the old ones |
//!
//! That a value of a record belongs to `$STANDARD_INFORMATION` is concluded from its place: it is
//! always the first attribute, 0x38 bytes into the record. The entry is the one that redo or undo
//! hold, else the one whose record is changed, by its place in the `$MFT`: how large clusters and
//! records are stands in the companion `/$Boot`.
//!
//! # Damage
//! | what | result |
//! |------|--------|
//! | neither restart page | the size of the file says how LSNs are read; `Loss::Field("restart")` |
//! | a page of zeros or of ones | a gap: never used, or wiped by a check of the disk |
//! | a page that is none | `Loss::Record` |
//! | torn fixups | the page's records, and `Loss::Field("torn")` |
//! | a record whose end is in a page that is lost | the record, and `Loss::Field("data")` |
//! | bytes of a page that are no record | a gap: the end of a record of the page before, or what an earlier round left |
//!
//! # Memory
//! [`BYTES_PER_PAGE`] for each page, [`BYTES_PER_RECORD`] for each record.
//!
//! # Sources
//! - As for `scelle_formats::ntfs::LogPage`.

mod operation;
mod schema;

use std::ops::Range;

use scelle_event::{Loss, Provenance, Role, Span, StreamRef};
use scelle_formats::{
    DecodeError, RangeKind, ReadAt, ReadAtExt as _,
    ntfs::{BootSector, LOG_RECORD_HEADER_BYTES, LogOperation, LogPage, RestartPage},
};

use self::{operation::Teller, schema::Entry};
use crate::{Artefact, Candidate, Companion, Descriptor, Emitter, Input, ParseStream, Parser};

/// `ntfs.logfile`.
pub struct LogFile;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "ntfs.logfile",
    summary: "Transactions of an NTFS volume: files and names that came and went, times that changed.",
    locations: &["$LogFile"],
    specifications: &[
        "libyal/libfsntfs: New Technologies File System (NTFS)",
        "linux-ntfs: NTFS Documentation, by R. Russon and Y. Fledel",
    ],
    schemas: &[&schema::RECORD],
    companions: &[Companion {
        name: "$Boot",
        location: "/$Boot",
    }],
};

/// What is kept for each page.
pub const BYTES_PER_PAGE: usize = size_of::<Page>();
/// What is kept for each record.
pub const BYTES_PER_RECORD: usize = size_of::<Found>();
/// Restart pages are as large as a page of memory; 64 KiB is the largest of any machine.
const MAX_RESTART_BYTES: usize = 64 << 10;
const DEFAULT_PAGE_BYTES: usize = 4096;

impl Artefact for LogFile {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        let mut head = candidate.head().to_vec();
        candidate.is_unnamed() && RestartPage::decode(&mut head).is_some()
    }

    fn parser(&self) -> Parser {
        Parser::Stream(&Self)
    }
}

/// A page, and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Page {
    home: u64,
    last_lsn: u64,
    offset: u64,
}

/// A record, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    lsn: u64,
    /// Whether the page is a copy: the one in its own place goes before.
    is_copy: bool,
    at: u64,
}

impl ParseStream for LogFile {
    fn parse(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError> {
        let stream = input.stream;
        let restart = restart_page(stream, out)?;
        let mut log = Log {
            stream,
            restart,
            pages: Vec::new(),
            records: Vec::new(),
            buffers: [Vec::new(), Vec::new()],
        };
        log.scan(out);
        log.show(boot_sector(input, out), out);
        Ok(())
    }
}

/// How large clusters and records are, where the companion is there.
fn boot_sector(input: Input<'_>, out: &mut Emitter<'_>) -> Option<BootSector> {
    let stream = input.companion(0)?;
    let bytes = stream.read_range(0..BootSector::BYTES as u64, BootSector::BYTES);
    let boot = bytes
        .map_err(DecodeError::from)
        .and_then(|bytes| BootSector::parse(&bytes));
    match boot {
        Ok(boot) => Some(boot),
        Err(error) => {
            let place = Span::new(0..BootSector::BYTES as u64).of(StreamRef::companion(0));
            out.warn_at(place.into(), Loss::Field("entry"), error.to_string());
            None
        }
    }
}

/// The newer of the two restart pages.
fn restart_page(stream: &dyn ReadAt, out: &mut Emitter<'_>) -> Result<RestartPage, DecodeError> {
    let mut found: Option<RestartPage> = None;
    let mut first_size = DEFAULT_PAGE_BYTES;
    for number in 0..2u64 {
        let start = number * first_size as u64;
        let range = start..start + MAX_RESTART_BYTES as u64;
        let mut bytes = stream.read_range(range, DEFAULT_PAGE_BYTES)?;
        let end = start + bytes.len() as u64;
        match RestartPage::decode(&mut bytes) {
            Some(page) => {
                if page.torn {
                    out.warn(
                        start..end,
                        Loss::Field("torn"),
                        "the fixups of a restart page don't match",
                    );
                }
                first_size = first_size.max(page.page_bytes as usize);
                if found.is_none_or(|other| page.current_lsn > other.current_lsn) {
                    found = Some(page);
                }
            }
            None => out.warn(start..end, Loss::Field("restart"), "no restart page (RSTR)"),
        }
    }
    Ok(found.unwrap_or_else(|| RestartPage::assumed(stream.len())))
}

struct Log<'a> {
    stream: &'a dyn ReadAt,
    restart: RestartPage,
    /// Sorted, once all are known.
    pages: Vec<Page>,
    records: Vec<Found>,
    buffers: [Vec<u8>; 2],
}

impl Log<'_> {
    /// Finds every page and every record.
    fn scan(&mut self, out: &mut Emitter<'_>) {
        let size = u64::from(self.restart.page_bytes);
        let mut next = 2 * size;
        let ranges: Vec<_> = self.stream.ranges().collect();
        for (range, kind) in ranges {
            match kind {
                RangeKind::Hole | RangeKind::PastValid => continue,
                RangeKind::Unreadable => {
                    out.warn(range, Loss::Record, "it can't be read");
                    continue;
                }
                RangeKind::Data => {}
            }
            next = (range.start / size * size).max(next);
            while next < range.end {
                self.scan_page(next..(next + size).min(self.stream.len()), out);
                next += size;
            }
        }
        self.pages.sort_unstable();
        self.records.sort_unstable();
        self.records.dedup_by_key(|found| found.lsn);
    }

    fn scan_page(&mut self, place: Range<u64>, out: &mut Emitter<'_>) {
        let size = self.restart.page_bytes as usize;
        let mut bytes = match self.stream.read_range(place.clone(), size) {
            Ok(bytes) => bytes,
            Err(error) => return out.warn(place, Loss::Record, error.to_string()),
        };
        let first = bytes.first().copied().unwrap_or(0);
        if matches!(first, 0 | 0xFF) && bytes.iter().all(|byte| *byte == first) {
            return;
        }
        if bytes.len() < size {
            let cause = format!("a page needs {size} bytes, {} are there", bytes.len());
            out.warn(place.clone(), Loss::Record, cause);
        }
        let Some(page) = LogPage::decode(&mut bytes, place.start, &self.restart) else {
            return out.warn(place, Loss::Record, "no page of records (RCRD)");
        };
        if page.torn {
            out.warn(place.clone(), Loss::Field("torn"), "its fixups don't match");
        }
        self.pages.push(Page {
            home: page.home,
            last_lsn: page.last_lsn,
            offset: place.start,
        });
        let is_copy = page.home != place.start;
        let found = page.records(&self.restart).map(|record| Found {
            lsn: record.lsn,
            is_copy,
            at: place.start + record.at as u64,
        });
        self.records.extend(found);
    }

    /// Shows every record, in the order of their LSNs.
    fn show(&mut self, boot: Option<BootSector>, out: &mut Emitter<'_>) {
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            let len = self.stream.len();
            out.warn(
                0..len,
                Loss::Rest,
                "no record: the log was never used, or wiped",
            );
        }
        let mut teller = Teller::new(boot);
        let mut entry = Entry::default();
        let mut data = Vec::new();
        let mut page_at = None;
        for found in records {
            let size = u64::from(self.restart.page_bytes);
            let start = found.at / size * size;
            if page_at != Some(start) {
                // It was read once already; what has changed since is a device at its end.
                page_at = self.load(start, 0).then_some(start);
            }
            let Some((mut home, record)) = page_at.and_then(|_| self.record(start, found.at))
            else {
                let lost = found.at..found.at + LOG_RECORD_HEADER_BYTES as u64;
                out.warn(lost, Loss::Record, "it can't be read a second time");
                continue;
            };
            data.clear();
            data.extend_from_slice(&record.data);
            let end = found.at + (LOG_RECORD_HEADER_BYTES + data.len()) as u64;
            let mut provenance = Provenance::from(Span::new(found.at..end).numbered(found.lsn));
            let mut lost = false;
            while data.len() < record.data_bytes && !lost {
                home = self.after(home);
                let need = record.data_bytes - data.len();
                match self.continued(home, found.lsn, need, &mut data) {
                    Some(range) => provenance.also.push((Role::Extension, Span::new(range))),
                    None => lost = true,
                }
            }
            entry.fill(
                found.lsn,
                record.previous_lsn,
                record.transaction,
                record.is_checkpoint,
            );
            if !record.is_checkpoint {
                match LogOperation::parse(&data) {
                    Some(operation) => {
                        lost |= operation.cut;
                        teller.tell(record.transaction, &operation, &mut entry);
                    }
                    None => lost = true,
                }
            }
            if lost {
                let cause = format!(
                    "record {} has {} bytes of data, {} are there",
                    found.lsn,
                    record.data_bytes,
                    data.len()
                );
                out.warn_at(provenance.clone(), Loss::Field("data"), cause);
            }
            out.observe_at(provenance, &entry.stamps(), &entry);
        }
    }

    /// Reads a page into a buffer.
    fn load(&mut self, offset: u64, buffer: usize) -> bool {
        let size = self.restart.page_bytes as usize;
        match self.stream.read_range(offset..offset + size as u64, size) {
            Ok(bytes) => {
                self.buffers[buffer] = bytes;
                true
            }
            Err(_) => false,
        }
    }

    /// The record that begins at `at` in the page that is loaded.
    fn record(&self, start: u64, at: u64) -> Option<(u64, OwnRecord)> {
        // Fixups are undone in place, and only once.
        let mut bytes = self.buffers[0].clone();
        let page = LogPage::decode(&mut bytes, start, &self.restart)?;
        let record = page.record_at((at - start) as usize, &self.restart)?;
        Some((
            page.home,
            OwnRecord {
                previous_lsn: record.previous_lsn,
                transaction: record.transaction,
                is_checkpoint: record.is_checkpoint,
                data_bytes: record.data_bytes,
                data: record.data.to_vec(),
            },
        ))
    }

    /// Where the page after that one belongs.
    fn after(&self, home: u64) -> u64 {
        let next = home + u64::from(self.restart.page_bytes);
        if next < self.restart.file_bytes {
            next
        } else {
            self.restart.ring_offset()
        }
    }

    /// Appends what the page at `home` has of a record that began before it, and says where.
    fn continued(
        &mut self,
        home: u64,
        lsn: u64,
        need: usize,
        data: &mut Vec<u8>,
    ) -> Option<Range<u64>> {
        // The page of that round: the first whose last LSN is not before the record's.
        let index = self
            .pages
            .partition_point(|page| (page.home, page.last_lsn) < (home, lsn));
        let page = self.pages.get(index).filter(|page| page.home == home)?;
        let offset = page.offset;
        if !self.load(offset, 1) {
            return None;
        }
        let restart = self.restart;
        let page = LogPage::decode(&mut self.buffers[1], offset, &restart)?;
        let bytes = page.data();
        let count = bytes.len().min(need);
        data.extend_from_slice(&bytes[..count]);
        let start = offset + u64::from(restart.data_offset);
        (count > 0).then(|| start..start + count as u64)
    }
}

/// A record that outlives its page's buffer.
struct OwnRecord {
    previous_lsn: u64,
    transaction: u32,
    is_checkpoint: bool,
    data_bytes: usize,
    data: Vec<u8>,
}

//! The records of `$MFT`: one by one, in bulk, and with what extends them.

use std::{borrow::Cow, sync::Arc};

use scelle_formats::{
    ReadAt, ReadAtExt as _, ReadError,
    ntfs::{
        Attribute, Body, BootSector, ListEntries, NoRecord, Record, Run, Scratch, kind,
        paths::{entry_of, sequence_of},
    },
};

use super::extents::{ExtentStream, Extents};

/// Windows makes no attribute list longer than this.
const MAX_LIST_BYTES: u64 = 256 << 10;
/// And no reparse point.
const MAX_REPARSE_BYTES: u64 = 16 << 10;
/// And no more extended attributes ([MS-FSCC] 2.4.15).
const MAX_EXTENDED_BYTES: u64 = 64 << 10;
/// Two ACLs of 64 KiB, and what stands before them.
pub(super) const MAX_SECURITY_BYTES: u64 = 160 << 10;
/// How much of `$MFT` is read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// `$MFT` as records.
pub(super) struct Records {
    /// The volume's bytes.
    pub(super) volume: Arc<dyn ReadAt>,
    pub(super) cluster_bytes: u64,
    pub(super) record_bytes: usize,
    /// The bytes of `$MFT`.
    pub(super) mft: ExtentStream,
    /// How many records there are.
    pub(super) count: u64,
}

/// Room for one record, its fixups, and an attribute list.
#[derive(Debug, Default)]
pub(super) struct Room {
    bytes: Vec<u8>,
    scratch: Scratch,
}

/// How much may still be read for attribute lists in one walk. Each extension record has one
/// base, and each listed attribute lies in a record: honest lists stay far below it, and lists
/// that all name each other's records end here.
pub(super) struct Budget {
    records: u64,
    list_bytes: u64,
}

impl Records {
    /// Finds `$MFT` by its own first record, or by that record's mirror.
    ///
    /// What is damaged, and could be done without, is added to `losses`.
    pub(super) fn open(
        volume: Arc<dyn ReadAt>,
        boot: &BootSector,
        losses: &mut Vec<ReadError>,
    ) -> Result<Self, ReadError> {
        let empty = ExtentStream {
            source: volume.clone(),
            extents: Extents::default(),
            cluster_bytes: boot.cluster_bytes.into(),
            real_bytes: 0,
            valid_bytes: 0,
        };
        let mut records = Self {
            volume,
            cluster_bytes: boot.cluster_bytes.into(),
            record_bytes: boot.record_bytes as usize,
            mft: empty,
            count: 0,
        };
        match records.bootstrap(boot, boot.mft_lcn, losses) {
            Ok(()) => {}
            Err(first) => {
                // What the second attempt says is of no use where the first error stands.
                if records.bootstrap(boot, boot.mirror_lcn, losses).is_err() {
                    return Err(first);
                }
                losses.push(first);
            }
        }
        Ok(records)
    }

    /// Reads record 0 at `lcn`, and follows its attribute list as far as it is mapped.
    fn bootstrap(
        &mut self,
        boot: &BootSector,
        lcn: u64,
        losses: &mut Vec<ReadError>,
    ) -> Result<(), ReadError> {
        let offset = boot.cluster_offset(lcn).unwrap_or(u64::MAX);
        let bad = |why: String| damaged("the first record of $MFT", offset, why);
        let mut bytes = vec![0; self.record_bytes];
        self.volume
            .read_exact_at("the first record of $MFT", offset, &mut bytes)?;
        let mut scratch = Scratch::new();
        let base = Record::decode(&bytes, &mut scratch).map_err(|why| bad(why.to_string()))?;
        if base.torn {
            return Err(bad("its fixups don't match".to_owned()));
        }
        let mut runs = Vec::new();
        let mut list = None;
        let mut sizes = None;
        for attribute in base.attributes().flatten() {
            match (attribute.kind, attribute.non_resident()) {
                (kind::ATTRIBUTE_LIST, _) => list = Some(attribute),
                (kind::DATA, Some(part)) if attribute.name.is_empty() => {
                    if part.first_vcn == 0 {
                        sizes = Some((part.real_bytes, part.valid_bytes));
                    }
                    runs.extend(part.runs().map_while(Result::ok));
                }
                _ => {}
            }
        }
        let (real_bytes, valid_bytes) =
            sizes.ok_or_else(|| bad("it does not say where $MFT lies".to_owned()))?;
        self.mft.real_bytes = real_bytes;
        self.mft.valid_bytes = valid_bytes.min(real_bytes);
        (self.mft.extents, _) = Extents::new(runs.clone());
        // No table of files is longer than the volume it lies on.
        self.count = real_bytes.min(self.volume.len()) / self.record_bytes as u64;
        if let Some(list) = list {
            match self.content(&list, MAX_LIST_BYTES) {
                Ok(list) => self.extend_mft(&base, &list, runs, losses),
                Err(error) => losses.push(error),
            }
        }
        Ok(())
    }

    /// Adds the parts of `$MFT` that its own extension records describe. Each of those lies in
    /// the parts before it.
    fn extend_mft(
        &mut self,
        base: &Record<'_>,
        list: &[u8],
        mut runs: Vec<Run>,
        losses: &mut Vec<ReadError>,
    ) {
        let mut room = Room::default();
        let mut seen = vec![0];
        // Each step sorts what is known so far; honest tables need a few dozen.
        const MAX_EXTENSIONS: usize = 1024;
        let entries = ListEntries::new(list).flatten();
        for entry in entries.filter(|entry| entry.kind == kind::DATA && entry.name.is_empty()) {
            let number = entry_of(entry.record);
            if seen.contains(&number) || seen.len() > MAX_EXTENSIONS {
                continue;
            }
            seen.push(number);
            let record = match self.extension(0, base, number, &mut room) {
                Ok(record) => record,
                Err(error) => {
                    losses.push(error);
                    continue;
                }
            };
            let parts = record.attributes().flatten().filter_map(|attribute| {
                let is_data = attribute.kind == kind::DATA && attribute.name.is_empty();
                attribute.non_resident().filter(|_| is_data)
            });
            for part in parts {
                runs.extend(part.runs().map_while(Result::ok));
            }
            let (extents, error) = Extents::new(runs.clone());
            losses.extend(error.map(|error| damaged("$MFT", 0, error.to_string())));
            self.mft.extents = extents;
        }
    }

    /// Reads one record.
    pub(super) fn read<'r>(
        &self,
        number: u64,
        room: &'r mut Room,
    ) -> Result<Record<'r>, ReadError> {
        if number >= self.count {
            return Err(ReadError::Absent {
                what: format!("MFT entry {number}"),
            });
        }
        let offset = number * self.record_bytes as u64;
        room.bytes.resize(self.record_bytes, 0);
        self.mft
            .read_exact_at("an MFT record", offset, &mut room.bytes)?;
        Record::decode(&room.bytes, &mut room.scratch)
            .map_err(|why| no_record(number, self.record_bytes, why))
    }

    /// Reads a record that extends `base`.
    fn extension<'r>(
        &self,
        number: u64,
        base: &Record<'_>,
        extension: u64,
        room: &'r mut Room,
    ) -> Result<Record<'r>, ReadError> {
        let record = self.read(extension, room)?;
        let stated = record.header.base;
        // Deletion raises the sequence number of the base record alone.
        let sequence = base.header.sequence;
        let is_its = entry_of(stated) == number
            && (sequence_of(stated) == sequence
                || (!base.header.in_use() && sequence_of(stated) == sequence.wrapping_sub(1)));
        if !is_its {
            return Err(damaged(
                "an attribute list",
                number * self.record_bytes as u64,
                format!("it names entry {extension}, which does not extend entry {number}"),
            ));
        }
        Ok(record)
    }

    /// Shows every attribute of a file: those of its base record, then those of the records that
    /// its attribute list names.
    pub(super) fn attributes(
        &self,
        number: u64,
        base: &Record<'_>,
        room: &mut Room,
        budget: &mut Budget,
        see: &mut dyn FnMut(Result<&Attribute<'_>, ReadError>),
    ) {
        let mut list = None;
        for attribute in base.attributes() {
            match attribute {
                Ok(attribute) => {
                    if attribute.kind == kind::ATTRIBUTE_LIST {
                        list = Some(attribute);
                    }
                    see(Ok(&attribute));
                }
                Err(error) => see(Err(self.in_record(number, error.to_string()))),
            }
        }
        let Some(list) = list else { return };
        let content = match self.content(&list, MAX_LIST_BYTES) {
            Ok(content) => content,
            Err(error) => return see(Err(error)),
        };
        if !budget.take_list(content.len()) {
            return see(Err(
                self.in_record(number, "its attribute list is one of too many".into())
            ));
        }
        let mut extensions = Vec::new();
        for entry in ListEntries::new(&content) {
            match entry {
                Ok(entry) => extensions.push(entry_of(entry.record)),
                Err(error) => see(Err(self.in_record(number, error.to_string()))),
            }
        }
        extensions.sort_unstable();
        extensions.dedup();
        for extension in extensions.into_iter().filter(|listed| *listed != number) {
            if !budget.take_record() {
                let why = "its attribute list names one record too many";
                return see(Err(self.in_record(number, why.into())));
            }
            match self.extension(number, base, extension, room) {
                Ok(record) => {
                    if record.torn {
                        see(Err(
                            self.in_record(extension, "its fixups don't match".into())
                        ));
                    }
                    for attribute in record.attributes() {
                        match &attribute {
                            Ok(attribute) => see(Ok(attribute)),
                            Err(error) => {
                                see(Err(self.in_record(extension, error.to_string())));
                            }
                        }
                    }
                }
                Err(error) => see(Err(error)),
            }
        }
    }

    /// The content of `$REPARSE_POINT`.
    pub(super) fn reparse<'a>(
        &self,
        attribute: &Attribute<'a>,
    ) -> Result<Cow<'a, [u8]>, ReadError> {
        self.content(attribute, MAX_REPARSE_BYTES)
    }

    /// The content of `$EA`.
    pub(super) fn extended<'a>(
        &self,
        attribute: &Attribute<'a>,
    ) -> Result<Cow<'a, [u8]>, ReadError> {
        self.content(attribute, MAX_EXTENDED_BYTES)
    }

    /// The content of `$SECURITY_DESCRIPTOR`.
    pub(super) fn security<'a>(
        &self,
        attribute: &Attribute<'a>,
    ) -> Result<Cow<'a, [u8]>, ReadError> {
        self.content(attribute, MAX_SECURITY_BYTES)
    }

    /// The content of a small attribute, wherever it lies.
    fn content<'a>(&self, attribute: &Attribute<'a>, cap: u64) -> Result<Cow<'a, [u8]>, ReadError> {
        match attribute.body {
            Body::Resident(content) => Ok(Cow::Borrowed(content)),
            Body::NonResident(part) if part.real_bytes > cap => Err(damaged(
                "an attribute that is never long",
                0,
                format!(
                    "it states {} bytes, past the limit of {cap}",
                    part.real_bytes
                ),
            )),
            Body::NonResident(part) => {
                let sizes = (part.real_bytes, part.valid_bytes);
                let stream = self.stream(sizes, part.runs().map_while(Result::ok).collect());
                stream
                    .read_range(0..part.real_bytes, cap as usize)
                    .map(Cow::Owned)
            }
        }
    }

    /// A stream of a logical and a valid length, with all of its runs.
    pub(super) fn stream(
        &self,
        (real_bytes, valid_bytes): (u64, u64),
        runs: Vec<Run>,
    ) -> ExtentStream {
        // Where runs lie on each other the first holds, and the rest is missing from the stream.
        let (extents, _) = Extents::new(runs);
        ExtentStream {
            source: self.volume.clone(),
            extents,
            cluster_bytes: self.cluster_bytes,
            real_bytes,
            valid_bytes: valid_bytes.min(real_bytes),
        }
    }

    /// A budget for one walk over every record.
    pub(super) fn budget(&self) -> Budget {
        Budget {
            records: self.count.saturating_mul(2),
            list_bytes: self
                .count
                .saturating_mul(4 * self.record_bytes as u64)
                .max(MAX_LIST_BYTES),
        }
    }

    /// Reads all records in order, in large pieces.
    pub(super) fn blocks(&self) -> Blocks<'_> {
        Blocks {
            records: self,
            next: 0,
            buffer: Vec::new(),
            failing: false,
        }
    }

    /// Damage of one record.
    pub(super) fn in_record(&self, number: u64, why: String) -> ReadError {
        damaged("an MFT record", number * self.record_bytes as u64, why)
    }
}

impl Budget {
    fn take_record(&mut self) -> bool {
        let left = self.records.checked_sub(1);
        self.records = left.unwrap_or(0);
        left.is_some()
    }

    fn take_list(&mut self, bytes: usize) -> bool {
        let left = self.list_bytes.checked_sub(bytes as u64);
        self.list_bytes = left.unwrap_or(0);
        left.is_some()
    }
}

/// All records, some at a time.
pub(super) struct Blocks<'r> {
    records: &'r Records,
    next: u64,
    buffer: Vec<u8>,
    /// Whether the record before could not be read: one loss stands for neighbours.
    failing: bool,
}

/// Some records that follow one another.
pub(super) struct Block<'b> {
    pub(super) first: u64,
    pub(super) bytes: &'b [u8],
}

/// Records that can't be read, from this one on.
pub(super) struct Gap {
    pub(super) first: u64,
    pub(super) error: ReadError,
}

impl Blocks<'_> {
    /// The next records, or the first of some that can't be read; `None` after the last.
    pub(super) fn next(&mut self) -> Option<Result<Block<'_>, Gap>> {
        let size = self.records.record_bytes;
        loop {
            let left = self.records.count - self.next;
            if left == 0 {
                return None;
            }
            let first = self.next;
            let want = (BLOCK_BYTES / size)
                .max(1)
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let offset = first * size as u64;
            self.buffer.resize(want * size, 0);
            let outcome = self.records.mft.read_at(offset, &mut self.buffer);
            let whole = match outcome {
                Ok(have) if have >= size => have / size,
                _ => 0,
            };
            if whole > 0 {
                self.next += whole as u64;
                self.failing = false;
                return Some(Ok(Block {
                    first,
                    bytes: &self.buffer[..whole * size],
                }));
            }
            self.next += 1;
            let error = match outcome {
                Err(error) => error,
                Ok(have) => ReadError::Short {
                    what: "an MFT record",
                    offset,
                    need: size as u64,
                    have: have as u64,
                },
            };
            if !std::mem::replace(&mut self.failing, true) {
                return Some(Err(Gap { first, error }));
            }
        }
    }
}

pub(super) fn no_record(number: u64, record_bytes: usize, why: NoRecord) -> ReadError {
    damaged(
        "an MFT record",
        number.saturating_mul(record_bytes as u64),
        why.to_string(),
    )
}

pub(super) fn damaged(what: &'static str, offset: u64, why: String) -> ReadError {
    ReadError::Damaged { what, offset, why }
}

//! `$I30`, the index of a directory: names in it, and names that were there before.
//!
//! # Layout
//! Index records of one size, nearly always 4,096 bytes, which hold entries and, after the last
//! one, slack; see `scelle_formats::ntfs::IndexRecord`. On a volume it is the
//! `$INDEX_ALLOCATION` of a directory, shown as its stream `$I30`; a small directory has none (its
//! names are in the `$MFT`).
//!
//! # Damage
//! | what | result |
//! |------|--------|
//! | zeros | a gap |
//! | bytes that are no index record | `Loss::Record` |
//! | a torn record | its names, and `Loss::Field("torn")` |
//! | an entry whose length can't be | `Loss::Record` for the rest of the entries; names are searched there as in slack |
//! | slack without a name that could be one | a gap |
//!
//! # Memory
//! One index record.
//!
//! # Sources
//! - libyal/libfsntfs, "New Technologies File System (NTFS)", sections "Index" and "$FILE_NAME".
//! - W. Ballenthin, "NTFS INDX Attribute Parsing", for what is found in slack.

use std::{borrow::Cow, fmt};

use scelle_event::{
    Column, ColumnKind, Fields, Loss, Meaning, Precision, Record, Schema, Span, Stamp, Value,
};
use scelle_formats::{
    DecodeError, RangeKind, ReadAtExt as _,
    ntfs::{
        FileName, IndexItem, IndexName, IndexRecord, index_record_bytes, paths, push_component,
    },
};

use super::mft::{push_text, words};
use crate::{Artefact, Candidate, Descriptor, Emitter, Input, ParseStream, Parser};

/// `ntfs.i30`.
pub struct DirectoryIndex;

const TIME: ColumnKind = ColumnKind::Time(Precision::FILETIME);

static DESCRIPTOR: Descriptor = Descriptor {
    id: "ntfs.i30",
    summary: "Names in the index of a directory, and those in its slack that are there no more.",
    locations: &["**:$I30"],
    specifications: &["libyal/libfsntfs: New Technologies File System (NTFS)"],
    schemas: &[&SCHEMA],
    companions: &[],
};

static SCHEMA: Schema = Schema {
    name: "ntfs.i30.name",
    doc: "A name in the index of a directory.",
    columns: &[
        Column::new("entry", ColumnKind::Uint, "MFT entry of the file."),
        Column::new(
            "sequence",
            ColumnKind::Uint,
            "Sequence number of that entry.",
        ),
        Column::new(
            "parent_entry",
            ColumnKind::Uint,
            "MFT entry of its directory.",
        ),
        Column::new(
            "parent_sequence",
            ColumnKind::Uint,
            "Sequence number of that entry.",
        ),
        Column::new("name", ColumnKind::Text, "Its name."),
        Column::new(
            "namespace",
            ColumnKind::Text,
            "Name space of that name: posix, win32, dos, win32+dos, or a number.",
        ),
        Column::new(
            "is_slack",
            ColumnKind::Bool,
            "Whether it lies after the last entry: it was in the directory, or is elsewhere in the index.",
        ),
        Column::new(
            "is_directory",
            ColumnKind::Bool,
            "Whether it is a directory.",
        ),
        Column::new(
            "attributes",
            ColumnKind::Text,
            "DOS attributes, joined with +.",
        ),
        Column::new("fn_created", TIME, "Creation."),
        Column::new("fn_modified", TIME, "Last write."),
        Column::new("fn_changed", TIME, "Last change of the record."),
        Column::new("fn_accessed", TIME, "Last access."),
        Column::new(
            "size_bytes",
            ColumnKind::Uint,
            "Size of the unnamed $DATA stream.",
        ),
        Column::new(
            "allocated_bytes",
            ColumnKind::Uint,
            "Bytes allocated for it.",
        ),
        Column::new(
            "vcn",
            ColumnKind::Uint,
            "Cluster of the index that the record states.",
        ),
        Column::new(
            "lsn",
            ColumnKind::Uint,
            "$LogFile sequence number of the index record's last change.",
        ),
    ],
};

const DEFAULT_RECORD_BYTES: usize = 4096;

impl Artefact for DirectoryIndex {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        let head = candidate.head();
        if !head.starts_with(b"INDX") {
            return false;
        }
        match candidate.stream {
            Some(stream) => stream.as_bytes() == b"$I30",
            // Other indexes look alike; what their entries hold is no name.
            None => {
                let mut bytes = head.to_vec();
                let size = index_record_bytes(head).unwrap_or(DEFAULT_RECORD_BYTES);
                bytes.truncate(size);
                let mut names = 0;
                if let Some(record) = IndexRecord::decode(&mut bytes) {
                    record.items(&mut |item| {
                        if let IndexItem::Live(name) | IndexItem::Slack(name) = item {
                            names += usize::from(name.name.parent >> 48 != 0);
                        }
                    });
                }
                names > 0
            }
        }
    }

    fn parser(&self) -> Parser {
        Parser::Stream(&Self)
    }
}

impl ParseStream for DirectoryIndex {
    fn parse(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError> {
        let stream = input.stream;
        let len = stream.len();
        let head = stream.read_range(0..len, DEFAULT_RECORD_BYTES)?;
        let size = index_record_bytes(&head).unwrap_or(DEFAULT_RECORD_BYTES) as u64;
        let mut spoke = false;
        let mut next = 0;
        let mut row = Row::default();
        for (range, kind) in stream.ranges() {
            match kind {
                RangeKind::Hole | RangeKind::PastValid => continue,
                RangeKind::Unreadable => {
                    out.warn(range, Loss::Record, "it can't be read");
                    spoke = true;
                    continue;
                }
                RangeKind::Data => {}
            }
            next = (range.start / size * size).max(next);
            while next < range.end {
                let place = next..(next + size).min(len);
                next += size;
                let mut bytes = match stream.read_range(place.clone(), size as usize) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        out.warn(place, Loss::Record, error.to_string());
                        spoke = true;
                        continue;
                    }
                };
                if bytes.iter().all(|byte| *byte == 0) {
                    continue;
                }
                spoke = true;
                if bytes.len() < size as usize {
                    let cause = format!(
                        "an index record needs {size} bytes, {} are there",
                        bytes.len()
                    );
                    out.warn(place.clone(), Loss::Record, cause);
                }
                match IndexRecord::decode(&mut bytes) {
                    Some(record) => show(place.start, &record, &mut row, out),
                    None => out.warn(place, Loss::Record, "no index record (INDX)"),
                }
            }
        }
        if !spoke {
            out.warn(0..len, Loss::Rest, "no index record (INDX) is here");
        }
        Ok(())
    }
}

fn show(base: u64, record: &IndexRecord<'_>, row: &mut Row, out: &mut Emitter<'_>) {
    if record.torn {
        let size = base..base + record.bytes().len() as u64;
        out.warn(size, Loss::Field("torn"), "its fixups don't match");
    }
    record.items(&mut |item| match item {
        IndexItem::Live(name) => row.show(base, record, &name, false, out),
        IndexItem::Slack(name) => row.show(base, record, &name, true, out),
        IndexItem::Lost(from, to, why) => {
            out.warn(base + from as u64..base + to as u64, Loss::Record, why);
        }
    });
}

/// One name; it is filled again and again.
#[derive(Debug, Default)]
struct Row {
    file: Option<u64>,
    parent: u64,
    name: String,
    wtf8: Vec<u8>,
    namespace: u8,
    is_slack: bool,
    attributes: u32,
    times: [u64; 4],
    size_bytes: u64,
    allocated_bytes: u64,
    vcn: u64,
    lsn: u64,
}

impl Row {
    fn show(
        &mut self,
        base: u64,
        record: &IndexRecord<'_>,
        found: &IndexName<'_>,
        is_slack: bool,
        out: &mut Emitter<'_>,
    ) {
        let FileName {
            parent,
            created,
            modified,
            changed,
            accessed,
            allocated_bytes,
            real_bytes,
            attributes,
            namespace,
            utf16le,
        } = found.name;
        self.file = found.file;
        self.parent = parent;
        self.wtf8.clear();
        push_component(&mut self.wtf8, utf16le);
        self.name.clear();
        push_text(&mut self.name, &self.wtf8);
        self.namespace = namespace;
        self.is_slack = is_slack;
        self.attributes = attributes;
        self.times = [created, modified, changed, accessed];
        self.size_bytes = real_bytes;
        self.allocated_bytes = allocated_bytes;
        self.vcn = record.vcn;
        self.lsn = record.lsn;
        let meanings = [
            Meaning::Created,
            Meaning::Modified,
            Meaning::Changed,
            Meaning::Accessed,
        ];
        let mut stamps = Vec::with_capacity(4);
        stamps.extend(
            self.times
                .into_iter()
                .zip(meanings)
                .filter_map(|(ticks, meaning)| {
                    Stamp::filetime(ticks, meaning).map(|stamp| stamp.in_attribute("i30"))
                }),
        );
        let span = Span::new(base + found.at as u64..base + found.end as u64);
        let span = match found.file {
            Some(file) => span.numbered(file),
            None => span,
        };
        out.observe_at(span.into(), &stamps, self);
    }
}

impl Record for Row {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        out.value(Value::uint(self.file.map(paths::entry_of)));
        out.value(Value::uint(
            self.file.map(|file| paths::sequence_of(file).into()),
        ));
        out.value(Value::Uint(paths::entry_of(self.parent)));
        out.value(Value::Uint(paths::sequence_of(self.parent).into()));
        out.value(Value::Text(&self.name));
        words::namespace(self.namespace, |text| out.value(Value::Text(text)));
        out.value(Value::Bool(self.is_slack));
        // The NTFS copy of the record's own flag.
        out.value(Value::Bool(self.attributes & 0x1000_0000 != 0));
        words::attributes(self.attributes, |text| out.value(Value::text(text)));
        for ticks in self.times {
            out.value(Value::filetime(ticks));
        }
        out.value(Value::Uint(self.size_bytes));
        out.value(Value::Uint(self.allocated_bytes));
        out.value(Value::Uint(self.vcn));
        out.value(Value::Uint(self.lsn));
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.name))
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let place = if self.is_slack {
            "In the slack of a directory"
        } else {
            "In a directory"
        };
        write!(out, "{place}: {} ({} bytes)", self.name, self.size_bytes)
    }
}

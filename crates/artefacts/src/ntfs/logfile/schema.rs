//! The columns of a record of the log.

use std::{borrow::Cow, fmt};

use scelle_event::{Column, ColumnKind, Fields, Meaning, Precision, Record, Schema, Stamp, Value};
use scelle_formats::ntfs::{LogOperation, paths};

use super::{
    super::{finding::Findings, mft::words},
    operation::name_of,
};

const TIME: ColumnKind = ColumnKind::Time(Precision::FILETIME);

/// `ntfs.logfile.record`.
pub(super) static RECORD: Schema = Schema {
    name: "ntfs.logfile.record",
    doc: "A record of the journal of transactions, and what it tells of a file.",
    columns: &[
        Column::new("lsn", ColumnKind::Uint, "Its log sequence number."),
        Column::new(
            "previous_lsn",
            ColumnKind::Uint,
            "The record before it of the same client, where there is one.",
        ),
        Column::new(
            "transaction",
            ColumnKind::Uint,
            "Its transaction: an offset in a table, used again and again.",
        ),
        Column::new(
            "event",
            ColumnKind::Text,
            "What it tells: file-created, file-deleted, name-added, name-removed, index-name-added, index-name-removed, renamed, si-times-changed, index-times-changed, checkpoint.",
        ),
        Column::new("redo", ColumnKind::Text, "Operation that does it again."),
        Column::new("undo", ColumnKind::Text, "Operation that takes it back."),
        Column::new(
            "target_attribute",
            ColumnKind::Uint,
            "Offset of the target in the table of open attributes.",
        ),
        Column::new("target_vcn", ColumnKind::Uint, "Cluster of the target."),
        Column::new(
            "cluster_block",
            ColumnKind::Uint,
            "Block of 512 bytes in that cluster.",
        ),
        Column::new(
            "record_offset",
            ColumnKind::Uint,
            "Offset in the target's record.",
        ),
        Column::new(
            "attribute_offset",
            ColumnKind::Uint,
            "Offset in the attribute that is there.",
        ),
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
            "is_directory",
            ColumnKind::Bool,
            "Whether it is a directory.",
        ),
        Column::new("old_name", ColumnKind::Text, "The name before a renaming."),
        Column::new(
            "old_parent_entry",
            ColumnKind::Uint,
            "MFT entry of its directory before a renaming.",
        ),
        Column::new(
            "old_parent_sequence",
            ColumnKind::Uint,
            "Sequence number of that entry.",
        ),
        Column::new("si_created", TIME, "Creation ($STANDARD_INFORMATION)."),
        Column::new("si_modified", TIME, "Last write ($STANDARD_INFORMATION)."),
        Column::new(
            "si_changed",
            TIME,
            "Last change of the record ($STANDARD_INFORMATION).",
        ),
        Column::new("si_accessed", TIME, "Last access ($STANDARD_INFORMATION)."),
        Column::new("old_si_created", TIME, "The same before the change."),
        Column::new("old_si_modified", TIME, "The same before the change."),
        Column::new("old_si_changed", TIME, "The same before the change."),
        Column::new("old_si_accessed", TIME, "The same before the change."),
        Column::new("fn_created", TIME, "Creation ($FILE_NAME)."),
        Column::new("fn_modified", TIME, "Last write ($FILE_NAME)."),
        Column::new(
            "fn_changed",
            TIME,
            "Last change of the record ($FILE_NAME).",
        ),
        Column::new("fn_accessed", TIME, "Last access ($FILE_NAME)."),
        Column::new("old_fn_created", TIME, "The same before the change."),
        Column::new("old_fn_modified", TIME, "The same before the change."),
        Column::new("old_fn_changed", TIME, "The same before the change."),
        Column::new("old_fn_accessed", TIME, "The same before the change."),
        Column::new(
            "findings",
            ColumnKind::Text,
            "What speaks against it, joined with +: a reason to look, and no proof.",
        ),
    ],
};

/// One record; it is filled again and again. Times are created, modified, changed, accessed.
#[derive(Debug, Default)]
pub(super) struct Entry {
    lsn: u64,
    previous_lsn: u64,
    transaction: u32,

    operation: Option<Operation>,
    pub(super) event: Option<&'static str>,
    pub(super) file: Option<u64>,
    /// The entry whose record is changed.
    pub(super) target: Option<u64>,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) namespace: Option<u8>,
    pub(super) is_directory: Option<bool>,
    pub(super) old_name: Option<String>,
    pub(super) old_parent: Option<u64>,
    pub(super) si: [u64; 4],
    pub(super) old_si: [u64; 4],
    pub(super) names: [u64; 4],
    pub(super) old_names: [u64; 4],
    pub(super) findings: Findings,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    redo: u16,
    undo: u16,
    target_attribute: u16,
    target_vcn: u64,
    cluster_block: u16,
    record_offset: u16,
    attribute_offset: u16,
}

impl Entry {
    /// Begins the next record.
    pub(super) fn fill(&mut self, lsn: u64, previous_lsn: u64, transaction: u32, checkpoint: bool) {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        *self = Self {
            lsn,
            previous_lsn,
            transaction,

            event: checkpoint.then_some("checkpoint"),
            name,
            ..Self::default()
        };
    }

    /// Takes what an operation says of itself.
    pub(super) fn operation(&mut self, operation: &LogOperation<'_>) {
        self.operation = Some(Operation {
            redo: operation.redo,
            undo: operation.undo,
            target_attribute: operation.target_attribute,
            target_vcn: operation.target_vcn,
            cluster_block: operation.cluster_block,
            record_offset: operation.record_offset,
            attribute_offset: operation.attribute_offset,
        });
    }

    /// Its times: those that it sets, and those that were there before.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        let meanings = [
            Meaning::Created,
            Meaning::Modified,
            Meaning::Changed,
            Meaning::Accessed,
        ];
        let groups = [
            ("si", self.si),
            ("old-si", self.old_si),
            ("fn", self.names),
            ("old-fn", self.old_names),
        ];
        let mut stamps = Vec::new();
        for (attribute, times) in groups {
            let found = times.into_iter().zip(meanings);
            stamps.extend(found.filter_map(|(ticks, meaning)| {
                Stamp::filetime(ticks, meaning).map(|stamp| stamp.in_attribute(attribute))
            }));
        }
        stamps
    }
}

/// The name of an operation, or its number.
fn operation_text(number: u16) -> Cow<'static, str> {
    match name_of(number) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("{number:#x}")),
    }
}

impl Record for Entry {
    fn schema(&self) -> &'static Schema {
        &RECORD
    }

    fn fields(&self, out: &mut dyn Fields) {
        out.value(Value::Uint(self.lsn));
        out.value(Value::uint(
            (self.previous_lsn != 0).then_some(self.previous_lsn),
        ));
        out.value(Value::Uint(self.transaction.into()));
        out.value(Value::text(self.event));
        match &self.operation {
            Some(operation) => {
                out.value(Value::Text(&operation_text(operation.redo)));
                out.value(Value::Text(&operation_text(operation.undo)));
                out.value(Value::Uint(operation.target_attribute.into()));
                out.value(Value::Uint(operation.target_vcn));
                out.value(Value::Uint(operation.cluster_block.into()));
                out.value(Value::Uint(operation.record_offset.into()));
                out.value(Value::Uint(operation.attribute_offset.into()));
            }
            None => (0..7).for_each(|_| out.value(Value::Null)),
        }
        let reference = |out: &mut dyn Fields, reference: Option<u64>| {
            out.value(Value::uint(reference.map(paths::entry_of)));
            let sequence = reference.map(|id| paths::sequence_of(id).into());
            out.value(Value::uint(sequence));
        };
        let entry = self.file.map(paths::entry_of).or(self.target);
        out.value(Value::uint(entry));
        let sequence = self.file.map(|id| paths::sequence_of(id).into());
        out.value(Value::uint(sequence));
        reference(out, self.parent);
        out.value(Value::text(self.namespace.map(|_| self.name.as_str())));
        match self.namespace {
            Some(number) => words::namespace(number, |text| out.value(Value::Text(text))),
            None => out.value(Value::Null),
        }
        out.value(self.is_directory.map_or(Value::Null, Value::Bool));
        out.value(Value::text(self.old_name.as_deref()));
        reference(out, self.old_parent);
        for ticks in [self.si, self.old_si, self.names, self.old_names].concat() {
            out.value(Value::filetime(ticks));
        }
        out.value(Value::text(self.findings.text().as_deref()));
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        self.namespace.map(|_| Cow::Borrowed(self.name.as_str()))
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let what = match (&self.operation, self.event) {
            (_, Some(event)) => Cow::Borrowed(event),
            (Some(operation), None) => operation_text(operation.redo),
            (None, None) => Cow::Borrowed("a record that is cut"),
        };
        write!(out, "LSN {}: {what}", self.lsn)?;
        if let Some(old) = &self.old_name {
            write!(out, ": {old} is now {}", self.name)?;
        } else if self.namespace.is_some() {
            write!(out, ": {}", self.name)?;
        }
        self.findings.tell(out)
    }
}

//! The columns of a journal's record.

use std::{borrow::Cow, fmt};

use scelle_event::{Column, ColumnKind, Fields, Nested, Record, Schema, Tree, Value};
use scelle_formats::ntfs::{UsnRecord, paths};

use super::{
    super::{finding::Findings, mft, mft::push_text},
    words,
};

/// `ntfs.usnjrnl.change`.
pub(super) static CHANGE: Schema = Schema {
    name: "ntfs.usnjrnl.change",
    doc: "A change of a file, as the change journal took note of it.",
    columns: &[
        Column::new(
            "usn",
            ColumnKind::Uint,
            "Update sequence number: where the record stood in the journal.",
        ),
        Column::new(
            "version",
            ColumnKind::Uint,
            "Major version of the record: 2, 3 or 4.",
        ),
        Column::new(
            "reason",
            ColumnKind::Text,
            "What changed since the file was opened, joined with +.",
        ),
        Column::new(
            "source_info",
            ColumnKind::Text,
            "Who caused it, where it was a service of the system, joined with +.",
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
        Column::new(
            "file_id_128",
            ColumnKind::Text,
            "Id of the file, where it is no MFT reference (ReFS), in hex.",
        ),
        Column::new(
            "parent_id_128",
            ColumnKind::Text,
            "Id of its directory, where it is no MFT reference (ReFS), in hex.",
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
        Column::new("name", ColumnKind::Text, "Its name."),
        Column::new(
            "path",
            ColumnKind::Text,
            "Full path at the time of the record.",
        ),
        Column::new(
            "is_orphan",
            ColumnKind::Bool,
            "Whether the way from that name to the root is lost.",
        ),
        Column::new(
            "security_id",
            ColumnKind::Uint,
            "Key into $Secure, where it is not 0.",
        ),
        Column::new(
            "extents",
            ColumnKind::Nested,
            "Changed ranges of the file, of version 4: offset_bytes and size_bytes of each.",
        ),
        Column::new(
            "remaining_extents",
            ColumnKind::Uint,
            "How many changed ranges the next records list, of version 4.",
        ),
        Column::new(
            "findings",
            ColumnKind::Text,
            "What speaks against it, joined with +: a reason to look, and no proof.",
        ),
    ],
};

/// One record; it is filled again and again, so that a record allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Change {
    usn: u64,
    version: u16,
    reasons: u32,
    source: u32,
    file: u128,
    parent: u128,
    attributes: Option<u32>,
    security_id: Option<u32>,
    remaining_extents: Option<u32>,
    extents: Vec<(u64, u64)>,
    pub(super) orphan: bool,
    pub(super) findings: Findings,
    has_name: bool,
    name: String,
    path: String,
    /// Room for a name, and the path of its directory after it.
    pub(super) wtf8: Vec<u8>,
}

impl Change {
    /// Takes what the record itself says.
    pub(super) fn fill(&mut self, record: &UsnRecord<'_>) {
        self.usn = record.usn;
        self.version = record.version;
        self.reasons = record.reasons;
        self.source = record.source;
        self.file = record.file;
        self.parent = record.parent;
        self.attributes = record.attributes;
        self.security_id = record.security_id;
        self.remaining_extents = record.remaining_extents;
        self.extents.clear();
        self.extents.extend(record.extents());
        self.orphan = false;
        self.findings = Findings::default();
        self.has_name = false;
        self.name.clear();
        self.path.clear();
    }

    /// Takes name and directory from [`wtf8`](Self::wtf8), which has them in this order.
    pub(super) fn place(&mut self, name_bytes: usize, is_root: bool) {
        self.has_name = true;
        let (name, directory) = self.wtf8.split_at(name_bytes);
        push_text(&mut self.name, name);
        if is_root {
            // The root is its own directory, under the name of a dot.
            self.path.push('/');
            return;
        }
        push_text(&mut self.path, directory);
        self.path.push('/');
        self.path.push_str(&self.name);
    }
}

/// Entry and sequence number of a file id, where it is an MFT reference.
fn reference(id: u128) -> Option<u64> {
    u64::try_from(id).ok()
}

impl Record for Change {
    fn schema(&self) -> &'static Schema {
        &CHANGE
    }

    fn fields(&self, out: &mut dyn Fields) {
        out.value(Value::Uint(self.usn));
        out.value(Value::Uint(self.version.into()));
        words::reasons(self.reasons, |text| out.value(Value::text(text)));
        words::sources(self.source, |text| out.value(Value::text(text)));
        for id in [self.file, self.parent] {
            out.value(Value::uint(reference(id).map(paths::entry_of)));
            let sequence = reference(id).map(|id| paths::sequence_of(id).into());
            out.value(Value::uint(sequence));
        }
        for id in [self.file, self.parent] {
            match reference(id) {
                Some(_) => out.value(Value::Null),
                None => out.value(Value::Text(&format!("{id:032x}"))),
            }
        }
        match self.attributes {
            Some(bits) => {
                out.value(Value::Bool(bits & 0x10 != 0));
                mft::words::attributes(bits, |text| out.value(Value::text(text)));
            }
            None => {
                out.value(Value::Null);
                out.value(Value::Null);
            }
        }
        if self.has_name {
            out.value(Value::Text(&self.name));
            out.value(Value::Text(&self.path));
            out.value(Value::Bool(self.orphan));
        } else {
            out.value(Value::Null);
            out.value(Value::Null);
            out.value(Value::Null);
        }
        let security = self.security_id.filter(|id| *id != 0);
        out.value(Value::uint(security.map(u64::from)));
        if self.extents.is_empty() {
            out.value(Value::Null);
        } else {
            out.value(Value::Nested(&Extents(&self.extents)));
        }
        out.value(Value::uint(self.remaining_extents.map(u64::from)));
        out.value(Value::text(self.findings.text().as_deref()));
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        self.has_name.then_some(Cow::Borrowed(self.path.as_str()))
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut outcome = Ok(());
        words::reasons(self.reasons, |text| {
            outcome = write!(out, "{}", text.unwrap_or("no reason"));
        });
        outcome?;
        match reference(self.file) {
            _ if self.has_name => write!(out, ": {}", self.path)?,
            Some(id) => write!(
                out,
                ": entry {}-{}",
                paths::entry_of(id),
                paths::sequence_of(id)
            )?,
            None => write!(out, ": file {:032x}", self.file)?,
        }
        self.findings.tell(out)
    }
}

struct Extents<'a>(&'a [(u64, u64)]);

impl Nested for Extents<'_> {
    fn visit(&self, out: &mut dyn Tree) {
        out.begin_list();
        for (offset, size) in self.0 {
            out.begin_map();
            out.key("offset_bytes");
            out.value(Value::Uint(*offset));
            out.key("size_bytes");
            out.value(Value::Uint(*size));
            out.end();
        }
        out.end();
    }
}

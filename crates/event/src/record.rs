//! Typed payloads that describe their own columns.

use std::{borrow::Cow, fmt};

use crate::{Precision, UtcNanos};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// True or false.
    Bool,
    /// A signed number.
    Int,
    /// An unsigned number.
    Uint,
    /// Unicode text.
    Text,
    /// Bytes, shown as lower-case hex.
    Bytes,
    /// A moment in UTC, with the step of its clock.
    Time(Precision),
    /// Lists and maps, shown as JSON.
    Nested,
}

/// One column of a record.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name; the unit is part of it (`size_bytes`).
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnKind,
    /// What it says, in one sentence.
    pub doc: &'static str,
    /// `,"name":` and zeros, as JSON has it: it is written for every value.
    key: [u8; Self::KEY_BYTES],
}

impl Column {
    pub(crate) const KEY_BYTES: usize = 32;
    const AROUND_NAME: usize = ",\"\":".len();

    /// A column. Its name has at most 28 bytes.
    pub const fn new(name: &'static str, kind: ColumnKind, doc: &'static str) -> Self {
        let bytes = name.as_bytes();
        let mut key = [0; Self::KEY_BYTES];
        key[0] = b',';
        key[1] = b'"';
        let mut at = 0;
        while at < bytes.len() {
            key[at + 2] = bytes[at];
            at += 1;
        }
        key[at + 2] = b'"';
        key[at + 3] = b':';
        Self {
            name,
            kind,
            doc,
            key,
        }
    }

    /// Appends `,"name":`.
    pub(crate) fn push_key(&self, out: &mut Vec<u8>) {
        // A copy of fixed size, cut afterwards, costs a fraction of one of any size.
        let end = out.len() + self.name.len() + Self::AROUND_NAME;
        out.extend_from_slice(&self.key);
        out.truncate(end);
    }
}

/// A kind of record.
#[derive(Debug)]
pub struct Schema {
    /// Its name, which starts with the artefact's id.
    pub name: &'static str,
    /// What one record is, in one sentence.
    pub doc: &'static str,
    /// Its columns, in the order in which [`Record::fields`] gives their values.
    pub columns: &'static [Column],
}

/// A value of a column.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// The record does not say.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// Unicode text.
    Text(&'a str),
    /// Bytes, shown as lower-case hex.
    Bytes(&'a [u8]),
    /// A moment in UTC.
    Time(UtcNanos, Precision),
    /// Lists and maps.
    Nested(&'a dyn Nested),
}

impl<'a> Value<'a> {
    /// A text, or nothing.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Value::Null, Value::Text)
    }

    /// A number, or nothing.
    pub fn uint(number: Option<u64>) -> Self {
        number.map_or(Value::Null, Value::Uint)
    }

    /// A FILETIME; zero is null.
    pub fn filetime(ticks_100ns: u64) -> Self {
        if ticks_100ns == 0 {
            Value::Null
        } else {
            Value::Time(UtcNanos::from_filetime(ticks_100ns), Precision::FILETIME)
        }
    }
}

/// Takes the values of a record, one a column, in the schema's order.
pub trait Fields {
    /// The next column's value.
    fn value(&mut self, value: Value<'_>);
}

/// A list or a map that can show itself.
pub trait Nested {
    /// Shows one value: a list, a map, or a plain one.
    fn visit(&self, out: &mut dyn Tree);
}

/// Takes lists and maps.
pub trait Tree {
    /// Opens a map; [`key`](Self::key) and a value follow in turn.
    fn begin_map(&mut self);
    /// Names the next value of the map that is open.
    fn key(&mut self, name: &str);
    /// Opens a list.
    fn begin_list(&mut self);
    /// A plain value.
    fn value(&mut self, value: Value<'_>);
    /// A text that is stored as UTF-16, little-endian.
    fn utf16(&mut self, units: &[u8]);
    /// Closes the list or map that was opened last.
    fn end(&mut self);
}

/// What was decoded from one record.
pub trait Record {
    /// Which columns it has.
    fn schema(&self) -> &'static Schema;

    /// Gives the value of every column, in the schema's order.
    fn fields(&self, out: &mut dyn Fields);

    /// The thing it is about: a path, a registry key, a URL, an account.
    fn subject(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// One line that a person understands without the artefact's manual.
    ///
    /// # Errors
    /// Only what `out` answers.
    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result;

    /// SID or name of the account it is about.
    fn user(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The machine the record itself names.
    fn host(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Shows the lines that it has in a Sleuth Kit body file; most records have none.
    fn body(&self, _line: &mut dyn FnMut(&FileLine<'_>)) {}
}

/// One line of a Sleuth Kit 3.x body file: a name of a file-system entry, and its times.
///
/// The printed name is the path, `:` and the stream where there is one, ` ($FILE_NAME)` where the
/// times are the name's own, and ` (deleted)`.
#[derive(Clone, Copy, Debug)]
pub struct FileLine<'a> {
    /// The full path from the volume's root, with `/` before each component.
    pub path: &'a str,
    /// The stream's name, where it is not the unnamed one.
    pub stream: Option<&'a str>,
    /// Whether the times are those kept beside the name (`$FILE_NAME`).
    pub name_times: bool,
    /// Whether the entry is deleted.
    pub deleted: bool,
    /// MFT entry or inode number.
    pub entry: u64,
    /// Type and id of the NTFS attribute that the line is about.
    pub attribute: Option<(u32, u16)>,
    /// Type letters of the name and of the entry itself: `r`, `d`, `l`, …, `-` where unknown.
    pub kind: (char, char),
    /// Size in bytes.
    pub size_bytes: u64,
    /// Accessed, modified, changed, created; `None` is printed as 0.
    pub times: [Option<UtcNanos>; 4],
}

//! An observation as a run carries it, beside its head and rows.
//!
//! # Layout
//! ```text
//! varint  schema
//! varint  further places, each: role, place, offset, length, record number + flag
//! …       subject, user, host, each a flag and a text
//! …       message: a flag; the text, or what stands before and after the subject in it
//! …       a value for each column: a tag and what it needs
//! ```

use memchr::memmem;
use scelle_event::{
    Fields, Observation, Precision, Provenance, Role, Schema, UtcNanos, Value, json,
};

use crate::{
    blob::{Reader, push_bytes, push_varint},
    names::{Names, Numbered},
};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
const TIME: u8 = 7;
const JSON: u8 = 8;
/// A text that equals the record's subject.
const SUBJECT: u8 = 9;
/// A moment that 64 bits of nanoseconds can't hold.
const WIDE_TIME: u8 = 10;

/// Appends what a timeline keeps of an observation.
pub(crate) fn write_fact(
    out: &mut Vec<u8>,
    names: &mut Numbered,
    observation: &Observation<'_>,
    message: &mut String,
) {
    let record = observation.record;
    push_varint(out, names.schema_of(record.schema()).into());
    write_also(out, names, &observation.provenance);
    let subject = record.subject();
    let subject = subject.as_deref();
    push_option(out, subject);
    push_option(out, record.user().as_deref());
    push_option(out, record.host().as_deref());

    message.clear();
    if record.message(message).is_err() {
        // A `String` takes all: the record itself refused, and says so.
        message.push_str(" (the rest of this line could not be told)");
    }
    write_message(out, message, subject);

    let mut values = Values {
        out,
        left: record.schema().columns.len(),
        subject,
    };
    record.fields(&mut values);
    let left = values.left;
    debug_assert_eq!(left, 0, "{}: a value a column", record.schema().name);
    out.resize(out.len() + left, NULL);
}

/// Appends the other places of an observation or of a warning.
pub(crate) fn write_also(out: &mut Vec<u8>, names: &mut Numbered, provenance: &Provenance) {
    let also = &provenance.also;
    push_varint(out, also.len() as u64);
    for (role, span) in also {
        out.push(*role as u8);
        push_varint(out, names.place_of(span).into());
        push_varint(out, span.range.start);
        push_varint(out, span.range.end.saturating_sub(span.range.start));
        out.push(span.record.is_some().into());
        push_varint(out, span.record.unwrap_or(0));
    }
}

fn write_message(out: &mut Vec<u8>, message: &str, subject: Option<&str>) {
    // Most messages name the subject: it is kept once.
    const SHORTEST: usize = 8;
    let named = subject
        .filter(|subject| subject.len() >= SHORTEST)
        .and_then(|subject| {
            let at = find(message.as_bytes(), subject.as_bytes())?;
            Some((at, subject.len()))
        });
    match named {
        Some((at, length)) => {
            out.push(1);
            push_bytes(out, &message.as_bytes()[..at]);
            push_bytes(out, &message.as_bytes()[at + length..]);
        }
        None => {
            out.push(0);
            push_bytes(out, message.as_bytes());
        }
    }
}

/// Where `subject` begins first. Most begin where their first byte is met first, which takes no searcher.
fn find(message: &[u8], subject: &[u8]) -> Option<usize> {
    let first = memchr::memchr(*subject.first()?, message)?;
    if message[first..].starts_with(subject) {
        return Some(first);
    }
    memmem::find(message, subject)
}

fn push_option(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => {
            out.push(1);
            push_bytes(out, text.as_bytes());
        }
        None => out.push(0),
    }
}

struct Values<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
    subject: Option<&'a str>,
}

impl Fields for Values<'_> {
    fn value(&mut self, value: Value<'_>) {
        if self.left == 0 {
            debug_assert!(false, "more values than columns");
            return;
        }
        self.left -= 1;
        let out = &mut *self.out;
        match value {
            Value::Null => out.push(NULL),
            Value::Bool(false) => out.push(FALSE),
            Value::Bool(true) => out.push(TRUE),
            Value::Int(number) => {
                out.push(INT);
                push_varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
            }
            Value::Uint(number) => {
                out.push(UINT);
                push_varint(out, number);
            }
            Value::Text(text) if self.subject == Some(text) => out.push(SUBJECT),
            Value::Text(text) => {
                out.push(TEXT);
                push_bytes(out, text.as_bytes());
            }
            Value::Bytes(bytes) => {
                out.push(BYTES);
                push_bytes(out, bytes);
            }
            Value::Time(at, precision) => {
                match at.to_i64_nanos() {
                    Some(nanos) => {
                        out.push(TIME);
                        out.extend_from_slice(&nanos.to_le_bytes());
                    }
                    None => {
                        out.push(WIDE_TIME);
                        out.extend_from_slice(&at.nanos().to_le_bytes());
                    }
                }
                push_varint(out, precision.0);
            }
            Value::Nested(nested) => {
                out.push(JSON);
                // The length goes before a text that is not there yet: write, then move it up.
                let start = out.len();
                json::write_nested(out, nested);
                let length = out.len() - start;
                push_varint(out, length as u64);
                let width = out.len() - start - length;
                out[start..].rotate_right(width);
            }
        }
    }
}

/// A value that a fact holds.
#[derive(Clone, Copy)]
pub(crate) enum Held<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Time(UtcNanos, Precision),
    Json(&'a [u8]),
}

/// Another place that a fact rests on.
#[derive(Clone, Copy)]
pub(crate) struct Also {
    pub(crate) role: Role,
    pub(crate) place: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) record: Option<u64>,
}

/// What a timeline kept of an observation.
#[derive(Clone)]
pub(crate) struct Fact<'a> {
    pub(crate) schema: &'static Schema,
    pub(crate) also: AlsoReader<'a>,
    pub(crate) subject: Option<&'a [u8]>,
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) host: Option<&'a [u8]>,
    message: (&'a [u8], Option<&'a [u8]>),
    values: Reader<'a>,
}

/// The roles, as their numbers name them.
const ROLES: [Role; 6] = [
    Role::Extension,
    Role::Log,
    Role::Wal,
    Role::Companion,
    Role::Container,
    Role::Basis,
];

/// The other places, one after the other.
#[derive(Clone)]
pub(crate) struct AlsoReader<'a> {
    left: u64,
    reader: Reader<'a>,
}

impl Iterator for AlsoReader<'_> {
    type Item = Also;

    fn next(&mut self) -> Option<Also> {
        self.left = self.left.checked_sub(1)?;
        let role = ROLES[usize::from(self.reader.byte())];
        let place = self.reader.narrow();
        let offset = self.reader.varint();
        let length = self.reader.varint();
        let has_record = self.reader.byte() != 0;
        let record = self.reader.varint();
        Some(Also {
            role,
            place,
            offset,
            length,
            record: has_record.then_some(record),
        })
    }
}

pub(crate) fn read_also<'a>(reader: &mut Reader<'a>) -> AlsoReader<'a> {
    let also = AlsoReader {
        left: reader.varint(),
        reader: reader.clone(),
    };
    let mut skipped = also.clone();
    while skipped.next().is_some() {}
    // An empty list leaves the reader where its count ended.
    *reader = skipped.reader;
    also
}

impl<'a> Fact<'a> {
    pub(crate) fn read(mut reader: Reader<'a>, names: &Names) -> Self {
        let schema = names.schema(reader.narrow());
        let also = read_also(&mut reader);
        let [subject, user, host] =
            std::array::from_fn(|_| (reader.byte() != 0).then(|| reader.bytes()));
        let message = if reader.byte() != 0 {
            (reader.bytes(), Some(reader.bytes()))
        } else {
            (reader.bytes(), None)
        };
        Self {
            schema,
            also,
            subject,
            user,
            host,
            message,
            values: reader,
        }
    }

    /// Appends the message.
    pub(crate) fn push_message(&self, out: &mut Vec<u8>) {
        let (before, after) = self.message;
        out.extend_from_slice(before);
        if let Some(after) = after {
            out.extend_from_slice(self.subject.unwrap_or(&[]));
            out.extend_from_slice(after);
        }
    }

    /// Gives each column's name and value, nulls left out.
    pub(crate) fn values(&self, mut each: impl FnMut(&'static str, Held<'a>)) {
        let mut reader = self.values.clone();
        for column in self.schema.columns {
            let value = match reader.byte() {
                NULL => continue,
                FALSE => Held::Bool(false),
                TRUE => Held::Bool(true),
                INT => {
                    let raw = reader.varint();
                    Held::Int((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
                }
                UINT => Held::Uint(reader.varint()),
                TEXT => Held::Text(reader.bytes()),
                BYTES => Held::Bytes(reader.bytes()),
                TIME => {
                    let nanos = i64::from_le_bytes(reader.array()).into();
                    Held::Time(UtcNanos::from_nanos(nanos), Precision(reader.varint()))
                }
                WIDE_TIME => {
                    let nanos = i128::from_le_bytes(reader.array());
                    Held::Time(UtcNanos::from_nanos(nanos), Precision(reader.varint()))
                }
                JSON => Held::Json(reader.bytes()),
                SUBJECT => Held::Text(self.subject.unwrap_or(&[])),
                tag => unreachable!("no value has the tag {tag}"),
            };
            each(column.name, value);
        }
    }
}

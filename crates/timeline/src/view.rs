//! A row as the columns describe it, whatever the format.

use scelle_event::{CivilNanos, Meaning, Moment, UtcNanos, json};

use crate::{
    Error,
    blob::{Basis, Head, Reader, Row, nanos_of, read_blob, read_row},
    fact::{AlsoReader, Fact, Held, read_also},
    merge::Merge,
    names::{Names, Place},
    run::Sorted,
};

/// One row of the timeline.
pub(crate) struct View<'a> {
    pub(crate) offset: u64,
    pub(crate) head: Head,
    pub(crate) place: &'a Place,
    pub(crate) fact: &'a Fact<'a>,
    pub(crate) row: Row<'a>,
    pub(crate) names: &'a Names,
    /// Whether the row before was of the same record.
    pub(crate) is_same_record: bool,
    at: u128,
}

impl View<'_> {
    /// The exact moment.
    pub(crate) fn moment(&self) -> Option<UtcNanos> {
        self.row
            .basis
            .is_dated()
            .then(|| UtcNanos::from_nanos(nanos_of(self.at)))
    }

    /// The column `time`.
    pub(crate) fn time(&self) -> Option<i64> {
        self.moment().and_then(UtcNanos::to_i64_nanos)
    }

    /// Appends the column `time_text`; false where it is null.
    pub(crate) fn push_time_text(&self, out: &mut Vec<u8>) -> bool {
        match self.row.basis {
            Basis::Utc | Basis::Converted => {
                let at = UtcNanos::from_nanos(nanos_of(self.at));
                Moment::Utc(at).write_iso(self.row.precision, out);
            }
            Basis::Unresolved => self.push_local(out),
            Basis::Partial => out.extend_from_slice(self.row.partial),
            Basis::None => return false,
        }
        true
    }

    fn push_local(&self, out: &mut Vec<u8>) {
        let local = CivilNanos::from_nanos(self.row.local_nanos);
        Moment::Local(local).write_iso(self.row.precision, out);
    }

    /// The column `precision_ns`.
    pub(crate) fn precision_ns(&self) -> Option<i64> {
        (self.row.basis != Basis::None)
            .then(|| i64::try_from(self.row.precision.0).unwrap_or(i64::MAX))
    }

    /// The column `host`: what the record says, else what is known of its source.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        self.fact
            .host
            .or_else(|| self.place.host.as_deref().map(str::as_bytes))
    }

    /// The column `subject`: what the record says, else the stream's path.
    pub(crate) fn subject(&self) -> &[u8] {
        self.fact
            .subject
            .unwrap_or_else(|| self.place.path().as_bytes())
    }

    /// Gives what `fields` says of this row alone, before the record's own columns.
    pub(crate) fn row_fields(&self, scratch: &mut Vec<u8>, mut each: impl FnMut(&str, &[u8])) {
        if let Some(attribute) = self.row.attribute {
            each("attribute", self.names.attribute(attribute).as_bytes());
        }
        if self.row.later != 0 {
            scratch.clear();
            push_meanings(self.row.later, scratch);
            each("later_than_si", scratch);
        }
        if self.row.basis == Basis::Converted {
            scratch.clear();
            self.push_local(scratch);
            each("local_time", scratch);
        }
    }
}

/// The meanings of a set, in their order.
pub(crate) fn meanings(bits: u32) -> impl Iterator<Item = Meaning> {
    Meaning::ALL
        .iter()
        .copied()
        .filter(move |meaning| bits & 1 << *meaning as u8 != 0)
}

/// Appends the meanings of a set, with `+` between them.
pub(crate) fn push_meanings(bits: u32, out: &mut Vec<u8>) {
    for (number, meaning) in meanings(bits).enumerate() {
        if number > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(meaning.name().as_bytes());
    }
}

/// Appends a value as a table of texts shows it.
pub(crate) fn push_text(held: Held<'_>, out: &mut Vec<u8>) {
    match held {
        Held::Text(bytes) | Held::Json(bytes) => out.extend_from_slice(bytes),
        Held::Bool(true) => out.extend_from_slice(b"true"),
        Held::Bool(false) => out.extend_from_slice(b"false"),
        Held::Int(number) => push_int(number, out),
        Held::Uint(number) => json::write_uint(out, number),
        Held::Bytes(bytes) => json::write_hex(out, bytes),
        Held::Time(at, precision) => Moment::Utc(at).write_iso(precision, out),
    }
}

/// Appends a value as JSON has it.
pub(crate) fn push_json(held: Held<'_>, out: &mut Vec<u8>) {
    match held {
        Held::Text(bytes) => push_json_text(bytes, out),
        Held::Bytes(_) | Held::Time(..) => {
            // Neither has a character that JSON escapes.
            out.push(b'"');
            push_text(held, out);
            out.push(b'"');
        }
        Held::Json(_) | Held::Bool(_) | Held::Int(_) | Held::Uint(_) => push_text(held, out),
    }
}

/// Appends a text that a fact holds as JSON has it.
pub(crate) fn push_json_text(bytes: &[u8], out: &mut Vec<u8>) {
    // Facts are made of `str`s alone.
    json::write_text(out, &String::from_utf8_lossy(bytes));
}

pub(crate) fn push_int(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    json::write_uint(out, number.unsigned_abs());
}

/// Gives the rows of a piece, in order.
pub(crate) fn rows_of(
    merge: &Merge<'_>,
    piece: usize,
    mut each: impl FnMut(&View<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let names = merge.names();
    let mut previous = None;
    merge.piece(piece, |sorted, run| {
        let blob = read_blob(sorted.blob);
        let fact = Fact::read(blob.rest, names);
        let this = (run, sorted.number);
        let view = View {
            offset: sorted.offset,
            head: blob.head,
            place: names.place(blob.head.place),
            fact: &fact,
            row: read_row(sorted.blob, sorted.row),
            names,
            is_same_record: previous == Some(this),
            at: sorted.at,
        };
        previous = Some(this);
        each(&view)
    })
}

/// One row of the table of warnings.
pub(crate) struct WarningView<'a> {
    pub(crate) offset: u64,
    pub(crate) head: Head,
    pub(crate) place: &'a Place,
    pub(crate) names: &'a Names,
    pub(crate) ordinal: u32,
    pub(crate) also: AlsoReader<'a>,
    pub(crate) loss: &'a [u8],
    pub(crate) cause: &'a [u8],
}

/// Gives the warnings of a piece, in order.
pub(crate) fn warnings_of(
    merge: &Merge<'_>,
    piece: usize,
    mut each: impl FnMut(&WarningView<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let names = merge.names();
    merge.piece(piece, |sorted: Sorted<'_>, _| {
        let blob = read_blob(sorted.blob);
        let mut rest: Reader<'_> = blob.rest;
        each(&WarningView {
            offset: sorted.offset,
            head: blob.head,
            place: names.place(blob.head.place),
            names,
            ordinal: read_row(sorted.blob, sorted.row).ordinal,
            also: read_also(&mut rest),
            loss: rest.bytes(),
            cause: rest.bytes(),
        })
    })
}

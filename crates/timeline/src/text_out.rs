//! Rows as lines of text: JSON lines, Timesketch, CSV.
//!
//! # JSON lines
//! One object a row, members in the order of the columns, nulls and empty `also` left out;
//! `meaning` is a list, `fields` an object whose numbers, lists and maps keep their JSON types.
//! `time` is ISO 8601 with nine digits.
//! # Timesketch
//! `message`, `datetime`, `timestamp_desc`, `timestamp` (microseconds), then the columns as
//! above. Importers demand a moment of every line: a row without one, or with one outside the
//! years 1 to 9999, has `1970-01-01`, 0 and `not a time`, as Plaso does; `time_text` has it.
//! # CSV
//! RFC 4180 with a head line and CRLF. `meaning` is joined with `+`, `fields` and `also` are
//! JSON. A cell that a spreadsheet would take for a formula gets a leading `'`, and one that
//! starts with `'` gets another: taking one `'` away undoes it.
//! # Sources
//! - RFC 8259 (JSON), RFC 4180 (CSV).
//! - timesketch.org, "Import from JSON or CSV".

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use scelle_event::{Moment, Precision, UtcNanos, json};
use scelle_parallel::ordered;

use crate::{
    Error, Format,
    fact::AlsoReader,
    merge::Merge,
    names::Names,
    schema::{ROW_COLUMNS, WARNING_COLUMNS},
    view::{
        View, WarningView, meanings, push_int, push_json, push_json_text, push_meanings, rows_of,
        warnings_of,
    },
};

/// Rows rendered at a time by one thread.
pub(crate) const PIECE_ROWS: usize = 8 << 10;

pub(crate) fn write_rows(
    merge: &Merge<'_>,
    format: Format,
    out: impl Write + Send,
) -> Result<(), Error> {
    write_pieces(merge.pieces(), out, format, ROW_COLUMNS, |piece, out| {
        let mut scratch = Scratch::default();
        rows_of(merge, piece, |view| {
            match format {
                Format::Csv => row_cells(out, view, &mut scratch),
                Format::Timesketch => timesketch_object(out, view, &mut scratch),
                _ => row_object(out, view, &mut scratch),
            }
            Ok(())
        })
    })
}

pub(crate) fn write_warnings(
    merge: &Merge<'_>,
    format: Format,
    out: impl Write + Send,
) -> Result<(), Error> {
    write_pieces(
        merge.pieces(),
        out,
        format,
        WARNING_COLUMNS,
        |piece, out| {
            let mut cell = Vec::new();
            warnings_of(merge, piece, |view| {
                match format {
                    Format::Csv => warning_cells(out, view, &mut cell),
                    _ => warning_object(out, view),
                }
                Ok(())
            })
        },
    )
}

fn write_pieces(
    pieces: usize,
    mut out: impl Write + Send,
    format: Format,
    columns: &[&str],
    render: impl Fn(usize, &mut Vec<u8>) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    if format == Format::Csv {
        let mut head = columns.join(",");
        head.push_str("\r\n");
        out.write_all(head.as_bytes())?;
    }
    let out = Mutex::new(out);
    let spare: Mutex<Vec<Vec<u8>>> = Mutex::default();
    ordered(
        pieces,
        rayon::current_num_threads() * 2,
        |piece, _| {
            let spare = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut text = spare.unwrap_or_default();
            render(piece, &mut text).map(|()| text)
        },
        |text| {
            let mut text = text.map_err(io::Error::from)?;
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(&text)?;
            text.clear();
            spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(text);
            Ok(())
        },
    )?;
    let mut out = out.into_inner().unwrap_or_else(PoisonError::into_inner);
    out.flush()?;
    Ok(())
}

#[derive(Default)]
struct Scratch {
    cell: Vec<u8>,
    text: Vec<u8>,
}

/// Writes the members of one object.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    fn text(&mut self, name: &str, text: &str) {
        json::write_text(self.key(name), text);
    }

    fn bytes(&mut self, name: &str, text: Option<&[u8]>) {
        if let Some(text) = text {
            push_json_text(text, self.key(name));
        }
    }

    fn maybe(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn uint(&mut self, name: &str, number: u64) {
        json::write_uint(self.key(name), number);
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

fn row_object(out: &mut Vec<u8>, view: &View<'_>, scratch: &mut Scratch) {
    let mut object = Object::new(out);
    row_members(&mut object, view, scratch, true);
    object.end();
}

fn row_members(object: &mut Object<'_>, view: &View<'_>, scratch: &mut Scratch, message: bool) {
    if let Some(time) = view.time() {
        let out = object.key("time");
        out.push(b'"');
        push_time(time, out);
        out.push(b'"');
    }
    scratch.text.clear();
    if view.push_time_text(&mut scratch.text) {
        object.bytes("time_text", Some(&scratch.text));
    }
    object.maybe("time_basis", view.row.basis.name());
    if let Some(precision) = view.precision_ns() {
        push_int(precision, object.key("precision_ns"));
    }
    let out = object.key("meaning");
    out.push(b'[');
    for (number, meaning) in meanings(view.row.meanings).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        json::write_text(out, meaning.name());
    }
    out.push(b']');
    object.text("artefact", view.place.artefact);
    object.bytes("host", view.host());
    object.maybe("host_id", view.place.host_id.as_deref());
    object.bytes("subject", Some(view.subject()));
    if message {
        push_message(object, view, scratch);
    }
    object.bytes("user", view.fact.user);
    push_fields(object.key("fields"), view, scratch);
    object.text("stream", &view.place.stream);
    object.maybe("layer", view.place.layer);
    object.uint("offset", view.offset);
    object.uint("length", view.head.length);
    if let Some(record) = view.head.record {
        object.uint("record", record);
    }
    push_also(object, view.fact.also.clone(), view.names);
    object.uint("record_key", view.head.key);
    object.uint("ordinal", view.row.ordinal.into());
    object.text("source", &view.place.source);
}

fn push_message(object: &mut Object<'_>, view: &View<'_>, scratch: &mut Scratch) {
    scratch.text.clear();
    view.fact.push_message(&mut scratch.text);
    object.bytes("message", Some(&scratch.text));
}

fn timesketch_object(out: &mut Vec<u8>, view: &View<'_>, scratch: &mut Scratch) {
    let micros = view
        .moment()
        .map(|at| at.nanos().div_euclid(1_000))
        .filter(|micros| FOUR_DIGIT_YEARS.contains(micros));
    let mut object = Object::new(out);
    push_message(&mut object, view, scratch);
    let out = object.key("datetime");
    out.push(b'"');
    let at = UtcNanos::from_nanos(micros.unwrap_or(0) * 1_000);
    Moment::Utc(at).write_iso(Precision::MICROSECOND, out);
    // Timesketch's own exports write the zone as an offset.
    out.pop();
    out.extend_from_slice(b"+00:00\"");
    scratch.cell.clear();
    match micros {
        Some(_) => push_meanings(view.row.meanings, &mut scratch.cell),
        None => scratch.cell.extend_from_slice(b"not a time"),
    }
    object.bytes("timestamp_desc", Some(&scratch.cell));
    let micros = micros.and_then(|micros| i64::try_from(micros).ok());
    push_int(micros.unwrap_or(0), object.key("timestamp"));
    row_members(&mut object, view, scratch, false);
    object.end();
}

/// Microseconds since 1970 from year 1 to the end of year 9999.
const FOUR_DIGIT_YEARS: std::ops::Range<i128> = -62_135_596_800_000_000..253_402_300_800_000_000;

fn push_time(nanos: i64, out: &mut Vec<u8>) {
    Moment::Utc(UtcNanos::from_nanos(nanos.into())).write_iso(Precision::NANOSECOND, out);
}

fn push_fields(out: &mut Vec<u8>, view: &View<'_>, scratch: &mut Scratch) {
    out.push(b'{');
    let mut first = true;
    let mut key = |out: &mut Vec<u8>, name: &str| {
        if !first {
            out.push(b',');
        }
        first = false;
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
    };
    view.row_fields(&mut scratch.text, |name, text| {
        key(out, name);
        push_json_text(text, out);
    });
    view.fact.values(|name, held| {
        key(out, name);
        push_json(held, out);
    });
    out.push(b'}');
}

fn push_also(object: &mut Object<'_>, also: AlsoReader<'_>, names: &Names) {
    let mut also = also.peekable();
    if also.peek().is_none() {
        return;
    }
    let out = object.key("also");
    push_also_list(out, also, names);
}

fn push_also_list(out: &mut Vec<u8>, also: impl Iterator<Item = crate::fact::Also>, names: &Names) {
    out.push(b'[');
    for (number, also) in also.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        let place = names.place(also.place);
        let mut object = Object::new(out);
        object.text("role", also.role.name());
        object.text("stream", &place.stream);
        object.maybe("layer", place.layer);
        object.uint("offset", also.offset);
        object.uint("length", also.length);
        if let Some(record) = also.record {
            object.uint("record", record);
        }
        object.out.push(b'}');
    }
    out.push(b']');
}

fn warning_object(out: &mut Vec<u8>, view: &WarningView<'_>) {
    let mut object = Object::new(out);
    object.text("artefact", view.place.artefact);
    object.text("stream", &view.place.stream);
    object.maybe("layer", view.place.layer);
    object.uint("offset", view.offset);
    object.uint("length", view.head.length);
    if let Some(record) = view.head.record {
        object.uint("record", record);
    }
    push_also(&mut object, view.also.clone(), view.names);
    object.uint("record_key", view.head.key);
    object.uint("ordinal", view.ordinal.into());
    object.text("source", &view.place.source);
    object.bytes("loss", Some(view.loss));
    object.bytes("cause", Some(view.cause));
    object.end();
}

/// Appends a cell: what a spreadsheet would run is disarmed, what would tear the line is quoted.
pub(crate) fn push_cell(out: &mut Vec<u8>, cell: &[u8]) {
    let disarm = matches!(
        cell.first(),
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\'')
    );
    let quote = cell
        .iter()
        .any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'));
    if quote {
        out.push(b'"');
    }
    if disarm {
        out.push(b'\'');
    }
    if quote {
        for byte in cell {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(cell);
    }
}

/// Writes the cells of one line.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Line<'_> {
    fn cell(&mut self, cell: &[u8]) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        push_cell(self.out, cell);
    }

    fn made(&mut self, scratch: &mut Vec<u8>, make: impl FnOnce(&mut Vec<u8>)) {
        scratch.clear();
        make(scratch);
        self.cell(scratch);
    }

    fn text(&mut self, text: Option<&str>) {
        self.cell(text.unwrap_or("").as_bytes());
    }

    fn uint(&mut self, number: Option<u64>) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        if let Some(number) = number {
            json::write_uint(self.out, number);
        }
    }

    fn provenance(&mut self, place: &crate::names::Place, offset: u64, head: &crate::blob::Head) {
        self.text(Some(&place.stream));
        self.text(place.layer);
        self.uint(Some(offset));
        self.uint(Some(head.length));
        self.uint(head.record);
    }

    fn also(&mut self, scratch: &mut Vec<u8>, also: AlsoReader<'_>, names: &Names) {
        let mut also = also.peekable();
        if also.peek().is_none() {
            self.cell(b"");
        } else {
            self.made(scratch, |out| push_also_list(out, also, names));
        }
    }
}

fn row_cells(out: &mut Vec<u8>, view: &View<'_>, scratch: &mut Scratch) {
    let mut line = Line { out, first: true };
    let mut cell = std::mem::take(&mut scratch.cell);
    line.made(&mut cell, |out| {
        if let Some(time) = view.time() {
            push_time(time, out);
        }
    });
    line.made(&mut cell, |out| {
        view.push_time_text(out);
    });
    line.text(view.row.basis.name());
    line.uint(view.precision_ns().map(i64::unsigned_abs));
    line.made(&mut cell, |out| push_meanings(view.row.meanings, out));
    line.text(Some(view.place.artefact));
    line.cell(view.host().unwrap_or(b""));
    line.text(view.place.host_id.as_deref());
    line.cell(view.subject());
    line.made(&mut cell, |out| view.fact.push_message(out));
    line.cell(view.fact.user.unwrap_or(b""));
    line.made(&mut cell, |out| push_fields(out, view, scratch));
    line.provenance(view.place, view.offset, &view.head);
    line.also(&mut cell, view.fact.also.clone(), view.names);
    line.uint(Some(view.head.key));
    line.uint(Some(view.row.ordinal.into()));
    line.text(Some(&view.place.source));
    out.extend_from_slice(b"\r\n");
    scratch.cell = cell;
}

fn warning_cells(out: &mut Vec<u8>, view: &WarningView<'_>, cell: &mut Vec<u8>) {
    let mut line = Line { out, first: true };
    line.text(Some(view.place.artefact));
    line.provenance(view.place, view.offset, &view.head);
    line.also(cell, view.also.clone(), view.names);
    line.uint(Some(view.head.key));
    line.uint(Some(view.ordinal.into()));
    line.text(Some(&view.place.source));
    line.cell(view.loss);
    line.cell(view.cause);
    out.extend_from_slice(b"\r\n");
}

//! One observation as bytes: what a sorted run carries of it.
//!
//! # Layout
//! ```text
//! u32     length of all that follows
//! u8      FLAGS
//! u64     record key
//! varint  place, length, [record number]
//! varint  length of the rows; the rows: attribute + 1 or 0, meanings, precision, basis,
//!         ordinal, meanings later than `si`; then the local time or its text
//! …       what the table makes of the record: see `fact.rs` and `warnings.rs`
//! ```
//! Numbers are LEB128 unless a width is given. A row's moment and its record's offset stand in
//! the run's own index, because the order of rows begins with them.

use scelle_event::{Meanings, Precision};

/// How a row's moment came to be what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Basis {
    /// The record states UTC.
    Utc = 0,
    /// The record states local time, and its zone is known.
    Converted = 1,
    /// The record states local time, and its zone is not known.
    Unresolved = 2,
    /// The record states parts of a time.
    Partial = 3,
    /// The record has no time at all.
    None = 4,
}

impl Basis {
    /// The name in the column `time_basis`; nothing where there is no time.
    pub(crate) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Utc => Some("utc"),
            Self::Converted => Some("local-converted"),
            Self::Unresolved | Self::Partial => Some("local-unresolved"),
            Self::None => None,
        }
    }

    /// Whether rows of this basis have a moment in UTC.
    pub(crate) const fn is_dated(self) -> bool {
        matches!(self, Self::Utc | Self::Converted)
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Utc,
            1 => Self::Converted,
            2 => Self::Unresolved,
            3 => Self::Partial,
            _ => Self::None,
        }
    }
}

/// The place of a moment in the order of rows; rows without one come last.
pub(crate) const UNDATED: u128 = u128::MAX;

/// The place of a moment in the order of rows.
pub(crate) fn rank(nanos: i128) -> u128 {
    nanos.cast_unsigned() ^ (1 << 127)
}

/// The moment at that place.
pub(crate) fn nanos_of(rank: u128) -> i128 {
    (rank ^ (1 << 127)).cast_signed()
}

const HAS_RECORD: u8 = 1;

/// What every kind of row says of its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) key: u64,
    pub(crate) place: u32,
    pub(crate) length: u64,
    pub(crate) record: Option<u64>,
}

/// One moment of a record.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    /// The number of the attribute that holds it.
    pub(crate) attribute: Option<u32>,
    pub(crate) meanings: u32,
    pub(crate) precision: Precision,
    pub(crate) basis: Basis,
    pub(crate) ordinal: u32,
    /// Which of its meanings are later here than in `$STANDARD_INFORMATION`.
    pub(crate) later: u32,
    /// The time on the record's own clock, where that is not UTC.
    pub(crate) local_nanos: i128,
    /// The text of a time of which only parts are known.
    pub(crate) partial: &'a [u8],
}

impl Row<'_> {
    /// A row without a time.
    pub(crate) fn timeless(ordinal: u32) -> Self {
        Self {
            attribute: None,
            meanings: Meanings::default().bits(),
            precision: Precision(0),
            basis: Basis::None,
            ordinal,
            later: 0,
            local_nanos: 0,
            partial: &[],
        }
    }
}

/// Writes a blob; the caller adds what its table needs, then calls [`finish`](Self::finish).
pub(crate) struct BlobWriter {
    start: usize,
    rows_at: usize,
}

impl BlobWriter {
    pub(crate) fn new(out: &mut Vec<u8>, head: &Head) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(if head.record.is_some() { HAS_RECORD } else { 0 });
        out.extend_from_slice(&head.key.to_le_bytes());
        push_varint(out, head.place.into());
        push_varint(out, head.length);
        if let Some(record) = head.record {
            push_varint(out, record);
        }
        let rows_at = out.len();
        // Rows are short: a fixed width is cheaper than moving them once their length is known.
        out.extend_from_slice(&[0; 4]);
        Self { start, rows_at }
    }

    /// Adds a row; answers where in the blob it stands.
    pub(crate) fn row(&self, out: &mut Vec<u8>, row: &Row<'_>) -> u32 {
        let at = out.len() - self.start;
        push_varint(out, row.attribute.map_or(0, |number| u64::from(number) + 1));
        push_varint(out, row.meanings.into());
        push_varint(out, row.precision.0);
        out.push(row.basis as u8);
        push_varint(out, row.ordinal.into());
        push_varint(out, row.later.into());
        match row.basis {
            Basis::Converted | Basis::Unresolved => {
                out.extend_from_slice(&row.local_nanos.to_le_bytes());
            }
            Basis::Partial => push_bytes(out, row.partial),
            Basis::Utc | Basis::None => {}
        }
        narrow(at)
    }

    pub(crate) fn end_of_rows(&self, out: &mut [u8]) {
        let length = narrow(out.len() - self.rows_at - 4);
        out[self.rows_at..self.rows_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(crate) fn finish(self, out: &mut [u8]) {
        let length = narrow(out.len() - self.start - 4);
        out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// A position inside one blob.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("one record decodes to less than 4 GiB")
}

/// Reads what a [`BlobWriter`] wrote. It is the program's own memory (or came back under an
/// authenticated cipher), so that a short read is a bug here and may panic.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (byte, rest) = self.bytes.split_first().expect(OWN);
        self.bytes = rest;
        *byte
    }

    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at_checked(length).expect(OWN);
        self.bytes = rest;
        taken
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.bytes.split_first_chunk().expect(OWN);
        self.bytes = rest;
        *taken
    }

    pub(crate) fn varint(&mut self) -> u64 {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    /// A number that [`push_varint`] took from 32 bits.
    pub(crate) fn narrow(&mut self) -> u32 {
        self.varint() as u32
    }

    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = self.varint() as usize;
        self.take(length)
    }

    /// How many bytes were not read yet.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }
}

const OWN: &str = "a run holds whole blobs";

/// A blob, and where its table's part begins.
pub(crate) struct Blob<'a> {
    pub(crate) head: Head,
    /// What the table wrote.
    pub(crate) rest: Reader<'a>,
}

/// The bytes of the blob that starts at `at`.
pub(crate) fn blob_at(arena: &[u8], at: usize) -> &[u8] {
    let length: [u8; 4] = arena[at..at + 4].try_into().expect(OWN);
    &arena[at..at + 4 + u32::from_le_bytes(length) as usize]
}

pub(crate) fn read_head<'a>(reader: &mut Reader<'a>) -> Head {
    let _length: [u8; 4] = reader.array();
    let flags = reader.byte();
    let key = u64::from_le_bytes(reader.array());
    let place = reader.narrow();
    let length = reader.varint();
    let record = (flags & HAS_RECORD != 0).then(|| reader.varint());
    Head {
        key,
        place,
        length,
        record,
    }
}

pub(crate) fn read_blob(bytes: &[u8]) -> Blob<'_> {
    let mut rest = Reader::new(bytes);
    let head = read_head(&mut rest);
    let rows = u32::from_le_bytes(rest.array());
    rest.take(rows as usize);
    Blob { head, rest }
}

pub(crate) fn read_row(blob: &[u8], at: u32) -> Row<'_> {
    let mut reader = Reader::new(&blob[at as usize..]);
    let attribute = reader.narrow().checked_sub(1);
    let meanings = reader.narrow();
    let precision = Precision(reader.varint());
    let basis = Basis::from_byte(reader.byte());
    let ordinal = reader.narrow();
    let later = reader.narrow();
    let mut row = Row {
        attribute,
        meanings,
        precision,
        basis,
        ordinal,
        later,
        local_nanos: 0,
        partial: &[],
    };
    match basis {
        Basis::Converted | Basis::Unresolved => {
            row.local_nanos = i128::from_le_bytes(reader.array());
        }
        Basis::Partial => row.partial = reader.bytes(),
        Basis::Utc | Basis::None => {}
    }
    row
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

//! Recycle Bin index files, `$I…` (Windows Vista and later).
//!
//! # Layout (little-endian)
//! | offset | bytes | field                                                    |
//! |-------:|------:|----------------------------------------------------------|
//! |      0 |     8 | version: 1 (Vista to 8.1) or 2 (10 on)                   |
//! |      8 |     8 | original size, bytes                                     |
//! |     16 |     8 | deletion time, FILETIME (100 ns, UTC)                    |
//! |     24 |   520 | version 1: path, UTF-16, padded with zeros               |
//! |     24 |     4 | version 2: path length in code units, end zero included  |
//! |     28 |     … | version 2: path, UTF-16                                  |
//!
//! # Damage
//! A cut path still yields the event, with a `Loss::Field("path")` warning.
//! An unknown version ends the file: no later field can be trusted.
//! # Sources
//! - libyal/dtformats, "Windows Recycle.Bin file formats", section "$I file".
//! - The 520 bytes of version 1 are observed in samples, not specified. Some version 1 files
//!   were written one byte short; they are read like the others.

use std::{borrow::Cow, fmt};

use scelle_event::{
    Column, ColumnKind, EvidencePath, Fields, Loss, Meaning, Record, Schema, Stamp, Value,
};
use scelle_formats::{Cursor, DecodeError};

use crate::{Artefact, Candidate, Descriptor, Emitter, ParseBytes, Parser, Unit};

/// `windows.recycle-bin`.
pub struct RecycleBin;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "windows.recycle-bin",
    summary: "Files that a user moved to the Recycle Bin: original path, size, time of deletion.",
    locations: &["$Recycle.Bin/*/$I*"],
    specifications: &["libyal/dtformats: Windows Recycle.Bin file formats"],
    schemas: &[&SCHEMA],
    companions: &[],
};

static SCHEMA: Schema = Schema {
    name: "windows.recycle-bin.file",
    doc: "A file or folder in the Recycle Bin.",
    columns: &[
        Column::new("version", ColumnKind::Uint, "Format version: 1 or 2."),
        Column::new("path", ColumnKind::Text, "Where it was deleted from."),
        Column::new("size_bytes", ColumnKind::Uint, "Its size when deleted."),
    ],
};

struct DeletedFile {
    version: u64,
    path: Option<String>,
    size_bytes: u64,
}

impl Record for DeletedFile {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }

    fn fields(&self, out: &mut dyn Fields) {
        out.value(Value::Uint(self.version));
        out.value(Value::text(self.path.as_deref()));
        out.value(Value::Uint(self.size_bytes));
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        self.path.as_deref().map(Cow::Borrowed)
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or("a file whose path is lost");
        write!(
            out,
            "Moved to the Recycle Bin: {path} ({} bytes)",
            self.size_bytes
        )
    }
}

impl Artefact for RecycleBin {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        // The content has no magic but a version; the name rules out the rest.
        candidate.is_unnamed()
            && candidate.path.name().starts_with(b"$I")
            && (24..=CAP as u64).contains(&candidate.size_bytes)
            && matches!(candidate.head(), [1 | 2, 0, 0, 0, 0, 0, 0, 0, ..])
    }

    fn parser(&self) -> Parser {
        Parser::Bytes(&Self)
    }
}

/// A path has at most 32,767 code units.
const CAP: usize = 28 + 2 * 32_767;
const V1_PATH_UNITS: usize = 260;

impl ParseBytes for RecycleBin {
    fn cap(&self) -> usize {
        CAP
    }

    fn parse(&self, unit: Unit<'_>, out: &mut Emitter<'_>) -> Result<(), DecodeError> {
        let mut cur = Cursor::new(unit.bytes, unit.base);
        let version = cur.u64("version")?;
        let size_bytes = cur.u64("size")?;
        let deleted = Stamp::filetime(cur.u64("deletion time")?, Meaning::Deleted);
        let stated_units = match version {
            1 => V1_PATH_UNITS,
            2 => cur.u32("path length")? as usize,
            value => {
                return Err(DecodeError::Unknown {
                    field: "version",
                    at: unit.base,
                    value,
                });
            }
        };
        let path_at = cur.at();
        let units = cur.utf16("path", stated_units.min(cur.left() / 2))?;
        let end = units.iter().position(|unit| *unit == 0);
        if end.is_none() && units.len() < stated_units {
            let cause = format!(
                "the path has {stated_units} code units, {} are there",
                units.len()
            );
            out.warn(path_at..cur.at(), Loss::Field("path"), cause);
        }
        let units = &units[..end.unwrap_or(units.len())];
        let path = EvidencePath::from_utf16(units.iter().copied());
        let file = DeletedFile {
            version,
            // Windows paths are shown as Windows writes them; only what is not Unicode is escaped.
            path: (!units.is_empty()).then(|| {
                path.as_str()
                    .map_or_else(|| path.to_string(), str::to_owned)
            }),
            size_bytes,
        };
        out.observe(unit.base..cur.at(), deleted.as_slice(), &file);
        Ok(())
    }
}

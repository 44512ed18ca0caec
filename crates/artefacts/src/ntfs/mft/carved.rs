//! Records of `$MFT` in clusters that no file has, and in those of `$MFT` past its end.
//!
//! It is looked for on request alone. The stream, `$Bitmap:$UNUSED:$CLUSTERS`, is as long as the volume;
//! what files have is a hole in it, and each offset is one on the volume.
//!
//! # Layout
//! A record begins at a sector of 512 bytes with a header whose sizes fit each other; see
//! `scelle_formats::ntfs`. Each is shown alone: a base record without its extensions, an extension by
//! itself. Paths come from the companion `/$MFT`, where the directory is there in the use that the
//! name means; else they begin at `$OrphanFiles`. A record without its own number has none: it is shown
//! as entry 0.
//!
//! # Damage
//! | what | result |
//! |------|--------|
//! | bytes that begin no record | a gap |
//! | a record that is cut | `Loss::Record` |
//! | a torn update sequence | the entry, and `Loss::Field("torn")` |
//! | a damaged attribute | the entry, and `Loss::Field` of a column it would have filled |
//! | an `$MFT` that can't be read | `Loss::Field("path")`, in the companion |
//!
//! # Memory
//! What the table of names of the `$MFT` takes.
//!
//! # Sources
//! - As for `ntfs.mft`.

use std::{borrow::Cow, fmt, ops::Range};

use scelle_event::{Fields, Loss, Provenance, Schema, Span, Stamp, StreamRef};
use scelle_formats::{
    DecodeError, ReadAtExt as _,
    ntfs::{
        Record, Scratch,
        paths::{self, NameTable},
    },
};

use super::{
    Known, Names,
    entry::Entry,
    gather::{self, Buffers, Damage},
    record_bytes,
    schema::CARVED,
};
use crate::{
    Artefact, Candidate, Chunked, Companion, Cut, Descriptor, Emitter, Input, Parser, Unit,
};

/// `ntfs.carved`.
pub struct Carved;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "ntfs.carved",
    summary: "Records of files in clusters that no file has any more; on request.",
    locations: &["$Bitmap:$UNUSED:$CLUSTERS"],
    specifications: &["libyal/libfsntfs: New Technologies File System (NTFS)"],
    schemas: &[&CARVED],
    companions: &[Companion {
        name: "$MFT",
        location: "/$MFT",
    }],
};

/// How a stand-alone copy of the stream is called; Windows allows no colon in a name.
const COPY_NAME: &[u8] = b"$UNUSED";
const UNIT_BYTES: usize = 1 << 20;
const SECTOR_BYTES: usize = 512;
/// What has to be there of a record before its size is known.
const HEADER_BYTES: usize = 0x30;

impl Artefact for Carved {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        let is_copy = candidate.is_unnamed() && is_copy(candidate);
        is_copy && candidate.head().chunks(SECTOR_BYTES).any(begins)
    }

    fn parser(&self) -> Parser {
        Parser::Chunks(&Self)
    }

    fn is_on_request(&self) -> bool {
        true
    }
}

/// Whether it is called a copy of unused clusters: such a copy may begin with a record, and is no `$MFT`.
pub(super) fn is_copy(candidate: &Candidate<'_>) -> bool {
    candidate.path.name().ends_with(COPY_NAME)
}

fn begins(sector: &[u8]) -> bool {
    sector.starts_with(b"FILE") && record_bytes(sector).is_some()
}

/// The names of the companion, and why there are none.
#[derive(Default)]
pub struct Directories {
    names: Option<Names>,
    loss: Option<(Range<u64>, String)>,
}

impl Chunked for Carved {
    type Head = ();
    type Part = ();
    type Survey = Directories;

    const SURVEYED: bool = false;
    const SPARSE: bool = true;

    fn prepare(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<((), Cut), DecodeError> {
        let len = input.stream.len();
        if len < SECTOR_BYTES as u64 {
            out.warn(0..len, Loss::Rest, "not one sector is here");
        }
        let cut = Cut {
            range: 0..len,
            unit_bytes: UNIT_BYTES,
            apart: None,
        };
        Ok(((), cut))
    }

    fn scout(&self, (): &(), _unit: Unit<'_>) {}

    fn survey(&self, (): &(), _parts: Vec<()>, input: Input<'_>) -> Directories {
        let Some(mft) = input.companion(0) else {
            return Directories::default();
        };
        match Names::read(mft) {
            Ok(names) => Directories {
                names: Some(names),
                loss: None,
            },
            Err(error) => Directories {
                names: None,
                loss: Some((0..mft.len(), error.to_string())),
            },
        }
    }

    fn parse(
        &self,
        (): &(),
        known: &Directories,
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError> {
        if let Some((range, cause)) = known.loss.as_ref().filter(|_| unit.base == 0) {
            let place = Span::new(range.clone()).of(StreamRef::companion(0));
            out.warn_at(place.into(), Loss::Field("path"), cause.clone());
        }
        let nobody = NameTable::join(Vec::new());
        let mut search = Search {
            table: known.names.as_ref().map_or(&nobody, |names| &names.table),
            buffers: Buffers::default(),
            scratch: Scratch::new(),
            entry: Entry::default(),
            stamps: Vec::new(),
        };
        let mut at = 0;
        while at < unit.bytes.len() {
            let bytes = &unit.bytes[at..];
            let found = bytes
                .starts_with(b"FILE")
                .then(|| search.show(&unit, at, out));
            at += found.flatten().unwrap_or(SECTOR_BYTES);
        }
        Ok(())
    }
}

/// Room that is used for one record after another.
struct Search<'a> {
    table: &'a NameTable,
    buffers: Buffers,
    scratch: Scratch,
    entry: Entry,
    stamps: Vec<Stamp>,
}

impl Search<'_> {
    /// Shows the record at `at` of the unit, and says how long it is; `None` where there is none.
    fn show(&mut self, unit: &Unit<'_>, at: usize, out: &mut Emitter<'_>) -> Option<usize> {
        let start = unit.base + at as u64;
        let left = &unit.bytes[at..];
        if left.len() < HEADER_BYTES {
            out.warn(
                start..start + left.len() as u64,
                Loss::Record,
                "a record is cut",
            );
            return None;
        }
        let length = record_bytes(left)?;
        let range = start..start + length as u64;
        // Clusters may be smaller than a record, and the record's end lie in the next unit.
        let bytes = match left.get(..length) {
            Some(bytes) => Cow::Borrowed(bytes),
            None => match unit.stream.read_range(range.clone(), length) {
                Ok(bytes) => Cow::Owned(bytes),
                Err(error) => {
                    out.warn(range, Loss::Record, error.to_string());
                    return None;
                }
            },
        };
        if bytes.len() < length {
            let cause = format!("a record needs {length} bytes, {} are there", bytes.len());
            out.warn(start..unit.stream_len, Loss::Record, cause);
            return None;
        }
        let record = Record::decode(&bytes, &mut self.scratch).ok()?;
        let header = &record.header;
        let entry = &mut self.entry;
        let number = u64::from(record.own_number().unwrap_or(0));
        entry.clear();
        entry.reference = paths::reference(number, header.sequence);
        entry.base = header.is_extension().then_some(header.base);
        entry.in_use = header.in_use();
        entry.link_count = header.links;
        entry.lsn = header.lsn;
        let mut damage = Damage::new();
        let none = header.is_extension();
        let joined: Option<&[u64]> = if none { None } else { Some(&[]) };
        gather::add_record(
            entry,
            &mut self.buffers,
            &record,
            &bytes,
            joined,
            &mut damage,
        );
        // What its list names lies elsewhere.
        entry.missing.clear();
        // The path is that of its own name, whatever the table calls a directory of that number now.
        gather::resolve(entry, self.table, &mut self.buffers);
        entry.directory = header.is_directory();
        entry.look(&Known::default());
        entry.stamps(&mut self.stamps);
        let provenance = Provenance::from(Span::new(range).numbered(entry.reference));
        for (loss, cause) in damage {
            out.warn_at(provenance.clone(), loss, cause);
        }
        out.observe_at(provenance, &self.stamps, &CarvedEntry(entry));
        Some(length)
    }
}

/// An entry out of clusters that no file has.
struct CarvedEntry<'a>(&'a Entry);

impl scelle_event::Record for CarvedEntry<'_> {
    fn schema(&self) -> &'static Schema {
        &CARVED
    }

    fn fields(&self, out: &mut dyn Fields) {
        self.0.fields(out);
    }

    fn subject(&self) -> Option<Cow<'_, str>> {
        self.0.subject()
    }

    fn message(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("Carved out of unused clusters: ")?;
        self.0.message(out)
    }
}

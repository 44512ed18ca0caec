//! `$MFT`, the table of all files of an NTFS volume: of a volume, or a stand-alone copy.
//!
//! # Layout
//! Records of one size, 1 KiB or 4 KiB; see `scelle_formats::ntfs` for what they hold. Entry
//! numbers count records from the beginning. A stand-alone copy says how large its records are and
//! which number its first one has: they are taken from the records themselves, since such a copy
//! may have been cut out of the middle.
//!
//! One observation is one entry: the base record with every extension record that refers to it
//! (same entry, same use, and in use where the base record is). Times are those of
//! `$STANDARD_INFORMATION` (`si`) and of every `$FILE_NAME` (`fn`). Paths come from a first pass
//! over all names.
//!
//! What speaks against an entry is its column `findings`; some of it rests on the companions, of
//! which no more is read than how far they go.
//!
//! # Damage
//! | what | result |
//! |------|--------|
//! | nothing but zeros | a gap: the record was never used |
//! | `BAAD`, or no signature | `Loss::Record` |
//! | a torn update sequence | the entry, and `Loss::Field("torn")` |
//! | attributes past the bytes said to be used | the entry with them, and `Loss::Field("attributes")` |
//! | a damaged attribute | the entry, and `Loss::Field` of a column it would have filled |
//! | an extension record that no base record owns | an entry of its own, which says so |
//! | an attribute list that names a record which is no part of the entry | `Loss::Field("attributes")` |
//! | a record that states another number than its place has | `Loss::Field("entry")` |
//! | a last record that is cut | `Loss::Record` |
//! | bytes before the first record | `Loss::Record` |
//!
//! An `$ATTRIBUTE_LIST` that is not resident lies outside of the `$MFT`; the base references of
//! extension records say the same, and are what is followed.
//!
//! # Memory
//! The survey keeps [`paths::BYTES_PER_ENTRY`] and the name for each entry, and
//! [`BYTES_PER_EXTENSION`] for each extension record.
//!
//! # Sources
//! - As for `scelle_formats::ntfs`.
//! - wiki.sleuthkit.org, "Body file", and what `fls -m /` prints, for the lines of a body file.

pub mod carved;
mod entry;
mod gather;
mod names;
mod schema;
mod survey;
pub(super) mod words;

use std::ops::Range;

use crate::{
    Apart, Artefact, Candidate, Chunked, Companion, Cut, Descriptor, Emitter, Input, Parser, Unit,
};
use scelle_event::{Loss, Provenance, Role, Span};
use scelle_formats::{
    DecodeError, ReadAt, ReadAtExt,
    ntfs::{
        FileName, MAX_RECORD_BYTES, NoRecord, Record, RestartPage, Scratch, StandardInformation,
        kind, paths,
    },
};

use gather::Damage;
pub(super) use gather::push_text;
pub(super) use names::Names;
use survey::Tools;
pub use survey::{BYTES_PER_EXTENSION, Part, Survey};

/// `ntfs.mft`.
pub struct Mft;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "ntfs.mft",
    summary: "Every file and folder of an NTFS volume, deleted ones included: paths, times, streams.",
    locations: &["$MFT"],
    specifications: &[
        "libyal/libfsntfs: New Technologies File System (NTFS)",
        "linux-ntfs: NTFS Documentation, by R. Russon and Y. Fledel",
        "[MS-FSCC] 2.1.2, 2.6",
    ],
    schemas: &[&schema::ENTRY],
    companions: &[
        Companion {
            name: "$LogFile",
            location: "/$LogFile",
        },
        Companion {
            name: "$J",
            location: "/$Extend/$UsnJrnl:$J",
        },
    ],
};

impl Artefact for Mft {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        // The mirror holds the first records again; only its name tells it apart.
        candidate.is_unnamed()
            && !candidate.path.name().eq_ignore_ascii_case(b"$MFTMirr")
            && !carved::is_copy(candidate)
            && record_bytes(candidate.head())
                .is_some_and(|bytes| bytes as u64 <= candidate.size_bytes)
    }

    fn parser(&self) -> Parser {
        Parser::Chunks(&Self)
    }
}

/// How large a piece is.
const UNIT_BYTES: usize = 1 << 20;
/// How far into a stream the first record is looked for.
const SEARCH_BYTES: usize = 1 << 20;
/// How many records are asked which number they have.
const NUMBER_SAMPLES: usize = 16;
const MIN_RECORD_BYTES: usize = 512;
/// The entry of the `$MFT` itself, which is made with the volume.
const MFT_ENTRY: u64 = 0;
/// A record's header, its own number included.
const HEADER_BYTES: usize = 0x30;

/// Where the records lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    record_bytes: usize,
    /// Where the first record begins.
    start: u64,
    /// Its number.
    first_entry: u64,
    known: Known,
}

/// What entries are held against; what is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// When the volume was made, as the entry of the `$MFT` itself says, FILETIME.
    volume_created: Option<u64>,
    /// An LSN that `$LogFile` can't have come to.
    lsn_end: Option<u64>,
    /// The USN that `$UsnJrnl` gives next.
    usn_end: Option<u64>,
}

impl Known {
    fn read(head: &Head, input: Input<'_>) -> Self {
        Self {
            volume_created: volume_created(head, input.stream),
            lsn_end: input.companion(0).and_then(lsn_end),
            // A journal that is there and was never used says nothing.
            usn_end: input.companion(1).map(ReadAt::len).filter(|len| *len > 0),
        }
    }
}

/// When the volume was made, FILETIME: its `$FILE_NAME` says so even where a tool wrote no other times.
fn volume_created(head: &Head, mft: &dyn ReadAt) -> Option<u64> {
    with_record(head, mft, MFT_ENTRY, |record| {
        let contents = |wanted| {
            let attributes = record.attributes().flatten();
            attributes
                .filter(move |attribute| attribute.kind == wanted)
                .filter_map(|attribute| attribute.resident())
        };
        let named = contents(kind::FILE_NAME).filter_map(FileName::parse);
        let stated = contents(kind::STANDARD_INFORMATION).filter_map(StandardInformation::parse);
        let mut times = named
            .map(|name| name.created)
            .chain(stated.map(|times| times.created));
        times.find(|created| *created != 0)
    })
}

/// When a file was made, FILETIME, as its `$STANDARD_INFORMATION` says.
fn standard_created(record: &Record<'_>) -> Option<u64> {
    let mut attributes = record.attributes().flatten();
    let standard = attributes.find(|attribute| attribute.kind == kind::STANDARD_INFORMATION)?;
    let times = StandardInformation::parse(standard.resident()?)?;
    (times.created != 0).then_some(times.created)
}

/// Shows the record of an entry; damage of it is told with the record.
fn with_record<T>(
    head: &Head,
    mft: &dyn ReadAt,
    entry: u64,
    show: impl FnOnce(&Record<'_>) -> Option<T>,
) -> Option<T> {
    if entry < head.first_entry {
        return None;
    }
    let range = head.range_of(entry);
    let bytes = mft.read_range(range, head.record_bytes).ok()?;
    let mut scratch = Scratch::new();
    show(&Record::decode(&bytes, &mut scratch).ok()?)
}

/// A restart page states an LSN that is no older than one round of the log.
fn lsn_end(log: &dyn ReadAt) -> Option<u64> {
    const RESTART_BYTES: usize = 4096;
    let mut newest: Option<(u64, u32)> = None;
    for start in [0, RESTART_BYTES as u64] {
        let range = start..start + RESTART_BYTES as u64;
        let mut bytes = log.read_range(range, RESTART_BYTES).ok()?;
        let page =
            RestartPage::decode(&mut bytes).map(|page| (page.current_lsn, page.sequence_bits));
        newest = newest.max(page);
    }
    let (lsn, sequence_bits) = newest.filter(|(lsn, _)| *lsn != 0)?;
    let round = 64 - sequence_bits;
    let rounds = (lsn >> round).checked_add(2)?;
    rounds.checked_mul(1 << round)
}

impl Head {
    /// Looks for the first record.
    fn find(stream: &dyn ReadAt) -> Result<Self, DecodeError> {
        let begin = stream.read_range(0..stream.len(), SEARCH_BYTES)?;
        let found = (0..begin.len())
            .filter(|at| begin[*at..].starts_with(b"FILE"))
            .find_map(|at| Some((at, record_bytes(&begin[at..])?)));
        let Some((at, record_bytes)) = found else {
            return Err(DecodeError::Invalid {
                field: "first record",
                at: 0,
                why: format!(
                    "no record of an $MFT begins in the first {} bytes",
                    begin.len()
                ),
            });
        };
        // Whole records before the first sound one are looked at one by one like all others.
        let start = (at % record_bytes) as u64;
        Ok(Self {
            record_bytes,
            start,
            first_entry: first_entry(&begin[start as usize..], record_bytes),
            known: Known::default(),
        })
    }

    fn entry_at(&self, offset: u64) -> u64 {
        self.first_entry + (offset - self.start) / self.record_bytes as u64
    }

    fn range_of(&self, entry: u64) -> Range<u64> {
        // A journal may name any entry of 48 bits, and records may have 64 KiB: past the end of all
        // streams nothing is read.
        let size = self.record_bytes as u64;
        let start = (entry - self.first_entry)
            .saturating_mul(size)
            .saturating_add(self.start);
        start..start.saturating_add(size)
    }
}

/// The size that a record's header states, where the header is one.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    // The header alone, so that a search stays cheap whatever it meets.
    let header = &bytes[..bytes.len().min(HEADER_BYTES)];
    let mut scratch = Scratch::new();
    let record = Record::decode(header, &mut scratch).ok()?;
    let allocated = record.header.allocated_bytes as usize;
    let used = record.header.used_bytes as usize;
    let first = usize::from(record.header.first_attribute);
    let sound = allocated.is_power_of_two()
        && (MIN_RECORD_BYTES..=MAX_RECORD_BYTES as usize).contains(&allocated)
        && used <= allocated
        && first < used;
    sound.then_some(allocated)
}

impl Chunked for Mft {
    type Head = Head;
    type Part = Part;
    type Survey = Survey;

    const SURVEYED: bool = true;

    fn prepare(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<(Head, Cut), DecodeError> {
        let len = input.stream.len();
        let mut head = Head::find(input.stream)?;
        head.known = Known::read(&head, input);
        let start = head.start;
        if start > 0 {
            out.warn(
                0..start,
                Loss::Record,
                format!("the first record begins at offset {start}: what lies before is cut"),
            );
        }
        let cut = Cut {
            range: start..len,
            unit_bytes: UNIT_BYTES,
            // What is found about its numbers hangs on the journals as well; of an entry that did not change since, the newer
            // state has said it.
            apart: Some(Apart {
                record_bytes: head.record_bytes,
                first: head.first_entry,
                counted_to: 0,
            }),
        };
        Ok((head, cut))
    }

    fn scout(&self, head: &Head, unit: Unit<'_>) -> Part {
        Part::scout(head, unit.bytes, unit.base)
    }

    fn survey(&self, _head: &Head, parts: Vec<Part>, _input: Input<'_>) -> Survey {
        Survey::join(parts)
    }

    fn parse(
        &self,
        head: &Head,
        survey: &Survey,
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError> {
        survey.with_tools(|tools| {
            let piece = Piece {
                head,
                survey,
                unit: &unit,
            };
            let starts = (unit.base..).step_by(head.record_bytes);
            for (at, bytes) in starts.zip(unit.bytes.chunks(head.record_bytes)) {
                piece.record(at, bytes, tools, out);
            }
        });
        Ok(())
    }
}

/// The number of the first record, as most of the first records state theirs.
fn first_entry(bytes: &[u8], record_bytes: usize) -> u64 {
    let mut scratch = Scratch::new();
    let mut votes: Vec<(u64, usize)> = Vec::new();
    let records = (0u64..).zip(bytes.chunks_exact(record_bytes));
    let mut asked = 0;
    for (index, bytes) in records {
        let Ok(record) = Record::decode(bytes, &mut scratch) else {
            continue;
        };
        let first = record
            .own_number()
            .and_then(|number| u64::from(number).checked_sub(index))
            .unwrap_or(0);
        match votes.iter_mut().find(|(other, _)| *other == first) {
            Some((_, count)) => *count += 1,
            None => votes.push((first, 1)),
        }
        asked += 1;
        if asked == NUMBER_SAMPLES {
            break;
        }
    }
    // The first of the most frequent.
    let most = votes.iter().map(|(_, count)| *count).max();
    votes
        .iter()
        .find(|(_, count)| Some(*count) == most)
        .map_or(0, |(first, _)| *first)
}

/// One piece of the table, while it is parsed.
struct Piece<'a> {
    head: &'a Head,
    survey: &'a Survey,
    unit: &'a Unit<'a>,
}

impl Piece<'_> {
    fn record(&self, at: u64, bytes: &[u8], tools: &mut Tools, out: &mut Emitter<'_>) {
        let range = at..at + bytes.len() as u64;
        let number = self.head.entry_at(at);
        if bytes.len() < self.head.record_bytes {
            if bytes.iter().any(|byte| *byte != 0) {
                let cause = format!(
                    "entry {number} needs {} bytes, {} are there",
                    self.head.record_bytes,
                    bytes.len()
                );
                out.warn(range, Loss::Record, cause);
            }
            return;
        }
        let record = match Record::decode(bytes, &mut tools.scratch) {
            Ok(record) => record,
            // What was never written is a gap, and no loss.
            Err(NoRecord::Unused) if bytes.iter().all(|byte| *byte == 0) => return,
            Err(error) => {
                out.warn(range, Loss::Record, format!("entry {number}: {error}"));
                return;
            }
        };
        let header = &record.header;
        let base = header.is_extension().then_some(header.base);
        if base.is_some_and(|base| self.survey.is_joined(base, number)) {
            return;
        }
        let Tools {
            entry,
            buffers,
            joined,
            ..
        } = tools;
        entry.clear();
        entry.reference = paths::reference(number, header.sequence);
        entry.base = base;
        entry.in_use = header.in_use();
        entry.directory = header.is_directory();
        entry.link_count = header.links;
        entry.lsn = header.lsn;
        let mut provenance = Provenance::from(Span::new(range).numbered(entry.reference));
        let mut damage = Damage::new();
        if let Some(own) = record.own_number().filter(|own| u64::from(*own) != number) {
            let cause = format!("it states the number {own}");
            damage.push((Loss::Field("entry"), cause));
        }
        joined.clear();
        if base.is_none() {
            self.survey.extensions_of(number, joined);
        }
        let own = Some(joined.as_slice());
        gather::add_record(entry, buffers, &record, bytes, own, &mut damage);
        for extension in joined.iter().copied() {
            let range = self.head.range_of(extension);
            let found = self.bytes_of(range.clone(), &mut tools.extension_bytes);
            let record = found.map_err(|error| error.to_string()).and_then(|bytes| {
                Record::decode(bytes, &mut tools.extension_scratch)
                    .map(|record| (record, bytes))
                    .map_err(|error| error.to_string())
            });
            match record {
                Ok((record, bytes)) => {
                    let reference = paths::reference(extension, record.header.sequence);
                    let span = Span::new(range).numbered(reference);
                    provenance.also.push((Role::Extension, span));
                    gather::add_record(entry, buffers, &record, bytes, None, &mut damage);
                }
                Err(error) => damage.push((
                    Loss::Field("attributes"),
                    format!("extension record {extension}: {error}"),
                )),
            }
        }
        entry.number_foreign_attributes();
        entry.missing.sort_unstable();
        entry.missing.dedup();
        for missing in &entry.missing {
            let cause =
                format!("its attribute list names record {missing}, which is no part of it");
            damage.push((Loss::Field("attributes"), cause));
        }
        gather::resolve(entry, &self.survey.table, buffers);
        entry.look(&self.head.known);
        entry.stamps(&mut tools.stamps);
        for (loss, cause) in damage {
            out.warn_at(provenance.clone(), loss, format!("entry {number}: {cause}"));
        }
        out.observe_at(provenance, &tools.stamps, entry);
    }

    /// The bytes of a record that may lie in another piece.
    fn bytes_of<'b>(
        &'b self,
        range: Range<u64>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], DecodeError> {
        let local = range
            .start
            .checked_sub(self.unit.base)
            .and_then(|start| usize::try_from(start).ok())
            .and_then(|start| self.unit.bytes.get(start..start + self.head.record_bytes));
        if let Some(bytes) = local {
            return Ok(bytes);
        }
        buffer.resize(self.head.record_bytes, 0);
        self.unit
            .stream
            .read_exact_at("extension record", range.start, buffer)?;
        Ok(buffer)
    }
}

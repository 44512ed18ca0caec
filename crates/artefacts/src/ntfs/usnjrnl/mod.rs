//! `$Extend\$UsnJrnl:$J`, the change journal of an NTFS volume: of a volume, or a copy alone.
//!
//! # Layout
//! Records one after another, none across the end of a page of 4,096 bytes; see
//! `scelle_formats::ntfs::UsnRecord`. What a page has left is zeros, and so is all that Windows
//! has given back at the journal's head. A copy may begin anywhere.
//!
//! # Paths
//! A record names the file and refers to its directory. The survey rewinds the journal over the
//! companion `/$MFT`: at any moment a directory has the name that the next record about it
//! states, else the one that the `$MFT` states, else the one of the last record before. So a path
//! is the one that the file had when the record was written, and not the one of today. Without an
//! `$MFT` it begins at `$OrphanFiles` where the journal itself does not know the way.
//! A directory whose old name was lost (it got a new one, and the record of the old one is
//! missing) is not known before that moment.
//!
//! # Findings
//! Each record is held against the one before it, and the one with which a file came against the
//! creation that the `$MFT` states; see `ntfs::FINDINGS`.
//!
//! # Damage
//! | what | result |
//! |------|--------|
//! | zeros | a gap |
//! | bytes that are no record | `Loss::Record`, up to the next record, at any offset |
//! | a record that goes on past the end of a unit | read whole |
//! | a last record that is cut | `Loss::Record` |
//! | an `$MFT` that can't be read | `Loss::Field("path")`, in the companion |
//!
//! # Memory
//! The survey keeps [`BYTES_PER_NAME`] and the name for each name that a directory had in the
//! journal, and what the table of names of the `$MFT` takes. While it is made, 24 bytes for each
//! file that came.
//!
//! # Sources
//! - As for `scelle_formats::ntfs::UsnRecord`.
//! - The idea of rewinding was published by CyberCX ("NTFS Usnjrnl Rewind"); this is written from
//!   the idea.

mod order;
mod past;
mod schema;
mod walk;
mod words;

use scelle_event::{Loss, Meaning, Provenance, Role, Span, Stamp, StreamRef};
use scelle_formats::{
    DecodeError, RangeKind, ReadAt, ReadAtExt as _,
    ntfs::{UsnItem, UsnItems, UsnRecord, paths, push_component, reason},
};

pub use self::past::BYTES_PER_NAME;
use self::{
    order::{Made, Order},
    past::{Cache, Past, PastPart},
    schema::Change,
    walk::{Event, walk},
};
use super::finding::Findings;
use crate::{
    Artefact, Candidate, Chunked, Companion, Cut, Descriptor, Emitter, Input, Parser, Unit,
};

/// `ntfs.usnjrnl`.
pub struct UsnJournal;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "ntfs.usnjrnl",
    summary: "Every change of a file that the volume's journal kept, with the path it had then.",
    locations: &["$Extend/$UsnJrnl:$J"],
    specifications: &[
        "winioctl.h: USN_RECORD_V2, USN_RECORD_V3, USN_RECORD_V4",
        "libyal/libfsntfs: New Technologies File System (NTFS)",
    ],
    schemas: &[&schema::CHANGE],
    companions: &[Companion {
        name: "$MFT",
        location: "/$MFT",
    }],
};

const MFT: StreamRef = StreamRef::companion(0);
const UNIT_BYTES: usize = 1 << 20;
/// How far into a stream that says to be a journal its first record is looked for.
const SEARCH_BYTES: u64 = 256 << 20;

impl Artefact for UsnJournal {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn recognises(&self, candidate: &Candidate<'_>) -> bool {
        let begins = |bytes: &[u8]| matches!(UsnItems::new(bytes, 0).next(), Some(UsnItem::Record(at, _)) if at.is_multiple_of(8));
        let is_called_so = match candidate.stream {
            Some(stream) => stream.as_bytes() == b"$J",
            None => candidate.name_ends_with("$J"),
        };
        if is_called_so {
            // What was given back to the volume reads as zeros, and may be many gigabytes.
            return candidate
                .bytes()
                .and_then(first_data)
                .is_some_and(|head| begins(&head));
        }
        // Zeros alone before a record would make a journal of many a file.
        candidate.is_unnamed()
            && candidate.head().first().is_some_and(|byte| *byte != 0)
            && UsnRecord::decode(candidate.head()).is_ok()
            && begins(candidate.head())
    }

    fn parser(&self) -> Parser {
        Parser::Chunks(&Self)
    }
}

/// Some bytes from the first one on that is not zero.
fn first_data(stream: &dyn ReadAt) -> Option<Vec<u8>> {
    const STEP: u64 = 1 << 20;
    let mut looked_at = 0;
    for (range, kind) in stream.ranges() {
        if kind != RangeKind::Data {
            continue;
        }
        let mut at = range.start;
        while at < range.end && looked_at < SEARCH_BYTES {
            let step = STEP.min(range.end - at);
            // Whoever parses it says what can't be read.
            let bytes = stream.read_range(at..at + step, STEP as usize).ok()?;
            if let Some(first) = bytes.iter().position(|byte| *byte != 0) {
                return Some(bytes[first / 8 * 8..].to_vec());
            }
            at += step;
            looked_at += step;
        }
    }
    None
}

/// What all units know.
pub struct Survey {
    past: Past,
    /// Units, by their offset, whose first bytes belong to a record of the unit before, and where
    /// that one ends.
    overlaps: Vec<(u64, u64)>,
    records: u64,
    /// Units, by their offset, and what was before their first record.
    before: Vec<(u64, Order)>,
    /// The USNs of files that came, and whose creation is said to be earlier; sorted.
    earlier: Vec<u64>,
}

/// What one unit adds.
pub struct Part {
    names: PastPart,
    base: u64,
    /// Where the last record of the unit ends.
    next: u64,
    records: u64,
    last: Order,
    made: Vec<Made>,
}

impl Part {
    fn scout(unit: &Unit<'_>, from: u64) -> Self {
        let mut names = PastPart::default();
        let (mut records, mut last, mut made) = (0, Order::default(), Vec::new());
        let next = walk(unit, from, &mut |event| {
            if let Event::Record(at, record) = event {
                records += 1;
                last = last.then(&record);
                made.extend(Made::of(&record));
                if record.is_directory() {
                    names.add(at, &record);
                }
            }
        });
        Self {
            names: names.shrunk(),
            base: unit.base,
            next,
            records,
            last,
            made,
        }
    }
}

impl Chunked for UsnJournal {
    type Head = ();
    type Part = Part;
    type Survey = Survey;

    const SURVEYED: bool = true;
    const SPARSE: bool = true;

    fn prepare(&self, input: Input<'_>, out: &mut Emitter<'_>) -> Result<((), Cut), DecodeError> {
        let len = input.stream.len();
        if len == 0 {
            out.warn(0..0, Loss::Rest, "the journal is empty");
        }
        let cut = Cut {
            range: 0..len,
            unit_bytes: UNIT_BYTES,
            apart: None,
        };
        Ok(((), cut))
    }

    fn scout(&self, (): &(), unit: Unit<'_>) -> Part {
        let base = unit.base;
        Part::scout(&unit, base)
    }

    fn survey(&self, (): &(), parts: Vec<Part>, input: Input<'_>) -> Survey {
        let mut overlaps = Vec::new();
        let mut next = 0;
        let mut records = 0;
        let mut names = Vec::with_capacity(parts.len());
        let (mut before, mut last) = (Vec::with_capacity(parts.len()), Order::default());
        let mut made = Vec::new();
        for mut part in parts {
            if next > part.base {
                overlaps.push((part.base, next));
                // The scout began in the middle of a record.
                let end = part.base + UNIT_BYTES as u64;
                if let Ok(bytes) = input.stream.read_range(part.base..end, UNIT_BYTES) {
                    let unit = Unit {
                        bytes: &bytes,
                        base: part.base,
                        stream_len: input.stream.len(),
                        stream: input.stream,
                    };
                    part = Part::scout(&unit, next);
                }
            }
            next = part.next;
            records += part.records;
            before.push((part.base, last));
            last = last.join(part.last);
            made.append(&mut part.made);
            names.push(part.names);
        }
        let past = Past::join(names, input.companion(0));
        let earlier = past.earlier(made, input.companion(0));
        Survey {
            past,
            overlaps,
            records,
            before,
            earlier,
        }
    }

    fn parse(
        &self,
        (): &(),
        survey: &Survey,
        unit: Unit<'_>,
        out: &mut Emitter<'_>,
    ) -> Result<(), DecodeError> {
        let overlap = survey
            .overlaps
            .binary_search_by_key(&unit.base, |(base, _)| *base);
        let from = overlap.map_or(unit.base, |index| survey.overlaps[index].1);
        if unit.base == 0 || survey.records == 0 {
            if survey.records == 0 {
                let end = unit.base + unit.bytes.len() as u64;
                out.warn(unit.base..end, Loss::Rest, "no record of a journal is here");
            }
            if let Some((range, cause)) = survey.past.loss() {
                let place = Span::new(range.clone()).of(MFT);
                out.warn_at(place.into(), Loss::Field("path"), cause.clone());
            }
        }
        let before = survey
            .before
            .binary_search_by_key(&unit.base, |(base, _)| *base);
        // One cache a unit: what a path is must not depend on which units a thread had before.
        let mut show = Show {
            survey,
            order: before.map_or_else(|_| Order::default(), |index| survey.before[index].1),
            cache: Cache::default(),
            change: Change::default(),
        };
        walk(&unit, from, &mut |event| match event {
            Event::Record(at, record) => show.record(at, &record, out),
            Event::Lost(range, cause) => out.warn(range, Loss::Record, cause),
        });
        Ok(())
    }
}

/// Room that is used for one record after another.
struct Show<'a> {
    survey: &'a Survey,
    order: Order,
    cache: Cache,
    change: Change,
}

impl Show<'_> {
    fn record(&mut self, at: u64, record: &UsnRecord<'_>, out: &mut Emitter<'_>) {
        let change = &mut self.change;
        change.fill(record);
        change.findings = self.order.findings(record);
        let is_earlier = self.survey.earlier.binary_search(&record.usn).is_ok();
        let finding = Findings::SI_CREATED_BEFORE_USN;
        change.findings.add(finding, is_earlier);
        self.order = self.order.then(record);
        let span = Span::new(at..at + record.length as u64).numbered(record.usn);
        let mut provenance = Provenance::from(span);
        if let Some(name) = record.name {
            let name_start = {
                let wtf8 = &mut change.wtf8;
                wtf8.clear();
                push_component(wtf8, name);
                let name_bytes = wtf8.len();
                let place = match u64::try_from(record.parent) {
                    Ok(parent) => {
                        let past = &self.survey.past;
                        past.push_directory(&mut self.cache, parent, at, wtf8)
                    }
                    Err(_) => past::Place::lost(wtf8),
                };
                change.orphan = place.orphan;
                if let Some(range) = place.basis {
                    let span = Span::new(range.0).of(MFT).numbered(range.1);
                    provenance.also.push((Role::Companion, span));
                }
                name_bytes
            };
            let is_root = record.file & ((1 << 48) - 1) == u128::from(paths::ROOT_ENTRY);
            change.place(name_start, is_root);
        }
        let stamp = record.ticks_100ns.and_then(|ticks| {
            let meaning = if record.reasons & reason::FILE_DELETE != 0 {
                Meaning::Deleted
            } else if record.reasons & (reason::FILE_CREATE | reason::CLOSE) == reason::FILE_CREATE
            {
                Meaning::Created
            } else {
                Meaning::Recorded
            };
            Stamp::filetime(ticks, meaning)
        });
        out.observe_at(provenance, stamp.as_slice(), change);
    }
}

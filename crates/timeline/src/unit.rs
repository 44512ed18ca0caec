//! Observations of one unit of work, folded into rows.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use scelle_event::{
    ArtefactId, Context, Meaning, Meanings, Moment, Observation, Precision, Provenance, Sink,
    Stamp, UtcNanos, Warning,
};
use smallvec::SmallVec;

use crate::{
    Error, Zone,
    blob::{Basis, BlobWriter, Head, Row, UNDATED, push_bytes, rank},
    fact,
    names::{Names, Numbered},
    run::{Entry, Packed, Places, Raw},
    spill::Spill,
};

/// What every unit needs to know.
pub(crate) struct Shared {
    pub(crate) names: Names,
    pub(crate) from: Option<UtcNanos>,
    pub(crate) to: Option<UtcNanos>,
    pub(crate) zone: Option<Zone>,
    pub(crate) spill: Spill,
}

/// Rows counted on their way.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) undated: u64,
    pub(crate) outside: u64,
    pub(crate) undated_left_out: u64,
    pub(crate) warnings: u64,
    pub(crate) span: Option<(u128, u128)>,
}

impl Counts {
    /// Adds what another unit counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.undated += other.undated;
        self.outside += other.outside;
        self.undated_left_out += other.undated_left_out;
        self.warnings += other.warnings;
        if let Some((first, last)) = other.span {
            self.widen(first);
            self.widen(last);
        }
    }

    fn widen(&mut self, at: u128) {
        self.span = Some(match self.span {
            Some((first, last)) => (first.min(at), last.max(at)),
            None => (at, at),
        });
    }
}

/// Rows of one unit, of one table. A parser may put all it finds into one unit: past a bound
/// they are packed before they are joined.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) packed: Vec<Packed>,
    pub(crate) raw: Raw,
    /// What kept the unit from packing; joining it says so.
    pub(crate) error: Option<Error>,
}

/// Past this many bytes a unit is packed.
const UNIT_BYTES: usize = 48 << 20;

impl Part {
    fn bound(&mut self, shared: &Shared) {
        if self.raw.bytes() < UNIT_BYTES {
            return;
        }
        if self.error.is_none() {
            self.raw.sort(&shared.names);
            match self.raw.pack(&shared.spill) {
                Ok(packed) => self.packed.push(packed),
                Err(error) => self.error = Some(error),
            }
        }
        self.raw.clear();
    }
}

/// The rows and warnings of one unit of work.
pub struct Unit {
    names: Numbered,
    pub(crate) rows: Part,
    pub(crate) warnings: Part,
    pub(crate) counts: Counts,
    ordinals: Ordinals,
    warning_ordinals: Ordinals,
    message: String,
}

impl Unit {
    pub(crate) fn new(shared: Arc<Shared>, context: Arc<Context>, rows: Raw) -> Self {
        Self {
            names: Numbered::new(shared, context),
            rows: Part {
                raw: rows,
                ..Part::default()
            },
            warnings: Part::default(),
            counts: Counts::default(),
            ordinals: Ordinals::default(),
            warning_ordinals: Ordinals::default(),
            message: String::new(),
        }
    }

    /// The artefact that all rows of the unit are of.
    pub(crate) fn artefact(&self) -> ArtefactId {
        self.names.artefact()
    }

    fn head(&mut self, provenance: &Provenance) -> Head {
        let span = &provenance.primary;
        let place = self.names.place_of(span);
        let length = span.range.end.saturating_sub(span.range.start);
        let words = self.names.shared().names.place(place);
        Head {
            key: words.record_key(span.range.start, length, span.record),
            place,
            length,
            record: span.record,
        }
    }

    fn is_wanted(&mut self, at: u128) -> bool {
        let shared = self.names.shared();
        if shared.from.is_none() && shared.to.is_none() {
            return true;
        }
        if at == UNDATED {
            self.counts.undated_left_out += 1;
            return false;
        }
        let wanted = shared.from.is_none_or(|from| at >= rank(from.nanos()))
            && shared.to.is_none_or(|to| at < rank(to.nanos()));
        self.counts.outside += u64::from(!wanted);
        wanted
    }
}

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let head = self.head(&observation.provenance);
        let mut drafts = fold(observation.times, self.names.shared().zone.as_ref());
        let first = self.ordinals.take(head.key, drafts.len());
        for (draft, ordinal) in drafts.iter_mut().zip(first..) {
            draft.ordinal = ordinal;
        }
        drafts.retain(|draft| self.is_wanted(draft.at));
        if drafts.is_empty() {
            return;
        }
        let offset = observation.provenance.primary.range.start;
        let Raw {
            arena,
            entries,
            places,
        } = &mut self.rows.raw;
        places.add(Places::One(head.place));
        let start = arena.len();
        let blob = BlobWriter::new(arena, &head);
        let mut text = Vec::new();
        for draft in &drafts {
            let row = draft.row(&mut self.names, &mut text);
            let row = blob.row(arena, &row);
            entries.push(Entry::new(draft.at, offset, start, row));
            if draft.at == UNDATED {
                self.counts.undated += 1;
            } else {
                self.counts.widen(draft.at);
            }
        }
        blob.end_of_rows(arena);
        fact::write_fact(arena, &mut self.names, observation, &mut self.message);
        blob.finish(arena);
        self.counts.rows += drafts.len() as u64;
        self.rows.bound(self.names.shared());
    }

    fn warn(&mut self, warning: Warning) {
        let head = self.head(&warning.provenance);
        let ordinal = self.warning_ordinals.take(head.key, 1);
        let offset = warning.provenance.primary.range.start;
        let Raw {
            arena: out,
            entries,
            places,
        } = &mut self.warnings.raw;
        places.add(Places::One(head.place));
        let start = out.len();
        let blob = BlobWriter::new(out, &head);
        let row = blob.row(out, &Row::timeless(ordinal));
        blob.end_of_rows(out);
        fact::write_also(out, &mut self.names, &warning.provenance);
        push_bytes(out, warning.loss.name().as_bytes());
        push_bytes(out, warning.cause.as_bytes());
        blob.finish(out);
        entries.push(Entry::new(UNDATED, offset, start, row));
        self.counts.warnings += 1;
        self.warnings.bound(self.names.shared());
    }
}

/// How many rows each record of a unit has had. One record comes from one unit; most often
/// from one observation, so that the last key answers.
#[derive(Default)]
struct Ordinals {
    last: Option<(u64, u32)>,
    earlier: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
}

/// A record key is a hash already, of a kind that evidence can't steer.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

impl Ordinals {
    /// The first of `count` numbers for rows of that key.
    fn take(&mut self, key: u64, count: usize) -> u32 {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let next = match self.last {
            Some((last, next)) if last == key => next,
            previous => {
                if let Some((last, next)) = previous {
                    self.earlier.insert(last, next);
                }
                self.earlier.get(&key).copied().unwrap_or(0)
            }
        };
        self.last = Some((key, next.saturating_add(count)));
        next
    }
}

/// One row in the making: stamps of one attribute that state the same moment.
struct Draft {
    stamp: Stamp,
    meanings: Meanings,
    later: Meanings,
    at: u128,
    basis: Basis,
    ordinal: u32,
}

/// The attributes of an MFT entry whose times are compared: a `$FILE_NAME` time that is later
/// than its `$STANDARD_INFORMATION` twin is a trace of times set by hand.
const STANDARD: &str = "si";
const NAME: &str = "fn";

fn fold(times: &[Stamp], zone: Option<&Zone>) -> SmallVec<[Draft; 8]> {
    let mut drafts: SmallVec<[Draft; 8]> = SmallVec::new();
    for stamp in times {
        let same = drafts.iter_mut().find(|draft| {
            draft.stamp.moment == stamp.moment
                && draft.stamp.attribute == stamp.attribute
                && draft.stamp.precision == stamp.precision
        });
        let draft = match same {
            Some(draft) => draft,
            None => {
                let (at, basis) = place_in_time(&stamp.moment, zone);
                drafts.push(Draft {
                    stamp: *stamp,
                    meanings: Meanings::default(),
                    later: Meanings::default(),
                    at,
                    basis,
                    ordinal: 0,
                });
                let last = drafts.len() - 1;
                &mut drafts[last]
            }
        };
        draft.meanings.insert(stamp.meaning);
        if stamp.attribute == Some(NAME) && is_later(stamp, times) {
            draft.later.insert(stamp.meaning);
        }
    }
    if drafts.is_empty() {
        drafts.push(Draft {
            stamp: Stamp {
                moment: Moment::Utc(UtcNanos::from_nanos(0)),
                precision: Precision(0),
                meaning: Meaning::Recorded,
                attribute: None,
            },
            meanings: Meanings::default(),
            later: Meanings::default(),
            at: UNDATED,
            basis: Basis::None,
            ordinal: 0,
        });
    }
    drafts
}

fn is_later(stamp: &Stamp, times: &[Stamp]) -> bool {
    times.iter().any(|other| {
        other.attribute == Some(STANDARD)
            && other.meaning == stamp.meaning
            && match (stamp.moment, other.moment) {
                (Moment::Utc(name), Moment::Utc(standard)) => name > standard,
                _ => false,
            }
    })
}

fn place_in_time(moment: &Moment, zone: Option<&Zone>) -> (u128, Basis) {
    match moment {
        Moment::Utc(at) => (rank(at.nanos()), Basis::Utc),
        Moment::Local(at) => match zone.and_then(|zone| zone.resolve(*at)) {
            Some(utc) => (rank(utc.nanos()), Basis::Converted),
            None => (UNDATED, Basis::Unresolved),
        },
        Moment::Partial(_) => (UNDATED, Basis::Partial),
    }
}

impl Draft {
    fn row<'a>(&self, names: &mut Numbered, text: &'a mut Vec<u8>) -> Row<'a> {
        let attribute = self.stamp.attribute.map(|name| names.attribute_of(name));
        let mut local_nanos = 0;
        text.clear();
        match self.stamp.moment {
            Moment::Utc(_) => {}
            Moment::Local(at) => local_nanos = at.nanos(),
            partial @ Moment::Partial(_) => partial.write_iso(self.stamp.precision, text),
        }
        Row {
            attribute,
            meanings: self.meanings.bits(),
            precision: self.stamp.precision,
            basis: self.basis,
            ordinal: self.ordinal,
            later: self.later.bits(),
            local_nanos,
            partial: text,
        }
    }
}

//! Files of which only names are left: in a journal, the log, or the index of a directory.
//!
//! A name there states the MFT entry and which use of it is meant. Where the `$MFT` has no record of
//! that use any more, neither live nor deleted, the name is all there is of the file. A name in the slack of an
//! index whose reference was overwritten names no entry, and is in the rows of `ntfs.i30` alone.

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    io,
    ops::{ControlFlow, Range},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use scelle_artefacts::by_id;
use scelle_event::{
    ArtefactId, Consumer, Context, EvidencePath, Fields, Observation, Sink, StreamId, Value,
    Warning,
};
use scelle_evidence::{FileId, Volume};
use scelle_formats::{ReadAt, ReadError};

use crate::{RunError, parse::parse_stream};

/// How many are kept; a volume has few, and a hostile one must not have more.
const MAX_TRACES: usize = 1 << 19;

/// A file of which a name is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The MFT entry that it had, and in which use.
    pub id: FileId,
    /// Its path, as far as it is known: of the log, the name alone.
    pub path: String,
    /// Which artefact names it first.
    pub artefact: ArtefactId,
    /// The stream that does.
    pub stream: Arc<str>,
    /// Where in it.
    pub range: Range<u64>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// In the order of entries and uses.
    pub found: Vec<Trace>,
    /// Losses in what was read.
    pub losses: u64,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
}

/// Looks for names of files that the `$MFT` knows no more: in `$UsnJrnl`, then `$LogFile`, then the
/// index of every directory.
///
/// # Memory
/// 16 bytes for each entry of the volume, and about 200 for each trace.
///
/// # Errors
/// Only where the work itself can't go on.
pub fn traces(source: &Arc<str>, volume: &dyn Volume) -> Result<Traces, RunError> {
    let mut search = Search {
        source,
        volume,
        uses: HashMap::new(),
        traces: Traces::default(),
        found: BTreeMap::new(),
        is_full: false,
    };
    let place = |path: &str, stream: Option<&str>| StreamId {
        volume: volume.info().id.clone(),
        path: EvidencePath::from_bytes(path.as_bytes()),
        stream: stream.map(|name| EvidencePath::from_bytes(name.as_bytes())),
    };
    // Not the entries that a walk shows: of a bundle these are what was collected.
    let table = place("$MFT", None);
    let uses = Uses::default();
    search.stream("ntfs.mft", &table, volume.open(&table), &uses)?;
    search.uses = uses.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    if search.uses.is_empty() {
        let why = "without a record of it, no name can be said to be without one".to_owned();
        search.traces.unread.push((table.to_string(), why));
        return Ok(search.traces);
    }
    for (artefact, id) in [
        ("ntfs.usnjrnl", place("$Extend/$UsnJrnl", Some("$J"))),
        ("ntfs.logfile", place("$LogFile", None)),
    ] {
        search.names(artefact, &id, volume.open(&id), "")?;
    }
    search.indexes()?;
    if search.is_full {
        let why = format!("it has more than {MAX_TRACES} names of files without a record");
        let volume = volume.info().id.to_string();
        search.traces.unread.push((volume, why));
    }
    let mut traces = search.traces;
    traces.found = search.found.into_values().collect();
    Ok(traces)
}

struct Search<'a> {
    source: &'a Arc<str>,
    volume: &'a dyn Volume,
    /// The use of each entry that the `$MFT` has a record of.
    uses: HashMap<u64, u16>,
    traces: Traces,
    found: BTreeMap<(u64, u16), Trace>,
    /// Whether there were more.
    is_full: bool,
}

impl Search<'_> {
    fn indexes(&mut self) -> Result<(), RunError> {
        let index = EvidencePath::from_bytes(b"$I30");
        let mut outcome = Ok(());
        let volume = self.volume;
        volume.walk(&mut |entry| {
            let Ok(entry) = entry else {
                // It may have been a directory; what it was is told by whoever lists the volume.
                self.traces.losses += 1;
                return ControlFlow::Continue(());
            };
            if entry
                .streams
                .iter()
                .any(|stream| stream.name.as_ref() == Some(&index))
            {
                let id = StreamId {
                    volume: volume.info().id.clone(),
                    path: entry.path.clone(),
                    stream: Some(index.clone()),
                };
                let directory = format!("{}/", entry.path);
                let opened = volume.open_entry(&entry, Some(&index));
                outcome = self.names("ntfs.i30", &id, opened, &directory);
            }
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        outcome
    }

    /// Looks for names in one stream.
    fn names(
        &mut self,
        artefact: &str,
        id: &StreamId,
        opened: Result<Box<dyn ReadAt>, ReadError>,
        directory: &str,
    ) -> Result<(), RunError> {
        let uses = std::mem::take(&mut self.uses);
        let watch = Watch {
            uses: &uses,
            directory,
            found: Mutex::new(std::mem::take(&mut self.found)),
            is_full: AtomicBool::new(self.is_full),
        };
        let outcome = self.stream(artefact, id, opened, &watch);
        self.is_full = watch.is_full.into_inner();
        let found = watch.found.into_inner();
        self.found = found.unwrap_or_else(PoisonError::into_inner);
        self.uses = uses;
        outcome
    }

    /// Reads one stream; one that is not there says nothing.
    fn stream(
        &mut self,
        artefact: &str,
        id: &StreamId,
        opened: Result<Box<dyn ReadAt>, ReadError>,
        consumer: &impl Consumer,
    ) -> Result<(), RunError> {
        let Some(artefact) = by_id(artefact) else {
            return Ok(());
        };
        let stream = match opened {
            Ok(stream) if !stream.is_empty() => stream,
            Ok(_) | Err(ReadError::Absent { .. }) => return Ok(()),
            Err(error) => {
                self.traces.unread.push((id.to_string(), error.to_string()));
                return Ok(());
            }
        };
        let tally = parse_stream(self.source, self.volume, id, &stream, artefact, consumer)?;
        self.traces.losses += tally.warnings;
        Ok(())
    }
}

/// Which use of each entry the `$MFT` has a record of.
#[derive(Default)]
struct Uses(Mutex<HashMap<u64, u16>>);

#[derive(Default)]
struct UsesUnit(Vec<(u64, u16)>);

impl Consumer for Uses {
    type Unit = UsesUnit;

    fn unit(&self, _context: &Arc<Context>) -> UsesUnit {
        UsesUnit::default()
    }

    fn join(&self, unit: UsesUnit) -> io::Result<()> {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.extend(unit.0);
        Ok(())
    }
}

impl Sink for UsesUnit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let numbers = Numbers::of(observation);
        if let Some((entry, sequence)) = numbers.reference() {
            // Deletion raises the number.
            let is_deleted = numbers.in_use == Some(false);
            self.0
                .push((entry, sequence.wrapping_sub(u16::from(is_deleted))));
        }
    }

    fn warn(&mut self, _warning: Warning) {
        // They are counted by the run.
    }
}

struct Watch<'a> {
    uses: &'a HashMap<u64, u16>,
    directory: &'a str,
    found: Mutex<BTreeMap<(u64, u16), Trace>>,
    is_full: AtomicBool,
}

impl<'a> Consumer for Watch<'a> {
    type Unit = Unit<'a>;

    fn unit(&self, context: &Arc<Context>) -> Unit<'a> {
        Unit {
            uses: self.uses,
            directory: self.directory,
            context: context.clone(),
            found: BTreeMap::new(),
            is_full: false,
        }
    }

    fn join(&self, unit: Unit<'a>) -> io::Result<()> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_full = unit.is_full;
        for (key, trace) in unit.found {
            let has_room = found.len() < MAX_TRACES;
            if let btree_map::Entry::Vacant(place) = found.entry(key) {
                if has_room {
                    place.insert(trace);
                } else {
                    is_full = true;
                }
            }
        }
        self.is_full.fetch_or(is_full, Relaxed);
        Ok(())
    }
}

struct Unit<'a> {
    uses: &'a HashMap<u64, u16>,
    directory: &'a str,
    context: Arc<Context>,
    found: BTreeMap<(u64, u16), Trace>,
    is_full: bool,
}

impl Sink for Unit<'_> {
    fn observe(&mut self, observation: &Observation<'_>) {
        let Some((entry, sequence)) = Numbers::of(observation).reference() else {
            return;
        };
        // An entry that was never used is none, and 0 is no use of one.
        let is_known = sequence == 0 || self.uses.get(&entry) == Some(&sequence);
        let key = (entry, sequence);
        if is_known || self.found.contains_key(&key) {
            return;
        }
        if self.found.len() >= MAX_TRACES {
            self.is_full = true;
            return;
        }
        let Some(name) = observation.record.subject() else {
            return;
        };
        let span = &observation.provenance.primary;
        let trace = Trace {
            id: FileId { entry, sequence },
            path: format!("{}{}", self.directory, name.trim_start_matches('/')),
            artefact: self.context.artefact,
            stream: self.context.streams[0].clone(),
            range: span.range.clone(),
        };
        self.found.insert(key, trace);
    }

    fn warn(&mut self, _warning: Warning) {
        // They are counted by the run.
    }
}

/// Takes an entry and its use out of a record's fields.
struct Numbers {
    /// Where entry, sequence and whether it is in use stand.
    at: [Option<usize>; 3],
    next: usize,
    entry: Option<u64>,
    sequence: Option<u64>,
    in_use: Option<bool>,
}

impl Numbers {
    fn of(observation: &Observation<'_>) -> Self {
        let columns = observation.record.schema().columns;
        let place = |name| columns.iter().position(|column| column.name == name);
        let mut numbers = Self {
            at: ["entry", "sequence", "in_use"].map(place),
            next: 0,
            entry: None,
            sequence: None,
            in_use: None,
        };
        observation.record.fields(&mut numbers);
        numbers
    }

    fn reference(&self) -> Option<(u64, u16)> {
        Some((self.entry?, self.sequence?.try_into().ok()?))
    }
}

impl Fields for Numbers {
    fn value(&mut self, value: Value<'_>) {
        let which = self.at.iter().position(|at| *at == Some(self.next));
        self.next += 1;
        match (which, value) {
            (Some(0), Value::Uint(number)) => self.entry = Some(number),
            (Some(1), Value::Uint(number)) => self.sequence = Some(number),
            (Some(2), Value::Bool(flag)) => self.in_use = Some(flag),
            _ => {}
        }
    }
}

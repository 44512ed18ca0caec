//! Every record that speaks of the file.

use std::{
    collections::BTreeSet,
    io,
    ops::{ControlFlow, Range},
    sync::{Arc, Mutex, PoisonError},
};

use scelle_artefacts::by_id;
use scelle_event::{
    ArtefactId, Consumer, Context, EvidencePath, Fields, Observation, Sink, Stamp, StreamId,
    Value as Field, Warning, json,
};
use scelle_evidence::Volume;
use scelle_formats::ReadError;
use serde_json::{Map, Value};

use super::{Target, number, text};
use crate::{RunError, parse::parse_stream};

/// Directories whose indexes are looked at.
const MAX_DIRECTORIES: usize = 1024;

/// A record that speaks of the file.
pub(super) struct Seen {
    pub(super) artefact: ArtefactId,
    pub(super) times: Vec<Stamp>,
    pub(super) message: String,
    pub(super) entry: u64,
    pub(super) sequence: Option<u64>,
    pub(super) stream: Arc<str>,
    pub(super) range: Range<u64>,
    /// USN or LSN; 0 elsewhere.
    pub(super) order: u64,
    pub(super) fields: Map<String, Value>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) entries: BTreeSet<u64>,
    pub(super) seen: Vec<Seen>,
    pub(super) losses: u64,
    pub(super) unread: Vec<(String, String)>,
}

/// Reads what a volume says of the target.
pub(super) fn gather(
    source: &Arc<str>,
    volume: &dyn Volume,
    target: &Target,
) -> Result<Gathered, RunError> {
    let mut gathered = Gathered::default();
    let mut directories = BTreeSet::new();
    volume.walk(&mut |entry| {
        // What is lost of the structure is told by whoever lists the volume.
        let Ok(entry) = entry else {
            return ControlFlow::Continue(());
        };
        let Some(id) = entry.id else {
            return ControlFlow::Continue(());
        };
        let is_it = match target {
            Target::Entry(number) => id.entry == *number,
            Target::Path(path) => entry.names.iter().any(|name| same(&name.path, path)),
        };
        if is_it {
            gathered.entries.insert(id.entry);
            directories.extend(entry.names.iter().map(|name| directory_of(&name.path)));
        }
        ControlFlow::Continue(())
    });
    if let Target::Entry(number) = target {
        gathered.entries.insert(*number);
    }
    let place = |path: &str, stream: Option<&str>| StreamId {
        volume: volume.info().id.clone(),
        path: EvidencePath::from_bytes(path.as_bytes()),
        stream: stream.map(|name| EvidencePath::from_bytes(name.as_bytes())),
    };
    let journal = place("$Extend/$UsnJrnl", Some("$J"));
    if let Target::Path(path) = target {
        // Entries that had the path once, and have it no more.
        let found = read(
            source,
            volume,
            "ntfs.usnjrnl",
            &journal,
            &Wanted::Path(path),
        )?;
        gathered
            .entries
            .extend(found.seen.iter().map(|seen| seen.entry));
    }
    let wanted = gathered.entries.clone();
    for (artefact, id) in [
        ("ntfs.mft", place("$MFT", None)),
        ("ntfs.usnjrnl", journal),
        ("ntfs.logfile", place("$LogFile", None)),
    ] {
        gathered.add(read(
            source,
            volume,
            artefact,
            &id,
            &Wanted::Entries(&wanted),
        )?);
    }
    // Where it was, as far as the journal knows.
    for seen in &gathered.seen {
        if let Some(path) = text(&seen.fields, "path") {
            let path = path.trim_start_matches('/');
            directories.insert(directory_of(&EvidencePath::from_bytes(path.as_bytes())));
        }
    }
    for directory in directories.into_iter().take(MAX_DIRECTORIES) {
        let id = StreamId {
            volume: volume.info().id.clone(),
            path: EvidencePath::from_bytes(&directory),
            stream: Some(EvidencePath::from_bytes(b"$I30")),
        };
        gathered.add(read(
            source,
            volume,
            "ntfs.i30",
            &id,
            &Wanted::Entries(&wanted),
        )?);
    }
    Ok(gathered)
}

impl Gathered {
    fn add(&mut self, part: Self) {
        self.seen.extend(part.seen);
        self.losses += part.losses;
        self.unread.extend(part.unread);
    }
}

fn directory_of(path: &EvidencePath) -> Vec<u8> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    bytes[..end].to_vec()
}

fn same(one: &EvidencePath, other: &EvidencePath) -> bool {
    match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one.to_lowercase() == other.to_lowercase(),
        _ => one == other,
    }
}

/// Which records are kept.
enum Wanted<'a> {
    Entries(&'a BTreeSet<u64>),
    Path(&'a EvidencePath),
}

/// Reads one stream; one that is not there says nothing.
fn read(
    source: &Arc<str>,
    volume: &dyn Volume,
    artefact: &str,
    id: &StreamId,
    wanted: &Wanted<'_>,
) -> Result<Gathered, RunError> {
    let mut gathered = Gathered::default();
    let Some(artefact) = by_id(artefact) else {
        return Ok(gathered);
    };
    let stream = match volume.open(id) {
        Ok(stream) => stream,
        Err(ReadError::Absent { .. }) => return Ok(gathered),
        Err(error) => {
            gathered.unread.push((id.to_string(), error.to_string()));
            return Ok(gathered);
        }
    };
    if stream.is_empty() {
        return Ok(gathered);
    }
    let watch = Watch {
        wanted,
        found: Mutex::default(),
    };
    let tally = parse_stream(source, volume, id, &stream, artefact, &watch)?;
    gathered.losses = tally.warnings;
    gathered.seen = watch
        .found
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(gathered)
}

struct Watch<'a> {
    wanted: &'a Wanted<'a>,
    found: Mutex<Vec<Seen>>,
}

impl<'a> Consumer for Watch<'a> {
    type Unit = Unit<'a>;

    fn unit(&self, context: &Arc<Context>) -> Unit<'a> {
        Unit {
            wanted: self.wanted,
            context: context.clone(),
            found: Vec::new(),
        }
    }

    fn join(&self, unit: Unit<'a>) -> io::Result<()> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(unit.found);
        Ok(())
    }
}

struct Unit<'a> {
    wanted: &'a Wanted<'a>,
    context: Arc<Context>,
    found: Vec<Seen>,
}

impl Sink for Unit<'_> {
    fn observe(&mut self, observation: &Observation<'_>) {
        let record = observation.record;
        let columns = record.schema().columns;
        let mut entry = Entry {
            at: columns.iter().position(|column| column.name == "entry"),
            next: 0,
            number: None,
        };
        record.fields(&mut entry);
        let Some(entry) = entry.number else { return };
        let is_wanted = match self.wanted {
            Wanted::Entries(entries) => entries.contains(&entry),
            Wanted::Path(path) => record.subject().is_some_and(|subject| {
                let subject = subject.trim_start_matches('/');
                same(&EvidencePath::from_bytes(subject.as_bytes()), path)
            }),
        };
        if !is_wanted {
            return;
        }
        let mut text = Vec::new();
        json::write_record(&mut text, record);
        let fields: Map<String, Value> =
            serde_json::from_slice(&text).expect("what was just written as JSON");
        let mut message = String::new();
        record
            .message(&mut message)
            .expect("a String takes all that is written");
        let order = number(&fields, "lsn").filter(|_| self.context.artefact == "ntfs.logfile");
        let usn = number(&fields, "usn").filter(|_| self.context.artefact == "ntfs.usnjrnl");
        let span = &observation.provenance.primary;
        self.found.push(Seen {
            artefact: self.context.artefact,
            times: observation.times.to_vec(),
            message,
            entry,
            sequence: number(&fields, "sequence"),
            stream: self.context.streams[0].clone(),
            range: span.range.clone(),
            order: order.or(usn).unwrap_or(0),
            fields,
        });
    }

    fn warn(&mut self, _warning: Warning) {
        // They are counted by the run.
    }
}

/// Takes the entry out of a record's fields, and looks at nothing else.
struct Entry {
    at: Option<usize>,
    next: usize,
    number: Option<u64>,
}

impl Fields for Entry {
    fn value(&mut self, value: Field<'_>) {
        if Some(self.next) == self.at
            && let Field::Uint(number) = value
        {
            self.number = Some(number);
        }
        self.next += 1;
    }
}

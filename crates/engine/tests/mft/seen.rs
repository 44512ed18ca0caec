//! What a run of `ntfs.mft` gave, kept for comparison.

use std::{
    io,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{Input, by_id};
use scelle_engine::run;
use scelle_event::{Consumer, Context, Observation, Provenance, Sink, Stamp, Warning, json};
use scelle_formats::ReadAt;
use serde_json::Value;

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its columns.
    pub(crate) fields: Value,
    pub(crate) times: Vec<Stamp>,
    pub(crate) provenance: Provenance,
    pub(crate) body: Vec<Line>,
    pub(crate) message: String,
}

/// What is compared of a line of a body file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) inode: String,
    pub(crate) size_bytes: u64,
    /// Accessed, modified, changed, created: seconds since 1970.
    pub(crate) times: [i128; 4],
}

impl Seen {
    pub(crate) fn number(&self, column: &str) -> Option<u64> {
        self.fields.get(column)?.as_u64()
    }

    pub(crate) fn text(&self, column: &str) -> Option<&str> {
        self.fields.get(column)?.as_str()
    }

    pub(crate) fn is(&self, column: &str) -> bool {
        self.fields[column].as_bool().expect("a column of bools")
    }
}

/// Everything that one run gave.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) entries: Vec<Seen>,
    pub(crate) warnings: Vec<Warning>,
}

impl Run {
    pub(crate) fn entry(&self, number: u64) -> &Seen {
        self.entries
            .iter()
            .find(|seen| seen.number("entry") == Some(number))
            .unwrap_or_else(|| panic!("entry {number}"))
    }

    /// How many records were joined to others.
    pub(crate) fn joined(&self) -> usize {
        self.entries
            .iter()
            .map(|seen| seen.provenance.also.len())
            .sum()
    }
}

/// Parses a stream as an `$MFT`.
pub(crate) fn parse(stream: &dyn ReadAt) -> Run {
    let artefact = by_id("ntfs.mft").expect("registered");
    let context = Arc::new(Context {
        artefact: "ntfs.mft",
        source: "test".into(),
        host: None,
        host_id: None,
        streams: vec!["ntfs-0/$MFT".into()],
    });
    let all = All::default();
    let tally = run(artefact, Input::alone(stream), &context, &all).expect("nothing to fail");
    let found = all.0.into_inner().expect("no panic");
    assert_eq!(tally.records, found.entries.len() as u64);
    assert_eq!(tally.warnings, found.warnings.len() as u64);
    found
}

#[derive(Default)]
struct All(Mutex<Run>);

#[derive(Default)]
pub(crate) struct Unit(Run);

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let record = observation.record;
        let mut fields = Vec::new();
        json::write_record(&mut fields, record);
        let mut message = String::new();
        record.message(&mut message).expect("a String takes all");
        let mut body = Vec::new();
        record.body(&mut |line| {
            let mut name = line.path.to_owned();
            for part in [line.stream.map(|name| format!(":{name}"))]
                .into_iter()
                .flatten()
            {
                name.push_str(&part);
            }
            if line.name_times {
                name.push_str(" ($FILE_NAME)");
            }
            if line.deleted {
                name.push_str(" (deleted)");
            }
            let attribute = line.attribute.map(|(kind, id)| format!("-{kind}-{id}"));
            body.push(Line {
                name,
                inode: format!("{}{}", line.entry, attribute.unwrap_or_default()),
                size_bytes: line.size_bytes,
                times: line.times.map(|time| time.map_or(0, |time| time.seconds())),
            });
        });
        self.0.entries.push(Seen {
            fields: serde_json::from_slice(&fields).expect("sound JSON"),
            times: observation.times.to_vec(),
            provenance: observation.provenance.clone(),
            body,
            message,
        });
    }

    fn warn(&mut self, warning: Warning) {
        self.0.warnings.push(warning);
    }
}

impl Consumer for All {
    type Unit = Unit;

    fn unit(&self, _context: &Arc<Context>) -> Unit {
        Unit::default()
    }

    fn join(&self, unit: Unit) -> io::Result<()> {
        let mut all = self.0.lock().expect("no panic");
        all.entries.extend(unit.0.entries);
        all.warnings.extend(unit.0.warnings);
        Ok(())
    }
}

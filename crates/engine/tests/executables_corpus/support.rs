//! What all comparisons share.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{ALL, Candidate, Input, by_id};
use scelle_engine::run;
use scelle_event::{Consumer, Context, EvidencePath, Observation, Sink, Warning, json};
use scelle_formats::{Bytes, ReadAt};
use serde_json::Value;

/// What a parser said of a file.
#[derive(Default)]
pub(crate) struct Said {
    /// The records' columns, with `message` and `times` (meaning and ISO text) besides.
    pub(crate) records: Vec<Value>,
    /// The fields that were lost.
    pub(crate) losses: Vec<String>,
}

impl Sink for Said {
    fn observe(&mut self, observation: &Observation<'_>) {
        let mut text = Vec::new();
        json::write_record(&mut text, observation.record);
        let mut record: Value = serde_json::from_slice(&text).expect("sound JSON");
        let mut message = String::new();
        observation
            .record
            .message(&mut message)
            .expect("a String takes all");
        let times = observation
            .times
            .iter()
            .map(|time| {
                Value::from(format!(
                    "{} {}",
                    time.meaning.name(),
                    time.moment.to_iso(time.precision)
                ))
            })
            .collect();
        record["message"] = Value::from(message);
        record["times"] = Value::Array(times);
        self.records.push(record);
    }

    fn warn(&mut self, warning: Warning) {
        self.losses.push(warning.loss.name());
    }
}

#[derive(Default)]
struct Collected(Mutex<Said>);

impl Consumer for Collected {
    type Unit = Said;

    fn unit(&self, _context: &Arc<Context>) -> Said {
        Said::default()
    }

    fn join(&self, unit: Said) -> io::Result<()> {
        let mut all = self.0.lock().expect("no panic holds it");
        all.records.extend(unit.records);
        all.losses.extend(unit.losses);
        Ok(())
    }
}

/// Runs a parser over a file.
pub(crate) fn parse(artefact: &str, bytes: &[u8]) -> Said {
    let context = Arc::new(Context {
        artefact: by_id(artefact).expect("a known artefact").descriptor().id,
        source: "corpus".into(),
        host: None,
        host_id: None,
        streams: vec!["file".into()],
    });
    let collected = Collected::default();
    let artefact = by_id(artefact).expect("a known artefact");
    run(artefact, Input::alone(&Bytes(bytes)), &context, &collected).expect("memory takes all");
    collected.0.into_inner().expect("no panic held it")
}

/// The executables' artefacts that take a file for theirs.
pub(crate) fn recognised(path: &str, bytes: &[u8]) -> Vec<&'static str> {
    let path = EvidencePath::from_bytes(path.as_bytes());
    let candidate = Candidate::new(&path, None, bytes.len() as u64, || {
        Some(Box::new(Bytes(bytes)) as Box<dyn ReadAt>)
    });
    ALL.iter()
        .filter(|artefact| artefact.recognises(&candidate))
        .map(|artefact| artefact.descriptor().id)
        .collect()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A difference from another tool that `tests/differences/executables.md` explains: the end of the
/// file's path, the field, our value, theirs, as `Debug` shows them.
pub(crate) type Explained = (&'static str, &'static str, &'static str, &'static str);

/// Collects what differs, takes off what is explained, and wants every explanation used.
#[derive(Default)]
pub(crate) struct Differences {
    file: String,
    explained: Vec<Explained>,
    used: BTreeSet<usize>,
    unexplained: Vec<String>,
    compared: usize,
}

impl Differences {
    /// Names the file that the next comparisons are about.
    pub(crate) fn about(&mut self, file: &str) {
        file.clone_into(&mut self.file);
    }

    /// Adds explained differences, once.
    pub(crate) fn explain(&mut self, explained: &[Explained]) {
        for one in explained {
            if !self.explained.contains(one) {
                self.explained.push(*one);
            }
        }
    }

    /// Compares our value with another tool's.
    pub(crate) fn compare<T: PartialEq + Debug>(&mut self, field: &str, ours: &T, theirs: &T) {
        self.compared += 1;
        if ours == theirs {
            return;
        }
        let (ours, theirs) = (format!("{ours:?}"), format!("{theirs:?}"));
        let known = self.explained.iter().position(|(file, named, we, they)| {
            self.file.ends_with(file) && *named == field && *we == ours && *they == theirs
        });
        match known {
            Some(index) => {
                self.used.insert(index);
            }
            None => self.unexplained.push(format!(
                "{}: {field}\n  ours   {ours}\n  theirs {theirs}",
                self.file
            )),
        }
    }

    /// Fails where a difference is not explained, or an explanation was not needed.
    pub(crate) fn finish(self) {
        for (index, explained) in self.explained.iter().enumerate() {
            assert!(
                self.used.contains(&index),
                "explained, and not there: {explained:?}"
            );
        }
        assert!(
            self.unexplained.is_empty(),
            "{}",
            self.unexplained.join("\n")
        );
        eprintln!("{} values compared", self.compared);
    }
}

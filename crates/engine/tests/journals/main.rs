//! `ntfs.usnjrnl`, `ntfs.i30` and `ntfs.logfile` beside other tools, on real files and on scripts.

mod i30;
mod logfile;
mod rewind;
mod usnjrnl;

use std::{
    io,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{Artefact, Candidate, Input, by_id};
use scelle_engine::run;
use scelle_event::{
    Consumer, Context, EvidencePath, Fields, Nested, Observation, Provenance, Sink, Value as Field,
    Warning,
};
use scelle_formats::{Bytes, ReadAt};
use serde_json::{Map, Value};

/// A record as it came.
pub(crate) struct Row {
    pub(crate) provenance: Provenance,
    /// Its times as ISO text, with meaning.
    pub(crate) times: Vec<(String, &'static str)>,
    pub(crate) fields: Map<String, Value>,
}

impl Row {
    pub(crate) fn text(&self, column: &str) -> &str {
        self.fields[column].as_str().unwrap_or("")
    }

    pub(crate) fn number(&self, column: &str) -> Option<u64> {
        self.fields[column].as_u64()
    }
}

#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) losses: Vec<Warning>,
}

impl Sink for Rows {
    fn observe(&mut self, observation: &Observation<'_>) {
        let columns = observation.record.schema().columns.iter();
        let mut fields = Columns {
            names: columns.map(|column| column.name),
            map: Map::new(),
        };
        observation.record.fields(&mut fields);
        let times = observation.times.iter();
        self.rows.push(Row {
            provenance: observation.provenance.clone(),
            times: times
                .map(|stamp| (stamp.moment.to_iso(stamp.precision), stamp.meaning.name()))
                .collect(),
            fields: fields.map,
        });
    }

    fn warn(&mut self, warning: Warning) {
        self.losses.push(warning);
    }
}

struct Columns<N> {
    names: N,
    map: Map<String, Value>,
}

impl<N: Iterator<Item = &'static str>> Fields for Columns<N> {
    fn value(&mut self, value: Field<'_>) {
        let name = self.names.next().expect("a column a value");
        let value = match value {
            Field::Null => Value::Null,
            Field::Bool(flag) => flag.into(),
            Field::Int(number) => number.into(),
            Field::Uint(number) => number.into(),
            Field::Text(text) => text.into(),
            Field::Bytes(bytes) => format!("{bytes:02x?}").into(),
            Field::Time(at, _) => at.to_string().into(),
            Field::Nested(nested) => {
                // Only that it is there: its form is told by the golden files.
                let _: &dyn Nested = nested;
                "nested".into()
            }
        };
        self.map.insert(name.to_owned(), value);
    }
}

#[derive(Default)]
struct Collect(Mutex<Rows>);

impl Consumer for &Collect {
    type Unit = Rows;

    fn unit(&self, _context: &Arc<Context>) -> Rows {
        Rows::default()
    }

    fn join(&self, unit: Rows) -> io::Result<()> {
        let mut all = self.0.lock().expect("no panic");
        all.rows.extend(unit.rows);
        all.losses.extend(unit.losses);
        Ok(())
    }
}

pub(crate) fn artefact(id: &str) -> &'static dyn Artefact {
    by_id(id).expect("it is in the registry")
}

pub(crate) fn parse(id: &str, bytes: &[u8], companion: Option<&[u8]>) -> Rows {
    let stream = Bytes(bytes);
    let companion = companion.map(Bytes);
    let companions = [companion.as_ref().map(|stream| stream as &dyn ReadAt)];
    let input = Input {
        stream: &stream,
        companions: &companions,
    };
    parse_input(id, input)
}

pub(crate) fn parse_input(id: &str, input: Input<'_>) -> Rows {
    let context = Arc::new(Context {
        artefact: artefact(id).descriptor().id,
        source: "test".into(),
        host: None,
        host_id: None,
        streams: vec!["stream".into(), "companion".into()],
    });
    let collect = Collect::default();
    run(artefact(id), input, &context, &&collect).expect("memory takes all");
    collect.0.into_inner().expect("no panic")
}

pub(crate) fn recognises(id: &str, path: &str, stream: Option<&str>, bytes: &[u8]) -> bool {
    let path = EvidencePath::from_bytes(path.as_bytes());
    let stream = stream.map(|name| EvidencePath::from_bytes(name.as_bytes()));
    artefact(id).recognises(&Candidate::new(
        &path,
        stream.as_ref(),
        bytes.len() as u64,
        || Some(Box::new(Bytes(bytes)) as Box<dyn ReadAt>),
    ))
}

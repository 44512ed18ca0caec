//! `windows.recycle-bin` beside rifiuti-vista 0.7.0, on real files.
//!
//! `INFO2`, the index of Windows 95 to XP, is another format and will be another artefact: here it
//! must not be taken for this one. Differences: `tests/differences/recycle-bin.md`.

use std::{
    io,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{Artefact, Candidate, Input, by_id};
use scelle_engine::run;
use scelle_event::{
    Consumer, Context, EvidencePath, Fields, Observation, Sink, StreamRef, Value as Field, Warning,
};
use scelle_formats::{Bytes, ReadAt};
use scelle_testkit::Corpus;
use serde_json::Value;

/// Files that rifiuti-vista refuses and that still hold a record: how many code units of the
/// path are there.
const REFUSED: [(&str, usize); 2] = [
    ("recyclebin/rifiuti2/dir-badfiles/$IF47Q09", 0),
    ("recyclebin/rifiuti2/dir-badfiles/$IX1JBL3.djvu", 31),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    deleted: String,
    size_bytes: u64,
    path: Option<String>,
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    losses: Vec<String>,
}

impl Sink for Rows {
    fn observe(&mut self, observation: &Observation<'_>) {
        assert_eq!(observation.provenance.primary.stream, StreamRef::PRIMARY);
        let [deleted] = observation.times else {
            panic!("a deletion has one time");
        };
        // The other tool prints whole seconds.
        let deleted = deleted.moment.to_iso(deleted.precision);
        let mut row = Row {
            deleted: deleted[..19].replace('T', " "),
            ..Row::default()
        };
        let mut columns = Columns {
            row: &mut row,
            names: observation
                .record
                .schema()
                .columns
                .iter()
                .map(|column| column.name),
        };
        observation.record.fields(&mut columns);
        self.rows.push(row);
    }

    fn warn(&mut self, warning: Warning) {
        self.losses.push(warning.loss.name());
    }
}

struct Columns<'a, N> {
    row: &'a mut Row,
    names: N,
}

impl<N: Iterator<Item = &'static str>> Fields for Columns<'_, N> {
    fn value(&mut self, value: Field<'_>) {
        match (self.names.next().expect("a column a value"), value) {
            ("size_bytes", Field::Uint(size)) => self.row.size_bytes = size,
            ("path", Field::Text(path)) => self.row.path = Some(path.to_owned()),
            _ => {}
        }
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

fn ours(artefact: &dyn Artefact, bytes: &[u8]) -> Rows {
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: "corpus".into(),
        host: None,
        host_id: None,
        streams: vec!["corpus".into()],
    });
    let collect = Collect::default();
    run(artefact, Input::alone(&Bytes(bytes)), &context, &&collect).expect("memory takes all");
    collect.0.into_inner().expect("no panic")
}

fn recognises(artefact: &dyn Artefact, path: &str, bytes: &[u8]) -> bool {
    let path = EvidencePath::from_bytes(path.as_bytes());
    artefact.recognises(&Candidate::new(&path, None, bytes.len() as u64, || {
        Some(Box::new(Bytes(bytes)) as Box<dyn ReadAt>)
    }))
}

/// The row that rifiuti-vista printed; `None` where it refused the file.
fn theirs(entry: &Value) -> Option<Row> {
    let line = entry["stdout"].as_array()?.last()?.as_str()?;
    let [_, deleted, size, path] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("{line} has four columns");
    };
    // It shows code units that are no character, or none that it would print, as `<\uD860>`.
    let mut units: Vec<u16> = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once("<\\u") {
        let (digits, after) = after.split_once('>').expect("four digits and a bracket");
        units.extend(before.encode_utf16());
        units.push(u16::from_str_radix(digits, 16).expect("four digits"));
        rest = after;
    }
    units.extend(rest.encode_utf16());
    let exact = EvidencePath::from_utf16(units);
    Some(Row {
        deleted: deleted.to_owned(),
        size_bytes: size.parse().expect("a size"),
        path: Some(
            exact
                .as_str()
                .map_or_else(|| exact.to_string(), str::to_owned),
        ),
    })
}

#[test]
fn real_index_files_read_as_rifiuti_reads_them() {
    let Some(corpus) = Corpus::find("Recycle Bin index files beside rifiuti-vista") else {
        return;
    };
    let artefact = by_id("windows.recycle-bin").expect("it is in the registry");
    let expected = corpus.expected_json("recyclebin.json");
    let mut compared = 0;
    for entry in expected.as_array().expect("a list") {
        let path = entry["path"].as_str().expect("a path");
        let bytes = corpus.read(path);
        if entry["tool"] != "rifiuti-vista" {
            assert!(!recognises(artefact, path, &bytes), "{path} is an INFO2");
            continue;
        }
        assert!(recognises(artefact, path, &bytes), "{path}");
        let ours = ours(artefact, &bytes);
        let refused = REFUSED.iter().find(|(refused, _)| *refused == path);
        match (theirs(entry), refused) {
            (Some(row), None) => {
                assert_eq!(ours.rows, [row], "{path}");
                assert!(ours.losses.is_empty(), "{path}: {:?}", ours.losses);
            }
            (None, Some((_, units))) => {
                let [row] = &ours.rows[..] else {
                    panic!("{path}: {:?}", ours.rows);
                };
                let read = row
                    .path
                    .as_deref()
                    .map_or(0, |path| path.encode_utf16().count());
                assert_eq!(read, *units, "{path}");
                assert_eq!(ours.losses, ["field path"], "{path}");
            }
            (theirs, refused) => panic!("{path}: unexplained: {theirs:?}, {refused:?}"),
        }
        compared += 1;
    }
    assert_eq!(
        compared, 26,
        "the corpus has so many `$I` files with a result"
    );
}

#[test]
fn no_other_file_is_taken_for_one() {
    let Some(corpus) = Corpus::find("files beside Recycle Bin index files") else {
        return;
    };
    let artefact = by_id("windows.recycle-bin").expect("it is in the registry");
    for path in corpus.files("recyclebin") {
        let is_index = path
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("$I"));
        assert_eq!(
            recognises(artefact, &path, &corpus.read(&path)),
            is_index,
            "{path}"
        );
    }
}

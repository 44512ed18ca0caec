//! Event logs of the shared corpus, against what independent tools made of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{Input, windows::evtx::Evtx};
use scelle_engine::run;
use scelle_event::{Consumer, Context, Fields, JsonLines, Observation, Sink, Value, Warning};
use scelle_formats::Bytes;
use scelle_testkit::Corpus;
use sha2::{Digest, Sha256};

/// What is compared of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    offset: u64,
    header_id: u64,
    record_id: u64,
    event_id: Option<u64>,
    recovered: bool,
}

#[derive(Default)]
struct Parsed {
    rows: Vec<Row>,
    warnings: Vec<Warning>,
}

#[derive(Default)]
struct Collect(Mutex<Parsed>);

impl Sink for Parsed {
    fn observe(&mut self, observation: &Observation<'_>) {
        let span = &observation.provenance.primary;
        let mut columns = Columns::default();
        observation.record.fields(&mut columns);
        self.rows.push(Row {
            offset: span.range.start,
            header_id: span.record.expect("every record has a number"),
            record_id: columns.record_id.expect("every record has an id"),
            event_id: columns.event_id,
            recovered: columns.recovered,
        });
    }

    fn warn(&mut self, warning: Warning) {
        self.warnings.push(warning);
    }
}

impl Consumer for Collect {
    type Unit = Parsed;

    fn unit(&self, _context: &Arc<Context>) -> Parsed {
        Parsed::default()
    }

    fn join(&self, unit: Parsed) -> io::Result<()> {
        let mut all = self.0.lock().expect("no test panics here");
        all.rows.extend(unit.rows);
        all.warnings.extend(unit.warnings);
        Ok(())
    }
}

#[derive(Default)]
struct Columns {
    next: usize,
    record_id: Option<u64>,
    event_id: Option<u64>,
    recovered: bool,
}

impl Fields for Columns {
    fn value(&mut self, value: Value<'_>) {
        match (self.next, value) {
            (0, Value::Uint(id)) => self.record_id = Some(id),
            (1, Value::Uint(id)) => self.event_id = Some(id),
            (20, Value::Bool(recovered)) => self.recovered = recovered,
            _ => {}
        }
        self.next += 1;
    }
}

fn context() -> Arc<Context> {
    Arc::new(Context {
        artefact: "windows.evtx",
        source: "corpus".into(),
        host: None,
        host_id: None,
        streams: vec!["log".into()],
    })
}

fn parse(bytes: &[u8]) -> Parsed {
    let collect = Collect::default();
    run(&Evtx, Input::alone(&Bytes(bytes)), &context(), &collect).expect("memory takes all");
    collect.0.into_inner().expect("no test panics here")
}

/// A log of which we say other than `evtx_dump`; `tests/differences/evtx.md` says why.
struct Explained {
    file: &'static str,
    /// Declared records, and those of them whose event is readable.
    declared: usize,
    readable: usize,
    recovered: usize,
    /// What the other tools count: `evtx_dump`, libevtx, dissect.
    others: [usize; 3],
    same_digest: bool,
}

const EXPLAINED: &[Explained] = &[
    Explained {
        file: "evtx/evtx-rs/2-vss_0-Microsoft-Windows-RemoteDesktopServices-RdpCoreTS%4Operational.evtx.zst",
        declared: 1912,
        readable: 1910,
        recovered: 155,
        others: [1910, 1910, 1910],
        same_digest: true,
    },
    Explained {
        file: "evtx/evtx-rs/2-vss_0-Microsoft-Windows-TerminalServices-RemoteConnectionManager%4Operational.evtx.zst",
        declared: 1698,
        readable: 1698,
        recovered: 346,
        others: [1795, 1774, 1912],
        same_digest: false,
    },
    Explained {
        file: "malformed/evtx-rs/sample_with_a_bad_chunk_magic.evtx.zst",
        declared: 301,
        readable: 301,
        recovered: 133,
        others: [301, 267, 267],
        same_digest: false,
    },
];

/// The logs that were not closed, and of which the other tools return different records.
const DIRTY: [&str; 4] = [
    "evtx/evtx-rs/2-vss_0-Microsoft-Windows-TerminalServices-RemoteConnectionManager%4Operational.evtx.zst",
    "evtx/evtx-rs/Microsoft-Windows-LanguagePackSetup%4Operational.evtx.zst",
    "malformed/evtx-rs/sample-with-zero-data-size-event.evtx.zst",
    "malformed/evtx-rs/sample_with_a_bad_chunk_magic.evtx.zst",
];

/// SHA-256 over `RECORDID TAB EVENTID LF` of the declared records, sorted.
fn digest(rows: &[Row]) -> String {
    let declared = rows.iter().filter(|row| !row.recovered);
    let mut ids: Vec<_> = declared
        .filter_map(|row| Some((row.record_id, row.event_id?)))
        .collect();
    ids.sort_unstable();
    let mut hash = Sha256::new();
    for (record, event) in &ids {
        hash.update(format!("{record}\t{event}\n"));
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The rows of a table of the corpus, as maps from heading to cell.
fn table(text: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut lines = text.lines().map(|line| line.split('\t'));
    let head: Vec<_> = lines.next().expect("a heading").collect();
    lines
        .map(|line| head.iter().copied().zip(line).collect())
        .collect()
}

#[test]
fn counts_and_digests_are_those_of_other_tools() {
    let Some(corpus) = Corpus::find("counts of event logs") else {
        return;
    };
    let text = corpus.expected("evtx.tsv");
    let histograms = corpus.expected_json("evtx-eventid-histogram.json");
    let mut wrong = Vec::new();
    let mut explained = 0;
    for row in table(&text) {
        let file = row["path"];
        let parsed = parse(&corpus.read(file));
        let offsets: BTreeSet<_> = parsed.rows.iter().map(|row| row.offset).collect();
        assert_eq!(
            offsets.len(),
            parsed.rows.len(),
            "{file}: a record is there twice"
        );
        let mut histogram: BTreeMap<String, u64> = BTreeMap::new();
        let declared: Vec<_> = parsed.rows.iter().filter(|row| !row.recovered).collect();
        for event in declared.iter().filter_map(|row| row.event_id) {
            *histogram.entry(event.to_string()).or_default() += 1;
        }
        let readable: u64 = histogram.values().sum();
        let recovered = parsed.rows.len() - declared.len();
        let same_digest = digest(&parsed.rows) == row["digest_evtx_dump"];
        if let Some(known) = EXPLAINED.iter().find(|known| known.file == file) {
            explained += 1;
            let ours = (declared.len(), readable as usize, recovered, same_digest);
            let expected = (
                known.declared,
                known.readable,
                known.recovered,
                known.same_digest,
            );
            assert_eq!(ours, expected, "{file}");
            for others in known.others {
                assert!(
                    parsed.rows.len() >= others,
                    "{file}: another tool returns more"
                );
            }
            continue;
        }
        let theirs: BTreeMap<String, u64> =
            serde_json::from_value(histograms[file]["evtx_dump"].clone()).expect("a histogram");
        let count = declared.len().to_string();
        if count != row["evtx_dump_records"] || !same_digest || histogram != theirs {
            let theirs = row["evtx_dump_records"];
            wrong.push(format!(
                "{file}: {count} records, {theirs} expected; same digest: {same_digest}"
            ));
        }
    }
    assert_eq!(explained, EXPLAINED.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn logs_of_detection_rules_have_the_stated_records() {
    let Some(corpus) = Corpus::find("event logs that detection rules match") else {
        return;
    };
    let text = corpus.expected("sigma-regression.tsv");
    let mut logs = 0;
    for row in table(&text) {
        let file = row["evtx_path"];
        if file.is_empty() {
            continue;
        }
        logs += 1;
        let parsed = parse(&corpus.read(file));
        let declared = parsed.rows.iter().filter(|row| !row.recovered).count();
        assert_eq!(declared.to_string(), row["records_in_evtx"], "{file}");
    }
    assert!(logs > 100, "{logs} logs");
}

/// What libevtx and dissect return of the dirty logs, by offset and id; its head says how it was made.
const LISTED: &str = include_str!("evtx_dirty.tsv");

/// Offset and id of each record that a tool returns of one of the dirty logs.
fn listed(file: &str) -> Vec<(u64, u64)> {
    let mut lines = LISTED
        .lines()
        .skip_while(|line| line.strip_prefix("> ") != Some(file));
    lines.next().expect("a list of that log");
    lines
        .take_while(|line| !line.starts_with('>'))
        .map(|line| {
            let mut cells = line.split('\t');
            let mut next = || cells.next().and_then(|cell| cell.parse().ok());
            (next().expect("an offset"), next().expect("an id"))
        })
        .collect()
}

/// Offset, id and event id of each record that the decoder behind `evtx_dump` returns.
fn of_evtx_dump(bytes: &[u8]) -> Vec<(u64, u64, u64)> {
    const HEADER: u64 = 24;
    let settings = Arc::new(evtx::ParserSettings::default());
    let mut found = Vec::new();
    for (index, chunk) in bytes[4096..].chunks_exact(65_536).enumerate() {
        let base = 4096 + 65_536 * index as u64;
        let Ok(mut chunk) = evtx::EvtxChunkData::new(chunk.to_vec(), false) else {
            continue;
        };
        let Ok(mut chunk) = chunk.parse(settings.clone()) else {
            continue;
        };
        for record in chunk.iter().flatten() {
            let at = base + record.binxml_offset - HEADER;
            let Ok(record) = record.into_json_value() else {
                continue;
            };
            let event = event_id(&record.data["Event"]["System"]["EventID"]);
            found.push((at, record.event_record_id, event.expect("an event id")));
        }
    }
    found
}

/// Whether a record lies where a chunk that is one, by its magic, says that its records are.
fn is_declared(bytes: &[u8], at: u64) -> bool {
    let base = 4096 + (at - 4096) / 65_536 * 65_536;
    let chunk = &bytes[base as usize..];
    let free = u32::from_le_bytes(chunk[48..52].try_into().expect("four bytes"));
    chunk.starts_with(b"ElfChnk\0") && at - base < free.into()
}

#[test]
fn every_record_of_another_tool_is_there_once() {
    let Some(corpus) = Corpus::find("dirty event logs") else {
        return;
    };
    let text = corpus.expected("evtx.tsv");
    let counts = table(&text);
    for file in DIRTY {
        let bytes = corpus.read(file);
        let parsed = parse(&bytes);
        let ours: BTreeMap<_, _> = parsed
            .rows
            .iter()
            .map(|row| ((row.offset, row.header_id), row))
            .collect();
        assert_eq!(ours.len(), parsed.rows.len(), "{file}: a record twice");
        for row in &parsed.rows {
            assert!(
                row.recovered || is_declared(&bytes, row.offset),
                "{file}: {row:?} is not among a chunk's declared records"
            );
        }
        let listed = listed(file);
        for place in &listed {
            assert!(ours.contains_key(place), "{file}: {place:?} is missing");
        }
        let theirs = of_evtx_dump(&bytes);
        let row = counts.iter().find(|row| row["path"] == file);
        let expected = row.expect("a count of that log")["evtx_dump_records"];
        assert_eq!(theirs.len().to_string(), expected, "{file}");
        for (at, id, event) in theirs {
            let row = ours.get(&(at, id));
            let row = row.unwrap_or_else(|| panic!("{file}: {id} at {at} is missing"));
            assert_eq!(row.event_id, Some(event), "{file}: {id} at {at}");
        }
    }
}

fn event_id(value: &serde_json::Value) -> Option<u64> {
    value.as_u64().or_else(|| event_id(value.get("#text")?))
}

/// Every value of every record, but for those that only we show, as the same text whatever the
/// shape around it: what matters here is that no value is lost, added or altered.
fn leaves(value: &serde_json::Value, found: &mut Vec<String>) {
    use serde_json::Value as Json;
    match value {
        Json::Null => {}
        Json::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Json::Object(members) => {
            for (key, value) in members {
                if !matches!(
                    key.as_str(),
                    "xmlns"
                        | "@xmlns"
                        | "written"
                        | "recovered"
                        | "log_record_id"
                        | "schema"
                        | "offset"
                        | "length"
                ) {
                    leaves(value, found);
                }
            }
        }
        Json::String(text) => {
            let text = text.trim().trim_matches(['{', '}']).to_lowercase();
            // A SYSTEMTIME has milliseconds; the other decoder shows seven digits of everything.
            let text = match text.strip_suffix("0000z") {
                Some(head) if head.len() == "2022-02-05t10:51:14.000".len() => format!("{head}z"),
                _ => text,
            };
            if !text.is_empty() {
                found.push(text);
            }
        }
        other => found.push(other.to_string()),
    }
}

#[test]
fn values_are_those_of_another_decoder() {
    let Some(corpus) = Corpus::find("values of event logs") else {
        return;
    };
    let mut records = 0;
    let mut wrong = Vec::new();
    for file in corpus
        .files("evtx")
        .iter()
        .filter(|file| file.contains(".evtx"))
    {
        let bytes = corpus.read(file);
        let lines = JsonLines::new(Vec::new(), io::sink());
        run(&Evtx, Input::alone(&Bytes(&bytes[..])), &context(), &lines).expect("memory takes all");
        let (lines, _) = lines.finish().expect("memory takes all");
        let mut ours: BTreeMap<(u64, String), Vec<Vec<String>>> = BTreeMap::new();
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            if line["recovered"] == true || line.get("event_id").is_none() {
                continue;
            }
            let id = line.get("log_record_id").unwrap_or(&line["record_id"]);
            let key = (id.as_u64().expect("an id"), line["written"].to_string());
            let mut values = Vec::new();
            leaves(&line, &mut values);
            values.sort();
            ours.entry(key).or_default().push(values);
        }
        let ours: BTreeMap<_, _> = ours
            .into_iter()
            .map(|(key, values)| (key.0, (key.1, values)))
            .collect();
        let mut theirs = evtx::EvtxParser::from_buffer(bytes).expect("a log");
        for record in theirs.records_json_value().flatten() {
            let Some((_, ours)) = ours.get(&record.event_record_id) else {
                continue;
            };
            let mut values = Vec::new();
            leaves(&record.data, &mut values);
            values.sort();
            records += 1;
            if !ours.contains(&values) {
                let id = record.event_record_id;
                wrong.push(format!("{file} {id}: {values:?} is here {ours:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} records: {}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    assert!(records > 40_000, "{records} records");
}

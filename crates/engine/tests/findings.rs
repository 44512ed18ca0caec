//! Findings: each where it was made, and how often on volumes that nobody forged.

mod support;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{Artefact, Input, by_id, ntfs::FINDINGS};
use scelle_engine::{Progress, parse, run};
use scelle_event::{Consumer, Context, Fields, Observation, Sink, Value, Warning};
use scelle_evidence::{Evidence, OpenOptions, open};
use scelle_formats::Bytes;
use scelle_testkit::{
    Corpus, LogChange, LogFile, MftRecord, UsnChange, UsnJournal, compare_golden,
};
use support::{evidence, file, memory};

const ARTEFACTS: [&str; 3] = ["ntfs.mft", "ntfs.usnjrnl", "ntfs.logfile"];

/// Records, and those with each finding.
#[derive(Clone, Debug, Default)]
struct Count {
    records: u64,
    findings: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, Count>>);

struct Unit {
    artefact: &'static str,
    count: Count,
}

impl Consumer for Counts {
    type Unit = Unit;

    fn unit(&self, context: &Arc<Context>) -> Unit {
        Unit {
            artefact: context.artefact,
            count: Count::default(),
        }
    }

    fn join(&self, unit: Unit) -> io::Result<()> {
        let mut counts = self.0.lock().expect("no panic");
        let count = counts.entry(unit.artefact).or_default();
        count.records += unit.count.records;
        for (name, found) in unit.count.findings {
            *count.findings.entry(name).or_default() += found;
        }
        Ok(())
    }
}

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        self.count.records += 1;
        let columns = observation.record.schema().columns;
        let mut findings = Findings {
            at: columns.iter().position(|column| column.name == "findings"),
            next: 0,
            text: String::new(),
        };
        observation.record.fields(&mut findings);
        for name in findings.text.split('+').filter(|name| !name.is_empty()) {
            *self.count.findings.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn warn(&mut self, _warning: Warning) {}
}

struct Findings {
    at: Option<usize>,
    next: usize,
    text: String,
}

impl Fields for Findings {
    fn value(&mut self, value: Value<'_>) {
        if Some(self.next) == self.at
            && let Value::Text(text) = value
        {
            text.clone_into(&mut self.text);
        }
        self.next += 1;
    }
}

fn count(evidence: &Evidence) -> BTreeMap<&'static str, Count> {
    let artefacts: Vec<&'static dyn Artefact> = ARTEFACTS
        .iter()
        .map(|id| by_id(id).expect("registered"))
        .collect();
    let counts = Counts::default();
    parse(evidence, &artefacts, &counts, &Progress::default()).expect("counting never fails");
    counts.0.into_inner().expect("no panic")
}

/// The records of a file that has no volume around it.
fn count_alone(artefact: &str, bytes: Vec<u8>) -> BTreeMap<&'static str, Count> {
    let artefact = by_id(artefact).expect("registered");
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: "corpus".into(),
        host: None,
        host_id: None,
        streams: ["file", "", ""].map(Arc::from).to_vec(),
    });
    let counts = Counts::default();
    run(artefact, Input::alone(&Bytes(bytes)), &context, &counts).expect("counting never fails");
    counts.0.into_inner().expect("no panic")
}

/// 2024-02-29 12:34:56.7890123 UTC as a FILETIME.
const DAY: u64 = 133_536_836_967_890_123;
const SECOND: u64 = 10_000_000;
const ROOT: u64 = MftRecord::reference(5, 5);
const FILE: u64 = MftRecord::reference(41, 7);
/// Enough records for a second piece of the journal, each of 64 bytes and its name.
const MANY: u64 = 20_000;

/// A whole second, two days before, and before the volume was made.
const FORGED: u64 = (DAY - 172_800 * SECOND) / SECOND * SECOND;

/// The journal goes back in time once and has one gap, at records in a second piece.
fn journal(forged: bool) -> Vec<u8> {
    let mut journal = UsnJournal::new(0);
    let change = |file, ticks, reasons| UsnChange {
        version: 2,
        file,
        parent: ROOT,
        ticks,
        reasons,
        attributes: 0x20,
        name: "plan.txt",
    };
    journal.push(&change(FILE, DAY + SECOND, 0x100));
    for number in 0..MANY {
        let other = MftRecord::reference(42, 1);
        journal.push(&change(other, DAY + 5 * SECOND + number, 2));
    }
    if forged {
        journal.push(&change(FILE, DAY, 0x8000_0000));
        journal.gap(3 * 4096);
        journal.push(&change(FILE, DAY + 9 * SECOND, 2));
    }
    journal.bytes().to_vec()
}

fn log(forged: bool) -> Vec<u8> {
    let mut log = LogFile::new((2, 0), 40);
    let made = |ticks: u64| LogChange {
        redo: (
            2,
            MftRecord::new(41, 7).standard([ticks; 4], 0x20).build(1024),
        ),
        target: (10, 2),
        ..LogChange::default()
    };
    log.push(&made(DAY));
    log.push(&made(DAY + SECOND));
    // Later or earlier than it was.
    let (now, before) = if forged {
        (FORGED, DAY)
    } else {
        (DAY, DAY - SECOND)
    };
    if forged {
        log.push(&made(DAY - 3600 * SECOND));
        log.push(&made(DAY - 3599 * SECOND));
    }
    log.push(&LogChange {
        redo: (7, now.to_le_bytes().repeat(4)),
        undo: (7, before.to_le_bytes().repeat(4)),
        offsets: (0x38, 0x18),
        transaction: 0x40,
        target: (10, 2),
    });
    log.build()
}

fn mft(forged: bool) -> Vec<u8> {
    let name = |text: &str| text.encode_utf16().collect::<Vec<_>>();
    let (created, usn) = if forged {
        (FORGED, 1u64 << 40)
    } else {
        (DAY, 64)
    };
    let mut standard: Vec<u8> = [created, DAY, DAY, DAY].map(u64::to_le_bytes).concat();
    standard.resize(0x40, 0);
    standard.extend(usn.to_le_bytes());
    let volume = [DAY - 3600 * SECOND; 4];
    let mut bytes = MftRecord::new(0, 1)
        .standard(volume, 6)
        .name(ROOT, 3, &name("$MFT"), volume)
        .build(1024);
    bytes.resize(41 * 1024, 0);
    let mut record = MftRecord::new(41, 7)
        .resident(0x10, "", &standard)
        .name(ROOT, 3, &name("plan.txt"), [DAY; 4])
        .build(1024);
    if forged {
        record[8..16].copy_from_slice(&(u64::MAX >> 1).to_le_bytes());
    }
    bytes.extend(record);
    bytes
}

#[test]
fn each_kind_is_found_where_it_was_made_and_nowhere_else() {
    for forged in [true, false] {
        let mut journal = file(9, "$Extend/$UsnJrnl:$J", &journal(forged));
        journal.0.streams.remove(0);
        let evidence = evidence(memory(vec![
            file(0, "$MFT", &mft(forged)),
            file(2, "$LogFile", &log(forged)),
            journal,
        ]));
        let counts = count(&evidence);
        for kind in &FINDINGS {
            let found = counts[kind.artefact].findings.get(kind.name).copied();
            let wanted = forged.then_some(1);
            assert_eq!(found, wanted, "{}", kind.name);
        }
        let records = counts["ntfs.usnjrnl"].records;
        assert_eq!(records, MANY + if forged { 3 } else { 1 });
    }
}

#[test]
fn how_often_nothing_was_forged() {
    let Some(corpus) = Corpus::find("how often findings are met") else {
        return;
    };
    let mut table = Table::default();
    let summary = corpus.expected_json("ntfs/summary.json");
    for image in summary.as_array().expect("a list of images") {
        let unpacked = scelle_testkit::image(&corpus, image);
        let options = OpenOptions {
            map: true,
            ..OpenOptions::default()
        };
        let evidence = open(unpacked.path(), &options).expect("an image");
        let path = image["path"].as_str().expect("a path");
        table.add(path, count(&evidence));
    }
    for (folder, artefact) in [
        ("mft", "ntfs.mft"),
        ("usnjrnl", "ntfs.usnjrnl"),
        ("logfile", "ntfs.logfile"),
    ] {
        for path in corpus.files(folder) {
            // Text that stands beside samples, single records and cut pieces are no sample of a machine.
            let is_text = [".txt", ".fls.zst"].iter().any(|end| path.ends_with(end));
            if is_text || path.contains("/records/") {
                continue;
            }
            table.add(&path, count_alone(artefact, corpus.read(&path)));
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differences/findings.md");
    compare_golden(&golden, &table.text()).unwrap_or_else(|why| panic!("{why}"));
}

/// What was counted, as the page of the repository shows it.
#[derive(Default)]
struct Table {
    rows: String,
    sums: BTreeMap<&'static str, Count>,
}

impl Table {
    fn add(&mut self, path: &str, counts: BTreeMap<&'static str, Count>) {
        for (artefact, count) in counts {
            if count.records > 0 {
                self.rows += &line(&format!("`{path}`"), artefact, &count);
            }
            let sum = self.sums.entry(artefact).or_default();
            sum.records += count.records;
            for (name, found) in count.findings {
                *sum.findings.entry(name).or_default() += found;
            }
        }
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for kind in &FINDINGS {
            let sum = &self.sums[kind.artefact];
            let found = sum.findings.get(kind.name).copied().unwrap_or(0);
            text += &format!(
                "| `{}` | `{}` | {} | {} | {found} of {}, {} |\n",
                kind.name,
                kind.artefact,
                kind.says,
                kind.harmless,
                sum.records,
                percent(found, sum.records)
            );
        }
        text + SAMPLES + &self.rows
    }
}

fn line(sample: &str, artefact: &str, count: &Count) -> String {
    let found = count.findings.iter();
    let found: Vec<String> = found
        .map(|(name, found)| format!("`{name}` {found}"))
        .collect();
    let found = if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    };
    format!(
        "| {sample} | `{artefact}` | {} | {found} |\n",
        count.records
    )
}

/// Without a part that a machine could round otherwise.
fn percent(part: u64, whole: u64) -> String {
    let hundredths = part * 10_000 / whole.max(1);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

const HEAD: &str = "\
# Findings, and how often they are met where nobody forged anything

A finding is a reason to look, and no proof. The records of `$MFT`, `$UsnJrnl:$J` and `$LogFile` have them in their column
`findings`, and so have their rows in a timeline (`fields`); `scelle story` shows them with each record. This page is written by
`crates/engine/tests/findings.rs` (`UPDATE_GOLDEN=1`), which counts them in every volume, table and journal of the corpus. Nobody is known
to have set a time back in these: what is counted is taken for false, or has one of the harmless causes.

| kind | artefact | it says | harmless causes | met in the corpus |
|---|---|---|---|--:|
";

const SAMPLES: &str = "
| sample | artefact | records | with a finding |
|---|---|--:|---|
";

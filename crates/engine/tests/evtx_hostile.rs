//! Event logs that were made to do harm, or damaged at random.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use scelle_artefacts::{Input, windows::evtx::Evtx};
use scelle_engine::{Tally, run};
use scelle_event::{Context, JsonLines};
use scelle_formats::Bytes;
use scelle_testkit::{
    EvtxEvent, EvtxLog, EvtxNode, EvtxRecord, EvtxValue, Sample, seal_evtx_chunk,
};

const FILE_HEADER: usize = 4096;
const CHUNK: usize = 65_536;
/// What one chunk may unfold to, as JSON of the worst kind (six bytes a character), and more.
const MOST_OUTPUT: usize = 16 << 20;

/// Parses a log, and returns what was counted, and its lines of records and warnings.
fn parse(bytes: &[u8]) -> (Tally, String, String) {
    let context = Arc::new(Context {
        artefact: "windows.evtx",
        source: "hostile".into(),
        host: None,
        host_id: None,
        streams: vec!["log".into()],
    });
    let lines = JsonLines::new(Vec::new(), Vec::new());
    let stream = Bytes(bytes);
    let tally = run(&Evtx, Input::alone(&stream), &context, &lines).expect("memory takes all");
    let (records, warnings): (Vec<u8>, Vec<u8>) = lines
        .finish()
        .unwrap_or_else(|error: io::Error| panic!("{error}"));
    let text = |bytes| String::from_utf8(bytes).expect("JSON is UTF-8");
    let warnings = text(warnings);
    // The engine survives a parser that panics, and says so; none may.
    assert!(!warnings.contains("defect"), "{warnings}");
    (tally, text(records), warnings)
}

fn sample(name: &str) -> Vec<u8> {
    let samples = Sample::of("windows.evtx");
    let sample = samples.iter().find(|sample| sample.name == name);
    sample.expect("a sample of that name").bytes()
}

fn record(data: EvtxEvent) -> EvtxRecord {
    EvtxRecord {
        provider: "Hostile",
        channel: "Application",
        computer: "host",
        event_id: 1,
        level: 4,
        created: 133_536_836_967_890_123,
        user: &[],
        data,
    }
}

/// Numbers that look like chance, and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn random_damage_gives_json_and_warnings() {
    let mut chance = Chance(0x5ce1_1e00_0000_0001);
    for name in ["Security.evtx", "Application-odd.evtx"] {
        let sound = sample(name);
        // Nearly all of a small log is free space; the bytes that say something come first.
        let used = FILE_HEADER..FILE_HEADER + 4096;
        for _ in 0..600 {
            let mut bytes = sound.clone();
            for _ in 0..=chance.below(12) {
                let at = used.start + chance.below(used.len());
                bytes[at] = match chance.below(4) {
                    0 => 0xff,
                    1 => 0,
                    _ => chance.below(256) as u8,
                };
            }
            let (tally, records, warnings) = parse(&bytes);
            assert!(records.len() < MOST_OUTPUT);
            assert_eq!(records.lines().count() as u64, tally.records);
            assert_eq!(warnings.lines().count() as u64, tally.warnings);
            for line in records.lines().chain(warnings.lines()) {
                let json: Result<serde_json::Value, _> = serde_json::from_str(line);
                json.unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}

/// Templates are known again in later chunks; that must show in no result, damaged or not.
#[test]
fn a_chunk_gives_the_same_whatever_came_before() {
    let mut chance = Chance(0x5ce1_1e00_0000_0002);
    let samples = ["Security.evtx", "Application-odd.evtx"].map(sample);
    /// Chunks that the file header of the first sample counts.
    const COUNTED: usize = 2;
    for _ in 0..100 {
        let mut log = samples[0][..FILE_HEADER].to_vec();
        for _ in 0..4 {
            let sound = &samples[chance.below(2)][FILE_HEADER..FILE_HEADER + CHUNK];
            let start = log.len();
            log.extend_from_slice(sound);
            for _ in 0..chance.below(4) {
                log[start + chance.below(4096)] = chance.below(256) as u8;
            }
        }
        let (_, records, warnings) = parse(&log);
        let (mut alone, mut warned) = (String::new(), String::new());
        for kept in 0..4 {
            // A chunk of zeros has nothing to show, and the others keep their places.
            let mut one = log.clone();
            for other in (0..4).filter(|other| *other != kept) {
                one[FILE_HEADER + other * CHUNK..][..CHUNK].fill(0);
            }
            let (_, records, warnings) = parse(&one);
            alone.push_str(&records);
            // Of those that the file header counts, it is told that they were wiped.
            let (wiped, own): (Vec<&str>, Vec<&str>) = warnings
                .split_inclusive('\n')
                .partition(|line| line.contains("nothing but zeros"));
            let counted = (0..COUNTED).filter(|other| *other != kept).count();
            assert_eq!(wiped.len(), counted);
            warned.extend(own);
        }
        assert_eq!(records, alone);
        assert_eq!(warnings, warned);
    }
}

/// A text of the template that is shown thousands of times must not fill the memory.
#[test]
fn texts_do_not_multiply() {
    let many = |value: EvtxNode| EvtxNode::Element("D", Vec::new(), vec![value; 2_000]);
    let long = EvtxValue::Text("x".repeat(12_000));
    let mut event = EvtxEvent {
        name: "level 0",
        template: many(EvtxNode::Value(0)),
        values: vec![long],
    };
    for name in ["level 1", "level 2"] {
        event = EvtxEvent {
            name,
            template: many(EvtxNode::Value(0)),
            values: vec![EvtxValue::Nested(Box::new(event))],
        };
    }
    let (tally, records, warnings) = parse(&EvtxLog::of(&[record(event)]).into_bytes());
    assert_eq!(tally.records, 1);
    assert!(
        records.len() < 4096,
        "only the header of the record is shown"
    );
    assert!(warnings.contains("unfolded size"), "{warnings}");
}

/// Values that hold binary XML, one in another, deeper than anything that Windows writes.
#[test]
fn nesting_is_bounded() {
    let wrap = |inner: EvtxValue| EvtxEvent {
        name: "wrap",
        template: EvtxNode::Element("W", Vec::new(), vec![EvtxNode::Value(0)]),
        values: vec![inner],
    };
    let mut event = wrap(EvtxValue::U8(7));
    for _ in 0..40 {
        event = wrap(EvtxValue::Nested(Box::new(event)));
    }
    let (tally, _, warnings) = parse(&EvtxLog::of(&[record(event)]).into_bytes());
    assert_eq!(tally.records, 1);
    assert!(warnings.contains("depth of binary XML"), "{warnings}");
}

/// A chunk full of records that name overlapping templates costs no more than its bounds.
#[test]
fn overlapping_templates_end_soon() {
    const RECORD: usize = 56;
    let mut bytes = EvtxLog::of(&[]).into_bytes();
    let chunk = &mut bytes[FILE_HEADER..];
    for (index, record) in chunk[512..].chunks_exact_mut(RECORD).enumerate() {
        record.fill(0x01);
        record[..8].copy_from_slice(&[b'*', b'*', 0, 0, RECORD as u8, 0, 0, 0]);
        record[8..16].copy_from_slice(&(index as u64 + 1).to_le_bytes());
        record[24..30].copy_from_slice(&[0x0f, 1, 1, 0, 0x0c, 1]);
        // Each template begins somewhere else, and claims as much as there is.
        let template = 512 + (index * 8) as u32;
        record[34..38].copy_from_slice(&template.to_le_bytes());
        record[RECORD - 4..].copy_from_slice(&(RECORD as u32).to_le_bytes());
    }
    chunk[48..52].copy_from_slice(&65_536u32.to_le_bytes());
    seal_evtx_chunk(chunk);
    let start = Instant::now();
    let (tally, records, _) = parse(&bytes);
    assert!(tally.records > 1000, "{} records", tally.records);
    assert!(records.len() < MOST_OUTPUT);
    assert!(start.elapsed() < Duration::from_secs(20));
}

//! What snapshots add to what the volume says: all that is new, and nothing twice.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{ALL, Artefact, by_id};
use scelle_engine::{Progress, parse};
use scelle_event::{Consumer, Context, Observation, Sink, Warning};
use scelle_evidence::{Evidence, open_source};
use scelle_formats::Bytes;
use scelle_testkit::{
    shadow::{BLOCK, Shadow, lay},
    testdata,
};

const VOLUME_AT: usize = 64 << 10;
const SNAPSHOTS: u64 = 9;
/// Where nothing of the sample lies, in blocks of its volume.
const AREA: usize = 200;
/// A file of the sample, and where its `$MFT` begins.
const FILE: &str = "Users/alice/Downloads/invoice.exe";
const MFT_AT: usize = 16 << 10;

/// How many records and losses each stream gave.
#[derive(Default)]
struct Rows(Mutex<BTreeMap<String, Counted>>);

#[derive(Clone, Copy, Default)]
struct Counted {
    records: u64,
    warnings: u64,
}

struct Unit(String, Counted);

impl Consumer for Rows {
    type Unit = Unit;

    fn unit(&self, context: &Arc<Context>) -> Unit {
        Unit(context.streams[0].to_string(), Counted::default())
    }

    fn join(&self, unit: Unit) -> io::Result<()> {
        let mut rows = self.0.lock().expect("no thread panicked");
        let counted = rows.entry(unit.0).or_default();
        counted.records += unit.1.records;
        counted.warnings += unit.1.warnings;
        Ok(())
    }
}

impl Sink for Unit {
    fn observe(&mut self, _: &Observation<'_>) {
        self.1.records += 1;
    }

    fn warn(&mut self, _: Warning) {
        self.1.warnings += 1;
    }
}

/// The sample with nine snapshots, in each of which the file was last changed at another time.
fn nine() -> Evidence {
    let mut disk = std::fs::read(testdata().join("demo/workstation.raw")).expect("our sample");
    let mut entry = None;
    let evidence = open_source("nine".into(), Arc::new(Bytes(disk.clone())));
    evidence.volumes[0].walk(&mut |found| {
        let found = found.expect("sound");
        if found.path.as_str() == Some(FILE) {
            entry = found.id;
        }
        ControlFlow::Continue(())
    });
    let at = MFT_AT + entry.expect("the file").entry as usize * 1024;
    let volume = &mut disk[VOLUME_AT..];
    assert!(
        volume[AREA * BLOCK..254 * BLOCK]
            .iter()
            .all(|byte| *byte == 0)
    );
    let block = at / BLOCK;
    let kept = volume[block * BLOCK..][..BLOCK].to_vec();
    // The first attribute is $STANDARD_INFORMATION; its second time is that of the last change.
    let record = at % BLOCK;
    assert_eq!(kept[record..record + 4], *b"FILE");
    let first = record + usize::from(kept[record + 0x14]);
    assert_eq!(kept[first], 0x10);
    let modified = first + usize::from(kept[first + 0x14]) + 8;
    let shadows: Vec<Shadow> = (0..SNAPSHOTS)
        .map(|state| {
            let mut bytes = kept.clone();
            let ticks = 131_000_000_000_000_000 + state * 10_000_000;
            bytes[modified..modified + 8].copy_from_slice(&ticks.to_le_bytes());
            Shadow {
                created_filetime: 133_000_000_000_000_000 + state * 864_000_000_000,
                blocks: BTreeMap::from([(block as u32, bytes)]),
                besides: Vec::new(),
            }
        })
        .collect();
    let laid = lay(volume, (AREA * BLOCK) as u64, &shadows);
    assert!(laid.end <= 254 * BLOCK as u64);
    let mut evidence = open_source("nine".into(), Arc::new(Bytes(disk)));
    assert!(evidence.losses.is_empty(), "{:?}", evidence.losses);
    assert_eq!(evidence.snapshots.len() as u64, SNAPSHOTS);
    evidence.volumes = evidence.with_snapshots();
    evidence
}

fn rows(evidence: &Evidence, artefacts: &[&'static dyn Artefact]) -> BTreeMap<String, u64> {
    let rows = Rows::default();
    parse(evidence, artefacts, &rows, &Progress::default()).expect("parsed");
    let rows = rows.0.into_inner().expect("no thread panicked");
    let records = rows
        .into_iter()
        .map(|(stream, counted)| (stream, counted.records));
    records.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn nine_snapshots_add_nine_rows() {
    let evidence = nine();
    let plain = |one: &&'static dyn Artefact| !one.is_on_request();
    let all: Vec<_> = ALL.iter().copied().filter(plain).collect();
    for artefacts in [all, vec![by_id("ntfs.mft").expect("registered")]] {
        let all = rows(&evidence, &artefacts);
        let mut alone = nine();
        alone.volumes.truncate(1);
        let mut expected = rows(&alone, &artefacts);
        assert!(expected.len() > usize::from(artefacts.len() > 1));
        for volume in &evidence.volumes[1..] {
            expected.insert(format!("{}/$MFT", volume.info().id), 1);
        }
        assert_eq!(all, expected);
    }
}

/// Where the event log of the sample lies in its volume: its header, and two chunks.
const LOG: &str = "Windows/System32/winevt/Logs/Security.evtx";
const LOG_HEADER: usize = 4096;
/// The first block behind it.
const BEHIND_LOG: usize = AREA + 1;
const CHUNK: usize = 64 << 10;

fn place_of_log(volume: &[u8]) -> usize {
    let sectors = volume.chunks_exact(512);
    let before = sectors.take_while(|sector| !sector.starts_with(b"ElfFile\0"));
    512 * before.count()
}

fn wiped(volume: &[u8], chunk: usize) -> Vec<u8> {
    let mut volume = volume.to_vec();
    volume[chunk..chunk + CHUNK].fill(0);
    volume
}

/// A source whose volume is `now`, with one snapshot in which it was `before`.
fn with_one_snapshot(disk: &[u8], now: &[u8], before: &[u8]) -> Evidence {
    let pairs = now.chunks_exact(BLOCK).zip(before.chunks_exact(BLOCK));
    let shadow = Shadow {
        created_filetime: 133_000_000_000_000_000,
        blocks: pairs
            .enumerate()
            .filter(|(_, (now, before))| now != before)
            .map(|(block, (_, before))| (block as u32, before.to_vec()))
            .collect(),
        besides: Vec::new(),
    };
    let mut disk = disk.to_vec();
    disk[VOLUME_AT..][..now.len()].copy_from_slice(now);
    lay(
        &mut disk[VOLUME_AT..],
        (BEHIND_LOG * BLOCK) as u64,
        std::slice::from_ref(&shadow),
    );
    let mut evidence = open_source("one".into(), Arc::new(Bytes(disk)));
    evidence.volumes = evidence.with_snapshots();
    evidence
}

/// How many records and losses of event logs were handed on, of the volume alone and with its snapshot.
fn of_logs(mut evidence: Evidence) -> [Counted; 2] {
    let evtx = [by_id("windows.evtx").expect("registered")];
    let of = |evidence: &Evidence| {
        let rows = Rows::default();
        parse(evidence, &evtx, &rows, &Progress::default()).expect("parsed");
        let rows = rows.0.into_inner().expect("no thread panicked");
        let logs = rows.iter().filter(|(stream, _)| stream.ends_with(LOG));
        logs.fold(Counted::default(), |sum, (_, one)| Counted {
            records: sum.records + one.records,
            warnings: sum.warnings + one.warnings,
        })
    };
    let both = of(&evidence);
    evidence.volumes.truncate(1);
    [of(&evidence), both]
}

#[test]
fn of_a_log_that_changed_a_snapshot_adds_what_is_gone() {
    let disk = std::fs::read(testdata().join("demo/workstation.raw")).expect("our sample");
    let volume = &disk[VOLUME_AT..];
    let log = place_of_log(volume);
    let second = log + LOG_HEADER + CHUNK;
    assert_eq!(volume[second..][..8], *b"ElfChnk\0", "in one piece");

    // Records of a chunk that the volume itself has no more; that it was wiped is told once.
    let wiped = wiped(volume, second);
    let [alone, both] = of_logs(with_one_snapshot(&disk, &wiped, volume));
    let [whole, _] = of_logs(with_one_snapshot(&disk, volume, &wiped));
    assert!(alone.records > 0 && alone.records < whole.records);
    assert_eq!((both.records, both.warnings), (whole.records, 1));

    // A wiped chunk that the volume has as well, whose header counts it no more, is told of the snapshot.
    let mut cleared = wiped.clone();
    let header = &mut cleared[log..][..LOG_HEADER];
    header[42..44].copy_from_slice(&1u16.to_le_bytes());
    let sum = crc32fast::hash(&header[..120]);
    header[124..128].copy_from_slice(&sum.to_le_bytes());
    let [alone, both] = of_logs(with_one_snapshot(&disk, &cleared, &wiped));
    assert_eq!((alone.warnings, both.warnings), (0, 1));
    assert_eq!(alone.records, both.records);
}

#[test]
fn of_a_log_that_changed_only_the_chunks_that_changed_are_read_again() {
    let disk = std::fs::read(testdata().join("demo/workstation.raw")).expect("our sample");
    let now = &disk[VOLUME_AT..];
    let second = place_of_log(now) + LOG_HEADER + CHUNK;
    // Unused bytes at the end of the second chunk: its records stay what they are.
    let mut before = now.to_vec();
    before[second + CHUNK - 1] ^= 1;
    let mut evidence = with_one_snapshot(&disk, now, &before);
    let evtx = [by_id("windows.evtx").expect("registered")];
    let records_read = |evidence: &Evidence| {
        let summary = parse(evidence, &evtx, &Rows::default(), &Progress::default());
        summary.expect("parsed").artefacts[0].tally.records
    };
    let both = records_read(&evidence);
    evidence.volumes.truncate(1);
    let whole = records_read(&evidence);
    let [first, _] = of_logs(with_one_snapshot(&disk, &wiped(now, second), now));
    assert!(0 < first.records && first.records < whole);
    assert_eq!(both, whole + (whole - first.records));
}

#[test]
fn a_log_that_was_deleted_or_hidden_since_is_read_of_the_snapshot() {
    let disk = std::fs::read(testdata().join("demo/workstation.raw")).expect("our sample");
    let before = &disk[VOLUME_AT..];
    let [whole, _] = of_logs(with_one_snapshot(&disk, before, before));
    assert!(whole.records > 0);

    // Its record is marked as unused; its clusters hold what they held.
    let evidence = open_source("one".into(), Arc::new(Bytes(disk.clone())));
    let mut entry = None;
    evidence.volumes[0].walk(&mut |found| {
        let found = found.expect("sound");
        if found.path.as_str() == Some(LOG) {
            entry = found.id;
        }
        ControlFlow::Continue(())
    });
    let record = MFT_AT + entry.expect("the log").entry as usize * 1024;
    assert_eq!(before[record..][..4], *b"FILE");
    let mut deleted = before.to_vec();
    deleted[record + 0x16] &= !1;

    // Nothing that is known says what it is.
    let log = place_of_log(before);
    let mut hidden = before.to_vec();
    hidden[log..log + 8].fill(b'x');
    hidden[log + LOG_HEADER..][..8].fill(b'x');

    for now in [deleted, hidden] {
        let [alone, both] = of_logs(with_one_snapshot(&disk, &now, before));
        assert_eq!((alone.records, both.records), (0, whole.records));
    }
}

#[test]
fn a_walk_of_what_changed_shows_the_file_with_its_path() {
    let evidence = nine();
    for volume in &evidence.volumes[1..] {
        let mut shown = BTreeMap::new();
        volume.walk_changed(&mut |entry| {
            let entry = entry.expect("sound");
            shown.insert(entry.path.to_string(), entry.times.modified);
            ControlFlow::Continue(())
        });
        let mut whole = BTreeMap::new();
        volume.walk(&mut |entry| {
            let entry = entry.expect("sound");
            whole.insert(entry.path.to_string(), entry.times.modified);
            ControlFlow::Continue(())
        });
        assert!(shown.contains_key(FILE), "{shown:?}");
        // The records of its block, and the $MFT that the block is part of.
        assert!(shown.len() <= 17 && shown.len() < whole.len(), "{shown:?}");
        for (path, modified) in &shown {
            assert_eq!(whole.get(path), Some(modified), "{path}");
        }
        let changed = volume.changes().expect("both states are sound");
        let bytes: u64 = changed.iter().map(|range| range.end - range.start).sum();
        assert_eq!(bytes, BLOCK as u64);
    }
}

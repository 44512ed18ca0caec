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

/// How many records each stream gave.
#[derive(Default)]
struct Rows(Mutex<BTreeMap<String, u64>>);

struct Unit(String, u64);

impl Consumer for Rows {
    type Unit = Unit;

    fn unit(&self, context: &Arc<Context>) -> Unit {
        Unit(context.streams[0].to_string(), 0)
    }

    fn join(&self, unit: Unit) -> io::Result<()> {
        let mut rows = self.0.lock().expect("no thread panicked");
        *rows.entry(unit.0).or_default() += unit.1;
        Ok(())
    }
}

impl Sink for Unit {
    fn observe(&mut self, _: &Observation<'_>) {
        self.1 += 1;
    }

    fn warn(&mut self, _: Warning) {}
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
    let mut rows = rows.0.into_inner().expect("no thread panicked");
    rows.retain(|_, count| *count > 0);
    rows
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
        let changed = volume.changed_mft().expect("both states are sound");
        let bytes: u64 = changed.iter().map(|range| range.end - range.start).sum();
        assert_eq!(bytes, BLOCK as u64);
    }
}

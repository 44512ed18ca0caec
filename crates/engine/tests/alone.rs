//! A record by itself: the same as in its stream, from what it read alone.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use scelle_artefacts::{Artefact, Input, by_id};
use scelle_engine::{
    alone::{AloneError, Watched, run_alone},
    run,
};
use scelle_event::{Consumer, Context, EvidencePath, Observation, Sink, StreamId, Warning, json};
use scelle_formats::{Bytes, ReadAt, ReadError};
use scelle_testkit::{Corpus, Sample};

/// Where each record lies, and all that is said of it.
#[derive(Default)]
struct Kept(Mutex<Vec<(Range<u64>, String)>>);

#[derive(Default)]
struct KeptUnit(Vec<(Range<u64>, String)>);

impl Sink for KeptUnit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let mut text = Vec::new();
        json::write_observation(&mut text, observation);
        let mut text = String::from_utf8_lossy(&text).into_owned();
        text.push_str(&format!("{:?}", observation.times));
        self.0
            .push((observation.provenance.primary.range.clone(), text));
    }

    fn warn(&mut self, _: Warning) {}
}

impl Consumer for Kept {
    type Unit = KeptUnit;

    fn unit(&self, _: &Arc<Context>) -> KeptUnit {
        KeptUnit::default()
    }

    fn join(&self, unit: KeptUnit) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(unit.0);
        Ok(())
    }
}

impl Kept {
    fn into_list(self) -> Vec<(Range<u64>, String)> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was read of a stream; a read of anything else fails.
struct Only<'a> {
    bytes: &'a [u8],
    shown: Vec<Range<u64>>,
}

impl ReadAt for Only<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let shown = self.shown.iter().find(|range| range.contains(&offset));
        let Some(shown) = shown else {
            return Err(ReadError::Absent {
                what: format!("the byte at {offset}"),
            });
        };
        let count = buf.len().min((shown.end - offset) as usize);
        let at = offset as usize;
        buf[..count].copy_from_slice(&self.bytes[at..at + count]);
        Ok(count)
    }
}

fn context(artefact: &dyn Artefact) -> Arc<Context> {
    Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: "test".into(),
        host: None,
        host_id: None,
        streams: vec!["test".into()],
    })
}

/// One record of a file of that name from its place, or why not.
fn alone(
    name: &str,
    artefact: &dyn Artefact,
    at: u64,
    stream: &dyn ReadAt,
) -> Result<Vec<(Range<u64>, String)>, AloneError> {
    let id = StreamId {
        volume: "test".into(),
        path: EvidencePath::from_bytes(name.as_bytes()),
        stream: None,
    };
    let kept = Kept::default();
    run_alone(artefact, &id, at, stream, &context(artefact), &kept)?;
    Ok(kept.into_list())
}

/// Every record of a log, by itself; gives how many bytes, in leaves of a KiB, each needed.
fn check_log(name: &str, bytes: &[u8], every: usize) -> Vec<u64> {
    let artefact = by_id("windows.evtx").expect("registered");
    let kept = Kept::default();
    let stream = Bytes(bytes);
    run(artefact, Input::alone(&stream), &context(artefact), &kept).expect("kept");
    let mut needed = Vec::new();
    for (range, said) in kept.into_list().iter().step_by(every) {
        let watched = Watched::new(&stream);
        let by_itself = alone(name, artefact, range.start, &watched)
            .unwrap_or_else(|error| panic!("{name} at {}: {error}", range.start));
        assert_eq!(by_itself, [(range.clone(), said.clone())], "{name}");
        let shown = watched.read();
        let only = Only { bytes, shown };
        let again = alone(name, artefact, range.start, &only)
            .unwrap_or_else(|error| panic!("{name} at {}: {error}", range.start));
        assert_eq!(again, by_itself, "{name}");
        // Not one of the ranges is there for nothing that could be left out.
        for left_out in 0..only.shown.len() {
            let mut shown = only.shown.clone();
            shown.remove(left_out);
            let refused = alone(name, artefact, range.start, &Only { bytes, shown });
            assert!(refused.is_err(), "{name} at {}: {refused:?}", range.start);
        }
        let leaves: u64 = only
            .shown
            .iter()
            .map(|range| range.end.next_multiple_of(1024) - range.start / 1024 * 1024)
            .sum();
        needed.push(leaves);
    }
    needed
}

#[test]
fn records_of_samples_stand_alone() {
    for sample in Sample::of("windows.evtx") {
        let needed = check_log(&sample.name, &sample.bytes(), 1);
        assert!(
            !needed.is_empty() || sample.name.contains("wiped"),
            "{}",
            sample.name
        );
    }
}

#[test]
fn records_of_real_logs_stand_alone_and_need_little() {
    let Some(corpus) = Corpus::find("records by themselves") else {
        return;
    };
    let mut needed = Vec::new();
    for name in corpus.files("evtx") {
        if !name.contains(".evtx") {
            continue;
        }
        let bytes = corpus.read(&name);
        // Of each log some hundred records.
        let every = (bytes.len() / (128 << 10)).max(1);
        needed.extend(check_log(name.trim_end_matches(".zst"), &bytes, every));
    }
    needed.sort_unstable();
    assert!(needed.len() > 1_000, "{}", needed.len());
    let median = needed[needed.len() / 2];
    let most = needed[needed.len() - 1];
    eprintln!(
        "{} records: median {median} bytes, at most {most}",
        needed.len()
    );
    assert!(median <= 16 << 10, "{median}");
    assert!(most <= 72 << 10, "{most}");
}

#[test]
fn what_rests_on_more_is_refused_by_name() {
    let journal = by_id("ntfs.usnjrnl").expect("registered");
    let refused = alone("$J", journal, 0, &Bytes(vec![0; 4096])).expect_err("it needs the $MFT");
    assert!(refused.to_string().contains("ntfs.usnjrnl"), "{refused}");
    let elf = by_id("executable.elf").expect("registered");
    let refused = alone("a", elf, 0, &Bytes(vec![0; 1 << 20])).expect_err("too large");
    assert!(refused.to_string().contains("executable.elf"), "{refused}");
    let evtx = by_id("windows.evtx").expect("registered");
    for at in [0, 4096, 5000, u64::MAX] {
        for bytes in [vec![], vec![0; 100], vec![0xFF; 70_000]] {
            assert!(alone("a.evtx", evtx, at, &Bytes(bytes)).is_err());
        }
    }
}

/// Bytes that a parser takes, in a stream that no timeline hands to it.
#[test]
fn a_stream_of_another_kind_has_no_row() {
    let recycled = by_id("windows.recycle-bin").expect("registered");
    let sample = Sample::of("windows.recycle-bin").remove(0);
    let bytes = sample.bytes();
    let found = alone(&sample.name, recycled, 0, &Bytes(&bytes)).expect("its own name");
    assert_eq!(found.len(), 1);
    let refused = alone("notes.txt", recycled, 0, &Bytes(&bytes)).expect_err("another name");
    assert!(matches!(refused, AloneError::Unrecognised(_)), "{refused}");
    let evtx = by_id("windows.evtx").expect("registered");
    let mut log = Sample::of("windows.evtx")
        .into_iter()
        .find(|sample| sample.name == "Security.evtx")
        .expect("a sample")
        .bytes();
    alone("a.bin", evtx, 4096 + 512, &Bytes(&log)).expect("by its magic");
    log[0] = 0;
    alone("a.evtx", evtx, 4096 + 512, &Bytes(&log)).expect("by its name and first chunk");
    let refused = alone("a.bin", evtx, 4096 + 512, &Bytes(&log)).expect_err("by nothing");
    assert!(matches!(refused, AloneError::Unrecognised(_)), "{refused}");
}

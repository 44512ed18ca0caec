//! Records in unused clusters: those of a made volume, and those in what the Sleuth Kit calls unallocated
//! on volumes that were formatted anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use scelle_artefacts::{Artefact, Input, by_id};
use scelle_engine::{Progress, parse, run};
use scelle_event::{Consumer, Context, Observation, Sink, Warning};
use scelle_evidence::{Evidence, OpenOptions, open, open_source};
use scelle_formats::Bytes;
use scelle_testkit::{Corpus, MftRecord, NtfsImage, Part, has_tool, image, run_tool};

const DATA: u32 = 0x80;
const CLUSTER: usize = 512;
const CLUSTERS: usize = 9000;
const MFT_LCN: u64 = 4;
const RECORDS: u64 = 45;
/// `$MFT` has a cluster for three more records than it uses.
const MFT_CLUSTERS: u64 = 96;
const TIMES: [u64; 4] = [130_000_000_000_000_000; 4];
const ROOT: u64 = MftRecord::reference(5, 5);
const WORK: u64 = MftRecord::reference(40, 1);

/// Where a record lies, its reference, and its path.
type Found = (Range<u64>, u64, String);

#[derive(Default)]
struct Seen(Mutex<Vec<Found>>);

struct Unit(Vec<Found>);

impl Consumer for Seen {
    type Unit = Unit;

    fn unit(&self, _context: &Arc<Context>) -> Unit {
        Unit(Vec::new())
    }

    fn join(&self, unit: Unit) -> io::Result<()> {
        self.0.lock().expect("no panic").extend(unit.0);
        Ok(())
    }
}

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        let span = &observation.provenance.primary;
        let path = observation.record.subject().expect("a path").into_owned();
        let reference = span.record.expect("a reference");
        self.0.push((span.range.clone(), reference, path));
    }

    fn warn(&mut self, _warning: Warning) {}
}

fn carved(evidence: &Evidence) -> Vec<Found> {
    let artefact: &'static dyn Artefact = by_id("ntfs.carved").expect("registered");
    let seen = Seen::default();
    let progress = Progress::default();
    parse(evidence, &[artefact], &seen, &progress).expect("nothing fails");
    seen.0.into_inner().expect("no panic")
}

fn file(entry: u32, sequence: u16, parent: u64, name: &str) -> MftRecord {
    let name: Vec<u16> = name.encode_utf16().collect();
    MftRecord::new(entry, sequence)
        .standard(TIMES, 0x20)
        .name(parent, 3, &name, TIMES)
}

/// Clusters of 512 bytes, so that records lie at odd clusters, and one across the end of the first
/// mebibyte.
fn made() -> Evidence {
    let mft_bytes = RECORDS * 1024;
    let mft = file(0, 1, ROOT, "$MFT").part(
        DATA,
        "",
        &Part {
            real_bytes: mft_bytes,
            valid_bytes: mft_bytes,
            runs: &[(Some(MFT_LCN as u32), MFT_CLUSTERS as u32)],
            ..Part::default()
        },
    );
    let across = (1 << 20) / CLUSTER as u64 - 1;
    // What is before 200 belongs to files, and so do 300 and 301.
    let mut bits = vec![0u8; CLUSTERS.div_ceil(8)];
    for lcn in (0..200).chain(300..302) {
        bits[lcn / 8] |= 1 << (lcn % 8);
    }
    let bitmap_bytes = bits.len() as u64;
    let bitmap = Part {
        real_bytes: bitmap_bytes,
        valid_bytes: bitmap_bytes,
        runs: &[(Some(190), bitmap_bytes.div_ceil(CLUSTER as u64) as u32)],
        ..Part::default()
    };
    let image = NtfsImage::new(CLUSTER, 1024, CLUSTERS, MFT_LCN, 1)
        .record_at(1, 0, &mft)
        .record(0, &mft)
        .record(5, &file(5, 5, ROOT, ".").directory())
        .record(6, &file(6, 1, ROOT, "$Bitmap").part(DATA, "", &bitmap))
        .record(40, &file(40, 1, ROOT, "work").directory())
        .put(190, &bits)
        // In the end of `$MFT`, which is taken.
        .record(46, &file(46, 3, WORK, "in the tail.txt"))
        .record_at(201, 0, &file(90, 3, WORK, "odd cluster.txt"))
        .record_at(across, 0, &file(91, 2, ROOT, "across.txt").deleted())
        .record_at(
            8000,
            0,
            &file(92, 2, MftRecord::reference(40, 9), "lost.txt"),
        )
        // A file has this one.
        .record_at(300, 0, &file(93, 2, WORK, "content of a file.txt"));
    open_source("made".into(), Arc::new(Bytes(image.into_bytes())))
}

#[test]
fn records_are_found_where_no_file_is() {
    let evidence = made();
    let found = carved(&evidence);
    let of = |at: u64, reference, path: &str| (at..at + 1024, reference, path.to_owned());
    let cluster = CLUSTER as u64;
    let expected = [
        of(
            MFT_LCN * cluster + 46 * 1024,
            MftRecord::reference(46, 3),
            "/work/in the tail.txt",
        ),
        of(
            201 * cluster,
            MftRecord::reference(90, 3),
            "/work/odd cluster.txt",
        ),
        of(
            (1 << 20) - cluster,
            MftRecord::reference(91, 2),
            "/across.txt",
        ),
        of(
            8000 * cluster,
            MftRecord::reference(92, 2),
            "/$OrphanFiles/lost.txt",
        ),
    ];
    assert_eq!(found, expected);
}

#[test]
fn nobody_carves_who_was_not_asked() {
    let evidence = made();
    let seen = Seen::default();
    let usual = scelle_artefacts::usual();
    assert!(usual.len() + 1 == scelle_artefacts::ALL.len());
    parse(&evidence, &usual, &seen, &Progress::default()).expect("nothing fails");
    let found = seen.0.into_inner().expect("no panic");
    assert!(!found.iter().any(|(_, _, path)| path.contains("odd")));
    // With others, what was asked for comes after them.
    let both = [by_id("ntfs.mft"), by_id("ntfs.carved")].map(|one| one.expect("registered"));
    let seen = Seen::default();
    parse(&evidence, &both, &seen, &Progress::default()).expect("nothing fails");
    let found = seen.0.into_inner().expect("no panic");
    assert!(found.len() > 4 && found.ends_with(&carved(&evidence)));
}

/// Volumes of the corpus, each formatted anew: their old records are in free clusters then.
#[test]
fn the_same_as_in_what_the_sleuth_kit_calls_unallocated() {
    let Some(corpus) = Corpus::find("records in unused clusters") else {
        return;
    };
    let what = "records in unused clusters";
    if !has_tool("blkls", what) || !has_tool("mkntfs", what) {
        return;
    }
    let summary = corpus.expected_json("ntfs/summary.json");
    let mut met = BTreeMap::new();
    for sample in summary.as_array().expect("a list of images") {
        let path = sample["path"].as_str().expect("a path");
        let unpacked = image(&corpus, sample);
        let bytes = unpacked.as_file().metadata().expect("our own file").len();
        if sample["volume_byte_offset"] != 0 || bytes > 200 << 20 {
            continue;
        }
        let volume = unpacked.path().to_str().expect("our own path");
        run_tool(
            Path::new("/"),
            "mkntfs",
            &["-q", "-F", "-Q", "-s", "512", volume],
        );
        let evidence = open(
            unpacked.path(),
            &OpenOptions {
                map: true,
                ..OpenOptions::default()
            },
        )
        .expect("an image");
        let cluster = evidence.volumes[0].info().cluster_bytes.expect("clusters");
        let free = run_tool(Path::new("/"), "blkls", &["-l", volume]);
        let free: BTreeSet<u64> = free
            .lines()
            .filter_map(|line| line.strip_suffix("|f")?.parse().ok())
            .collect();
        let unallocated = Command::new("blkls").arg(volume).output().expect("blkls");
        // What `$MFT` has past its end is no free cluster.
        let ours: Vec<u64> = carved(&evidence)
            .into_iter()
            .filter(|(range, ..)| free.contains(&(range.start / u64::from(cluster))))
            .map(|(_, reference, _)| reference)
            .collect();
        assert_eq!(ours, alone(unallocated.stdout), "{path}");
        met.insert(path.to_owned(), ours.len());
    }
    assert!(met.values().sum::<usize>() > 100, "{met:?}");
}

/// The references of the records in some bytes.
fn alone(bytes: Vec<u8>) -> Vec<u64> {
    let artefact = by_id("ntfs.carved").expect("registered");
    let context = Arc::new(Context {
        artefact: artefact.descriptor().id,
        source: "blkls".into(),
        host: None,
        host_id: None,
        streams: ["unallocated", ""].map(Arc::from).to_vec(),
    });
    let seen = Seen::default();
    run(artefact, Input::alone(&Bytes(bytes)), &context, &seen).expect("nothing fails");
    let found = seen.0.into_inner().expect("no panic");
    found
        .into_iter()
        .map(|(_, reference, _)| reference)
        .collect()
}

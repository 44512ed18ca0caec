//! Bundles of a few samples, their timelines, and proofs of its rows.

#![allow(dead_code, reason = "each test program uses some of these")]

#[path = "../../../bundle/src/proof/file.rs"]
#[allow(dead_code, reason = "it is the bundle's own")]
pub(crate) mod file;

use std::{
    fs,
    path::{Path, PathBuf},
};

use scelle::{
    Destination, Order, RowAt,
    artefacts::{Artefact, by_id},
    engine::{Plan, Profile, Progress, profile::Limits},
    event::Tlp,
    timeline::{Format, Options, Output},
};

const LOG: &str = "Windows/System32/winevt/Logs/Security.evtx";

/// A bundle, and the rows of its timeline.
pub(crate) struct Case {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bundle: PathBuf,
    pub(crate) root: String,
    pub(crate) rows: Vec<String>,
}

/// A bundle of an event log, a deleted file's record and many small files; and its timeline.
pub(crate) fn case(name: &str, small_files: usize) -> Case {
    let mut case = sealed(name, small_files, |_| {});
    case.rows = rows(&case.bundle);
    case
}

/// The same under an order of one's own, and without rows.
pub(crate) fn sealed(name: &str, small_files: usize, shape: impl FnOnce(&mut Order)) -> Case {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    plant(&source, small_files);
    let source = scelle::open(&source).expect("a source");
    let progress = Progress::default();
    let profile = Profile::load("everything").expect("built in");
    let plan = Plan::new(source.evidence(), profile, Limits::default(), &progress);
    let bundle = folder.path().join(format!("{name}.scelle.zip"));
    let destination = Destination::File {
        path: bundle.clone(),
        force: false,
    };
    let mut order = Order::new(name, Tlp::Amber, "source");
    shape(&mut order);
    let collected = scelle::collect(&source, &plan, order, destination, &progress).expect("sealed");
    Case {
        bundle,
        root: collected.root,
        rows: Vec::new(),
        folder,
    }
}

fn plant(source: &Path, small_files: usize) {
    let put = |path: &str, bytes: &[u8]| {
        let path = source.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    };
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let log = fs::read(testdata.join("windows.evtx/Security.evtx.in")).expect("a sample");
    put(LOG, &log);
    put("$Recycle.Bin/S-1-5-21-1/$IABCDEF.txt", &recycled());
    for number in 0..small_files {
        put(
            &format!("small/{number:06}.txt"),
            number.to_string().as_bytes(),
        );
    }
}

/// A Recycle Bin index file of Windows 10.
fn recycled() -> Vec<u8> {
    let units: Vec<u16> = "C:\\a.txt".encode_utf16().chain([0]).collect();
    let mut bytes = 2u64.to_le_bytes().to_vec();
    bytes.extend(99u64.to_le_bytes());
    bytes.extend(132_000_000_000_000_000u64.to_le_bytes());
    bytes.extend((units.len() as u32).to_le_bytes());
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}

/// The rows of a bundle's timeline.
pub(crate) fn rows(bundle: &Path) -> Vec<String> {
    let sealed = [scelle::open(bundle).expect("a bundle")];
    let artefacts: Vec<&'static dyn Artefact> = ["windows.evtx", "windows.recycle-bin"]
        .into_iter()
        .filter_map(by_id)
        .collect();
    let mut lines = Vec::new();
    let output = Output {
        format: Format::Jsonl,
        rows: Box::new(&mut lines),
        warnings: Box::new(std::io::sink()),
    };
    let (options, progress) = (Options::default(), Progress::default());
    scelle::timeline(&sealed, &artefacts, options, vec![output], &progress).expect("a timeline");
    let rows = String::from_utf8(lines).expect("text");
    rows.lines().map(str::to_owned).collect()
}

/// A proof of one of its rows.
pub(crate) fn prove(case: &Case, row: &str) -> Vec<u8> {
    let at: RowAt = serde_json::from_str(row).expect("a row");
    scelle::prove(&case.bundle, None, &at, &Tlp::Amber.into()).expect("a proof")
}

/// The parts of a proof without its sums.
pub(crate) fn parts(proof: &[u8]) -> Vec<file::Part> {
    let mut parts = file::read(proof).expect("own form");
    parts.pop();
    parts
}

/// A proof's file in the one form, with sums that fit.
pub(crate) fn whole(mut parts: Vec<file::Part>) -> Vec<u8> {
    let lines = parts.iter().map(|(name, bytes)| {
        let hash = blake3::hash(bytes);
        format!("{hash}  {name}\n")
    });
    let sums = lines.collect::<String>().into_bytes();
    parts.push(("b3sums.txt".to_owned(), sums));
    file::write(&parts)
}

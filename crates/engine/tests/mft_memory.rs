//! What the survey of a large `$MFT` costs: the figure that the README states.
#![cfg(target_os = "linux")]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use scelle_artefacts::{Input, by_id, ntfs::mft::BYTES_PER_EXTENSION};
use scelle_engine::run;
use scelle_event::{Consumer, Context, Observation, Sink, Warning};
use scelle_formats::{ReadAt, ReadError, ntfs::paths};
use scelle_testkit::{MftRecord, peak_bytes};

const ENTRIES: u64 = 5_000_000;
const RECORD_BYTES: usize = 512;
/// A directory, and so many files in it.
const FOLDER_ENTRIES: u64 = 64;
const NAME: &str = "file-0000000.txt";
/// While the names are joined, the length of each path is kept besides.
const JOINING_BYTES: u64 = 4;
/// And what each extension record claims.
const JOINING_EXTENSION_BYTES: u64 = 24;
/// Pieces of 1 MiB on each thread, caches, the test itself.
const FIXED_BYTES: u64 = 48 << 20;

/// An `$MFT` that is made as it is read.
struct Generated {
    directory: Vec<u8>,
    file: Vec<u8>,
    /// Where every other record is one.
    extension: Option<Vec<u8>>,
    name_at: usize,
    parent_at: usize,
}

impl Generated {
    fn new(extensions: bool) -> Self {
        let units: Vec<u16> = NAME.encode_utf16().collect();
        let record = || {
            MftRecord::new(0, 1)
                .standard([133_536_836_967_890_123; 4], 0x20)
                .name(MftRecord::reference(5, 5), 1, &units, [1; 4])
        };
        let file = record().resident(0x80, "", b"").build(RECORD_BYTES);
        let first_units: Vec<u8> = units[..4]
            .iter()
            .flat_map(|unit| unit.to_le_bytes())
            .collect();
        let name_at = file
            .windows(first_units.len())
            .position(|window| window == first_units)
            .expect("the name is there");
        Self {
            directory: record().directory().build(RECORD_BYTES),
            file,
            extension: extensions.then(|| {
                MftRecord::new(0, 1)
                    .extension_of(1)
                    .resident(0x80, "more", b"")
                    .build(RECORD_BYTES)
            }),
            name_at,
            parent_at: name_at - 0x42,
        }
    }

    fn record(&self, entry: u64, out: &mut [u8]) {
        if let Some(extension) = self.extension.as_ref().filter(|_| entry % 2 == 1) {
            out.copy_from_slice(extension);
            out[0x2C..0x30].copy_from_slice(&(entry as u32).to_le_bytes());
            out[0x20..0x28].copy_from_slice(&paths::reference(entry - 1, 1).to_le_bytes());
            return;
        }
        let folder = entry - entry % FOLDER_ENTRIES;
        let is_folder = entry == folder;
        out.copy_from_slice(if is_folder {
            &self.directory
        } else {
            &self.file
        });
        out[0x2C..0x30].copy_from_slice(&(entry as u32).to_le_bytes());
        if !is_folder && folder != 0 {
            let parent = paths::reference(folder, 1).to_le_bytes();
            out[self.parent_at..self.parent_at + 8].copy_from_slice(&parent);
        }
        let mut number = entry;
        for digit in (5..12).rev() {
            out[self.name_at + digit * 2] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

impl ReadAt for Generated {
    fn len(&self) -> u64 {
        ENTRIES * RECORD_BYTES as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let count = (buf.len() as u64).min(self.len().saturating_sub(offset)) as usize;
        let whole = count / RECORD_BYTES * RECORD_BYTES;
        assert!(offset.is_multiple_of(RECORD_BYTES as u64) && (whole > 0 || count == 0));
        let first = offset / RECORD_BYTES as u64;
        for (entry, out) in (first..).zip(buf[..whole].chunks_exact_mut(RECORD_BYTES)) {
            self.record(entry, out);
        }
        Ok(whole)
    }
}

/// Counts entries and looks at the last path.
#[derive(Default)]
struct Count {
    entries: AtomicU64,
    deep: AtomicU64,
    extensions: AtomicU64,
}

#[derive(Default)]
struct Unit {
    entries: u64,
    deep: u64,
    extensions: u64,
}

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        self.entries += 1;
        let subject = observation.record.subject().expect("a path");
        self.deep += u64::from(subject.matches('/').count() == 2);
        self.extensions += observation.provenance.also.len() as u64;
    }

    fn warn(&mut self, warning: Warning) {
        panic!("{warning:?}");
    }
}

impl Consumer for Count {
    type Unit = Unit;

    fn unit(&self, _context: &Arc<Context>) -> Unit {
        Unit::default()
    }

    fn join(&self, unit: Unit) -> io::Result<()> {
        self.entries.fetch_add(unit.entries, Relaxed);
        self.deep.fetch_add(unit.deep, Relaxed);
        self.extensions.fetch_add(unit.extensions, Relaxed);
        Ok(())
    }
}

fn parse(extensions: bool) -> (Count, u64) {
    let context = Arc::new(Context {
        artefact: "ntfs.mft",
        source: "test".into(),
        host: None,
        host_id: None,
        streams: vec!["ntfs-0/$MFT".into()],
    });
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("a pool");
    let (stream, count) = (Generated::new(extensions), Count::default());
    let artefact = by_id("ntfs.mft").expect("registered");
    let (parsed, used) =
        peak_bytes(|| pool.install(|| run(artefact, Input::alone(&stream), &context, &count)));
    parsed.expect("nothing to fail");
    (count, used)
}

/// One after the other, since each counts the memory of the whole process.
#[test]
fn five_million_entries_cost_what_the_readme_states() {
    let (count, used) = parse(false);
    assert_eq!(count.entries.into_inner(), ENTRIES);
    // Entry 5 is the root whatever its name; the rest lie in folders.
    let folders = ENTRIES.div_ceil(FOLDER_ENTRIES);
    assert_eq!(
        count.deep.into_inner(),
        ENTRIES - folders - (FOLDER_ENTRIES - 1)
    );
    let entry = paths::BYTES_PER_ENTRY as u64 + JOINING_BYTES;
    let stated = ENTRIES * (entry + NAME.len() as u64);
    check(used, stated);

    // Every other record carries on the one before.
    let (count, used) = parse(true);
    let extensions = ENTRIES / 2;
    assert_eq!(count.entries.into_inner(), ENTRIES - extensions);
    assert_eq!(count.extensions.into_inner(), extensions);
    let stated = ENTRIES * entry
        + (ENTRIES - extensions) * NAME.len() as u64
        + extensions * (BYTES_PER_EXTENSION as u64 + JOINING_EXTENSION_BYTES);
    check(used, stated);
}

fn check(used: u64, stated: u64) {
    eprintln!("{} bytes an entry", used as f64 / ENTRIES as f64);
    assert!(
        used <= stated + FIXED_BYTES,
        "{used} bytes for {ENTRIES} entries, stated are {stated} and {FIXED_BYTES}"
    );
    assert!(
        used >= ENTRIES * paths::BYTES_PER_ENTRY as u64,
        "{used}: nothing was measured"
    );
}

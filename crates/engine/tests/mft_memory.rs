//! What the survey of a large `$MFT` costs: the figure that the README states.
#![cfg(target_os = "linux")]

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use scelle_artefacts::{Input, by_id};
use scelle_engine::run;
use scelle_event::{Consumer, Context, Observation, Sink, Warning};
use scelle_formats::{ReadAt, ReadError, ntfs::paths};
use scelle_testkit::MftRecord;

const ENTRIES: u64 = 5_000_000;
const RECORD_BYTES: usize = 512;
/// A directory, and so many files in it.
const FOLDER_ENTRIES: u64 = 64;
const NAME: &str = "file-0000000.txt";
/// While the names are joined, the length of each path is kept besides.
const JOINING_BYTES: u64 = 4;
/// Pieces of 1 MiB on each thread, caches, the test itself.
const FIXED_BYTES: u64 = 48 << 20;

/// An `$MFT` that is made as it is read.
struct Generated {
    directory: Vec<u8>,
    file: Vec<u8>,
    name_at: usize,
    parent_at: usize,
}

impl Generated {
    fn new() -> Self {
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
            name_at,
            parent_at: name_at - 0x42,
        }
    }

    fn record(&self, entry: u64, out: &mut [u8]) {
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
}

#[derive(Default)]
struct Unit {
    entries: u64,
    deep: u64,
}

impl Sink for Unit {
    fn observe(&mut self, observation: &Observation<'_>) {
        self.entries += 1;
        let subject = observation.record.subject().expect("a path");
        self.deep += u64::from(subject.matches('/').count() == 2);
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
        Ok(())
    }
}

/// Anonymous memory of this process, in bytes; file maps are not part of it.
fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line
        .expect("Linux 4.5 has it")
        .trim()
        .trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") * 1024
}

#[expect(
    clippy::disallowed_methods,
    reason = "a watcher beside the work, which is no part of it"
)]
#[test]
fn five_million_entries_cost_what_the_readme_states() {
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
    let (stream, count) = (Generated::new(), Count::default());
    let before = anonymous_bytes();
    let done = AtomicBool::new(false);
    let peak = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Relaxed) {
                peak = peak.max(anonymous_bytes());
                thread::sleep(Duration::from_millis(2));
            }
            peak
        });
        let artefact = by_id("ntfs.mft").expect("registered");
        let parsed = pool.install(|| run(artefact, Input::alone(&stream), &context, &count));
        done.store(true, Relaxed);
        parsed.expect("nothing to fail");
        sampler.join().expect("it only looks")
    });
    assert_eq!(count.entries.into_inner(), ENTRIES);
    // Entry 5 is the root whatever its name; the rest lie in folders.
    let folders = ENTRIES.div_ceil(FOLDER_ENTRIES);
    assert_eq!(
        count.deep.into_inner(),
        ENTRIES - folders - (FOLDER_ENTRIES - 1)
    );
    let stated = paths::BYTES_PER_ENTRY as u64 + NAME.len() as u64 + JOINING_BYTES;
    let used = peak.saturating_sub(before);
    eprintln!("{} bytes an entry", used as f64 / ENTRIES as f64);
    assert!(
        used <= ENTRIES * stated + FIXED_BYTES,
        "{used} bytes for {ENTRIES} entries, stated are {stated} each and {FIXED_BYTES}"
    );
    assert!(
        used >= ENTRIES * paths::BYTES_PER_ENTRY as u64,
        "{used}: nothing was measured"
    );
}

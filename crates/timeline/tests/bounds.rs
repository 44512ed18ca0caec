//! Memory is bounded, whatever the number of rows; threads and memory leave no trace in the files.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use scelle_event::{Consumer, Meaning, Span};
use scelle_parallel::ordered;
use scelle_timeline::{Format, Options, Output, Timeline};
use support::{Seen, Shared, Thing, context, stamp};

/// Units of records with moments in a fixed shuffle, made on any thread and joined in order.
fn feed(timeline: &Timeline, units: usize, records: u64) {
    let context = context("payload", "vol/$MFT", "test.things");
    ordered(
        units,
        rayon::current_num_threads() * 4,
        |number, _| {
            let mut unit = timeline.unit(&context);
            for index in 0..records {
                let id = number as u64 * records + index;
                let at = |salt: u64| {
                    let mixed = (id ^ salt << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    1_600_000_000_000_000_000 + i128::from(mixed >> 14) * 100
                };
                let path = format!("C:\\Users\\canary{}\\AppData\\file-{id}.dat", id % 97);
                Seen {
                    times: vec![
                        stamp(at(0), Meaning::Created).in_attribute("si"),
                        stamp(at(1), Meaning::Modified).in_attribute("si"),
                        stamp(at(1), Meaning::Changed).in_attribute("si"),
                        stamp(at(0), Meaning::Created).in_attribute("fn"),
                    ],
                    provenance: Span::new(id * 1024..(id + 1) * 1024).numbered(id).into(),
                    record: Thing {
                        message: format!("{path} ({id} bytes)"),
                        name: Some(path),
                        size_bytes: id,
                        delta: Some(-1),
                        is_odd: Some(id % 2 == 1),
                        tree: Some(vec![id, id + 1]),
                        ..Thing::default()
                    },
                }
                .give(&mut unit);
            }
            unit
        },
        |unit| timeline.join(unit),
    )
    .expect("within memory, or spilled");
}

fn bytes(options: Options, format: Format, threads: usize, units: usize) -> (Vec<u8>, Vec<u8>) {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool");
    pool.install(|| {
        let timeline = Timeline::new(options);
        feed(&timeline, units, 500);
        let (rows, warnings) = (Shared::default(), Shared::default());
        timeline
            .finish(vec![Output {
                format,
                rows: Box::new(rows.clone()),
                warnings: Box::new(warnings.clone()),
            }])
            .expect("within memory, or spilled");
        (rows.bytes(), warnings.bytes())
    })
}

#[test]
fn threads_memory_and_spilling_leave_no_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = |memory_bytes| Options {
        memory_bytes,
        spill: Some(folder.path().into()),
        ..Options::default()
    };
    for format in Format::ALL {
        // 180,000 rows: more than one row group.
        let units = if format == Format::Parquet { 120 } else { 30 };
        let want = bytes(Options::default(), format, 1, units);
        for threads in [2, 8] {
            let same = bytes(Options::default(), format, threads, units) == want;
            assert!(same, "{format} on {threads} threads");
        }
        for memory in [64 << 20, 2 << 20, 64 << 10] {
            let same = bytes(small(memory), format, 2, units) == want;
            assert!(same, "{format} in {memory} bytes");
        }
    }
    let left = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 0, "nothing stays in the folder");
}

#[test]
fn past_the_grant_without_a_folder_is_an_error() {
    let timeline = Timeline::new(Options {
        memory_bytes: 64 << 10,
        ..Options::default()
    });
    let context = context("s", "v/f", "test.things");
    let error = (0..10_000u64)
        .find_map(|id| {
            let mut unit = timeline.unit(&context);
            for index in 0..50 {
                Seen {
                    times: vec![stamp(i128::from(id * 50 + index), Meaning::Created)],
                    provenance: Span::new(index..index + 1).into(),
                    record: Thing::default(),
                }
                .give(&mut unit);
            }
            timeline.join(unit).err()
        })
        .expect("64 KiB are soon full");
    assert!(error.to_string().contains("name a folder"), "{error}");
}

/// Anonymous memory of this process, in KiB.
fn rss_anon() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Writes nowhere: what a file holds is no memory of ours.
struct Nowhere;

impl std::io::Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Three million rows, as many as a `$MFT` of 1 GiB gives. Alone in its process it is exact;
/// beside the other tests of this file it only counts too much.
#[test]
fn three_million_rows_stay_under_512_mib() {
    if rss_anon().is_none() {
        eprintln!("SKIPPED, no /proc/self/status: memory of three million rows");
        return;
    }
    let peak = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let (peak, done) = (peak.clone(), done.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "it watches; the pool has the work"
        )]
        std::thread::spawn(move || {
            while !done.load(Relaxed) {
                peak.fetch_max(rss_anon().unwrap_or(0), Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        })
    };
    let folder = tempfile::tempdir().expect("a folder");
    let timeline = Timeline::new(Options {
        spill: Some(folder.path().into()),
        ..Options::default()
    });
    feed(&timeline, 1_000, 1_000);
    let summary = timeline
        .finish(vec![Output {
            format: Format::Parquet,
            rows: Box::new(Nowhere),
            warnings: Box::new(Nowhere),
        }])
        .expect("within memory, or spilled");
    done.store(true, Relaxed);
    watch.join().expect("no panic");
    let peak = peak.load(Relaxed);
    eprintln!("peak {peak} KiB for {} rows", summary.rows);
    assert_eq!(summary.rows, 3_000_000);
    assert!(peak > 100_000, "measured: {peak} KiB");
    assert!(peak < 512 << 10, "{peak} KiB");
}

//! Threads, memory and spilling leave no trace in the files.

mod support;

use scelle_event::{Consumer, Meaning, Span};
use scelle_timeline::{Format, Options, Output, Timeline};
use support::{Seen, Shared, Thing, context, feed, stamp};

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

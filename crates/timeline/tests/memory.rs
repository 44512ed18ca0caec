//! Memory is bounded, whatever the number of rows. The one test of its process: it counts all.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use scelle_timeline::{Format, Options, Output, Timeline};
use support::feed;

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

/// Three million rows, about as many as a `$MFT` of 1 GiB gives.
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

//! What a piece of work holds in memory.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

const SAMPLE_EVERY: Duration = Duration::from_millis(2);

/// Anonymous memory of this process, in bytes; file maps are no part of it. `None` where the
/// system is no Linux.
pub fn anonymous_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Does `work`, and says how much anonymous memory this process had at most meanwhile, over what
/// it had before. Whoever measures has a process of its own.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = anonymous_bytes().unwrap_or(0);
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(before));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                peak.fetch_max(anonymous_bytes().unwrap_or(0), Relaxed);
                thread::sleep(SAMPLE_EVERY);
            }
        });
        // Also where the work panics, which would else wait for the thread that measures.
        let _ended = Ended(&done);
        work()
    });
    (result, peak.into_inner() - before)
}

/// Says so when it is dropped.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

//! Counters that long calls keep up to date, and that whoever waits may look at.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How far a long call has come. It prints nothing: a terminal, a log or nobody looks at it.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<&'static str>,
    bytes: AtomicU64,
    items: AtomicU64,
    total_bytes: AtomicU64,
    total_items: AtomicU64,
}

/// What [`Progress`] says at one moment; a total of 0 is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What is being done: `planning`, `collecting`, …
    pub stage: &'static str,
    /// Bytes dealt with.
    pub bytes: u64,
    /// Streams dealt with.
    pub items: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Streams in all.
    pub total_items: u64,
}

impl Progress {
    /// Begins a stage; totals that are not known are 0.
    pub fn begin(&self, stage: &'static str, total_bytes: u64, total_items: u64) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.bytes.store(0, Relaxed);
        self.items.store(0, Relaxed);
        self.total_bytes.store(total_bytes, Relaxed);
        self.total_items.store(total_items, Relaxed);
    }

    /// Counts what was done.
    pub fn advance(&self, bytes: u64, items: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.items.fetch_add(items, Relaxed);
    }

    /// What there is to say now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            stage: *self.stage.lock().unwrap_or_else(PoisonError::into_inner),
            bytes: self.bytes.load(Relaxed),
            items: self.items.load(Relaxed),
            total_bytes: self.total_bytes.load(Relaxed),
            total_items: self.total_items.load(Relaxed),
        }
    }
}

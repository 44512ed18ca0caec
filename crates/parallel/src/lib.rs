//! Work done on any thread, handed on in order.
//!
//! Parsing, sealing and sorting all need the same thing: many threads, one order, bounded
//! memory. It stands here once, so that no other crate schedules by itself.

mod ordered;

pub use ordered::ordered;

/// Sets how many threads this process computes with; 0 is one for each core. Only a program
/// calls this, once and first: a library works on the pool that its caller chose.
///
/// # Errors
/// Where the threads can't be started, or a pool exists already.
pub fn use_threads(threads: usize) -> std::io::Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(std::io::Error::other)
}

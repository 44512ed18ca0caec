//! Work done on any thread, handed on in order.
//!
//! Parsing, sealing and sorting all need the same thing: many threads, one order, bounded
//! memory. It stands here once, so that no other crate schedules by itself.

mod ordered;

pub use ordered::ordered;

//! The plan, scheduling, hashing and the coverage ledger.

mod run;

pub use run::{RunError, Tally, run};

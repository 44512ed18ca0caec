//! The plan, scheduling, hashing and the coverage ledger.

pub mod alone;
mod already;
pub mod hash;
mod once;
pub mod parse;
pub mod plan;
pub mod profile;
mod progress;
mod run;
pub mod story;
pub mod traces;

pub use parse::{ParseSummary, parse};
pub use plan::{Plan, Planned, Step};
pub use profile::Profile;
pub use progress::{Progress, Snapshot};
pub use run::{RunError, Tally, run};

//! Artefacts of NTFS volumes.

mod finding;
pub mod i30;
pub mod logfile;
pub mod mft;
pub mod usnjrnl;

pub use finding::{FINDINGS, FindingKind};

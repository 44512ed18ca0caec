//! Artefacts of NTFS volumes.

pub mod i30;
pub mod logfile;
pub mod mft;
pub mod usnjrnl;

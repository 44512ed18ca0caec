//! Artefacts of NTFS volumes.

pub mod mft;

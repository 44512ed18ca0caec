//! Artefacts of Windows.

pub mod recycle_bin;

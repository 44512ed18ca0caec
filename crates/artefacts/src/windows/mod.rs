//! Artefacts of Windows.

pub mod evtx;
mod evtx_alone;
mod evtx_record;
pub mod recycle_bin;

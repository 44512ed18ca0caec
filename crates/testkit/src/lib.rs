//! Development only: corpus, samples, golden files.

mod corpus;
mod evtx;
mod golden;
mod index;
mod log;
mod memory;
mod mft;
mod mounted;
mod package;
mod recipe;
mod rendered;
mod samples;
mod tools;
mod tsa;
mod unpacked;
mod usn;
mod virtual_disk;
mod volume;

pub use corpus::{Corpus, unpack};
pub use evtx::{EvtxEvent, EvtxLog, EvtxNode, EvtxRecord, EvtxValue, seal_evtx_chunk};
pub use golden::compare_golden;
pub use index::{IndexEntry, index_record};
pub use log::{LogChange, LogFile};
pub use memory::{anonymous_bytes, peak_bytes};
pub use mft::{MftRecord, Part};
pub use mounted::MountedMemory;
pub use package::package_folder;
pub use recipe::{Expected, MadeVolume};
pub use rendered::{Rendered, RenderedUnit};
pub use samples::{Sample, testdata};
pub use tools::{has_tool, run_tool};
pub use tsa::TimeService;
pub use unpacked::image;
pub use usn::{UsnChange, UsnJournal};
pub use virtual_disk::{LogStep, Vhd, Vhdx, seal_vhd, seal_vhdx};
pub use volume::NtfsImage;

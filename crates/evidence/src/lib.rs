//! Read-only access to evidence, as one tree of volumes and streams.
//!
//! Files, block devices, disk images, partitions, NTFS volumes and folders all become
//! [`Volume`]s: trees of entries with named streams. Nothing here writes, and nothing here
//! starts a thread.

mod entry;
mod volume;

pub use entry::{Attributes, Entry, EntryKind, FileId, NamedTimes, StreamInfo, StreamState, Times};
pub use volume::{Evidence, EvidenceLoss, Volume, VolumeInfo, VolumeKind};

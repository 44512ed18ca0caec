//! Read-only access to evidence, as one tree of volumes and streams.
//!
//! Files, block devices, disk images, partitions, NTFS volumes and folders all become
//! [`Volume`]s: trees of entries with named streams. Nothing here writes, and nothing here
//! starts a thread.

mod bitlocker;
mod entry;
mod file_volume;
mod folder;
mod fs;
mod image;
mod ntfs;
mod open;
mod partition;
mod shadow;
mod source;
mod volume;

pub use bitlocker::{Unlocked, VolumeKeyError, VolumeKeys, open_bitlocker};
pub use entry::{
    Attributes, Details, Entry, EntryKind, ExtendedAttribute, FileId, NamedTimes, ObjectId,
    Remains, Reparse, Security, StreamInfo, StreamState, Times,
};
pub use file_volume::FileVolume;
pub use folder::{FolderVolume, MAX_DEPTH, far_places};
pub use image::{Image, ImageKind, Siblings, StoredHash, open_image};
pub use ntfs::{EFS_STREAM, NtfsVolume};
pub use open::{
    OpenError, OpenOptions, UNKNOWN_ENTRY, open, open_disk, open_source, open_source_with,
};
pub use shadow::{Snapshot, shadow_copies};
pub use source::{Aligned, FileSource, MapSource};
pub use volume::{Evidence, EvidenceLoss, Volume, VolumeInfo, VolumeKind};

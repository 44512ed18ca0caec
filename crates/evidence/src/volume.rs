//! Volumes, and the evidence that holds them.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use scelle_event::{EvidencePath, StreamId};
use scelle_formats::{ReadAt, ReadError};

use crate::{Entry, Snapshot, Unlocked, shadow};

/// What kind of tree a volume is; one that is read back from a bundle keeps its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VolumeKind {
    /// An NTFS volume.
    Ntfs,
    /// A FAT12, FAT16 or FAT32 volume.
    Fat,
    /// An exFAT volume.
    Exfat,
    /// An ext2, ext3 or ext4 volume.
    Ext,
    /// A folder of the machine that we run on.
    Folder,
    /// A single file, or bytes whose structure nobody here knows.
    File,
}

/// What is known of a volume as a whole.
#[derive(Clone, Debug)]
pub struct VolumeInfo {
    /// Its id: `ntfs-SERIAL` (16 hex digits), `fat-SERIAL` and `exfat-SERIAL` (8), `ext-UUID`, `folder`, `file`, `at-OFFSET`; a repeat within one
    /// source has `+2` appended. A snapshot's is that of its volume, `@`, and its time. It does not depend on how the volume was reached.
    pub id: Arc<str>,
    /// What it is.
    pub kind: VolumeKind,
    /// Where it begins in its source, in bytes.
    pub offset: u64,
    /// Its size in bytes, where it has one.
    pub size_bytes: Option<u64>,
    /// Its label, where it has one.
    pub label: Option<String>,
    /// Bytes a cluster, where it has clusters.
    pub cluster_bytes: Option<u32>,
}

impl VolumeInfo {
    /// The id of the volume itself, where this is a snapshot of it, also one that was read back from a bundle.
    pub fn base_id(&self) -> &str {
        let base = self.id.split_once(shadow::MARK).map(|(base, _)| base);
        base.filter(|_| self.kind == VolumeKind::Ntfs)
            .unwrap_or(&self.id)
    }
}

/// What could not be read of a volume's structure.
#[derive(Clone, Debug)]
pub struct EvidenceLoss {
    /// The path or structure that is touched.
    pub path: Option<EvidencePath>,
    /// The entry's number, where it is known.
    pub entry: Option<u64>,
    /// What happened.
    pub error: ReadError,
}

impl EvidenceLoss {
    /// A loss of something that has neither a path nor a number.
    pub(crate) fn of(error: ReadError) -> Self {
        Self {
            path: None,
            entry: None,
            error,
        }
    }
}

/// A tree of named streams: an NTFS volume, a folder, a bundle.
pub trait Volume: Send + Sync {
    /// What is known of it as a whole.
    fn info(&self) -> &VolumeInfo;

    /// Shows every entry, allocated and deleted, damage included, in a stable order.
    fn walk(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>);

    /// Of a snapshot, shows the entries whose record or streams lie where the next newer state of the volume has
    /// something else, as [`walk`](Self::walk) does; of all else, every entry.
    fn walk_changed(&self, visit: &mut dyn FnMut(Result<Entry, EvidenceLoss>) -> ControlFlow<()>) {
        self.walk(visit);
    }

    /// Of a snapshot, which of its bytes may not be those that the next newer state of the volume has at the same place, in order
    /// and apart; `None` where that isn't known.
    fn changes(&self) -> Option<Vec<Range<u64>>> {
        None
    }

    /// Opens a stream that [`walk`](Self::walk) showed.
    ///
    /// # Errors
    /// Why it can't be read; [`ReadError::Absent`] where there is none of that name.
    fn open(&self, stream: &StreamId) -> Result<Box<dyn ReadAt>, ReadError>;

    /// Opens a stream of an entry that [`walk`](Self::walk) showed, deleted ones and those that
    /// share a path included; volumes with numbered entries open by number.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn open_entry(
        &self,
        entry: &Entry,
        stream: Option<&EvidencePath>,
    ) -> Result<Box<dyn ReadAt>, ReadError> {
        self.open(&StreamId {
            volume: self.info().id.clone(),
            path: entry.path.clone(),
            stream: stream.cloned(),
        })
    }
}

/// Everything that was found in one source.
pub struct Evidence {
    /// The base name of the file or device, or a bundle's payload id.
    pub name: Arc<str>,
    /// Its volumes, in offset order.
    pub volumes: Vec<Arc<dyn Volume>>,
    /// Shadow copies: the volumes as they were, those of one volume together, the oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Which of its volumes were encrypted, and what opened them.
    pub unlocked: Vec<Unlocked>,
    /// What could not be understood: damaged partition tables, unknown file systems.
    pub losses: Vec<EvidenceLoss>,
}

impl Evidence {
    /// Every volume and, after each, its snapshots from the newest to the oldest.
    pub fn with_snapshots(&self) -> Vec<Arc<dyn Volume>> {
        let mut all = Vec::with_capacity(self.volumes.len() + self.snapshots.len());
        for volume in &self.volumes {
            all.push(volume.clone());
            let id = &*volume.info().id;
            let newest_first = self.snapshots.iter().rev();
            let own = newest_first.filter(|snapshot| snapshot.volume.info().base_id() == id);
            all.extend(own.map(|snapshot| snapshot.volume.clone()));
        }
        all
    }
}
